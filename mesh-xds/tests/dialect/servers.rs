//! Servers of gRPC's dialect, request by request: a listener for each address, asked for by name (gRPC A36), in the form
//! that an istiod gives it.

use std::net::SocketAddr;

use envoy_types::pb::envoy::config::core::v3::{
    CidrRange, TransportSocket, transport_socket::ConfigType as SocketConfig,
};
use envoy_types::pb::envoy::config::listener::v3::{
    Filter, FilterChain, FilterChainMatch, ListenerFilter, filter::ConfigType as FilterConfig,
};
use envoy_types::pb::envoy::config::route::v3::{
    NonForwardingAction, Route, RouteMatch, route_match::PathSpecifier,
};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
use envoy_types::pb::google::protobuf::{BoolValue, UInt32Value};
use mesh_core::identity::PeerRule;
use mesh_core::server::{Chosen, Inbound, Opening, Step, Why};
use mesh_core::tls::{CertName, ClientAuth, RootName};
use mesh_xds::ServerListenerTemplate;
use tls::common_tls_context as common;

use super::*;

const BOUND: &str = "127.0.0.1:9080";
const NAME: &str = "xds.istio.io/grpc/lds/inbound/127.0.0.1:9080";
const OTHER: &str = "[::]:9080";
const RBAC: &str = "envoy.extensions.filters.http.rbac.v3.RBAC";
const MANAGER: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

fn at(bound: &str) -> SocketAddr {
    bound.parse().expect("an address")
}

fn wanted(bound: &str) -> Wanted {
    ServerListenerTemplate::default().at(at(bound)).into()
}

fn packed(kind: &str, message: &impl Message) -> Any {
    Any {
        type_url: format!("type.googleapis.com/{kind}"),
        value: message.encode_to_vec(),
    }
}

/// What istiod demands under STRICT, by both spellings of the provider's names.
#[allow(deprecated, reason = "istiod sends both spellings")]
fn mutual() -> tls::DownstreamTlsContext {
    let older = |name: &str| common::CertificateProviderInstance {
        instance_name: "default".to_owned(),
        certificate_name: name.to_owned(),
    };
    let newer = |name: &str| tls::CertificateProviderPluginInstance {
        instance_name: "default".to_owned(),
        certificate_name: name.to_owned(),
    };
    let roots = tls::CertificateValidationContext {
        ca_certificate_provider_instance: Some(newer("ROOTCA")),
        ..Default::default()
    };
    let validation = common::CombinedCertificateValidationContext {
        default_validation_context: Some(roots),
        validation_context_certificate_provider_instance: Some(older("ROOTCA")),
        ..Default::default()
    };
    let kind = common::ValidationContextType::CombinedValidationContext(validation);
    tls::DownstreamTlsContext {
        common_tls_context: Some(tls::CommonTlsContext {
            tls_certificate_provider_instance: Some(newer("default")),
            tls_certificate_certificate_provider_instance: Some(older("default")),
            validation_context_type: Some(kind),
            ..Default::default()
        }),
        require_client_certificate: Some(BoolValue { value: true }),
        ..Default::default()
    }
}

fn secured(chain: &mut FilterChain, terms: &tls::DownstreamTlsContext) {
    let kind = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
    chain.transport_socket = Some(TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(SocketConfig::TypedConfig(packed(kind, terms))),
    });
}

/// A filter that lets nobody pass: ALLOW without a policy.
fn denial(name: &str) -> http::HttpFilter {
    use envoy_types::pb::envoy::config::rbac::v3::Rbac as Rules;
    use envoy_types::pb::envoy::extensions::filters::http::rbac::v3::Rbac;
    let rbac = Rbac {
        rules: Some(Rules::default()),
        ..Rbac::default()
    };
    http::HttpFilter {
        name: name.to_owned(),
        config_type: Some(ConfigType::TypedConfig(packed(RBAC, &rbac))),
        ..http::HttpFilter::default()
    }
}

fn served(filters: Vec<http::HttpFilter>) -> http::HttpConnectionManager {
    let all = RouteMatch {
        path_specifier: Some(PathSpecifier::Prefix("/".to_owned())),
        ..RouteMatch::default()
    };
    let action = route::Action::NonForwardingAction(NonForwardingAction::default());
    let host = VirtualHost {
        domains: vec!["*".to_owned()],
        routes: vec![Route {
            r#match: Some(all),
            action: Some(action),
            ..Route::default()
        }],
        ..VirtualHost::default()
    };
    http::HttpConnectionManager {
        route_specifier: Some(RouteSpecifier::RouteConfig(RouteConfiguration {
            name: "inbound".to_owned(),
            virtual_hosts: vec![host],
            ..RouteConfiguration::default()
        })),
        http_filters: filters,
        ..http::HttpConnectionManager::default()
    }
}

fn network(manager: &http::HttpConnectionManager) -> Filter {
    Filter {
        name: "inbound-hcm".to_owned(),
        config_type: Some(FilterConfig::TypedConfig(packed(MANAGER, manager))),
    }
}

fn chain(name: &str) -> FilterChain {
    FilterChain {
        name: name.to_owned(),
        filters: vec![network(&served(vec![router()]))],
        ..FilterChain::default()
    }
}

/// The listener of an address, which says that it is at `bound`.
fn listener_at(name: &str, bound: &str) -> Listener {
    let bound = at(bound);
    Listener {
        name: name.to_owned(),
        address: Some(wire::address(&bound.ip().to_string(), bound.port())),
        filter_chains: vec![chain("inbound-plaintext")],
        ..Listener::default()
    }
}

fn edited(edit: impl FnOnce(&mut Listener)) -> Any {
    let mut listener = listener_at(NAME, BOUND);
    edit(&mut listener);
    wire::any(LDS, &listener)
}

/// A server at [`BOUND`] on an open stream, after its first requests.
fn server(variant: Variant) -> Rig {
    let mut rig = Rig::new(variant);
    assert!(rig.machine.want(wanted(BOUND)));
    assert!(!rig.machine.want(wanted(BOUND)), "is not new");
    rig.sent();
    rig.assemble();
    assert!(matches!(rig.state(BOUND), Inbound::Waiting));
    rig
}

impl Rig {
    fn state(&self, bound: &str) -> &Inbound {
        let inbound = self.inbound.as_deref().expect("something published");
        inbound.at(at(bound))
    }

    fn closed(&self, bound: &str) -> &str {
        match self.state(bound) {
            Inbound::Closed(why) => why,
            other => panic!("{other:?}"),
        }
    }

    /// What becomes of a connection.
    fn chosen(&self, opening: &Opening<'_>) -> Chosen<'_> {
        match self.state(BOUND) {
            Inbound::Rules(rules) => {
                assert!(rules.mentions(9080) && !rules.mentions(9081));
                rules.port(9080).choose(opening)
            }
            other => panic!("{other:?}"),
        }
    }

    fn is_plaintext(&self) -> bool {
        matches!(self.chosen(&Opening::Plaintext), Chosen::Plaintext(_))
    }

    /// The error of the answer to a response with this listener.
    fn answer(&mut self, listener: Any) -> Option<String> {
        let sent = self.deliver(LDS, vec![listener]);
        let mut answers = sent.into_iter().filter(|(of, ..)| *of == LDS);
        answers.next().expect("an answer").2
    }
}

#[test]
fn each_address_is_asked_for_by_name_and_served_by_its_own() {
    for variant in BOTH {
        let mut rig = server(variant);
        assert!(rig.machine.want(wanted(OTHER)));
        let sent = rig.sent();
        let other = "xds.istio.io/grpc/lds/inbound/[::]:9080";
        let names = [TARGET, NAME, other];
        let mut names = names.map(str::to_owned).to_vec();
        names.sort();
        assert_eq!(sent, [(LDS, names, None)], "{variant:?}");

        assert_eq!(rig.answer(edited(|_| ())), None);
        assert!(rig.is_plaintext());
        assert!(matches!(rig.state(OTHER), Inbound::Waiting));
        // What nobody asked for is not looked at.
        let strange = edited(|it| {
            it.name = "strange".to_owned();
            it.filter_chains.clear();
        });
        assert_eq!(rig.answer(strange), None);
        assert!(matches!(rig.state("0.0.0.0:1"), Inbound::Waiting));
    }
}

#[test]
fn a_bad_update_leaves_the_former_and_a_deletion_none() {
    for variant in BOTH {
        let mut rig = server(variant);
        let bad = || edited(|it| it.filter_chains.clear());
        let error = rig.answer(bad()).expect("a NACK");
        assert!(error.contains("filter_chains: is empty"), "{error}");
        assert!(rig.closed(BOUND).contains("filter_chains: is empty"));
        assert_eq!(rig.answer(edited(|_| ())), None);
        assert!(rig.is_plaintext());
        assert!(rig.answer(bad()).is_some());
        assert!(rig.is_plaintext(), "the last good one stays");

        rig.take(LDS, &[NAME]);
        assert!(
            rig.closed(BOUND).contains("has taken it away"),
            "{variant:?}"
        );
        assert_eq!(rig.answer(edited(|_| ())), None);
        assert!(rig.is_plaintext(), "it may come back");
    }
}

#[test]
fn one_that_does_not_come_is_given_up_in_time() {
    for variant in BOTH {
        let mut rig = server(variant);
        rig.after(DOES_NOT_EXIST_AFTER - Duration::from_millis(1));
        assert!(matches!(rig.state(BOUND), Inbound::Waiting));
        rig.after(Duration::from_millis(1));
        assert!(rig.closed(BOUND).contains(NAME), "{}", rig.closed(BOUND));
        assert_eq!(rig.answer(edited(|_| ())), None);
        assert!(rig.is_plaintext());
    }
}

/// gRPC A36: that is no fault of the listener's, and the server is not served.
#[test]
fn a_listener_of_another_address_ends_the_service() {
    for variant in BOTH {
        for elsewhere in ["127.0.0.1:9081", "0.0.0.0:9080"] {
            let mut rig = server(variant);
            assert_eq!(rig.answer(edited(|_| ())), None);
            let moved = wire::any(LDS, &listener_at(NAME, elsewhere));
            assert_eq!(rig.answer(moved), None);
            let why = rig.closed(BOUND);
            assert!(why.contains(elsewhere) && why.contains(BOUND), "{why}");
            assert_eq!(rig.answer(edited(|_| ())), None);
            assert!(rig.is_plaintext());
        }
    }
}

#[test]
fn terms_and_policies_are_those_of_istiod() {
    let mut rig = server(Variant::Delta);
    let strict = edited(|it| {
        secured(&mut it.filter_chains[0], &mutual());
        let filters = vec![denial("rbac.DENY"), denial("rbac"), router()];
        it.filter_chains[0].filters = vec![network(&served(filters))];
    });
    assert_eq!(rig.answer(strict), None);
    let plaintext = rig.chosen(&Opening::Plaintext);
    assert!(matches!(plaintext, Chosen::Close(Why::PlaintextRefused)));
    // No protocol is asked for.
    let opening = Opening::Tls {
        alpn: &[],
        sni: None,
    };
    let Chosen::Tls(terms, pipeline) = rig.chosen(&opening) else {
        panic!("{:?}", rig.chosen(&opening));
    };
    assert_eq!(terms.terms().identity, CertName::Workload);
    assert!(
        matches!(
            terms.terms().client,
            ClientAuth::Required {
                roots: RootName::Workload,
                peer: PeerRule::InMesh
            }
        ),
        "{terms:?}"
    );
    assert!(matches!(
        &*pipeline.steps,
        [Step::Authorize(_), Step::Authorize(_)]
    ));
    assert!(pipeline.name.contains(NAME));
}

#[test]
fn the_chain_is_the_one_that_grpc_would_use() {
    let matching = |edit: fn(&mut FilterChainMatch)| {
        let mut wire = FilterChainMatch::default();
        edit(&mut wire);
        let mut chain = chain("never");
        secured(&mut chain, &mutual());
        chain.filter_chain_match = Some(wire);
        chain
    };
    let never: [fn(&mut FilterChainMatch); 4] = [
        |it| it.destination_port = Some(UInt32Value { value: 9080 }),
        |it| it.server_names = vec!["reviews".to_owned()],
        |it| it.transport_protocol = "tls".to_owned(),
        |it| it.application_protocols = vec!["h2".to_owned()],
    ];
    for edit in never {
        let mut rig = server(Variant::Delta);
        let both = edited(|it| it.filter_chains.insert(0, matching(edit)));
        assert_eq!(rig.answer(both), None);
        assert!(rig.is_plaintext());
        // Alone it is none at all.
        let error = rig.answer(edited(|it| it.filter_chains = vec![matching(edit)]));
        assert!(error.expect("a NACK").contains("none of them is ever used"));
        let fallback = edited(|it| {
            it.filter_chains = vec![matching(edit)];
            it.default_filter_chain = Some(chain("default"));
        });
        assert_eq!(rig.answer(fallback), None);
        assert!(rig.is_plaintext());
    }
    let mut rig = server(Variant::Delta);
    let raw = edited(|it| {
        let raw = matching(|it| it.transport_protocol = "raw_buffer".to_owned());
        it.filter_chains.push(raw);
    });
    assert_eq!(rig.answer(raw), None);
    assert!(
        !rig.is_plaintext(),
        "raw_buffer goes before what says nothing"
    );
}

type Edit = fn(&mut Listener);

fn managed(listener: &mut Listener, edit: impl FnOnce(&mut http::HttpConnectionManager)) {
    let mut manager = served(vec![router()]);
    edit(&mut manager);
    listener.filter_chains[0].filters = vec![network(&manager)];
}

fn narrow(listener: &mut Listener, edit: impl FnOnce(&mut FilterChainMatch)) {
    edit(
        listener.filter_chains[0]
            .filter_chain_match
            .get_or_insert_default(),
    );
}

fn termed(listener: &mut Listener, edit: impl FnOnce(&mut tls::DownstreamTlsContext)) {
    let mut terms = mutual();
    edit(&mut terms);
    secured(&mut listener.filter_chains[0], &terms);
}

fn range() -> CidrRange {
    CidrRange {
        address_prefix: "127.0.0.0".to_owned(),
        prefix_len: Some(UInt32Value { value: 8 }),
    }
}

const REFUSED: [(&str, Edit); 22] = [
    ("listener_filters: is set", |it| {
        it.listener_filters = vec![ListenerFilter::default()];
    }),
    ("use_original_dst: is set", |it| {
        it.use_original_dst = Some(BoolValue { value: true });
    }),
    ("api_listener: is set", |it| {
        it.api_listener = Some(Default::default())
    }),
    ("address.socket_address: is missing", |it| it.address = None),
    ("address.socket_address.address", |it| {
        it.address = Some(wire::address("reviews", 9080));
    }),
    ("filter_chains[0].filters: are 2", |it| {
        it.filter_chains[0].filters = vec![network(&served(vec![router()])); 2];
    }),
    ("is not the HTTP connection manager", |it| {
        let tcp = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
        let any = packed(tcp, &Listener::default());
        it.filter_chains[0].filters[0].config_type = Some(FilterConfig::TypedConfig(any));
    }),
    ("are for the same connections", |it| {
        it.filter_chains.push(chain("again"))
    }),
    ("xff_num_trusted_hops: is not 0", |it| {
        managed(it, |it| it.xff_num_trusted_hops = 1)
    }),
    ("\"rbac\" is there twice", |it| {
        managed(it, |it| {
            it.http_filters = vec![denial("rbac"), denial("rbac"), router()]
        });
    }),
    ("do not end with the router", |it| {
        managed(it, |it| it.http_filters = vec![denial("rbac")]);
    }),
    ("is behind the router", |it| {
        managed(it, |it| it.http_filters = vec![router(), denial("rbac")]);
    }),
    ("which no gRPC server knows", |it| {
        let jwt = "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication";
        managed(it, |it| it.http_filters.insert(0, typed("jwt", jwt)));
    }),
    ("prefix_ranges is not asked", |it| {
        narrow(it, |it| it.prefix_ranges = vec![range()])
    }),
    ("source_type is not asked", |it| {
        narrow(it, |it| it.source_type = 1)
    }),
    ("source_prefix_ranges is not asked", |it| {
        narrow(it, |it| it.source_prefix_ranges = vec![range()]);
    }),
    ("source_ports is not asked", |it| {
        narrow(it, |it| it.source_ports = vec![1])
    }),
    ("require_client_certificate is false", |it| {
        termed(it, |it| it.require_client_certificate = None);
    }),
    ("names no certificate for the server", |it| {
        #[allow(deprecated, reason = "istiod sends both spellings")]
        termed(it, |it| {
            let common = it.common_tls_context.as_mut().expect("terms");
            common.tls_certificate_provider_instance = None;
            common.tls_certificate_certificate_provider_instance = None;
        });
    }),
    ("\"other\" is not known here", |it| {
        termed(it, |it| {
            let common = it.common_tls_context.as_mut().expect("terms");
            let named = common.tls_certificate_provider_instance.as_mut();
            "other".clone_into(&mut named.expect("a name").instance_name);
        });
    }),
    ("require_sni", |it| {
        termed(it, |it| it.require_sni = Some(BoolValue { value: true }));
    }),
    ("transport socket \"no.Such\" is not served", |it| {
        it.filter_chains[0].transport_socket = Some(TransportSocket {
            name: "x".to_owned(),
            config_type: Some(SocketConfig::TypedConfig(packed(
                "no.Such",
                &Listener::default(),
            ))),
        });
    }),
];

#[test]
fn what_grpc_refuses_and_what_is_not_served_is_refused_by_name() {
    for (reason, edit) in REFUSED {
        let mut rig = server(Variant::Delta);
        let error = rig
            .answer(edited(edit))
            .unwrap_or_else(|| panic!("taken: {reason}"));
        assert!(error.contains(reason), "{reason:?} is not in {error:?}");
        assert!(rig.closed(BOUND).contains(reason));
        // The same listener without the edit is taken.
        assert_eq!(rig.answer(edited(|_| ())), None);
        assert!(rig.is_plaintext());
    }
    let mut unknown = edited(|_| ());
    // Field 2000, a number.
    unknown.value.extend([0x80, 0x7d, 1]);
    let error = server(Variant::Delta).answer(unknown).expect("a NACK");
    assert!(error.contains("this version does not know"), "{error}");
}

/// Filters that no gRPC server knows, whoever else does: with and without something to be done.
fn unknown() -> [(&'static str, http::HttpFilter); 6] {
    use envoy_types::pb::envoy::config::core::v3::{
        GrpcService, grpc_service::EnvoyGrpc, grpc_service::TargetSpecifier,
    };
    use envoy_types::pb::envoy::extensions::filters::http::ext_authz::v3 as ext_authz;
    const ASK: &str = "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz";
    const JWT: &str = "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication";
    let authorizer = EnvoyGrpc {
        cluster_name: "authorizer".to_owned(),
        ..EnvoyGrpc::default()
    };
    let asks = ext_authz::ExtAuthz {
        services: Some(ext_authz::ext_authz::Services::GrpcService(GrpcService {
            target_specifier: Some(TargetSpecifier::EnvoyGrpc(authorizer)),
            ..GrpcService::default()
        })),
        transport_api_version: 2,
        ..ext_authz::ExtAuthz::default()
    };
    let asking = http::HttpFilter {
        name: "asks".to_owned(),
        config_type: Some(ConfigType::TypedConfig(packed(ASK, &asks))),
        ..http::HttpFilter::default()
    };
    let stats = "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig";
    let fault = "envoy.extensions.filters.http.fault.v3.HTTPFault";
    [
        ("no.Such", typed("x", "no.Such")),
        (ASK, asking),
        (ASK, typed("empty", ASK)),
        (JWT, typed("jwt", JWT)),
        (stats, typed("stats", stats)),
        (fault, typed("fault", fault)),
    ]
}

#[test]
fn an_optional_filter_that_grpc_does_not_know_is_passed_over() {
    for (kind, mut filter) in unknown() {
        let name = filter.name.clone();
        let with = |filter: &http::HttpFilter| {
            let filters = vec![filter.clone(), denial("rbac"), router()];
            edited(|it| managed(it, |it| it.http_filters = filters))
        };
        let mut rig = server(Variant::Delta);
        let error = rig.answer(with(&filter)).expect("refused");
        let reason = format!("{name:?} is of type {kind:?}, which no gRPC server knows");
        assert!(error.contains(&reason), "{error}");

        filter.is_optional = true;
        assert_eq!(rig.answer(with(&filter)), None, "{name}");
        let Chosen::Plaintext(pipeline) = rig.chosen(&Opening::Plaintext) else {
            panic!("{name}: {:?}", rig.chosen(&Opening::Plaintext));
        };
        assert!(matches!(&*pipeline.steps, [Step::Authorize(_)]), "{name}");
        let told = format!("listener {NAME:?}: the optional HTTP filter {name:?} ({kind:?})");
        assert_eq!(rig.machine.status().ignored[..], [told.into()]);
    }
}

#[test]
fn who_looks_from_outside_sees_them() {
    let mut rig = server(Variant::Delta);
    rig.deliver(LDS, vec![edited(|_| ())]);
    let config = rig.machine.client_config(false);
    let entry = config.generic_xds_configs.iter().find(|it| it.name == NAME);
    let status = entry.map(|it| it.client_status);
    assert_eq!(status, Some(ClientResourceStatus::Acked.into()));
}

#[test]
fn a_template_makes_a_name_for_each_address() {
    let template: ServerListenerTemplate = "grpc/server?%s".parse().expect("a template");
    let name = |bound| template.at(at(bound)).name().to_string();
    assert_eq!(name("0.0.0.0:80"), "grpc/server?0.0.0.0:80");
    assert_eq!(name("[::1]:50051"), "grpc/server?[::1]:50051");
    for bad in ["", "grpc/server", "xdstp://a/%s", "*%s", "a\n%s"] {
        let error = bad.parse::<ServerListenerTemplate>().expect_err(bad);
        assert!(
            error
                .to_string()
                .contains("server_listener_resource_name_template")
        );
    }
}
