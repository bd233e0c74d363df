//! The listener of a server in the dialect of sidecars, from the wire to the ways in: subscription, ACK and NACK, and what
//! is published. `data/virtual_inbound.bin` is what an istiod sent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use envoy_types::pb::envoy::config::core::v3::{TransportSocket, transport_socket};
use envoy_types::pb::envoy::config::listener::v3::{
    Filter, FilterChain, FilterChainMatch, Listener, filter::ConfigType,
};
use envoy_types::pb::envoy::config::route::v3::{
    HeaderMatcher, RedirectAction, RouteMatch, VirtualHost, route, route_match::PathSpecifier,
};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as http;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource,
};
use envoy_types::pb::google::protobuf::{Any, BoolValue, UInt32Value};
use http::http_connection_manager::RouteSpecifier;
use http::{HttpConnectionManager, HttpFilter, http_filter};
use mesh_core::authz::{Action, Rbac};
use mesh_core::request::PathNormalization;
use mesh_core::server::{Chosen, Inbound, Opening, Pipeline, Port, Rules, Step, Why, Xfcc};
use mesh_core::tls::{CertName, ClientAuth, RootName, ServerTls, wanted};
use mesh_xds::ads::{Machine, Peer, Variant};
use mesh_xds::{DOES_NOT_EXIST_AFTER, Dialect, Node, ResourceType, Resources, Wanted};
use prost::Message;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rig::{Rig, error};
use wire::{CDS, LDS};

#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/rig.rs"]
mod rig;
#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/wire.rs"]
mod wire;

const RECORDED: &[u8] = include_bytes!("data/virtual_inbound.bin");
const VIRTUAL: &str = "virtualInbound";

const MESH: [&[u8]; 3] = [b"istio-http/1.1", b"istio", b"http/1.1"];
const TCP: [&[u8]; 2] = [b"istio-peer-exchange", b"istio"];
const FOREIGN: [&[u8]; 2] = [b"h2", b"http/1.1"];

fn recorded() -> Listener {
    Listener::decode(RECORDED).expect("a listener")
}

fn edited(edit: impl FnOnce(&mut Listener)) -> Any {
    let mut listener = recorded();
    edit(&mut listener);
    wire::any(LDS, &listener)
}

/// The chain of port 9080 for TLS, and the one for plaintext after it.
const TLS: usize = 8;
const PLAIN: usize = 9;

fn manager(chain: &mut FilterChain, edit: impl FnOnce(&mut HttpConnectionManager)) {
    let last = chain.filters.last_mut().expect("a filter");
    let Some(ConfigType::TypedConfig(any)) = &mut last.config_type else {
        panic!("{last:?}");
    };
    let mut manager = HttpConnectionManager::decode(&*any.value).expect("a manager");
    edit(&mut manager);
    any.value = manager.encode_to_vec();
}

fn matching(chain: &mut FilterChain) -> &mut FilterChainMatch {
    chain.filter_chain_match.as_mut().expect("a match")
}

fn filter(name: &str, type_url: &str, value: Vec<u8>) -> HttpFilter {
    HttpFilter {
        name: name.to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(Any {
            type_url: format!("type.googleapis.com/{type_url}"),
            value,
        })),
        ..HttpFilter::default()
    }
}

/// An outbound listener whose content cannot be read.
fn outbound(name: &str) -> Any {
    let listener = Listener {
        name: name.to_owned(),
        traffic_direction: 2,
        ..Listener::default()
    };
    let mut bytes = listener.encode_to_vec();
    // Field 3, two bytes that are no chain.
    bytes.extend([0x1a, 2, 0xff, 0xff]);
    Any {
        type_url: LDS.type_url().to_owned(),
        value: bytes,
    }
}

/// A server on an open stream, after its first requests.
fn server() -> Rig {
    let mut rig = Rig::introduced();
    assert!(rig.machine.want(Wanted::Inbound));
    assert!(!rig.machine.want(Wanted::Inbound), "is not new");
    let sent = rig.sent();
    let [request] = &sent[..] else {
        panic!("{sent:?}")
    };
    assert_eq!(request.type_url, LDS.type_url());
    assert_eq!(request.resource_names, Vec::<String>::new());
    rig
}

/// What is published after a response with these listeners.
fn published(rig: &mut Rig, version: &str, listeners: Vec<Any>) -> Option<Arc<Inbound>> {
    rig.receive(LDS, version, listeners);
    rig.assemble()?.inbound
}

#[allow(
    clippy::needless_pass_by_value,
    reason = "it is handed on from what is published"
)]
fn rules(inbound: Option<Arc<Inbound>>) -> Arc<Rules> {
    match inbound.as_deref() {
        Some(Inbound::Rules(rules)) => Arc::clone(rules),
        other => panic!("{other:?}"),
    }
}

/// The rules of one listener.
fn rules_of(listener: Any) -> Arc<Rules> {
    let mut rig = server();
    let rules = rules(published(&mut rig, "1", vec![listener]));
    let answer = rig.sent().remove(0);
    assert_eq!(answer.error_detail, None);
    rules
}

fn nack_of(listener: Any) -> String {
    let mut rig = server();
    let answer = rig.answer(LDS, "1", vec![listener]);
    error(&answer).to_owned()
}

fn choose<'a>(port: &'a Port, alpn: &[&[u8]]) -> Chosen<'a> {
    let alpn: Vec<Box<[u8]>> = alpn.iter().map(|name| (*name).into()).collect();
    port.choose(&Opening::Tls {
        alpn: &alpn,
        sni: Some("outbound_.9080_._.reviews.default.svc.cluster.local"),
    })
}

fn by_tls<'a>(port: &'a Port, alpn: &[&[u8]]) -> (&'a Arc<ServerTls>, &'a Arc<Pipeline>) {
    match choose(port, alpn) {
        Chosen::Tls(tls, pipeline) => (tls, pipeline),
        other => panic!("{other:?}"),
    }
}

fn plain(port: &Port) -> &Arc<Pipeline> {
    match port.choose(&Opening::Plaintext) {
        Chosen::Plaintext(pipeline) => pipeline,
        other => panic!("{other:?}"),
    }
}

fn closed(chosen: Chosen<'_>) -> Why {
    match chosen {
        Chosen::Close(why) => why,
        other => panic!("{other:?}"),
    }
}

/// Why requests are refused whatever they are.
fn denials(pipeline: &Pipeline) -> Vec<&str> {
    pipeline
        .steps
        .iter()
        .filter_map(|step| match step {
            Step::Deny(why) => Some(&**why),
            Step::Authorize(_) | Step::Jwt(_) | Step::Ask(_) => None,
        })
        .collect()
}

#[test]
fn what_istiod_sends_has_its_modes_by_port() {
    let rules = rules_of(wire::any(LDS, &recorded()));
    assert_eq!(&*rules.version, "1");

    let permissive = rules.port(9080);
    let (terms, pipeline) = by_tls(permissive, &MESH);
    let terms = terms.terms();
    assert_eq!(terms.identity, CertName::Workload);
    let ClientAuth::Required { roots, peer } = &terms.client else {
        panic!("{terms:?}");
    };
    assert_eq!(*roots, RootName::Workload);
    assert_eq!(
        wanted(peer),
        "a workload of one of the trust domains [\"cluster.local\", \"old.td\"]"
    );
    assert_eq!(
        &*terms.who,
        "filter chain \"0.0.0.0_9080\" of listener \"virtualInbound\" of version \"1\""
    );
    assert_eq!(pipeline.paths, PathNormalization::Base);
    assert_eq!(pipeline.xfcc, Xfcc::AppendForward);
    assert_eq!(closed(choose(permissive, &FOREIGN)), Why::NoChain);
    plain(permissive);

    let strict = rules.port(9081);
    by_tls(strict, &FOREIGN);
    assert_eq!(
        closed(strict.choose(&Opening::Plaintext)),
        Why::PlaintextRefused
    );

    let disabled = rules.port(7777);
    plain(disabled);
    assert_eq!(closed(choose(disabled, &MESH)), Why::TlsRefused);

    // A port that no service has, and the one that would go round.
    for port in [1, 15006] {
        let other = rules.port(port);
        let (_, http) = by_tls(other, &MESH);
        // What peers call bytes is served by the rules for HTTP.
        let (_, bytes) = by_tls(other, &TCP);
        assert!(Arc::ptr_eq(http, bytes));
        plain(other);
        // It would be handed on without being ended.
        assert_eq!(closed(choose(other, &FOREIGN)), Why::Shut);
    }
}

#[test]
fn plaintext_is_not_told_apart_by_the_version_of_http() {
    let cases: [(&[&str], bool); 7] = [
        (&[], true),
        // What istiod lists, without and with `PILOT_HTTP10`.
        (&["http/1.1", "h2c"], true),
        (&["http/1.0", "http/1.1", "h2c"], true),
        (&["http/1.0"], false),
        (&["http/1.0", "http/1.1"], false),
        (&["http/1.1"], false),
        (&["h2c"], false),
    ];
    for (listed, is_served) in cases {
        let rules = rules_of(edited(|listener| {
            let listed = listed.iter().map(|name| (*name).to_owned());
            matching(&mut listener.filter_chains[PLAIN]).application_protocols = listed.collect();
        }));
        match is_served {
            true => drop(Arc::clone(plain(rules.port(9080)))),
            false => {
                let chosen = rules.port(9080).choose(&Opening::Plaintext);
                assert_eq!(closed(chosen), Why::Shut, "{listed:?}");
            }
        }
    }
}

#[test]
fn filters_that_are_not_served_refuse_requests_by_name() {
    let with = edited(|listener| {
        manager(&mut listener.filter_chains[TLS], |manager| {
            let lua = filter("lua", "envoy.extensions.filters.http.lua.v3.Lua", vec![]);
            manager.http_filters.insert(0, lua);
        });
    });
    let rules = rules_of(with);
    let of = |port| denials(by_tls(rules.port(port), &MESH).1);
    let [denial] = of(9080)[..] else {
        panic!("{:?}", of(9080));
    };
    assert!(denial.contains("lua.v3.Lua"), "{denial}");
    assert_eq!(of(9081), Vec::<&str>::new());
}

/// The provider of the recorded policy with the action CUSTOM.
const AUTHORIZER: &str = "outbound|9080||ratings.default.svc.cluster.local";

#[test]
fn whom_istiod_would_have_asked_is_known_with_its_cluster() {
    let mut rig = server();
    let listeners = vec![wire::any(LDS, &recorded())];
    let published = rules(published(&mut rig, "1", listeners));
    for port in [9080, 9081, 1] {
        let steps = &by_tls(published.port(port), &MESH).1.steps;
        let asks = |step: &Step| matches!(step, Step::Ask(_));
        let at = steps.iter().position(asks).expect("somebody is asked");
        let Step::Ask(ask) = &steps[at] else { panic!() };
        assert_eq!(&*ask.cluster, AUTHORIZER);
        // By rules that are tried before it, and before all that enforces.
        let Step::Authorize(tried) = &steps[at - 1] else {
            panic!("{steps:?}");
        };
        let shadow = tried.shadow().expect("tried rules");
        let policy = shadow.rules.names().next().expect("a policy");
        let met = |prefix: &'static str| ask.applies([(prefix, policy)]);
        assert!(met("istio_ext_authz_") && !met("istio_dry_run_deny_"));
        assert!(!ask.applies([(&*shadow.prefix, "ns[default]-policy[custom]-rule[0]")]));
        assert!(!ask.applies([]));
        assert_eq!((at, steps.iter().filter(|it| asks(it)).count()), (1, 1));
    }
    // Its cluster is not there yet, nor what is behind it.
    let eds = |rig: &mut Rig| {
        let sent = rig.sent().into_iter();
        let mut eds = sent.filter(|it| it.type_url == ResourceType::Endpoints.type_url());
        eds.next_back().map(|it| it.resource_names)
    };
    assert_eq!(eds(&mut rig), None);
    let cluster = |name: &str| wire::cluster(name);
    rig.receive(CDS, "1", vec![cluster(AUTHORIZER), cluster("another")]);
    drop(rig.assemble());
    assert_eq!(eds(&mut rig), Some(vec![AUTHORIZER.to_owned()]));
    rig.receive(
        ResourceType::Endpoints,
        "1",
        vec![wire::endpoints(AUTHORIZER, 1)],
    );
    let assembled = rig.assemble().expect("a generation");
    let callees = assembled.callees.expect("its cluster");
    let found = callees.get(AUTHORIZER).and_then(Option::as_ref);
    assert_eq!(found.expect("a cluster").endpoints.len(), 1);
    assert_eq!(callees.len(), 1);

    // It goes, and so does the policy.
    rig.receive(CDS, "2", vec![cluster("another")]);
    let callees = rig.assemble().and_then(|it| it.callees);
    assert!(callees.expect("a change")[AUTHORIZER].is_none());
    rig.receive(LDS, "2", vec![outbound("0.0.0.0_9080")]);
    let callees = rig.assemble().and_then(|it| it.callees);
    assert!(callees.expect("a change").is_empty());
}

#[test]
fn tokens_are_judged_before_policies() {
    let rules = rules_of(wire::any(LDS, &recorded()));
    for port in [9080, 9081, 1] {
        let steps = &by_tls(rules.port(port), &MESH).1.steps;
        let is_jwt = |step: &Step| matches!(step, Step::Jwt(_));
        assert_eq!(steps.iter().filter(|step| is_jwt(step)).count(), 1);
        let at = steps.iter().position(is_jwt).expect("a step");
        let enforced = |step: &Step| matches!(step, Step::Authorize(it) if it.rules().is_some());
        assert!(at < steps.iter().position(enforced).expect("a policy"));
        let Step::Jwt(jwt) = &steps[at] else { panic!() };
        assert!(!jwt.providers().is_empty());
    }
}

/// The policies of each RBAC filter, in their order; `None` of one that is only tried.
fn policies(pipeline: &Pipeline) -> Vec<Option<(Action, Vec<String>)>> {
    let rules = |rbac: &Rbac| {
        let rules = rbac.rules()?;
        let names = rules.names().map(str::to_owned).collect();
        Some((rules.action(), names))
    };
    let steps = pipeline.steps.iter();
    steps
        .filter_map(|step| match step {
            Step::Authorize(rbac) => Some(rules(rbac)),
            Step::Ask(_) | Step::Deny(_) | Step::Jwt(_) => None,
        })
        .collect()
}

#[test]
fn policies_come_in_the_order_of_their_filters() {
    let listener = rules_of(wire::any(LDS, &recorded()));
    for port in [9080, 9081, 1] {
        let found = policies(by_tls(listener.port(port), &MESH).1);
        let actions: Vec<_> = found.iter().map(|it| it.as_ref().map(|it| it.0)).collect();
        // CUSTOM asks by rules that are tried; so is a dry run.
        assert_eq!(actions[0], None, "{found:?}");
        assert!(actions.contains(&Some(Action::Allow)), "{found:?}");
        assert!(actions.contains(&Some(Action::Log)), "{found:?}");
        let nothing = found.iter().flatten().flat_map(|(_, names)| names);
        let nothing = nothing.filter(|name| name.contains("allow-nothing"));
        assert_eq!(nothing.count(), 1, "{found:?}");
    }
}

#[test]
fn a_policy_that_is_not_understood_refuses_the_listener() {
    const RBAC: &str = "envoy.extensions.filters.http.rbac.v3.RBAC";
    const JWT: &str = "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication";
    const ASK: &str = "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz";
    let with = |kind: &str, bytes: Vec<u8>| {
        edited(|l| {
            manager(&mut l.filter_chains[PLAIN], |m| {
                m.http_filters.insert(0, filter("a filter", kind, bytes));
            });
        })
    };
    let mut rig = server();
    rules(published(&mut rig, "1", vec![wire::any(LDS, &recorded())]));
    rig.sent();
    // Malformed, and with a field (200) that is not known.
    for bytes in [vec![0x0a, 9], vec![0xc0, 0x0c, 1]] {
        for kind in [RBAC, JWT, ASK] {
            assert!(published(&mut rig, "2", vec![with(kind, bytes.clone())]).is_none());
            let answer = rig.sent().remove(0);
            let text = error(&answer);
            let place = "filter_chains[9].filters[1].typed_config.http_filters[0].typed_config";
            assert!(text.contains(place), "{text}");
            assert_eq!(answer.version_info, "1");
        }
    }
}

#[test]
fn only_a_server_asks_and_only_its_listeners_are_read() {
    let mut rig = server();
    let answer = rig.answer(
        LDS,
        "1",
        vec![
            outbound("0.0.0.0_9080"),
            wire::any(LDS, &recorded()),
            outbound("virtualOutbound"),
        ],
    );
    assert_eq!(answer.error_detail, None);
    assert_eq!(answer.version_info, "1");
    assert_eq!(answer.resource_names, Vec::<String>::new());
    assert_eq!(rig.snapshot.generation, 1, "it is a generation of its own");
    assert!(rig.machine.status().rejected.is_empty());
    // A reconnected stream asks for it again, and what was published stays.
    rig.reconnect();
    let sent = rig.sent();
    assert!(
        sent.iter()
            .any(|request| request.type_url == LDS.type_url())
    );
    assert!(
        rig.after(2 * DOES_NOT_EXIST_AFTER)
            .is_none_or(|it| it.inbound.is_none())
    );

    let mut client = Rig::introduced();
    client.machine.received(wire::response(
        LDS,
        "1",
        "n",
        vec![wire::any(LDS, &recorded())],
    ));
    assert!(client.assemble().is_none(), "nobody asked");
}

#[test]
fn a_control_plane_without_such_a_listener_leaves_the_server_open() {
    let mut rig = server();
    assert!(rig.assemble().is_none(), "nothing was said yet");
    let open = published(&mut rig, "1", vec![outbound("0.0.0.0_9080")]);
    assert!(
        matches!(open.as_deref(), Some(Inbound::Open(who)) if &**who == "no inbound listener from plane:15010"),
        "{open:?}"
    );
    assert!(
        published(&mut rig, "2", Vec::new()).is_none(),
        "it is the same"
    );

    rules(published(&mut rig, "3", vec![wire::any(LDS, &recorded())]));
    assert!(
        published(&mut rig, "4", vec![wire::any(LDS, &recorded())]).is_none(),
        "it is the same"
    );
    // It is taken away while we are in use.
    let open = published(&mut rig, "5", vec![outbound("0.0.0.0_9080")]);
    assert!(
        matches!(open.as_deref(), Some(Inbound::Open(_))),
        "{open:?}"
    );
    // Or goes the other way.
    rules(published(&mut rig, "6", vec![wire::any(LDS, &recorded())]));
    let open = published(
        &mut rig,
        "7",
        vec![edited(|listener| listener.traffic_direction = 2)],
    );
    assert!(
        matches!(open.as_deref(), Some(Inbound::Open(_))),
        "{open:?}"
    );
}

#[test]
fn an_answer_that_does_not_come_is_none() {
    let mut rig = server();
    let wake = rig.machine.wake_at().expect("a clock");
    assert!(wake <= rig.now + DOES_NOT_EXIST_AFTER);
    assert!(
        rig.after(DOES_NOT_EXIST_AFTER - Duration::from_millis(1))
            .is_none()
    );
    let open = rig
        .after(Duration::from_millis(1))
        .and_then(|it| it.inbound);
    assert!(
        matches!(open.as_deref(), Some(Inbound::Open(_))),
        "{open:?}"
    );
    // It may come late.
    rules(published(&mut rig, "1", vec![wire::any(LDS, &recorded())]));
}

#[test]
fn a_listener_that_is_not_understood_closes_or_keeps_the_last_good_one() {
    let bad = || edited(|listener| listener.address = None);
    let mut rig = server();
    rig.receive(LDS, "1", vec![bad()]);
    let closed = rig.assemble().and_then(|it| it.inbound);
    let Some(Inbound::Closed(why)) = closed.as_deref() else {
        panic!("{closed:?}");
    };
    assert_eq!(
        &**why,
        "listener \"virtualInbound\" of version \"1\" rejected: address.socket_address: is missing"
    );
    let answer = rig.sent().remove(0);
    assert_eq!(error(&answer), &**why);
    assert_eq!(answer.version_info, "");

    let good = rules(published(&mut rig, "2", vec![wire::any(LDS, &recorded())]));
    assert_eq!(&*good.version, "2");
    rig.sent();
    assert!(published(&mut rig, "3", vec![bad()]).is_none());
    assert_eq!(rig.sent().remove(0).version_info, "2");
    // So does one of which not even the name can be read.
    let unread = Any {
        type_url: LDS.type_url().to_owned(),
        value: vec![0xff],
    };
    assert!(published(&mut rig, "4", vec![unread.clone()]).is_none());
    // And without one before it, nobody knows whether it is ours.
    let mut rig = server();
    let closed = published(&mut rig, "1", vec![unread]);
    assert!(
        matches!(closed.as_deref(), Some(Inbound::Closed(_))),
        "{closed:?}"
    );
    let open = published(&mut rig, "2", Vec::new());
    assert!(
        matches!(open.as_deref(), Some(Inbound::Open(_))),
        "{open:?}"
    );
}

/// What the machine sends on an incremental stream, and what it publishes after this response.
fn changed(
    machine: &mut Machine,
    all: &[(&str, Any)],
    removed: &[&str],
) -> (Option<Arc<Inbound>>, DeltaDiscoveryRequest) {
    let resource = |(name, any): &(&str, Any)| Resource {
        name: (*name).to_owned(),
        version: "v1".to_owned(),
        resource: Some(any.clone()),
        ..Resource::default()
    };
    machine.at(0).received_delta(DeltaDiscoveryResponse {
        type_url: LDS.type_url().to_owned(),
        nonce: "n".to_owned(),
        system_version_info: "s".to_owned(),
        resources: all.iter().map(resource).collect(),
        removed_resources: removed.iter().map(|name| (*name).to_owned()).collect(),
        ..DeltaDiscoveryResponse::default()
    });
    let inbound = machine.assemble(Instant::now()).and_then(|it| it.inbound);
    let answer = machine.at(0).request_delta(Instant::now());
    (inbound, answer.expect("an answer"))
}

#[test]
fn an_incremental_stream_tells_what_changes() {
    let mut peer = Peer::from("plane");
    peer.variant = Variant::Delta;
    let mut machine = Machine::new(Node::sidecar("reviews", "default"), peer);
    machine.want(Wanted::Inbound);
    machine.connected();
    let now = Instant::now();
    let sent: Vec<_> = std::iter::from_fn(|| machine.at(0).request_delta(now)).collect();
    let [_, lds] = &sent[..] else {
        panic!("{sent:?}")
    };
    assert_eq!(lds.type_url, LDS.type_url());
    assert!(lds.resource_names_subscribe.is_empty());

    let other = ("virtualOutbound", outbound("virtualOutbound"));
    let good = (VIRTUAL, wire::any(LDS, &recorded()));
    let (first, answer) = changed(&mut machine, &[other.clone(), good], &[]);
    assert_eq!(&*rules(first).version, "v1");
    assert_eq!(answer.error_detail, None);
    // Another listener says nothing of ours.
    assert!(changed(&mut machine, &[other], &[]).0.is_none());
    let bad = (VIRTUAL, edited(|listener| listener.address = None));
    let (kept, answer) = changed(&mut machine, &[bad], &[]);
    assert!(kept.is_none());
    assert!(answer.error_detail.is_some());

    // What is there is told to a new stream, so that it can be taken away.
    machine.disconnected("gone", now, &mut StdRng::seed_from_u64(1));
    machine.connected();
    let sent: Vec<_> = std::iter::from_fn(|| machine.at(0).request_delta(now)).collect();
    let lds = sent.iter().find(|it| it.type_url == LDS.type_url());
    let versions = &lds.expect("a request").initial_resource_versions;
    assert_eq!(versions.len(), 1);
    assert_eq!(versions[VIRTUAL], "v1");
    let (open, _) = changed(&mut machine, &[], &[VIRTUAL]);
    assert!(
        matches!(open.as_deref(), Some(Inbound::Open(_))),
        "{open:?}"
    );
}

#[test]
fn a_folder_is_a_source_too() {
    let mut machine = Machine::new(Node::sidecar("reviews", "default"), "the folder");
    let mut resources = Resources::default();
    let publish = |machine: &mut Machine, resources: &Resources, version: &str| {
        machine.replaced(&version.into(), resources);
        machine.assemble(Instant::now())?.inbound
    };
    let all = |resources: &mut Resources| {
        let listener = wire::any(LDS, &recorded());
        resources.listeners.insert(VIRTUAL.to_owned(), listener);
    };
    all(&mut resources);
    assert!(
        publish(&mut machine, &resources, "1").is_none(),
        "nobody asked"
    );
    machine.want(Wanted::Inbound);
    rules(publish(&mut machine, &resources, "1"));
    let open = publish(&mut machine, &Resources::default(), "2");
    assert!(
        matches!(open.as_deref(), Some(Inbound::Open(who)) if who.ends_with("the folder")),
        "{open:?}"
    );
}

#[test]
fn without_interception_each_port_has_its_listener() {
    let at = |port: u16| {
        edited(|listener| {
            listener.name = format!("0.0.0.0_{port}");
            listener.address = Some(wire::address("0.0.0.0", port));
            listener.filter_chains.drain(..TLS);
            listener.filter_chains.truncate(2);
            for chain in &mut listener.filter_chains {
                matching(chain).destination_port = None;
            }
        })
    };
    let mut rig = server();
    let mut both = vec![at(9080), at(9443)];
    let rules = rules(published(&mut rig, "1", both.clone()));
    for port in [9080, 9443] {
        by_tls(rules.port(port), &MESH);
        plain(rules.port(port));
    }
    let other = rules.port(1);
    assert_eq!(closed(other.choose(&Opening::Plaintext)), Why::Shut);
    assert_eq!(closed(choose(other, &MESH)), Why::Shut);
    assert!(
        other
            .shut()
            .iter()
            .all(|way| way.reason.contains("no inbound listener"))
    );
    // Two for one port are none.
    both[1] = edited(|listener| {
        listener.name = "127.0.0.1_9080".to_owned();
        listener.address = Some(wire::address("127.0.0.1", 9080));
    });
    let rules = self::rules(published(&mut rig, "2", both));
    assert_eq!(
        closed(rules.port(9080).choose(&Opening::Plaintext)),
        Why::Shut
    );
}

#[test]
fn in_grpcs_dialect_there_is_no_listener_for_all_addresses() {
    let mut rig = Rig::configured_in(Dialect::Grpc);
    assert!(!rig.machine.want(Wanted::Inbound));
    assert!(rig.assemble().is_none());
    assert_eq!(rig.sent(), []);
}

type Edit = fn(&mut Listener);

/// Edits of the chain for TLS, and why it is shut then.
const SHUT: [(&str, Edit); 9] = [
    ("transport socket \"no.Such\" is not served", |l| {
        let any = Any {
            type_url: "type.googleapis.com/no.Such".to_owned(),
            value: Vec::new(),
        };
        l.filter_chains[TLS].transport_socket = Some(TransportSocket {
            name: "x".to_owned(),
            config_type: Some(transport_socket::ConfigType::TypedConfig(any)),
        });
    }),
    ("has no configuration", |l| {
        l.filter_chains[TLS].transport_socket = Some(TransportSocket::default());
    }),
    ("its TLS is not ended here", |l| {
        l.filter_chains[TLS].transport_socket = None;
    }),
    ("require_client_certificate is false", |l| {
        terms(&mut l.filter_chains[TLS], |terms| {
            terms.require_client_certificate = None;
        });
    }),
    ("require_sni", |l| {
        terms(&mut l.filter_chains[TLS], |terms| {
            terms.require_sni = Some(BoolValue { value: true });
        });
    }),
    ("network filter \"own\"", |l| {
        let filters = &mut l.filter_chains[TLS].filters;
        let own = Filter {
            name: "own".to_owned(),
            config_type: Some(ConfigType::TypedConfig(Any {
                type_url: "type.googleapis.com/own.Filter".to_owned(),
                value: Vec::new(),
            })),
        };
        filters.insert(0, own);
    }),
    ("neither an HTTP connection manager nor a TCP proxy", |l| {
        l.filter_chains[TLS].filters.clear();
    }),
    ("source_ports is not asked here", |l| {
        matching(&mut l.filter_chains[TLS]).source_ports = vec![1];
    }),
    ("the PROXY protocol", |l| {
        #[allow(deprecated, reason = "Envoy still serves it")]
        {
            l.filter_chains[TLS].use_proxy_proto = Some(BoolValue { value: true });
        }
    }),
];

#[test]
fn a_way_that_is_not_served_is_shut_and_none_other_is_taken() {
    for (expected, edit) in SHUT {
        let rules = rules_of(edited(edit));
        let port = rules.port(9080);
        assert_eq!(closed(choose(port, &MESH)), Why::Shut, "{expected}");
        let mut reasons = port.shut().iter().map(|way| &way.reason);
        assert!(
            reasons.any(|reason| reason.contains(expected)),
            "{expected:?} is not in {:?}",
            port.shut()
        );
        // Others are not hurt.
        by_tls(rules.port(9081), &MESH);
    }
}

fn terms(chain: &mut FilterChain, edit: impl FnOnce(&mut tls::DownstreamTlsContext)) {
    let socket = chain.transport_socket.as_mut().expect("TLS");
    let Some(transport_socket::ConfigType::TypedConfig(any)) = &mut socket.config_type else {
        panic!("{socket:?}");
    };
    let mut terms = tls::DownstreamTlsContext::decode(&*any.value).expect("terms");
    edit(&mut terms);
    any.value = terms.encode_to_vec();
}

#[test]
fn a_criterion_that_is_not_known_shuts_the_port() {
    let mut bytes = recorded().encode_to_vec();
    let chain = {
        let mut chain = recorded().filter_chains.swap_remove(PLAIN);
        let mut matching = matching(&mut chain).encode_to_vec();
        chain.filter_chain_match = None;
        chain.name = "strange".to_owned();
        // Field 200, varint 1.
        matching.extend([0xc0, 0x0c, 1]);
        let mut chain = chain.encode_to_vec();
        chain.push(0x0a);
        chain.push(u8::try_from(matching.len()).expect("a short match"));
        chain.extend(matching);
        chain
    };
    let mut length = Vec::new();
    prost::encoding::encode_varint(chain.len() as u64, &mut length);
    bytes.push(0x1a);
    bytes.extend(length);
    bytes.extend(chain);
    let rules = rules_of(Any {
        type_url: LDS.type_url().to_owned(),
        value: bytes,
    });
    let port = rules.port(9080);
    assert_eq!(closed(port.choose(&Opening::Plaintext)), Why::Shut);
    assert_eq!(closed(choose(port, &MESH)), Why::Shut);
    plain(rules.port(7777));
}

type EditManager = fn(&mut HttpConnectionManager);

/// Edits of what requests pass, and why all are refused then.
const DENIED: [(&str, EditManager); 15] = [
    ("path_with_escaped_slashes_action REJECT_REQUEST", |m| {
        m.path_with_escaped_slashes_action = 2;
    }),
    ("normalize_path false, merge_slashes true", |m| {
        m.normalize_path = None;
        m.merge_slashes = true;
    }),
    ("use_remote_address", |m| {
        m.use_remote_address = Some(BoolValue { value: true });
    }),
    ("xff_num_trusted_hops", |m| m.xff_num_trusted_hops = 1),
    ("strip_matching_host_port", |m| {
        m.strip_matching_host_port = true
    }),
    ("strip_trailing_host_dot", |m| {
        m.strip_trailing_host_dot = true
    }),
    ("not in the listener", |m| m.route_specifier = None),
    ("virtual host", |m| {
        routes(m).push(VirtualHost::default());
    }),
    ("one route", |m| {
        let routes = &mut routes(m)[0].routes;
        let again = routes[0].clone();
        routes.push(again);
    }),
    ("not one for all requests", |m| {
        routes(m)[0].domains = vec!["reviews".to_owned()];
    }),
    ("not one for all requests", |m| {
        routes(m)[0].routes[0].r#match = Some(RouteMatch {
            headers: vec![HeaderMatcher::default()],
            path_specifier: Some(PathSpecifier::Prefix("/".to_owned())),
            ..RouteMatch::default()
        });
    }),
    ("not one for all requests", |m| {
        let redirect = RedirectAction::default();
        routes(m)[0].routes[0].action = Some(route::Action::Redirect(redirect));
    }),
    ("typed_per_filter_config", |m| {
        let config = &mut routes(m)[0].typed_per_filter_config;
        config.insert("envoy.filters.http.rbac".to_owned(), Any::default());
    }),
    (
        "common_http_protocol_options.headers_with_underscores_action",
        |m| {
            let options = m.common_http_protocol_options.get_or_insert_default();
            options.headers_with_underscores_action = 1;
        },
    ),
    ("HTTP filter \"own\" (\"own.Filter\") is not served", |m| {
        m.http_filters
            .insert(0, filter("own", "own.Filter", Vec::new()));
    }),
];

#[test]
fn what_policies_would_see_otherwise_refuses_requests() {
    for (expected, edit) in DENIED {
        let rules = rules_of(edited(|l| manager(&mut l.filter_chains[PLAIN], edit)));
        let denials = denials(plain(rules.port(9080)));
        assert!(
            denials.iter().any(|why| why.contains(expected)),
            "{expected:?} is not in {denials:?}"
        );
        let others = self::denials(plain(rules.port(7777)));
        assert!(
            !others.iter().any(|why| why.contains(expected)),
            "{others:?}"
        );
    }
}

fn routes(manager: &mut HttpConnectionManager) -> &mut Vec<VirtualHost> {
    match &mut manager.route_specifier {
        Some(RouteSpecifier::RouteConfig(routes)) => &mut routes.virtual_hosts,
        other => panic!("{other:?}"),
    }
}

#[test]
fn filters_that_decide_nothing_are_left_out_by_their_type() {
    const FAULT: &str = "envoy.extensions.filters.http.fault.v3.HTTPFault";
    let only = |filters: Vec<HttpFilter>| {
        let rules = rules_of(edited(|l| {
            manager(&mut l.filter_chains[PLAIN], |m| {
                let router = m.http_filters.pop().expect("the router");
                m.http_filters = filters;
                m.http_filters.push(router);
            });
        }));
        let denials = denials(plain(rules.port(9080)));
        denials.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let optional = HttpFilter {
        is_optional: true,
        ..filter("own", "own.Filter", Vec::new())
    };
    let off = HttpFilter {
        disabled: true,
        ..filter("own", "own.Filter", Vec::new())
    };
    let nothing = vec![
        filter(
            "x",
            "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig",
            vec![8, 1],
        ),
        filter(
            "x",
            "envoy.extensions.filters.http.cors.v3.Cors",
            Vec::new(),
        ),
        filter("x", FAULT, Vec::new()),
        optional,
        off,
    ];
    assert_eq!(only(nothing), Vec::<String>::new());
    // A name proves nothing, and a fault that is set is one.
    let named = filter("envoy.filters.http.grpc_stats", "own.Filter", Vec::new());
    assert_eq!(only(vec![named]).len(), 1);
    assert_eq!(only(vec![filter("x", FAULT, vec![0x32, 0])]).len(), 1);
}

#[test]
fn forms_of_paths_are_istios() {
    let rows = [
        (false, false, 0, PathNormalization::None),
        (true, false, 1, PathNormalization::Base),
        (true, true, 1, PathNormalization::MergeSlashes),
        (true, true, 4, PathNormalization::DecodeAndMergeSlashes),
    ];
    for (normalize, merge, action, expected) in rows {
        let rules = rules_of(edited(|l| {
            manager(&mut l.filter_chains[PLAIN], |m| {
                m.normalize_path = Some(BoolValue { value: normalize });
                m.merge_slashes = merge;
                m.path_with_escaped_slashes_action = action;
            });
        }));
        assert_eq!(plain(rules.port(9080)).paths, expected);
    }
}

#[test]
fn what_is_malformed_is_refused_by_its_path() {
    let rows: [(&str, Edit); 9] = [
        ("address.socket_address: is missing", |l| l.address = None),
        (
            "filter_chains[9].filter_chain_match.destination_port: 70000",
            |l| {
                matching(&mut l.filter_chains[PLAIN]).destination_port =
                    Some(UInt32Value { value: 70_000 });
            },
        ),
        (
            "filter_chains[9].filter_chain_match.transport_protocol: \"quic\"",
            |l| {
                matching(&mut l.filter_chains[PLAIN]).transport_protocol = "quic".to_owned();
            },
        ),
        ("filter_chain_match.server_names[0]: \"*w.a\"", |l| {
            matching(&mut l.filter_chains[TLS]).server_names = vec!["*w.a".to_owned()];
        }),
        ("are for the same connections", |l| {
            let again = l.filter_chains[TLS].clone();
            l.filter_chains.push(again);
        }),
        (
            "filters[1].typed_config.http_filters: do not end with the router",
            |l| manager(&mut l.filter_chains[PLAIN], |m| m.http_filters.clear()),
        ),
        ("is behind the router", |l| {
            manager(&mut l.filter_chains[PLAIN], |m| {
                m.http_filters.push(filter("own", "own.Filter", Vec::new()));
            });
        }),
        ("forward_client_cert_details: 9", |l| {
            manager(&mut l.filter_chains[PLAIN], |m| {
                m.forward_client_cert_details = 9
            });
        }),
        (
            "filter_chains[8].transport_socket.typed_config.ocsp_staple_policy: 9",
            |l| {
                terms(&mut l.filter_chains[TLS], |terms| {
                    terms.ocsp_staple_policy = 9
                })
            },
        ),
    ];
    for (expected, edit) in rows {
        let text = nack_of(edited(edit));
        assert!(text.contains(expected), "{expected:?} is not in {text:?}");
    }
}

#[test]
fn an_inbound_generation_does_not_touch_the_tables() {
    let mut rig = Rig::configured();
    let generation = rig.snapshot.generation;
    rig.machine.want(Wanted::Inbound);
    rig.sent();
    rig.receive(LDS, "1", vec![wire::any(LDS, &recorded())]);
    let assembled = rig.assemble().expect("a generation");
    assert!(assembled.changes.is_empty() && assembled.tables.is_empty());
    assert!(matches!(
        assembled.inbound.as_deref(),
        Some(Inbound::Rules(_))
    ));
    assert_eq!(rig.snapshot.generation, generation + 1);
    assert_eq!(rig.ports("a"), [Some(1)]);
    // A change of the tables says nothing of inbound.
    rig.receive(CDS, "2", wire::clusters(&["one", "two", "three"]));
    assert!(rig.assemble().is_none_or(|it| it.inbound.is_none()));
}
