//! What a control plane may send, good and bad.

use std::collections::HashMap;
use std::net::SocketAddr;

use envoy_types::pb::envoy::config::cluster::v3 as cluster;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::endpoint::v3 as endpoint;
use envoy_types::pb::envoy::config::listener::v3 as listener;
use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as http;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
use envoy_types::pb::envoy::service::discovery::v3::DiscoveryResponse;
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{Any, BoolValue, Struct, Value};
use envoy_types::util::pack_any;
use mesh_xds::ResourceType;
use prost::Message;
use rand::RngExt;
use rand::rngs::StdRng;

/// How a cluster says that it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Socket {
    Unsaid,
    Raw,
    Mutual,
    /// By the endpoint's `tlsMode`.
    ByEndpoint,
    /// Terms that name no roots.
    Boundless,
    /// A socket that is not known.
    Foreign,
    /// A cluster that is refused.
    Bad,
}

const SOCKETS: [Socket; 7] = [
    Socket::Unsaid,
    Socket::Raw,
    Socket::Mutual,
    Socket::ByEndpoint,
    Socket::Boundless,
    Socket::Foreign,
    Socket::Bad,
];

/// How servers are told to serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Entry {
    None,
    Plaintext,
    Permissive,
    Strict,
    /// A listener that is refused.
    Bad,
}

const ENTRIES: [Entry; 5] = [
    Entry::None,
    Entry::Plaintext,
    Entry::Permissive,
    Entry::Strict,
    Entry::Bad,
];

/// Where the routes lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Way {
    One,
    /// `one`, with a copy to `two`.
    Mirrored,
    /// Wherever the caller asks for.
    Beyond,
    Missing,
    /// A table that is refused.
    Bad,
}

const WAYS: [Way; 5] = [Way::One, Way::Mirrored, Way::Beyond, Way::Missing, Way::Bad];

pub(super) fn any_of<T: Copy>(all: &[T], rng: &mut StdRng) -> T {
    all[rng.random_range(0..all.len())]
}

impl Socket {
    pub(super) fn any(rng: &mut StdRng) -> Self {
        any_of(&SOCKETS, rng)
    }
}

impl Entry {
    pub(super) fn any(rng: &mut StdRng) -> Self {
        any_of(&ENTRIES, rng)
    }
}

impl Way {
    pub(super) fn any(rng: &mut StdRng) -> Self {
        any_of(&WAYS, rng)
    }
}

/// All that it may say, in bytes.
pub(super) struct Plane {
    /// Where all endpoints are.
    pub(super) address: SocketAddr,
    clusters: HashMap<Socket, Vec<Any>>,
    endpoints: HashMap<bool, Vec<Any>>,
    routes: HashMap<Way, Vec<Any>>,
    listeners: HashMap<Entry, Vec<Any>>,
}

impl Plane {
    pub(super) fn new(address: SocketAddr) -> Self {
        let port = address.port();
        Self {
            address,
            clusters: SOCKETS.map(|one| (one, clusters(one))).into(),
            endpoints: [true, false].map(|is| (is, endpoints(address, is))).into(),
            routes: WAYS.map(|way| (way, routes(port, way))).into(),
            listeners: ENTRIES.map(|entry| (entry, listeners(entry))).into(),
        }
    }

    pub(super) fn clusters(&self, one: Socket) -> Vec<Any> {
        self.clusters[&one].clone()
    }

    pub(super) fn endpoints(&self, says_istio: bool) -> Vec<Any> {
        self.endpoints[&says_istio].clone()
    }

    pub(super) fn routes(&self, way: Way) -> Vec<Any> {
        self.routes[&way].clone()
    }

    pub(super) fn listeners(&self, entry: Entry) -> Vec<Any> {
        self.listeners[&entry].clone()
    }
}

fn typed(name: &str, message: &impl Message) -> Any {
    Any {
        type_url: format!("type.googleapis.com/{name}"),
        value: message.encode_to_vec(),
    }
}

fn resource(of: ResourceType, message: &impl Message) -> Any {
    Any {
        type_url: of.type_url().to_owned(),
        value: message.encode_to_vec(),
    }
}

pub(super) fn response(of: ResourceType, nonce: u32, resources: Vec<Any>) -> DiscoveryResponse {
    DiscoveryResponse {
        version_info: nonce.to_string(),
        nonce: format!("nonce {nonce}"),
        type_url: of.type_url().to_owned(),
        resources,
        ..DiscoveryResponse::default()
    }
}

fn ads() -> Option<core::ConfigSource> {
    let ads = core::AggregatedConfigSource::default();
    Some(core::ConfigSource {
        config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::Ads(ads)),
        ..core::ConfigSource::default()
    })
}

fn secret(name: &str) -> tls::SdsSecretConfig {
    tls::SdsSecretConfig {
        name: name.to_owned(),
        ..tls::SdsSecretConfig::default()
    }
}

fn socket(name: &str, kind: &str, context: &impl Message) -> core::TransportSocket {
    let kind = format!("envoy.extensions.transport_sockets.{kind}");
    core::TransportSocket {
        name: name.to_owned(),
        config_type: Some(core::transport_socket::ConfigType::TypedConfig(typed(
            &kind, context,
        ))),
    }
}

fn raw() -> core::TransportSocket {
    let kind = "raw_buffer.v3.RawBuffer";
    socket("envoy.transport_sockets.raw_buffer", kind, &())
}

#[allow(deprecated, reason = "istiod sends the older form")]
fn common(has_roots: bool) -> tls::CommonTlsContext {
    use tls::common_tls_context::{CombinedCertificateValidationContext, ValidationContextType};
    let combined = CombinedCertificateValidationContext {
        default_validation_context: Some(tls::CertificateValidationContext::default()),
        validation_context_sds_secret_config: Some(secret("ROOTCA")),
        ..CombinedCertificateValidationContext::default()
    };
    tls::CommonTlsContext {
        tls_certificate_sds_secret_configs: vec![secret("default")],
        validation_context_type: has_roots
            .then_some(ValidationContextType::CombinedValidationContext(combined)),
        ..tls::CommonTlsContext::default()
    }
}

fn upstream(has_roots: bool) -> core::TransportSocket {
    let context = tls::UpstreamTlsContext {
        common_tls_context: Some(common(has_roots)),
        sni: "outbound_.9080_._.reviews.default.svc.cluster.local".to_owned(),
        ..tls::UpstreamTlsContext::default()
    };
    let kind = "tls.v3.UpstreamTlsContext";
    socket("envoy.transport_sockets.tls", kind, &context)
}

fn tls_mode(mode: &str) -> Struct {
    let mode = Value {
        kind: Some(Kind::StringValue(mode.to_owned())),
    };
    Struct {
        fields: [("tlsMode".to_owned(), mode)].into(),
    }
}

fn matches() -> Vec<cluster::cluster::TransportSocketMatch> {
    let of = |name: &str, r#match, socket| cluster::cluster::TransportSocketMatch {
        name: name.to_owned(),
        r#match: Some(r#match),
        transport_socket: Some(socket),
    };
    vec![
        of("tlsMode-istio", tls_mode("istio"), upstream(true)),
        of("tlsMode-disabled", Struct::default(), raw()),
    ]
}

/// `one` as asked for, `two` in plaintext, and one that leads wherever the caller asks for.
fn clusters(one: Socket) -> Vec<Any> {
    use cluster::cluster::{ClusterDiscoveryType, DiscoveryType, EdsClusterConfig};
    let of = |name: &str, kind: DiscoveryType| cluster::Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(kind.into())),
        eds_cluster_config: (kind == DiscoveryType::Eds).then(|| EdsClusterConfig {
            eds_config: ads(),
            ..EdsClusterConfig::default()
        }),
        ..cluster::Cluster::default()
    };
    let mut first = of("one", DiscoveryType::Eds);
    match one {
        Socket::Unsaid => {}
        Socket::Raw => first.transport_socket = Some(raw()),
        Socket::Mutual => first.transport_socket = Some(upstream(true)),
        Socket::Boundless => first.transport_socket = Some(upstream(false)),
        Socket::ByEndpoint => first.transport_socket_matches = matches(),
        Socket::Foreign => first.transport_socket = Some(socket("quic", "quic.v9.Quic", &())),
        Socket::Bad => first.lb_policy = 99,
    }
    let mut beyond = of("PassthroughCluster", DiscoveryType::OriginalDst);
    // `CLUSTER_PROVIDED`
    beyond.lb_policy = 6;
    let all = [first, of("two", DiscoveryType::Eds), beyond];
    all.iter()
        .map(|message| resource(ResourceType::Cluster, message))
        .collect()
}

fn address(at: SocketAddr) -> Option<core::Address> {
    let socket = core::SocketAddress {
        address: at.ip().to_string(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(
            at.port().into(),
        )),
        ..core::SocketAddress::default()
    };
    Some(core::Address {
        address: Some(core::address::Address::SocketAddress(socket)),
    })
}

/// Both clusters at one address.
fn endpoints(at: SocketAddr, says_istio: bool) -> Vec<Any> {
    let metadata = says_istio.then(|| core::Metadata {
        filter_metadata: [("envoy.transport_socket_match".to_owned(), tls_mode("istio"))].into(),
        ..core::Metadata::default()
    });
    let endpoint = endpoint::Endpoint {
        address: address(at),
        ..endpoint::Endpoint::default()
    };
    let endpoint = endpoint::LbEndpoint {
        host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(endpoint)),
        metadata,
        ..endpoint::LbEndpoint::default()
    };
    let of = |name: &str| endpoint::ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: vec![endpoint::LocalityLbEndpoints {
            lb_endpoints: vec![endpoint.clone()],
            ..endpoint::LocalityLbEndpoints::default()
        }],
        ..endpoint::ClusterLoadAssignment::default()
    };
    ["one", "two"]
        .map(|name| resource(ResourceType::Endpoints, &of(name)))
        .into()
}

fn to(cluster: &str) -> route::RouteAction {
    route::RouteAction {
        cluster_specifier: Some(route::route_action::ClusterSpecifier::Cluster(
            cluster.to_owned(),
        )),
        ..route::RouteAction::default()
    }
}

/// The table of this port, with one host for all names.
fn routes(port: u16, way: Way) -> Vec<Any> {
    let action = match way {
        Way::One | Way::Bad => to("one"),
        Way::Mirrored => route::RouteAction {
            request_mirror_policies: vec![route::route_action::RequestMirrorPolicy {
                cluster: "two".to_owned(),
                ..Default::default()
            }],
            ..to("one")
        },
        Way::Beyond => to("PassthroughCluster"),
        Way::Missing => to("three"),
    };
    let only = route::Route {
        r#match: Some(route::RouteMatch {
            path_specifier: Some(route::route_match::PathSpecifier::Prefix("/".to_owned())),
            ..route::RouteMatch::default()
        }),
        action: Some(route::route::Action::Route(action)),
        ..route::Route::default()
    };
    let table = route::RouteConfiguration {
        name: port.to_string(),
        virtual_hosts: vec![route::VirtualHost {
            name: "all".to_owned(),
            domains: vec!["*".to_owned()],
            routes: vec![only],
            ..route::VirtualHost::default()
        }],
        ignore_port_in_host_matching: true,
        ..route::RouteConfiguration::default()
    };
    let mut table = resource(ResourceType::Route, &table);
    if way == Way::Bad {
        table.value.truncate(table.value.len() - 3);
    }
    vec![table]
}

fn manager() -> listener::Filter {
    use http::http_connection_manager::RouteSpecifier;
    use http::http_filter::ConfigType;
    let router = http::HttpFilter {
        name: "router".to_owned(),
        config_type: Some(ConfigType::TypedConfig(typed(
            "envoy.extensions.filters.http.router.v3.Router",
            &(),
        ))),
        ..http::HttpFilter::default()
    };
    let own = route::RouteConfiguration {
        name: "inbound|9080||".to_owned(),
        virtual_hosts: vec![route::VirtualHost {
            name: "inbound|http|9080".to_owned(),
            domains: vec!["*".to_owned()],
            routes: vec![route::Route {
                r#match: Some(route::RouteMatch {
                    path_specifier: Some(route::route_match::PathSpecifier::Prefix("/".to_owned())),
                    ..route::RouteMatch::default()
                }),
                action: Some(route::route::Action::Route(to("inbound|9080||"))),
                ..route::Route::default()
            }],
            ..route::VirtualHost::default()
        }],
        ..route::RouteConfiguration::default()
    };
    let manager = http::HttpConnectionManager {
        http_filters: vec![router],
        route_specifier: Some(RouteSpecifier::RouteConfig(own)),
        ..http::HttpConnectionManager::default()
    };
    listener::Filter {
        name: "envoy.filters.network.http_connection_manager".to_owned(),
        config_type: Some(listener::filter::ConfigType::TypedConfig(pack_any(manager))),
    }
}

fn chain(is_tls: bool) -> listener::FilterChain {
    let context = tls::DownstreamTlsContext {
        common_tls_context: Some(common(true)),
        require_client_certificate: Some(BoolValue { value: true }),
        ..tls::DownstreamTlsContext::default()
    };
    let name = "envoy.transport_sockets.tls";
    let transport = if is_tls { "tls" } else { "raw_buffer" };
    listener::FilterChain {
        filter_chain_match: Some(listener::FilterChainMatch {
            transport_protocol: transport.to_owned(),
            ..listener::FilterChainMatch::default()
        }),
        filters: vec![manager()],
        transport_socket: is_tls.then(|| socket(name, "tls.v3.DownstreamTlsContext", &context)),
        ..listener::FilterChain::default()
    }
}

/// `virtualInbound`, where there is one.
fn listeners(entry: Entry) -> Vec<Any> {
    let chains = match entry {
        Entry::None => return Vec::new(),
        Entry::Plaintext => vec![chain(false)],
        Entry::Permissive => vec![chain(true), chain(false)],
        Entry::Strict => vec![chain(true)],
        Entry::Bad => vec![listener::FilterChain {
            filter_chain_match: Some(listener::FilterChainMatch {
                transport_protocol: "carrier pigeon".to_owned(),
                ..listener::FilterChainMatch::default()
            }),
            ..chain(false)
        }],
    };
    let message = listener::Listener {
        name: "virtualInbound".to_owned(),
        address: address(([0, 0, 0, 0], 15006).into()),
        // `INBOUND`
        traffic_direction: 1,
        filter_chains: chains,
        ..listener::Listener::default()
    };
    vec![resource(ResourceType::Listener, &message)]
}
