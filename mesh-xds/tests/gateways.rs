//! The listeners of a gateway, from the wire to the ways in and the routes behind them. `data/gateway_listeners.bin` and
//! `data/gateway_routes.bin` are the responses that an istiod sent to a router.

use std::sync::Arc;

use envoy_types::pb::envoy::config::listener::v3::{Filter, Listener, filter::ConfigType};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as http;
use envoy_types::pb::envoy::service::discovery::v3::DiscoveryResponse;
use envoy_types::pb::google::protobuf::{Any, BoolValue};
use http::HttpConnectionManager;
use http::http_connection_manager::UpgradeConfig;
use mesh_core::server::{Chosen, Inbound, Opening, Pipeline, Port, Remote, Rules, Step, Why, Xfcc};
use mesh_core::snapshot::TableKey;
use mesh_core::tls::{CertName, ClientAuth, RootName, ServerTerms, TlsVersion, wanted};
use mesh_xds::ads::Machine;
use mesh_xds::{Node, Resources, Wanted};
use prost::Message;
use rig::Rig;
use wire::{LDS, RDS};

#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/rig.rs"]
mod rig;
#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/wire.rs"]
mod wire;

const LISTENERS: &[u8] = include_bytes!("data/gateway_listeners.bin");
const ROUTES: &[u8] = include_bytes!("data/gateway_routes.bin");

fn recorded(bytes: &[u8]) -> Vec<Any> {
    let response = DiscoveryResponse::decode(bytes).expect("a response");
    response.resources
}

fn node() -> Node {
    Node::router("gw", "default", [("istio", "ingressgateway")])
}

/// A gateway on an open stream, after its first requests.
fn gateway() -> Rig {
    let mut machine = Machine::new(node(), "plane:15010");
    machine.want(Wanted::Inbound);
    machine.connected();
    let mut rig = Rig::new();
    rig.machine = machine;
    let sent = rig.sent();
    let asked = sent.iter().find(|it| it.type_url == LDS.type_url());
    assert!(
        asked.is_some_and(|it| it.resource_names.is_empty()),
        "{sent:?}"
    );
    rig
}

fn published(rig: &mut Rig, listeners: Vec<Any>) -> Option<Arc<Inbound>> {
    rig.receive(LDS, "1", listeners);
    rig.assemble()?.inbound
}

fn rules(listeners: Vec<Any>) -> Arc<Rules> {
    let mut rig = gateway();
    let inbound = published(&mut rig, listeners);
    let sent = rig.sent();
    assert!(sent.iter().all(|it| it.error_detail.is_none()), "{sent:?}");
    match inbound.as_deref() {
        Some(Inbound::Rules(rules)) => Arc::clone(rules),
        other => panic!("{other:?}"),
    }
}

fn by_name<'a>(port: &'a Port, sni: Option<&str>) -> Chosen<'a> {
    let alpn = [&b"h2"[..], b"http/1.1"].map(Box::from);
    port.choose(&Opening::Tls { alpn: &alpn, sni })
}

fn served<'a>(port: &'a Port, sni: &str) -> (&'a ServerTerms, &'a Pipeline) {
    match by_name(port, Some(sni)) {
        Chosen::Tls(tls, pipeline) => (tls.terms(), pipeline),
        other => panic!("{sni}: {other:?}"),
    }
}

fn plain(port: &Port) -> &Pipeline {
    match port.choose(&Opening::Plaintext) {
        Chosen::Plaintext(pipeline) => pipeline,
        other => panic!("{other:?}"),
    }
}

fn why(chosen: Chosen<'_>) -> Why {
    match chosen {
        Chosen::Close(why) => why,
        other => panic!("{other:?}"),
    }
}

fn table(name: &str) -> TableKey {
    name.parse().expect("a table")
}

fn routes(pipeline: &Pipeline) -> String {
    let gateway = pipeline.gateway.as_ref().expect("a gateway's");
    gateway.routes.to_string()
}

/// A listener of the recorded ones, changed.
fn edited(port: u16, edit: impl FnOnce(&mut HttpConnectionManager)) -> Vec<Any> {
    let name = format!("0.0.0.0_{port}");
    let all = recorded(LISTENERS).into_iter();
    let all = all.map(|any| Listener::decode(&*any.value).expect("a listener"));
    let mut listener = all.into_iter().find(|it| it.name == name).expect("one");
    let filters: &mut Vec<Filter> = &mut listener.filter_chains[0].filters;
    let Some(ConfigType::TypedConfig(any)) = &mut filters[0].config_type else {
        panic!("{filters:?}");
    };
    let mut manager = HttpConnectionManager::decode(&*any.value).expect("a manager");
    edit(&mut manager);
    any.value = manager.encode_to_vec();
    vec![wire::any(LDS, &listener)]
}

#[test]
fn what_istiod_sends_has_its_servers_by_name() {
    let rules = rules(recorded(LISTENERS));
    let port = rules.port(8443);

    let (terms, pipeline) = served(port, "A.example");
    assert_eq!(
        terms.identity,
        CertName::Files {
            chain: "/etc/a/cert.pem".into(),
            key: "/etc/a/key.pem".into()
        }
    );
    assert!(matches!(terms.client, ClientAuth::None), "{terms:?}");
    assert_eq!((terms.min, terms.max), (TlsVersion::V1_3, TlsVersion::V1_3));
    assert_eq!(routes(pipeline), "https.8443.https-a.g.default");

    for name in ["b.example", "any.b.example"] {
        let (terms, pipeline) = served(port, name);
        let ClientAuth::Required { roots, peer } = &terms.client else {
            panic!("{terms:?}");
        };
        assert_eq!(*roots, RootName::File("/etc/b/ca.pem".into()));
        assert!(wanted(peer).contains("client.example"), "{peer:?}");
        assert_eq!((terms.min, terms.max), (TlsVersion::V1_2, TlsVersion::V1_2));
        assert_eq!(routes(pipeline), "https.8443.https-b.g.default");
    }
    // By a secret of Kubernetes, by a certificate that may be left out, and without being ended here.
    for name in ["c.example", "d.example"] {
        assert_eq!(why(by_name(port, Some(name))), Why::Shut, "{name}");
    }
    let reasons: Vec<&str> = port.shut().iter().map(|way| &*way.reason).collect();
    assert!(
        reasons.iter().any(|it| it.contains("kubernetes://c-cred")),
        "{reasons:?}"
    );
    for strange in [Some("p.example"), Some("z.example"), None] {
        by_name_is_closed(port, strange);
    }
    assert_eq!(why(port.choose(&Opening::Plaintext)), Why::PlaintextRefused);

    let (terms, pipeline) = served(rules.port(8444), "any");
    assert_eq!(terms.identity, CertName::Workload);
    assert_eq!(routes(pipeline), "https.8444.https-m.g.default");
    // One server for all names asks for none.
    assert!(matches!(by_name(rules.port(8445), None), Chosen::Tls(..)));
    // A port of no gateway.
    assert_eq!(why(rules.port(9999).choose(&Opening::Plaintext)), Why::Shut);
}

fn by_name_is_closed(port: &Port, sni: Option<&str>) {
    assert!(matches!(by_name(port, sni), Chosen::Close(_)), "{sni:?}");
}

#[test]
fn the_policies_that_select_the_gateway_are_its_pipeline() {
    let rules = rules(recorded(LISTENERS));
    for pipeline in [
        plain(rules.port(8080)),
        served(rules.port(8443), "a.example").1,
    ] {
        let [Step::Jwt(_), Step::Authorize(_)] = &*pipeline.steps else {
            panic!("{:?}", pipeline.steps);
        };
        assert_eq!(pipeline.remote, Remote::Direct);
        assert_eq!(pipeline.xfcc, Xfcc::SanitizeSet);
        let gateway = pipeline.gateway.as_ref().expect("a gateway's");
        assert!(gateway.upgrades_to("WebSocket") && !gateway.upgrades_to("other"));
    }
    assert_eq!(routes(plain(rules.port(8080))), "http.8080");
}

#[test]
fn the_tables_that_chains_name_are_asked_for_and_redirect() {
    let mut rig = gateway();
    published(&mut rig, recorded(LISTENERS));
    let sent = rig.sent();
    let asked = sent.iter().rfind(|it| it.type_url == RDS.type_url());
    let names = &asked.expect("a request for routes").resource_names;
    for name in [
        "http.8080",
        "http.8081",
        "https.8443.https-a.g.default",
        "https.8443.https-b.g.default",
        "https.8444.https-m.g.default",
    ] {
        assert!(
            names.iter().any(|it| it == name),
            "{name} is not among {names:?}"
        );
    }
    rig.deliver(RDS, "1", recorded(ROUTES));
    let requires = |name: &str| {
        let parts = ::http::Request::get("http://a.example/x")
            .body(())
            .expect("a request");
        let (parts, ()) = parts.into_parts();
        let view = mesh_core::RequestView::of(&parts.method, &parts.uri, &parts.headers);
        let found = rig
            .snapshot
            .tables
            .get(&table(name))
            .expect("a table")
            .find("a.example");
        found.expect("a host").host.to_https(&view).is_some()
    };
    assert!(requires("http.8080"));
    assert!(!requires("http.8081"));
    assert!(!requires("https.8443.https-a.g.default"));
}

#[test]
fn a_folder_brings_listeners_before_the_routes_that_they_name() {
    let mut resources = Resources::default();
    for any in recorded(LISTENERS) {
        let listener = Listener::decode(&*any.value).expect("a listener");
        resources.listeners.insert(listener.name, any);
    }
    let name = "https.8443.https-a.g.default";
    let routes = envoy_types::pb::envoy::config::route::v3::RouteConfiguration {
        name: name.to_owned(),
        ..Default::default()
    };
    resources
        .routes
        .insert(name.to_owned(), wire::any(RDS, &routes));
    let mut machine = Machine::new(node(), "the folder");
    machine.want(Wanted::Inbound);
    machine.replaced(&"1".into(), &resources);
    let assembled = machine
        .assemble(std::time::Instant::now())
        .expect("a generation");
    let found = assembled
        .snapshot
        .tables
        .get(&table(name))
        .expect("a table");
    assert_eq!(found.missing, None);
}

#[test]
fn a_gateway_without_listeners_is_closed() {
    let mut rig = gateway();
    let inbound = published(&mut rig, Vec::new());
    let Some(Inbound::Closed(reason)) = inbound.as_deref() else {
        panic!("{inbound:?}");
    };
    assert!(reason.contains("plane:15010"), "{reason}");
    // A workload's server has no use for them, nor has a gateway for a workload's.
    let mut workload = Rig::introduced();
    workload.machine.want(Wanted::Inbound);
    workload.sent();
    let inbound = published(&mut workload, recorded(LISTENERS));
    assert!(
        matches!(inbound.as_deref(), Some(Inbound::Open(_))),
        "{inbound:?}"
    );
    let one = include_bytes!("data/virtual_inbound.bin");
    let one = Any {
        type_url: LDS.type_url().to_owned(),
        value: one.to_vec(),
    };
    let inbound = published(&mut gateway(), vec![one]);
    assert!(
        matches!(inbound.as_deref(), Some(Inbound::Closed(_))),
        "{inbound:?}"
    );
}

#[test]
fn what_is_not_known_of_a_gateway_refuses_its_requests() {
    let denied = |listeners: Vec<Any>| {
        let rules = rules(listeners);
        let steps = plain(rules.port(8081)).steps.iter();
        let mut denials = steps.filter_map(|step| match step {
            Step::Deny(why) => Some(why.to_string()),
            _ => None,
        });
        denials.next()
    };
    assert_eq!(denied(edited(8081, |_| {})), None);
    let hops = edited(8081, |manager| manager.xff_num_trusted_hops = 1);
    assert!(
        denied(hops)
            .expect("a reason")
            .contains("xff_num_trusted_hops")
    );
    let unnamed = edited(8081, |manager| manager.route_specifier = None);
    assert!(denied(unnamed).expect("a reason").contains("rds"));
    let strange = edited(8081, |manager| {
        let Some(http::http_connection_manager::RouteSpecifier::Rds(rds)) =
            &mut manager.route_specifier
        else {
            panic!("no rds");
        };
        rds.route_config_name = "https.x".to_owned();
    });
    assert!(denied(strange).expect("a reason").contains("https.x"));
}

#[test]
fn upgrades_are_those_that_are_allowed_without_conditions() {
    let upgrade = |kind: &str| UpgradeConfig {
        upgrade_type: kind.to_owned(),
        ..UpgradeConfig::default()
    };
    let rules = rules(edited(8081, |manager| {
        let mut off = upgrade("off");
        off.enabled = Some(BoolValue { value: false });
        let mut filtered = upgrade("filtered");
        filtered.filters = vec![http::HttpFilter::default()];
        manager.upgrade_configs = vec![upgrade("WebSocket"), off, filtered, upgrade("CONNECT")];
    }));
    let gateway = plain(rules.port(8081))
        .gateway
        .as_ref()
        .expect("a gateway's");
    assert_eq!(*gateway.upgrades, [Box::from("websocket")]);
}
