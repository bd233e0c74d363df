//! Mutual TLS: `PeerAuthentication`, `tls` of `DestinationRule`, identities; without certificates all of it is refused.

mod common;

use common::{HOST, REVIEWS, assignment, client, cluster, reject};
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::{TransportSocket, transport_socket::ConfigType};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    UpstreamTlsContext, common_tls_context::ValidationContextType,
};
use envoy_types::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::google::protobuf::value::Kind;
use mesh_istio::{Config, Loaded, Options};
use mesh_xds::Resources;
use prost::Message;

const WHOLE: &str = "outbound|9080||reviews.default.svc.cluster.local";
const V1: &str = "outbound|9080|v1|reviews.default.svc.cluster.local";

/// Bookinfo's reviews without the rule of `REVIEWS`: v1 has a service account, v2 none.
fn workloads() -> &'static str {
    REVIEWS.rsplit_once("---\n").expect("documents").0
}

fn secured(text: &str) -> Loaded {
    parse(text).unwrap_or_else(|rejected| panic!("{rejected}\n\n{text}"))
}

fn parse(text: &str) -> Result<Loaded, mesh_istio::Rejected> {
    Options::default()
        .certificates(true)
        .parse([("test.yaml".into(), text.to_owned())])
}

fn compile(rules: &str) -> Resources {
    secured(&format!("{}---\n{rules}", workloads()))
        .config
        .resources(&client())
}

fn peers(name: &str, namespace: &str, spec: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{ name: {name}, namespace: {namespace} }}\nspec: {spec}\n---\n"
    )
}

fn rule(spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{ name: reviews }}\nspec: {{ host: reviews, {spec} }}\n"
    )
}

/// `tlsMode` of each endpoint, `-` for none.
fn modes(resources: &Resources, name: &str) -> Vec<String> {
    let assignment = assignment(resources, name);
    let endpoints = assignment.endpoints.iter().flat_map(|l| &l.lb_endpoints);
    endpoints
        .map(|endpoint| {
            let metadata = endpoint.metadata.as_ref().expect("metadata");
            let fields = metadata.filter_metadata.get("envoy.transport_socket_match");
            let mode = fields.and_then(|fields| fields.fields.get("tlsMode"));
            match mode.and_then(|mode| mode.kind.as_ref()) {
                Some(Kind::StringValue(mode)) => mode.clone(),
                None => "-".to_owned(),
                other => panic!("{other:?}"),
            }
        })
        .collect()
}

/// The names of the sockets that a cluster chooses among.
fn sockets(cluster: &Cluster) -> Vec<&str> {
    let matches = cluster.transport_socket_matches.iter();
    matches.map(|socket| socket.name.as_str()).collect()
}

fn context(socket: Option<&TransportSocket>) -> UpstreamTlsContext {
    let socket = socket.expect("a socket");
    assert_eq!(socket.name, "envoy.transport_sockets.tls");
    let Some(ConfigType::TypedConfig(any)) = &socket.config_type else {
        panic!("no context")
    };
    UpstreamTlsContext::decode(any.value.as_slice()).expect("a context")
}

/// The names of its own certificate, of its roots, and those that the server may prove.
#[allow(deprecated)]
fn names(context: &UpstreamTlsContext) -> (Vec<&str>, &str, Vec<&str>) {
    let common = context.common_tls_context.as_ref().expect("a context");
    let own = common.tls_certificate_sds_secret_configs.iter();
    let Some(ValidationContextType::CombinedValidationContext(combined)) =
        &common.validation_context_type
    else {
        panic!("no validation")
    };
    let roots = combined.validation_context_sds_secret_config.as_ref();
    let sans = combined.default_validation_context.as_ref();
    let sans = sans.expect("names").match_subject_alt_names.iter();
    let sans = sans.map(|san| match &san.match_pattern {
        Some(MatchPattern::Exact(name)) => name.as_str(),
        other => panic!("{other:?}"),
    });
    (
        own.map(|secret| secret.name.as_str()).collect(),
        &roots.expect("roots").name,
        sans.collect(),
    )
}

#[test]
fn endpoints_that_can_are_called_over_mutual_tls() {
    let resources = compile("");
    assert_eq!(modes(&resources, WHOLE), ["istio", "-"]);
    let cluster = cluster(&resources, WHOLE);
    assert_eq!(sockets(&cluster), ["tlsMode-istio", "tlsMode-disabled"]);
    assert_eq!(cluster.transport_socket, None);
    let context = context(
        cluster.transport_socket_matches[0]
            .transport_socket
            .as_ref(),
    );
    assert_eq!(context.sni, format!("outbound_.9080_._.{HOST}"));
    assert_eq!(
        names(&context),
        (
            vec!["default"],
            "ROOTCA",
            vec!["spiffe://cluster.local/ns/default/sa/bookinfo-reviews"]
        )
    );
    let alpn = context.common_tls_context.unwrap().alpn_protocols;
    assert_eq!(alpn, ["istio-peer-exchange", "istio"]);
}

#[test]
fn a_mesh_without_certificates_says_nothing_of_tls() {
    let text = workloads();
    let loaded = Config::parse([("test.yaml".into(), text.to_owned())]).unwrap();
    let resources = loaded.config.resources(&client());
    assert_eq!(modes(&resources, WHOLE), ["-", "-"]);
    let cluster = cluster(&resources, WHOLE);
    assert_eq!(
        (sockets(&cluster).len(), cluster.transport_socket),
        (0, None)
    );
    for spec in [
        "{ mtls: { mode: STRICT } }",
        "{ selector: { matchLabels: { app: reviews } }, portLevelMtls: { 9080: { mode: STRICT } } }",
    ] {
        let rejected = reject(&peers("x", "default", spec)).to_string();
        assert!(rejected.contains("mutual TLS"), "{rejected}");
        secured(&peers("x", "default", spec));
    }
}

#[test]
fn the_narrowest_rule_holds_for_a_workload() {
    let selected = "selector: { matchLabels: { version: v1 } }";
    let mesh = |mode: &str| {
        peers(
            "mesh",
            "istio-system",
            &format!("{{ mtls: {{ mode: {mode} }} }}"),
        )
    };
    let namespace = |mode: &str| {
        peers(
            "space",
            "default",
            &format!("{{ mtls: {{ mode: {mode} }} }}"),
        )
    };
    let workload = |rest: &str| peers("load", "default", &format!("{{ {selected}, {rest} }}"));
    for (rules, called_over_tls) in [
        (mesh("DISABLE"), false),
        (mesh("STRICT"), true),
        (mesh("DISABLE") + &namespace("STRICT"), true),
        (mesh("DISABLE") + &namespace("UNSET"), false),
        (mesh("STRICT") + &namespace("DISABLE"), false),
        (
            namespace("DISABLE") + &workload("mtls: { mode: STRICT }"),
            true,
        ),
        (
            namespace("DISABLE") + &workload("mtls: { mode: UNSET }"),
            false,
        ),
        (
            namespace("STRICT") + &workload("mtls: { mode: DISABLE }"),
            false,
        ),
        // The workload's port, not the service's.
        (
            workload("portLevelMtls: { 19081: { mode: DISABLE } }"),
            false,
        ),
        (workload("portLevelMtls: { 9080: { mode: DISABLE } }"), true),
        (
            workload("mtls: { mode: DISABLE }, portLevelMtls: { 19081: { mode: UNSET } }"),
            false,
        ),
        (
            workload("mtls: { mode: DISABLE }, portLevelMtls: { 19081: { mode: STRICT } }"),
            true,
        ),
    ] {
        let found = modes(&compile(&rules), WHOLE);
        let expected = if called_over_tls { "istio" } else { "-" };
        assert_eq!(found, [expected, "-"], "{rules}");
    }
}

#[test]
fn a_rule_holds_where_it_stands() {
    let off = "mtls: { mode: DISABLE }";
    let selecting = format!("{{ selector: {{ matchLabels: {{ version: v1 }} }}, {off} }}");
    let on = peers("zz", "default", "{ mtls: { mode: STRICT } }");
    for (rules, expected) in [
        // One that selects counts for nobody in the root namespace.
        (peers("root", "istio-system", &selecting), "istio"),
        (peers("other", "other", &format!("{{ {off} }}")), "istio"),
        // Of two of one scope the first counts.
        (
            peers("first", "default", &format!("{{ {off} }}")) + &on,
            "-",
        ),
    ] {
        assert_eq!(modes(&compile(&rules), WHOLE), [expected, "-"], "{rules}");
    }
}

#[test]
fn a_namespace_without_mutual_tls_is_called_in_plaintext() {
    let resources = compile(&peers("space", "default", "{ mtls: { mode: DISABLE } }"));
    let cluster = cluster(&resources, WHOLE);
    assert_eq!(
        (sockets(&cluster).len(), cluster.transport_socket),
        (0, None)
    );
}

#[test]
fn a_rule_says_how_a_host_is_called() {
    let resources = compile(&rule(
        "trafficPolicy: { tls: { mode: ISTIO_MUTUAL, sni: other, subjectAltNames: [spiffe://a/b] } },
         subsets: [ { name: v1, labels: { version: v1 } },
                    { name: v2, labels: { version: v2 }, trafficPolicy: { tls: { mode: DISABLE } } } ]",
    ));
    let whole = cluster(&resources, WHOLE);
    assert_eq!(sockets(&whole).len(), 0);
    let said = context(whole.transport_socket.as_ref());
    assert_eq!(said.sni, "other");
    assert_eq!(
        names(&said),
        (vec!["default"], "ROOTCA", vec!["spiffe://a/b"])
    );
    // What holds for the host holds for a subset that says nothing of it; endpoints are told apart by the subset's.
    assert!(cluster(&resources, V1).transport_socket.is_some());
    let v2 = V1.replace("v1", "v2");
    assert_eq!(cluster(&resources, &v2).transport_socket, None);
    assert_eq!(modes(&resources, &v2), ["-"]);
}

#[test]
fn a_host_is_called_with_certificates_in_files() {
    let tls = |tls: &str| {
        let resources = compile(&rule(&format!("trafficPolicy: {{ tls: {{ {tls} }} }}")));
        cluster(&resources, WHOLE)
    };
    let options = |cluster: &Cluster| {
        let options = cluster.typed_extension_protocol_options.values().next();
        let options = HttpProtocolOptions::decode(options.unwrap().value.as_slice()).unwrap();
        let names = options.upstream_http_protocol_options;
        names.map(|names| (names.auto_sni, names.auto_san_validation))
    };
    let simple = tls("mode: SIMPLE");
    let said = context(simple.transport_socket.as_ref());
    assert_eq!(names(&said), (vec![], "file-root:system", vec![]));
    assert_eq!(options(&simple), Some((true, true)));
    let mutual = tls(
        "mode: MUTUAL, clientCertificate: /c, privateKey: /k, caCertificates: /r, subjectAltNames: [a.b]",
    );
    let said = context(mutual.transport_socket.as_ref());
    assert_eq!(
        names(&said),
        (vec!["file-cert:/c~/k"], "file-root:/r", vec!["a.b"])
    );
    assert_eq!(options(&mutual), Some((true, false)));
    assert_eq!(said.sni, "");
    let override_ = common::istio(mutual.metadata.as_ref(), "alpn_override");
    assert_eq!(override_, "false");
    let named = tls("mode: SIMPLE, sni: x.y");
    assert_eq!(context(named.transport_socket.as_ref()).sni, "x.y");
    assert_eq!(named.typed_extension_protocol_options.len(), 0);
}

#[test]
fn what_would_be_less_than_a_rule_says_is_refused() {
    for (tls, told) in [
        (
            "mode: SIMPLE, credentialName: x",
            "credentialName is not served",
        ),
        (
            "mode: MUTUAL, clientCertificate: /c",
            "needs clientCertificate and privateKey",
        ),
        (
            "mode: SIMPLE, insecureSkipVerify: true",
            "insecureSkipVerify is not served",
        ),
        ("mode: SIMPLE, caCrl: /x", "caCrl is not served"),
        ("mode: SIMPLE, caCertificates: /a~b", "must not hold '~'"),
    ] {
        let rejected = parse(&rule(&format!("trafficPolicy: {{ tls: {{ {tls} }} }}"))).unwrap_err();
        assert!(rejected.to_string().contains(told), "{rejected}");
    }
    let rejected = parse(&peers(
        "x",
        "default",
        "{ portLevelMtls: { 80: { mode: STRICT } } }",
    ));
    assert!(rejected.unwrap_err().to_string().contains("spec.selector"));
}

#[test]
fn aliases_of_the_trust_domain_are_its_own() {
    let mesh = "apiVersion: mesh.istio.io/v1alpha1\nkind: MeshConfig\nmetadata: { name: m }\nspec: { trustDomain: td, trustDomainAliases: [old], enableAutoMtls: true }\n";
    let resources = compile(mesh);
    let cluster = cluster(&resources, WHOLE);
    let context = context(
        cluster.transport_socket_matches[0]
            .transport_socket
            .as_ref(),
    );
    let expected = ["old", "td"].map(|td| format!("spiffe://{td}/ns/default/sa/bookinfo-reviews"));
    assert_eq!(names(&context).2, expected);
    let off = compile(&mesh.replace("enableAutoMtls: true", "enableAutoMtls: false"));
    assert_eq!(
        common::cluster(&off, WHOLE).transport_socket_matches.len(),
        0
    );
}

#[test]
fn a_folder_compiles_to_the_same_bytes_each_time() {
    let text = workloads();
    let first = secured(text).config.resources(&client());
    for _ in 0..20 {
        assert_eq!(secured(text).config.resources(&client()), first);
    }
}

/// The codes and paths of what is found in a mesh with certificates.
fn found(rules: &str) -> Vec<(&'static str, String)> {
    let mut analysis = mesh_istio::Analysis::of(Options::default().certificates(true));
    analysis.text("test.yaml", format!("{}---\n{rules}", workloads()));
    let findings = analysis.findings().into_iter();
    findings.map(|f| (f.code, f.path)).collect()
}

#[test]
fn what_secures_nobody_is_found() {
    let policy = |namespace: &str, spec: &str| {
        peers("other", namespace, spec).replace("PeerAuthentication", "AuthorizationPolicy")
    };
    let selecting = |app: &str| format!("selector: {{ matchLabels: {{ app: {app} }} }}");
    let (some, none) = (selecting("reviews"), selecting("nobody"));
    let nobody = [("IST0127", "spec.selector".to_owned())];
    for (rules, expected) in [
        (peers("x", "default", &format!("{{ {none} }}")), &nobody[..]),
        (peers("x", "default", &format!("{{ {some} }}")), &[]),
        (peers("x", "other", &format!("{{ {some} }}")), &nobody),
        // A policy of the root namespace is for everyone, a PeerAuthentication that selects there for nobody.
        (policy("istio-system", &format!("{{ {some} }}")), &[]),
        (
            peers("x", "istio-system", &format!("{{ {some} }}")),
            &nobody,
        ),
        (policy("default", &format!("{{ {none} }}")), &nobody),
        (peers("x", "default", "{ mtls: { mode: STRICT } }"), &[]),
    ] {
        assert_eq!(found(&rules), expected, "{rules}");
    }
}

#[test]
fn two_for_the_same_workloads_and_ports_of_nobody_are_found() {
    let one = peers("one", "default", "{ mtls: { mode: STRICT } }");
    let two = peers("two", "default", "{ mtls: { mode: DISABLE } }");
    let name = || ("MESH0003", "metadata.name".to_owned());
    assert_eq!(found(&format!("{one}{two}")), [name(), name()]);
    assert_eq!(
        found(&format!("{one}{}", two.replace("default", "other"))),
        []
    );
    let port = |port: &str| {
        let selector = "selector: { matchLabels: { app: reviews } }";
        peers(
            "x",
            "default",
            &format!("{{ {selector}, portLevelMtls: {{ {port}: {{}} }} }}"),
        )
    };
    assert_eq!(found(&port("19081")), []);
    assert_eq!(
        found(&port("7")),
        [("MESH0004", "spec.portLevelMtls".to_owned())]
    );
    let policy = |port: &str| {
        let spec =
            format!("{{ rules: [ {{ to: [ {{ operation: {{ ports: ['{port}'] }} }} ] }} ] }}");
        peers("x", "default", &spec).replace("PeerAuthentication", "AuthorizationPolicy")
    };
    assert_eq!(found(&policy("9080")), []);
    let place = "spec.rules[0].to[0].operation.ports[0]".to_owned();
    assert_eq!(found(&policy("7")), [("MESH0004", place)]);
}
