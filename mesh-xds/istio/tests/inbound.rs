//! `virtualInbound`: what the servers of a node take, by port and mode.

mod common;

use std::net::IpAddr;

use common::REVIEWS;
use envoy_types::pb::envoy::config::listener::v3::{Filter, FilterChain, Listener, filter};
use envoy_types::pb::envoy::extensions::filters::http::jwt_authn::v3::JwtAuthentication;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter,
    http_connection_manager::{ForwardClientCertDetails, PathWithEscapedSlashesAction},
    http_filter,
};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::DownstreamTlsContext;
use mesh_istio::{Config, Options};
use mesh_xds::{Dialect, Node};
use prost::Message;

const MANAGER: &str = "envoy.filters.network.http_connection_manager";

/// Bookinfo's reviews without a rule, and a service with a port of each kind at 127.0.31.1.
fn config(rules: &str, certificates: bool) -> Config {
    let reviews = REVIEWS.rsplit_once("---\n").expect("documents").0;
    let text = format!(
        "{reviews}---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{ name: kinds, namespace: default }}
spec:
  hosts: [kinds.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports:
  - {{ number: 80, name: http, protocol: HTTP, targetPort: 8080 }}
  - {{ number: 81, name: grpc, protocol: GRPC, targetPort: 8081 }}
  - {{ number: 82, name: tcp, protocol: TCP, targetPort: 8082 }}
  - {{ number: 83, name: any, targetPort: 8083 }}
  endpoints: [ {{ address: 127.0.31.1, labels: {{ app: kinds }}, serviceAccount: kinds }} ]
---
{rules}"
    );
    let loaded = Options::default()
        .certificates(certificates)
        .parse([("test.yaml".into(), text)]);
    loaded
        .unwrap_or_else(|rejected| panic!("{rejected}"))
        .config
}

fn peers(spec: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{ name: x }}\nspec: {spec}\n"
    )
}

fn node(name: &str, ip: &str) -> Node {
    let ip: IpAddr = ip.parse().expect("an address");
    Node::sidecar(name, "default").with_ip(ip)
}

fn kinds() -> Node {
    node("kinds", "127.0.31.1")
}

fn inbound(config: &Config, node: &Node) -> Listener {
    let listeners = config.resources(node).listeners;
    assert_eq!(listeners.len(), 1);
    assert_eq!(listeners, config.listeners(node));
    Listener::decode(listeners["virtualInbound"].value.as_slice()).expect("a listener")
}

/// `port transport [protocols] last-filter TLS?` of the chains that a filter keeps.
fn shapes(listener: &Listener, of: impl Fn(Option<u32>) -> bool) -> Vec<String> {
    let chains = listener.filter_chains.iter();
    let shape = |chain: &FilterChain| {
        let found = chain.filter_chain_match.as_ref().expect("a match");
        let port = found.destination_port.map(|port| port.value);
        let last = chain.filters.last().expect("a filter").name.as_str();
        let last = if last == MANAGER { "http" } else { "tcp" };
        let tls = if chain.transport_socket.is_some() {
            " ends"
        } else {
            ""
        };
        let protocols = found.application_protocols.join(",");
        of(port).then(|| format!("{} [{protocols}] {last}{tls}", found.transport_protocol))
    };
    chains.filter_map(shape).collect()
}

fn on(listener: &Listener, port: u32) -> Vec<String> {
    shapes(listener, |of| of == Some(port))
}

fn manager(filters: &[Filter]) -> HttpConnectionManager {
    let Some(filter::ConfigType::TypedConfig(any)) = &filters.last().expect("a filter").config_type
    else {
        panic!("no configuration")
    };
    assert!(any.type_url.ends_with("HttpConnectionManager"), "{any:?}");
    HttpConnectionManager::decode(any.value.as_slice()).expect("a manager")
}

const ISTIO: &str = "istio,istio-peer-exchange,istio-http/1.0,istio-http/1.1,istio-h2";
const HTTP: &str = "istio-http/1.0,istio-http/1.1,istio-h2";

#[test]
fn a_port_has_the_ways_in_of_its_mode() {
    let modes = |mode: &str| config(&peers(&format!("{{ mtls: {{ mode: {mode} }} }}")), true);
    let strict = inbound(&modes("STRICT"), &kinds());
    assert_eq!(on(&strict, 8080), ["tls [] http ends"]);
    assert_eq!(on(&strict, 8081), ["tls [] http ends"]);
    assert_eq!(on(&strict, 8082), ["tls [] tcp ends"]);
    let any = [
        format!("tls [{HTTP}] http ends"),
        "tls [] tcp ends".to_owned(),
    ];
    assert_eq!(on(&strict, 8083), any);
    assert_eq!(shapes(&strict, |port| port.is_none()), any);

    let either = inbound(&modes("PERMISSIVE"), &kinds());
    let http = [
        format!("tls [{ISTIO}] http ends"),
        "raw_buffer [] http".to_owned(),
    ];
    assert_eq!(on(&either, 8080), http);
    let any = [
        &format!("tls [{HTTP}] http ends"),
        "raw_buffer [http/1.1,h2c] http",
        "tls [istio-peer-exchange,istio] tcp ends",
        "raw_buffer [] tcp",
        "tls [] tcp",
    ];
    assert_eq!(on(&either, 8083), any);
    assert_eq!(shapes(&either, |port| port.is_none()), any);

    let plain = inbound(&modes("DISABLE"), &kinds());
    assert_eq!(on(&plain, 8080), ["raw_buffer [] http"]);
    assert_eq!(
        on(&plain, 8083),
        ["raw_buffer [http/1.1,h2c] http", "raw_buffer [] tcp"]
    );
}

#[test]
fn a_port_may_have_a_mode_of_its_own() {
    let rule = peers(
        "{ selector: { matchLabels: { app: kinds } }, mtls: { mode: STRICT },
           portLevelMtls: { 8080: { mode: DISABLE }, 7777: { mode: DISABLE } } }",
    );
    let config = config(&rule, true);
    let listener = inbound(&config, &kinds());
    assert_eq!(on(&listener, 8080), ["raw_buffer [] http"]);
    assert_eq!(on(&listener, 8081), ["tls [] http ends"]);
    // One that no service has.
    assert_eq!(
        on(&listener, 7777),
        ["raw_buffer [http/1.1,h2c] http", "raw_buffer [] tcp"]
    );
    // The rule is for another workload.
    let other = inbound(&config, &node("reviews-v1", "127.0.11.1"));
    assert_eq!(on(&other, 7777).len(), 0);
    assert_eq!(on(&other, 19081).len(), 2);
}

#[test]
fn without_certificates_there_is_plaintext() {
    let nothing = config("", false);
    assert!(nothing.resources(&kinds()).listeners.is_empty());
    assert_eq!(
        nothing.own(&kinds()),
        nothing.own(&node("other", "127.0.99.9"))
    );
    let listener = inbound(&config(&peers("{}"), false), &kinds());
    let tls = |chain: &&FilterChain| {
        let found = chain.filter_chain_match.as_ref().expect("a match");
        found.transport_protocol == "tls" || chain.transport_socket.is_some()
    };
    assert_eq!(listener.filter_chains.iter().filter(tls).count(), 0);
    assert_eq!(on(&listener, 8080), ["raw_buffer [] http"]);
}

#[test]
fn a_node_is_the_workload_at_its_address() {
    let config = config("", true);
    let ports = |node: &Node| -> Vec<u32> {
        let chains = inbound(&config, node).filter_chains;
        let mut ports: Vec<_> = chains
            .iter()
            .filter_map(|chain| chain.filter_chain_match.as_ref()?.destination_port)
            .map(|port| port.value)
            .filter(|port| *port != 15006)
            .collect();
        ports.dedup();
        ports
    };
    assert_eq!(ports(&kinds()), [8080, 8081, 8082, 8083]);
    // Its name does not matter as long as it is alone there.
    assert_eq!(ports(&node("other", "127.0.11.1")), [19081]);
    assert_eq!(ports(&node("kinds", "127.0.99.9")), [0; 0]);
    let grpc = kinds().with_dialect(Dialect::Grpc);
    assert!(
        !config
            .resources(&grpc)
            .listeners
            .contains_key("virtualInbound")
    );
    let router = Node::router("kinds", "default", [("app", "kinds")]);
    assert!(config.resources(&router).listeners.is_empty());
    assert_eq!(config.own(&kinds()), config.own(&kinds()));
    assert_ne!(
        config.own(&kinds()),
        config.own(&node("kinds", "127.0.99.9"))
    );
}

#[test]
fn workloads_that_share_an_address_are_told_apart() {
    let text = ["a", "b"]
        .map(|name| {
            let port = if name == "a" { 8001 } else { 8002 };
            format!(
                "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{ name: {name} }}
spec:
  hosts: [{name}.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [ {{ number: 80, name: http, protocol: HTTP }} ]
  workloadSelector: {{ labels: {{ app: {name} }} }}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{ name: {name}-v1 }}
spec: {{ address: 127.0.0.1, ports: {{ http: {port} }}, labels: {{ app: {name} }} }}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{ name: {name} }}
spec: {{ selector: {{ matchLabels: {{ app: {name} }} }}, mtls: {{ mode: {} }} }}
",
                if name == "a" { "STRICT" } else { "DISABLE" }
            )
        })
        .join("---\n");
    let loaded = Options::default()
        .certificates(true)
        .parse([("t.yaml".into(), text)]);
    let config = loaded.expect("a folder").config;
    let by_name = node("a-v1", "127.0.0.1");
    let by_label = node("pod-7", "127.0.0.1").with_labels([("app", "b"), ("x", "y")]);
    let nobody = node("pod-8", "127.0.0.1");
    let ways = |node: &Node| {
        let listener = inbound(&config, node);
        [8001, 8002].map(|port| on(&listener, port).join(" "))
    };
    assert_eq!(ways(&by_name), ["tls [] http ends", ""]);
    assert_eq!(ways(&by_label), ["", "raw_buffer [] http"]);
    assert_eq!(ways(&nobody), ["", ""]);
}

#[test]
fn a_chain_says_how_requests_are_read_and_who_is_told() {
    let mesh = |how: &str| {
        let mesh = format!(
            "apiVersion: mesh.istio.io/v1alpha1\nkind: MeshConfig\nmetadata: {{ name: x }}\nspec: {{ trustDomainAliases: [z, a], pathNormalization: {{ normalization: {how} }} }}\n"
        );
        inbound(&config(&mesh, true), &kinds())
    };
    let keep = PathWithEscapedSlashesAction::KeepUnchanged;
    for (how, expected) in [
        ("DEFAULT", (true, false, keep)),
        ("NONE", (false, false, keep)),
        ("BASE", (true, false, keep)),
        ("MERGE_SLASHES", (true, true, keep)),
        (
            "DECODE_AND_MERGE_SLASHES",
            (true, true, PathWithEscapedSlashesAction::UnescapeAndForward),
        ),
    ] {
        let listener = mesh(how);
        let name = |chain: &&FilterChain| chain.name == "0.0.0.0_8080";
        let chain = listener.filter_chains.iter().find(name).expect("a chain");
        let manager = manager(&chain.filters);
        let found = (
            manager.normalize_path.expect("said").value,
            manager.merge_slashes,
            manager.path_with_escaped_slashes_action(),
        );
        assert_eq!(found, expected, "{how}");
        let forward = manager.forward_client_cert_details();
        assert_eq!(forward, ForwardClientCertDetails::AppendForward);
        let last = manager.http_filters.last().expect("a filter");
        assert_eq!(last.name, "envoy.filters.http.router");
        let socket = chain.transport_socket.as_ref().expect("a socket");
        let Some(
            envoy_types::pb::envoy::config::core::v3::transport_socket::ConfigType::TypedConfig(
                any,
            ),
        ) = &socket.config_type
        else {
            panic!("no context")
        };
        let context = DownstreamTlsContext::decode(any.value.as_slice()).expect("a context");
        assert!(context.require_client_certificate.expect("said").value);
        let text = format!("{context:?}");
        let at = ["spiffe://cluster.local/", "spiffe://a/", "spiffe://z/"]
            .map(|domain| text.find(domain).expect(domain));
        assert!(at.is_sorted(), "{text}");
    }
}

const KEYS: &str =
    r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

fn tokens(name: &str, namespace: &str, selected: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {{ name: {name}, namespace: {namespace} }}\nspec: {{ {selected} jwtRules: [ {{ issuer: {name}, jwks: '{KEYS}' }} ] }}\n---\n"
    )
}

/// What requests pass on a port, but for the router.
fn passed(listener: &Listener, port: Option<u32>) -> Vec<HttpFilter> {
    let of = |chain: &&FilterChain| {
        let found = chain.filter_chain_match.as_ref().expect("a match");
        found.destination_port.map(|port| port.value) == port
            && chain
                .filters
                .last()
                .is_some_and(|last| last.name == MANAGER)
    };
    let chain = listener.filter_chains.iter().find(of).expect("a chain");
    let mut filters = manager(&chain.filters).http_filters;
    filters.pop().expect("the router");
    filters
}

fn names(filters: &[HttpFilter]) -> Vec<&str> {
    filters.iter().map(|filter| &*filter.name).collect()
}

fn issuers(filter: &HttpFilter) -> Vec<String> {
    let Some(http_filter::ConfigType::TypedConfig(any)) = &filter.config_type else {
        panic!("no configuration")
    };
    let jwt = JwtAuthentication::decode(any.value.as_slice()).expect("as it is built");
    let mut issuers: Vec<_> = jwt.providers.into_values().map(|it| it.issuer).collect();
    issuers.sort();
    issuers
}

#[test]
fn tokens_are_judged_before_policies() {
    const JWT: &str = "envoy.filters.http.jwt_authn";
    const RBAC: &str = "envoy.filters.http.rbac";
    let policy = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: { name: x }\nspec: {}\n---\n";
    let rules = [
        tokens(
            "own",
            "default",
            "selector: { matchLabels: { app: kinds } },",
        ),
        tokens("all", "istio-system", ""),
        tokens("other", "elsewhere", ""),
    ];
    let all = config(&format!("{policy}{}", rules.concat()), true);
    let listener = inbound(&all, &kinds());
    for port in [Some(8080), Some(8083), None] {
        let filters = passed(&listener, port);
        assert_eq!(names(&filters), [JWT, RBAC], "{port:?}");
        assert_eq!(issuers(&filters[0]), ["all", "own"]);
    }

    // It is for another workload, or there is none.
    let own = config(&format!("{policy}{}", rules[0]), true);
    let of = |config: &Config, node: &Node| passed(&inbound(config, node), None);
    assert_eq!(names(&of(&own, &kinds())), [JWT, RBAC]);
    let other = node("reviews-v1", "127.0.11.1");
    assert_eq!(names(&of(&own, &other)), [RBAC]);
    assert_eq!(names(&of(&config(policy, true), &kinds())), [RBAC]);
}
