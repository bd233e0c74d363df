//! What a router is told to serve: listeners, their chains by server name, redirects, and the policies of the workload that
//! the router is.

mod common;

use std::collections::BTreeMap;

use common::routes;
use envoy_types::pb::envoy::config::listener::v3::{FilterChain, Listener, filter};
use envoy_types::pb::envoy::config::route::v3::virtual_host::TlsRequirementType;
use envoy_types::pb::envoy::extensions::filters::http::jwt_authn::v3::JwtAuthentication;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_connection_manager::ForwardClientCertDetails,
    http_connection_manager::RouteSpecifier, http_filter,
};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    DownstreamTlsContext, common_tls_context::ValidationContextType, tls_parameters::TlsProtocol,
};
use mesh_istio::{Loaded, Options};
use mesh_xds::{Node, Resources};
use prost::Message;

const SIMPLE: &str = "{ mode: SIMPLE, serverCertificate: /a.pem, privateKey: /a.key }";

/// A gateway with these servers.
fn gateway(name: &str, servers: &[&str]) -> String {
    let servers: String = servers.iter().map(|s| format!("  - {s}\n")).collect();
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{ name: {name} }}\nspec:\n  \
         selector: {{ istio: gw }}\n  servers:\n{servers}"
    )
}

fn https(port: u32, name: &str, hosts: &str, tls: &str) -> String {
    format!(
        "{{ port: {{ number: {port}, name: {name}, protocol: HTTPS }}, hosts: [{hosts}], tls: {tls} }}"
    )
}

fn object(kind: &str, name: &str, namespace: &str, spec: &str) -> String {
    let group = match kind {
        "VirtualService" => "networking",
        _ => "security",
    };
    format!(
        "---\napiVersion: {group}.istio.io/v1\nkind: {kind}\nmetadata: {{ name: {name}, namespace: {namespace} }}\nspec: {spec}\n"
    )
}

fn loaded(text: &str) -> Loaded {
    let options = Options::default().certificates(true);
    options
        .parse([("test.yaml".into(), text.to_owned())])
        .unwrap_or_else(|rejected| panic!("{rejected}"))
}

fn of(text: &str, namespace: &str) -> Resources {
    let node = Node::router("gw", namespace, [("istio", "gw")]);
    loaded(text).config.resources(&node)
}

fn listeners(resources: &Resources) -> BTreeMap<String, Listener> {
    let decoded = |(name, any): (&String, &envoy_types::pb::google::protobuf::Any)| {
        let listener = Listener::decode(any.value.as_slice()).expect("a listener");
        assert_eq!(listener.name, *name);
        (name.clone(), listener)
    };
    resources.listeners.iter().map(decoded).collect()
}

fn manager(chain: &FilterChain) -> HttpConnectionManager {
    let [only] = &chain.filters[..] else {
        panic!("one filter")
    };
    let Some(filter::ConfigType::TypedConfig(any)) = &only.config_type else {
        panic!("no configuration")
    };
    HttpConnectionManager::decode(any.value.as_slice()).expect("a manager")
}

fn table(chain: &FilterChain) -> String {
    match manager(chain).route_specifier {
        Some(RouteSpecifier::Rds(rds)) => rds.route_config_name,
        other => panic!("{other:?}"),
    }
}

fn context(chain: &FilterChain) -> DownstreamTlsContext {
    use envoy_types::pb::envoy::config::core::v3::transport_socket::ConfigType;
    let socket = chain.transport_socket.as_ref().expect("TLS");
    let Some(ConfigType::TypedConfig(any)) = &socket.config_type else {
        panic!("no terms")
    };
    DownstreamTlsContext::decode(any.value.as_slice()).expect("terms")
}

/// The certificate that is shown.
fn shown(chain: &FilterChain) -> String {
    let common = context(chain).common_tls_context.expect("terms");
    assert_eq!(common.alpn_protocols, ["h2", "http/1.1"]);
    let [secret] = &common.tls_certificate_sds_secret_configs[..] else {
        panic!("one certificate")
    };
    secret.name.clone()
}

/// Whose certificate is demanded: the authorities, and the names.
// The untyped matchers are deprecated in Envoy, and what istiod sends.
#[allow(deprecated)]
fn demanded(chain: &FilterChain) -> Option<(String, usize)> {
    let context = context(chain);
    let required = context
        .require_client_certificate
        .is_some_and(|required| required.value);
    let terms = context.common_tls_context?.validation_context_type;
    let of = match terms {
        Some(ValidationContextType::CombinedValidationContext(of)) => of,
        None => {
            assert!(!required);
            return None;
        }
        Some(other) => panic!("{other:?}"),
    };
    assert!(required);
    let roots = of.validation_context_sds_secret_config?.name;
    let names = of.default_validation_context?.match_subject_alt_names;
    Some((roots, names.len()))
}

fn server_names(chain: &FilterChain) -> Vec<String> {
    let found = chain.filter_chain_match.as_ref();
    found.map_or_else(Vec::new, |found| found.server_names.clone())
}

#[test]
fn a_port_has_a_listener_and_each_server_of_https_a_chain() {
    let mutual = "{ mode: MUTUAL, serverCertificate: /m.pem, privateKey: /m.key, caCertificates: /ca.pem, \
                  subjectAltNames: [one, two], minProtocolVersion: TLSV1_3 }";
    let text = gateway(
        "g",
        &[
            "{ port: { number: 8080, name: http, protocol: HTTP }, hosts: ['*'] }",
            &https(8443, "a", "./b.org, default/a.org", SIMPLE),
            &https(8443, "m", "'*.m.org'", mutual),
            &https(
                8443,
                "i",
                "'*'",
                "{ mode: ISTIO_MUTUAL, subjectAltNames: [one] }",
            ),
        ],
    );
    let resources = of(&text, "default");
    let all = listeners(&resources);
    assert_eq!(
        all.keys().collect::<Vec<_>>(),
        ["0.0.0.0_8080", "0.0.0.0_8443"]
    );
    let [plain] = &all["0.0.0.0_8080"].filter_chains[..] else {
        panic!("one chain")
    };
    assert!(plain.transport_socket.is_none() && plain.filter_chain_match.is_none());
    assert_eq!(table(plain), "http.8080");

    let [simple, mutual, istio] = &all["0.0.0.0_8443"].filter_chains[..] else {
        panic!("three chains")
    };
    assert_eq!(server_names(simple), ["a.org", "b.org"]);
    assert_eq!(shown(simple), "file-cert:/a.pem~/a.key");
    assert_eq!(demanded(simple), None);
    assert_eq!(table(simple), "https.8443.a.g.default");

    assert_eq!(server_names(mutual), ["*.m.org"]);
    assert_eq!(shown(mutual), "file-cert:/m.pem~/m.key");
    assert_eq!(demanded(mutual), Some(("file-root:/ca.pem".to_owned(), 2)));
    let params = context(mutual)
        .common_tls_context
        .and_then(|c| c.tls_params);
    let params = params.expect("versions");
    assert_eq!(params.tls_minimum_protocol_version(), TlsProtocol::TlSv13);
    assert_eq!(params.tls_maximum_protocol_version(), TlsProtocol::TlsAuto);

    // Whoever asks for another name, or for none.
    assert!(istio.filter_chain_match.is_none());
    assert_eq!(shown(istio), "default");
    assert_eq!(demanded(istio), Some(("ROOTCA".to_owned(), 1)));

    let tables: Vec<_> = resources.routes.keys().map(String::as_str).collect();
    let wanted = ["a", "i", "m"].map(|name| format!("https.8443.{name}.g.default"));
    assert_eq!(tables[0], "http.8080");
    assert_eq!(tables[1..], wanted);
    // A router without a gateway has none, and what a stranger says of a certificate is not believed.
    let other = Node::router("x", "default", [("istio", "other")]);
    assert!(loaded(&text).config.resources(&other).listeners.is_empty());
    let manager = manager(plain);
    assert_eq!(
        manager.forward_client_cert_details(),
        ForwardClientCertDetails::SanitizeSet
    );
    assert_eq!(manager.use_remote_address.map(|b| b.value), Some(true));
}

/// Each server that ends TLS knows its own hosts alone: a client cannot get behind one by the name of another.
#[test]
fn a_server_has_the_routes_of_its_own_hosts() {
    let text = gateway(
        "g",
        &[
            &https(8443, "a", "a.org", SIMPLE),
            &https(8443, "b", "b.org", SIMPLE),
        ],
    ) + &object(
        "VirtualService",
        "both",
        "default",
        "{ hosts: [a.org, b.org], gateways: [g], http: [ { route: [ { destination: { host: reviews } } ] } ] }",
    );
    let resources = of(&text, "default");
    for name in ["a", "b"] {
        let table = routes(&resources, &format!("https.8443.{name}.g.default"));
        let [host] = &table.virtual_hosts[..] else {
            panic!("one host")
        };
        assert_eq!(host.domains, [format!("{name}.org")]);
        assert_eq!(host.require_tls(), TlsRequirementType::None);
    }
}

#[test]
fn a_redirect_is_for_the_hosts_of_its_server_with_routes_or_without() {
    let text = gateway(
        "g",
        &[
            "{ port: { number: 80, name: sent, protocol: HTTP }, hosts: [a.org, none.org], tls: { httpsRedirect: true } }",
            "{ port: { number: 80, name: open, protocol: HTTP }, hosts: [b.org] }",
        ],
    ) + &object(
        "VirtualService",
        "both",
        "default",
        "{ hosts: [a.org, b.org], gateways: [g], http: [ { route: [ { destination: { host: reviews } } ] } ] }",
    );
    let table = routes(&of(&text, "default"), "http.80");
    let hosts = table.virtual_hosts.iter();
    let hosts: Vec<_> = hosts
        .map(|host| {
            let sent = host.require_tls() == TlsRequirementType::All;
            (host.domains.join(" "), sent, host.routes.len())
        })
        .collect();
    let wanted = [
        ("none.org".to_owned(), true, 0),
        ("a.org".to_owned(), true, 1),
        ("b.org".to_owned(), false, 1),
    ];
    assert_eq!(hosts, wanted);
}

/// The first server on a port says what it is, and the first certificate of a host is the one.
#[test]
fn servers_that_do_not_fit_are_left_out() {
    let text = gateway(
        "a",
        &[
            &https(8443, "first", "a.org, b.org", SIMPLE),
            &https(8443, "again", "c.org, b.org", SIMPLE),
            "{ port: { number: 8443, name: plain, protocol: HTTP }, hosts: ['*'] }",
            "{ port: { number: 8080, name: http, protocol: HTTP }, hosts: ['*'] }",
            &https(8080, "late", "d.org", SIMPLE),
        ],
    ) + &gateway(
        "b",
        &[
            &https(8443, "first", "e.org", SIMPLE),
            &https(8443, "second", "a.org", SIMPLE),
        ],
    );
    let resources = of(&text, "default");
    let all = listeners(&resources);
    let of = |name: &str| {
        all[name]
            .filter_chains
            .iter()
            .map(table)
            .collect::<Vec<_>>()
    };
    assert_eq!(of("0.0.0.0_8080"), ["http.8080"]);
    assert_eq!(
        of("0.0.0.0_8443"),
        ["https.8443.first.a.default", "https.8443.first.b.default"]
    );
    assert_eq!(resources.routes.len(), 3);
}

fn policy(name: &str, namespace: &str, selector: &str) -> String {
    let spec = format!(
        "{{ {selector} action: DENY, rules: [ {{ to: [ {{ operation: {{ paths: [/x] }} }} ] }} ] }}"
    );
    object("AuthorizationPolicy", name, namespace, &spec)
}

/// `type` of each filter that has something to say of a request, and the policies in it.
fn passed(chain: &FilterChain) -> Vec<String> {
    let filters = manager(chain).http_filters;
    let mut out = Vec::new();
    for filter in &filters {
        let Some(http_filter::ConfigType::TypedConfig(any)) = &filter.config_type else {
            panic!("no configuration")
        };
        let name = filter.name.rsplit('.').next().expect("a name");
        match name {
            "rbac" => {
                let text = String::from_utf8_lossy(&any.value).into_owned();
                let names = text.split("ns[").skip(1);
                out.extend(names.filter_map(|n| Some(format!("ns[{}", n.split_once("-rule")?.0))));
            }
            "jwt_authn" => {
                let tokens = JwtAuthentication::decode(any.value.as_slice()).expect("tokens");
                // A route may be chosen by what a token says.
                assert!(tokens.providers.values().all(|p| p.clear_route_cache));
                out.extend(tokens.providers.into_values().map(|p| p.issuer));
            }
            other => out.push(other.to_owned()),
        }
    }
    out
}

#[test]
fn policies_that_select_a_gateway_stand_in_each_of_its_chains() {
    let selector = "selector: { matchLabels: { istio: gw } },";
    let keys = r#"'{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}'"#;
    let text = gateway(
        "g",
        &[
            "{ port: { number: 8080, name: http, protocol: HTTP }, hosts: ['*'] }",
            &https(8443, "a", "a.org", SIMPLE),
            &https(8443, "b", "'*'", "{ mode: ISTIO_MUTUAL }"),
        ],
    ) + &policy("own", "default", selector)
        + &policy("of-root", "istio-system", selector)
        + &policy("for-all", "istio-system", "")
        + &policy("elsewhere", "other", selector)
        + &policy(
            "another",
            "default",
            "selector: { matchLabels: { istio: x } },",
        )
        + &object(
            "RequestAuthentication",
            "tokens",
            "default",
            &format!("{{ {selector} jwtRules: [ {{ issuer: me, jwks: {keys} }} ] }}"),
        );
    let all = listeners(&of(&text, "default"));
    let chains: Vec<_> = all.values().flat_map(|l| &l.filter_chains).collect();
    assert_eq!(chains.len(), 3);
    for chain in chains {
        let wanted = [
            "me",
            "ns[default]-policy[own]",
            "ns[istio-system]-policy[for-all]",
            "ns[istio-system]-policy[of-root]",
            "fault",
            "cors",
            "router",
        ];
        assert_eq!(passed(chain), wanted);
    }
    // In another namespace the same labels are another workload.
    let all = listeners(&of(&text, "other"));
    let chain = &all["0.0.0.0_8080"].filter_chains[0];
    let wanted = [
        "ns[istio-system]-policy[for-all]",
        "ns[istio-system]-policy[of-root]",
        "ns[other]-policy[elsewhere]",
        "fault",
        "cors",
        "router",
    ];
    assert_eq!(passed(chain), wanted);
}

/// As a workload does, before it looks at tokens.
#[test]
fn a_gateway_asks_whom_its_policies_name() {
    let ask = |provider: &str| {
        gateway("g", &["{ port: { number: 8080, name: http, protocol: HTTP }, hosts: ['*'] }"])
            + &policy("own", "default", "selector: { matchLabels: { istio: gw } },")
            + &object(
                "AuthorizationPolicy",
                "ask",
                "default",
                &format!(
                    "{{ selector: {{ matchLabels: {{ istio: gw }} }}, action: CUSTOM, provider: {{ name: {provider} }}, rules: [ {{}} ] }}"
                ),
            )
            + "---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: ext, namespace: default }
spec: { hosts: [ext.org], resolution: STATIC, ports: [ { number: 9000, name: grpc, protocol: GRPC } ], endpoints: [ { address: 127.0.0.1 } ] }
---
apiVersion: mesh.istio.io/v1alpha1
kind: MeshConfig
metadata: { name: mesh, namespace: istio-system }
spec: { extensionProviders: [ { name: ext, envoyExtAuthzGrpc: { service: ext.org, port: 9000 } } ] }
"
    };
    let told = |provider: &str| {
        let resources = of(&ask(provider), "default");
        assert!(resources.clusters.contains_key("outbound|9000||ext.org"));
        passed(&listeners(&resources)["0.0.0.0_8080"].filter_chains[0])
    };
    let (asks, own) = ("ns[default]-policy[ask]", "ns[default]-policy[own]");
    let rest = ["fault", "cors", "router"];
    assert_eq!(told("ext"), [&[asks, "ext_authz", own], &rest[..]].concat());
    // Where there is nobody to ask, the rules refuse.
    assert_eq!(told("nobody"), [&[asks, own], &rest[..]].concat());
}

#[test]
fn what_has_no_effect_is_told() {
    let text = gateway(
        "g",
        &[
            &https(
                1,
                "a",
                "a.org",
                "{ mode: SIMPLE, serverCertificate: /a, privateKey: /b, httpsRedirect: true, caCertificates: /c, \
                 minProtocolVersion: TLSV1_0, cipherSuites: [AES128-SHA] }",
            ),
            &https(
                2,
                "b",
                "b.org",
                "{ mode: ISTIO_MUTUAL, minProtocolVersion: TLSV1_3 }",
            ),
        ],
    );
    let notes: Vec<_> = loaded(&text)
        .notes
        .iter()
        .map(ToString::to_string)
        .collect();
    for wanted in [
        "spec.servers[0].tls.httpsRedirect has no effect on a server of HTTPS",
        "spec.servers[0].tls.caCertificates has no effect under SIMPLE",
        "spec.servers[0].tls.minProtocolVersion: nothing below TLS 1.2 is spoken",
        "spec.servers[0].tls.cipherSuites",
        "spec.servers[1].tls.minProtocolVersion has no effect under ISTIO_MUTUAL",
    ] {
        assert!(
            notes.iter().any(|n| n.contains(wanted)),
            "{wanted}: {notes:#?}"
        );
    }
    assert_eq!(notes.len(), 5, "{notes:#?}");
}

/// Certificates in files need no authority of the mesh; the gateway's own certificate does.
#[test]
fn a_mesh_without_certificates_has_gateways_with_files() {
    let parse = |tls: &str| {
        let text = gateway("g", &[&https(8443, "a", "a.org", tls)]);
        Options::default().parse([("test.yaml".into(), text)])
    };
    assert!(parse(SIMPLE).is_ok());
    let rejected = parse("{ mode: ISTIO_MUTUAL }").expect_err("refused");
    let text = rejected.to_string();
    assert!(
        text.contains("spec.servers[0].tls.mode ISTIO_MUTUAL demands TLS"),
        "{text}"
    );
}
