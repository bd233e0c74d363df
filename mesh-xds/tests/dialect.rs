//! gRPC's dialect, request by request: listeners by `host:port`, the routes that they name, the clusters that those
//! reach, and their endpoints (gRPC A27, A31, A39, A57).

use std::time::Duration;

use envoy_types::pb::envoy::admin::v3::ClientResourceStatus;
use envoy_types::pb::envoy::config::core::v3::HttpProtocolOptions;
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::config::route::v3::{
    RouteAction, RouteConfiguration, VirtualHost, route, route_action::MaxStreamDuration,
};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as http;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource,
};
use envoy_types::pb::google::protobuf::{Any, Duration as PbDuration};
use http::http_connection_manager::RouteSpecifier;
use http::http_filter::ConfigType;
use mesh_core::route::{Action, MaxStream, Timeouts};
use mesh_core::snapshot::{Missing, Snapshot, TableKey, Unserved};
use mesh_xds::ads::{Features, Machine, Peer, Variant};
use mesh_xds::{DOES_NOT_EXIST_AFTER, Dialect, ListenerName, Node, ResourceType, Wanted};
use prost::Message;
use rand::SeedableRng;
use rand::rngs::StdRng;
use wire::{CDS, EDS, LDS, RDS, ads, listener, listener_of, manager, router, typed};

#[path = "dialect/servers.rs"]
mod servers;
#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/wire.rs"]
mod wire;

const TARGET: &str = "reviews:9080";
const ROUTES: &str = "outbound|9080||reviews";

/// What one request asks for, in either variant: its type, all names that are now subscribed, and its error.
type Asked = (ResourceType, Vec<String>, Option<String>);

/// A machine in one variant, on a stream that the test plays by hand.
struct Rig {
    machine: Machine,
    variant: Variant,
    now: std::time::Instant,
    rng: StdRng,
    snapshot: Snapshot,
    /// What servers were told last.
    inbound: Option<std::sync::Arc<mesh_core::server::Inbound>>,
    /// What is subscribed by the delta requests so far.
    subscribed: [std::collections::BTreeSet<String>; 4],
    responses: u32,
}

const BOTH: [Variant; 2] = [Variant::StateOfTheWorld, Variant::Delta];

fn target(name: &str) -> Wanted {
    name.parse::<ListenerName>().expect("host:port").into()
}

impl Rig {
    fn of(variant: Variant, features: Features) -> Self {
        let node = Node::sidecar("a", "default").with_dialect(Dialect::Grpc);
        let peer = Peer {
            variant,
            features,
            ..Peer::from("plane")
        };
        let mut machine = Machine::new(node, peer);
        assert!(machine.want(target(TARGET)));
        assert!(!machine.want(target("REVIEWS:9080")), "the same host");
        machine.connected();
        Self {
            machine,
            variant,
            now: std::time::Instant::now(),
            rng: StdRng::seed_from_u64(1),
            snapshot: Snapshot::default(),
            inbound: None,
            subscribed: Default::default(),
            responses: 0,
        }
    }

    fn new(variant: Variant) -> Self {
        Self::of(variant, Features::default())
    }

    /// Whose target is served by cluster `one` on port 1.
    fn configured(variant: Variant) -> Self {
        let mut rig = Self::new(variant);
        rig.configure();
        rig
    }

    fn configure(&mut self) {
        self.sent();
        self.deliver(LDS, vec![listener(TARGET, ROUTES)]);
        self.deliver(RDS, vec![routes(&["one"])]);
        self.deliver(CDS, wire::clusters(&["one"]));
        self.deliver(EDS, vec![wire::endpoints("one", 1)]);
        assert_eq!(self.ports(), [1], "{:?}", self.variant);
    }

    fn sent(&mut self) -> Vec<Asked> {
        let now = self.now;
        match self.variant {
            Variant::StateOfTheWorld => std::iter::from_fn(|| self.machine.request(now))
                .map(|request| {
                    let request = wire::read(&request);
                    let of = ResourceType::from_type_url(&request.type_url).expect("a type");
                    let error = request.error_detail.map(|error| error.message);
                    (of, request.resource_names, error)
                })
                .collect(),
            Variant::Delta => {
                let mut all = Vec::new();
                while let Some(request) = self.machine.at(0).request_delta(now) {
                    all.push(self.read(request));
                }
                all
            }
        }
    }

    fn read(&mut self, request: DeltaDiscoveryRequest) -> Asked {
        let of = ResourceType::from_type_url(&request.type_url).expect("a type");
        let names = &mut self.subscribed[of as usize];
        for name in request.resource_names_unsubscribe {
            assert!(names.remove(&name), "{name}");
        }
        for name in request.resource_names_subscribe {
            assert!(names.insert(name.clone()), "{name}");
        }
        let names = names.iter().cloned().collect();
        (of, names, request.error_detail.map(|error| error.message))
    }

    fn respond(&mut self, of: ResourceType, resources: Vec<Any>, removed: &[&str]) {
        self.responses += 1;
        let (version, nonce) = (self.responses.to_string(), format!("n{}", self.responses));
        match self.variant {
            Variant::StateOfTheWorld => {
                let response = wire::response(of, &version, &nonce, resources);
                self.machine.received(response);
            }
            Variant::Delta => {
                let resource = |any: Any| Resource {
                    name: name_of(&any),
                    version: version.clone(),
                    resource: Some(any),
                    ..Resource::default()
                };
                let response = DeltaDiscoveryResponse {
                    type_url: of.type_url().to_owned(),
                    system_version_info: version.clone(),
                    nonce,
                    resources: resources.into_iter().map(resource).collect(),
                    removed_resources: removed.iter().map(|name| (*name).to_owned()).collect(),
                    ..DeltaDiscoveryResponse::default()
                };
                self.machine.at(0).received_delta(response);
            }
        }
    }

    /// A response, what is published after it, and what is sent after it.
    fn deliver(&mut self, of: ResourceType, resources: Vec<Any>) -> Vec<Asked> {
        self.respond(of, resources, &[]);
        self.assemble();
        self.sent()
    }

    /// The same that takes these away.
    fn take(&mut self, of: ResourceType, removed: &[&str]) -> Vec<Asked> {
        self.respond(of, Vec::new(), removed);
        self.assemble();
        self.sent()
    }

    fn assemble(&mut self) {
        if let Some(assembled) = self.machine.assemble(self.now) {
            self.snapshot = assembled.snapshot;
            self.inbound = assembled.inbound.or_else(|| self.inbound.take());
        }
    }

    fn after(&mut self, time: Duration) {
        self.now += time;
        self.assemble();
    }

    fn reconnect(&mut self) {
        self.machine.disconnected("gone", self.now, &mut self.rng);
        self.machine.connected();
        self.subscribed = Default::default();
    }

    fn served(&self) -> &mesh_core::snapshot::Target {
        let table = self.snapshot.tables.get(&TableKey::Port(9080));
        let served = table.and_then(|table| table.find(TARGET));
        let served = served.unwrap_or_else(|| panic!("no target: {:?}", self.unserved()));
        assert_eq!(served.waiting_for, None);
        served
    }

    /// The ports of the first endpoints of its clusters; 0 is none.
    fn ports(&self) -> Vec<u16> {
        let clusters = self.served().clusters.iter().flatten();
        let first = clusters.map(|cluster| cluster.endpoints.first());
        first
            .map(|it| it.map_or(0, |endpoint| endpoint.address.port()))
            .collect()
    }

    fn timeouts(&self) -> Timeouts {
        match &self.served().host.routes()[0].action {
            Action::Forward(forward) => forward.timeouts,
            other => panic!("{other:?}"),
        }
    }

    fn unserved(&self) -> Option<&Unserved> {
        let table = self.snapshot.tables.get(&TableKey::Port(9080))?;
        table.unserved.get("reviews")
    }

    /// Why there is no target, and whether that is for good.
    fn why(&self) -> String {
        match self.unserved() {
            Some(Unserved::Missing(Missing::NoSuch(reason))) => format!("no such: {reason}"),
            Some(Unserved::Missing(Missing::NotReceived(reason))) => reason.to_string(),
            other => panic!("{other:?}"),
        }
    }

    fn status(&self, of: ResourceType, name: &str) -> ClientResourceStatus {
        let config = self.machine.client_config(false);
        let mut all = config.generic_xds_configs.into_iter();
        let it = all.find(|it| it.type_url == of.type_url() && it.name == name);
        it.expect("an entry").client_status()
    }
}

/// The name is the first field of all but load assignments, whose is of the same kind.
fn name_of(any: &Any) -> String {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Named {
        #[prost(string, tag = "1")]
        name: String,
    }
    Named::decode(&*any.value).expect("a name").name
}

fn asked(of: ResourceType, names: &[&str]) -> Asked {
    (
        of,
        names.iter().map(|name| (*name).to_owned()).collect(),
        None,
    )
}

const FAULT: &str = "envoy.extensions.filters.http.fault.v3.HTTPFault";

/// A filter whose configuration is not empty.
fn set(name: &str, kind: &str) -> http::HttpFilter {
    let mut filter = typed(name, kind);
    if let Some(ConfigType::TypedConfig(config)) = &mut filter.config_type {
        let headers = "x".to_owned();
        prost::encoding::string::encode(3, &headers, &mut config.value);
    }
    filter
}

fn configuration(name: &str, hosts: Vec<VirtualHost>) -> RouteConfiguration {
    RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts: hosts,
        ..RouteConfiguration::default()
    }
}

/// As istiod sends them: every virtual host of the port, with and without it.
fn routes(clusters: &[&str]) -> Any {
    let split: Vec<_> = clusters.iter().map(|cluster| (*cluster, 1)).collect();
    let hosts = vec![
        wire::host_message("other", &["other", "other:9080"], &[("elsewhere", 1)]),
        wire::host_message("reviews.default:9080", &["reviews", TARGET], &split),
    ];
    wire::any(RDS, &configuration(ROUTES, hosts))
}

#[test]
fn each_resource_is_asked_for_by_the_name_that_the_one_before_it_gives() {
    for variant in BOTH {
        let mut rig = Rig::new(variant);
        assert_eq!(rig.sent(), [asked(LDS, &[TARGET])], "{variant:?}");
        let sent = rig.deliver(LDS, vec![listener(TARGET, ROUTES)]);
        assert_eq!(sent, [asked(RDS, &[ROUTES]), asked(LDS, &[TARGET])]);
        let sent = rig.deliver(RDS, vec![routes(&["one", "two"])]);
        let clusters = asked(CDS, &["one", "two"]);
        assert_eq!(
            sent,
            [clusters.clone(), asked(RDS, &[ROUTES])],
            "not `elsewhere`"
        );
        let mut one = wire::cluster_message("one", "service of one");
        one.alt_stat_name = "x".to_owned();
        let sent = rig.deliver(CDS, vec![wire::any(CDS, &one), wire::cluster("two")]);
        assert_eq!(sent, [clusters, asked(EDS, &["service of one", "two"])]);
        let endpoints = vec![
            wire::endpoints("service of one", 1),
            wire::endpoints("two", 2),
        ];
        assert_eq!(rig.deliver(EDS, endpoints).len(), 1, "an ACK");
        assert_eq!(rig.ports(), [1, 2]);
        assert_eq!(&**rig.served().host.name(), TARGET);
        assert!(rig.unserved().is_none());
    }
}

#[test]
fn what_is_not_referenced_any_more_is_unsubscribed() {
    for variant in BOTH {
        let mut rig = Rig::configured(variant);
        let sent = rig.deliver(RDS, vec![routes(&["two"])]);
        let both = asked(CDS, &["one", "two"]);
        assert_eq!(sent, [both, asked(RDS, &[ROUTES])], "make before break");
        assert_eq!(rig.ports(), [1]);
        rig.deliver(
            CDS,
            match variant {
                Variant::StateOfTheWorld => wire::clusters(&["one", "two"]),
                Variant::Delta => wire::clusters(&["two"]),
            },
        );
        let sent = rig.deliver(EDS, vec![wire::endpoints("two", 2)]);
        assert_eq!(rig.ports(), [2]);
        assert_eq!(
            sent,
            [asked(CDS, &["two"]), asked(EDS, &["two"])],
            "{variant:?}"
        );
        let sent = rig.deliver(LDS, vec![listener(TARGET, "others")]);
        let others = [asked(RDS, &["others"]), asked(LDS, &[TARGET])];
        assert_eq!(sent, others, "{variant:?}");
        assert_eq!(rig.ports(), [2], "the former routes serve until then");
        rig.after(DOES_NOT_EXIST_AFTER);
        assert!(rig.why().contains("\"others\""), "{}", rig.why());
    }
}

#[test]
fn a_new_stream_asks_for_everything_again_and_what_is_there_serves() {
    for variant in BOTH {
        let mut rig = Rig::configured(variant);
        rig.reconnect();
        let all = [
            asked(CDS, &["one"]),
            asked(EDS, &["one"]),
            asked(RDS, &[ROUTES]),
            asked(LDS, &[TARGET]),
        ];
        assert_eq!(rig.sent(), all, "{variant:?}");
        rig.after(2 * DOES_NOT_EXIST_AFTER);
        assert_eq!(rig.ports(), [1], "what is cached has no clock");
    }
}

#[test]
fn what_is_not_sent_in_15_s_does_not_exist() {
    for variant in BOTH {
        let mut rig = Rig::new(variant);
        rig.after(DOES_NOT_EXIST_AFTER);
        assert!(
            matches!(rig.unserved(), Some(Unserved::Waiting(_))),
            "no clock before the request"
        );
        rig.sent();
        rig.after(DOES_NOT_EXIST_AFTER - Duration::from_millis(1));
        assert!(matches!(rig.unserved(), Some(Unserved::Waiting(_))));
        rig.after(Duration::from_millis(1));
        let why = rig.why();
        let told = "plane did not send listener \"reviews:9080\" to node \"sidecar~127.0.0.1~a.default~default.svc.cluster.local\" in 15 s";
        assert_eq!(why, told, "{variant:?}");
        assert_eq!(rig.status(LDS, TARGET), ClientResourceStatus::DoesNotExist);

        rig.deliver(LDS, vec![listener(TARGET, ROUTES)]);
        assert_eq!(
            rig.unserved(),
            Some(&Unserved::Waiting(
                format!("route configuration {ROUTES:?} (RDS)").into()
            ))
        );
        rig.after(DOES_NOT_EXIST_AFTER);
        assert!(
            rig.why().contains("did not send route configuration"),
            "{variant:?}"
        );

        rig.deliver(RDS, vec![routes(&["one"])]);
        rig.after(DOES_NOT_EXIST_AFTER);
        assert_eq!(rig.ports(), [0_u16; 0], "a cluster that does not exist");
        assert_eq!(rig.status(CDS, "one"), ClientResourceStatus::DoesNotExist);
        rig.deliver(CDS, wire::clusters(&["one"]));
        rig.deliver(EDS, vec![wire::endpoints("one", 1)]);
        assert_eq!(rig.ports(), [1], "what comes later counts");
    }
}

#[test]
fn a_listener_that_is_taken_away_takes_its_target_with_it() {
    for variant in BOTH {
        let mut rig = Rig::configured(variant);
        let sent = rig.take(LDS, &[TARGET]);
        assert!(rig.why().starts_with(
            "no such: listener \"reviews:9080\": the control plane has taken it away"
        ));
        assert_eq!(rig.status(LDS, TARGET), ClientResourceStatus::DoesNotExist);
        assert!(sent.contains(&asked(LDS, &[TARGET])), "it may come back");
        assert!(sent.contains(&asked(RDS, &[])), "{sent:?}");
        rig.deliver(LDS, vec![listener(TARGET, ROUTES)]);
        rig.deliver(RDS, vec![routes(&["one"])]);
        rig.deliver(CDS, wire::clusters(&["one"]));
        rig.deliver(EDS, vec![wire::endpoints("one", 1)]);
        assert_eq!(rig.ports(), [1]);

        let features = Features {
            ignore_resource_deletion: true,
            ..Features::default()
        };
        let mut rig = Rig::of(variant, features);
        rig.configure();
        rig.take(LDS, &[TARGET]);
        rig.take(CDS, &["one"]);
        assert_eq!(rig.ports(), [1], "gRPC A53");
    }
}

#[test]
fn a_response_from_before_a_request_takes_nothing_away() {
    let mut rig = Rig::configured(Variant::StateOfTheWorld);
    rig.machine.want(target("ratings:9080"));
    assert_eq!(rig.sent(), [asked(LDS, &["ratings:9080", TARGET])]);
    rig.deliver(LDS, vec![listener(TARGET, ROUTES)]);
    let table = rig
        .snapshot
        .tables
        .get(&TableKey::Port(9080))
        .expect("a table");
    assert!(matches!(
        table.unserved.get("ratings"),
        Some(Unserved::Waiting(_))
    ));
    rig.deliver(RDS, vec![routes(&["one", "two"])]);
    rig.deliver(CDS, wire::clusters(&["one"]));
    rig.after(Duration::from_secs(3));
    assert_eq!(
        rig.ports(),
        [1],
        "the second cluster is waited for, as it was asked for after that"
    );
}

/// Each listener that cannot be used, and what its NACK says.
#[allow(clippy::too_many_lines, reason = "a table")]
fn unusable() -> Vec<(Any, &'static str)> {
    let base = || manager(ROUTES);
    let server = Listener {
        name: TARGET.to_owned(),
        ..Listener::default()
    };
    let filters = |http_filters: Vec<http::HttpFilter>| {
        listener_of(
            TARGET,
            &http::HttpConnectionManager {
                http_filters,
                ..base()
            },
        )
    };
    let specifier = |route_specifier: Option<RouteSpecifier>| {
        listener_of(
            TARGET,
            &http::HttpConnectionManager {
                route_specifier,
                ..base()
            },
        )
    };
    let rds = |config_source, name: &str| {
        let route_config_name = name.to_owned();
        specifier(Some(RouteSpecifier::Rds(http::Rds {
            config_source,
            route_config_name,
        })))
    };
    let bad = configuration("", vec![wire::host_message("x", &[], &[("one", 1)])]);
    let trusting = http::HttpConnectionManager {
        xff_num_trusted_hops: 1,
        ..base()
    };
    let unknown = typed("tap", "envoy.extensions.filters.http.tap.v3.Tap");
    vec![
        (
            wire::any(LDS, &server),
            "api_listener.api_listener: is missing",
        ),
        (
            filters(vec![]),
            "http_filters: is empty; the router is missing",
        ),
        (
            filters(vec![unknown, router()]),
            "http_filters[0].typed_config: \"tap\" is of type",
        ),
        (
            filters(vec![typed(
                "fault",
                "envoy.extensions.filters.http.fault.v3.HTTPFault",
            )]),
            "http_filters[0]: is \"envoy.extensions.filters.http.fault.v3.HTTPFault\"; the last filter must be the router",
        ),
        (
            filters(vec![
                router(),
                typed("b", "envoy.extensions.filters.http.router.v3.Router"),
            ]),
            "http_filters[0]: is the router, which must be the last",
        ),
        (
            filters(vec![
                typed("router", "envoy.extensions.filters.http.fault.v3.HTTPFault"),
                router(),
            ]),
            "http_filters[1].name: \"router\" is there twice",
        ),
        (specifier(None), "route_specifier: is missing"),
        (
            specifier(Some(RouteSpecifier::ScopedRoutes(
                http::ScopedRoutes::default(),
            ))),
            "scoped_routes: is not served",
        ),
        (
            rds(None, ROUTES),
            "rds.config_source: is neither ads nor self",
        ),
        (rds(ads(), ""), "rds.route_config_name: is empty"),
        (
            specifier(Some(RouteSpecifier::RouteConfig(bad))),
            "route_config.virtual_hosts[0].domains: is empty",
        ),
        (
            listener_of(TARGET, &trusting),
            "xff_num_trusted_hops: is not 0",
        ),
    ]
}

#[test]
fn a_listener_that_cannot_be_used_is_refused_with_its_place() {
    for variant in BOTH {
        for (bad, told) in unusable() {
            let mut rig = Rig::new(variant);
            rig.sent();
            let sent = rig.deliver(LDS, vec![bad.clone()]);
            let [(LDS, names, Some(error))] = &sent[..] else {
                panic!("{variant:?}: {told}: {sent:?}")
            };
            assert_eq!(names, &[TARGET]);
            let start = "listener \"reviews:9080\" of version \"1\" rejected: ";
            assert!(error.starts_with(start) && error.contains(told), "{error}");
            assert_eq!(&rig.why(), error, "calls are told the same");
            assert_eq!(rig.status(LDS, TARGET), ClientResourceStatus::Nacked);

            let mut rig = Rig::configured(variant);
            rig.deliver(LDS, vec![bad]);
            assert_eq!(rig.ports(), [1], "the last good one stays");
        }
    }
}

/// A message with a field of a newer protocol.
fn newer(message: &impl Message) -> Vec<u8> {
    const NUMBER: u32 = 5000;
    let mut bytes = message.encode_to_vec();
    prost::encoding::uint32::encode(NUMBER, &1, &mut bytes);
    bytes
}

#[test]
fn what_listeners_ask_for_in_vain_is_counted_and_told() {
    const UNKNOWN: &str = "fields that this version does not know have no effect";
    for variant in BOTH {
        let mut rig = Rig::configured(variant);
        assert_eq!(rig.machine.status().ignored.join("\n"), "");
        rig.machine.want(target("ratings:9080"));
        rig.sent();
        let mut with = http::HttpConnectionManager {
            stream_idle_timeout: Some(PbDuration::default()),
            ..manager(ROUTES)
        };
        with.http_filters.insert(0, set("fault", FAULT));
        with.common_http_protocol_options = Some(HttpProtocolOptions {
            idle_timeout: Some(PbDuration::default()),
            ..HttpProtocolOptions::default()
        });
        let plain = listener_of("ratings:9080", &with);
        let both = vec![
            listener_of(TARGET, &with),
            Any {
                value: newer(&Listener::decode(&*plain.value).expect("a listener")),
                ..plain
            },
        ];
        assert_eq!(rig.deliver(LDS, both)[0].2, None, "an ACK");
        let fault = format!("what HTTP filter \"fault\" ({FAULT:?}) is set to has no effect yet");
        let several = |what| format!("listener \"ratings:9080\" and 1 other listeners: {what}");
        let expected = [
            several("common_http_protocol_options.idle_timeout has no effect yet"),
            format!("listener \"ratings:9080\": {UNKNOWN}"),
            several("stream_idle_timeout has no effect yet"),
            several(&fault),
        ];
        assert_eq!(rig.machine.status().ignored[..], expected.map(Into::into));

        let mut api = Listener::decode(&*listener(TARGET, ROUTES).value).expect("a listener");
        if let Some(api) = api
            .api_listener
            .as_mut()
            .and_then(|it| it.api_listener.as_mut())
        {
            api.value = newer(&manager(ROUTES));
        }
        let mended = listener("ratings:9080", ROUTES);
        rig.deliver(LDS, vec![wire::any(LDS, &api), mended]);
        let expected = format!("listener {TARGET:?}: {UNKNOWN}");
        assert_eq!(rig.machine.status().ignored.join("\n"), expected);
        rig.deliver(
            LDS,
            vec![listener(TARGET, ROUTES), listener("ratings:9080", ROUTES)],
        );
        assert_eq!(
            rig.machine.status().ignored.join("\n"),
            "",
            "they are mended"
        );
    }
}

#[test]
fn an_optional_filter_is_left_out_and_told_and_a_listener_that_nobody_wants_is_not_read() {
    for variant in BOTH {
        let mut rig = Rig::configured(variant);
        let optional = http::HttpFilter {
            is_optional: true,
            ..typed("tap", "envoy.extensions.filters.http.tap.v3.Tap")
        };
        let with = http::HttpConnectionManager {
            http_filters: vec![optional, router()],
            ..manager(ROUTES)
        };
        let foreign = Listener {
            name: "foreign:1".to_owned(),
            ..Listener::default()
        };
        let both = vec![listener_of(TARGET, &with), wire::any(LDS, &foreign)];
        assert_eq!(rig.deliver(LDS, both), [asked(LDS, &[TARGET])], "an ACK");
        let ignored = &rig.machine.status().ignored;
        assert!(
            ignored
                .iter()
                .any(|text| text
                    .contains("listener \"reviews:9080\": the optional HTTP filter \"tap\"")),
            "{ignored:?}"
        );
    }
}

#[test]
fn the_virtual_host_is_that_of_the_whole_target_and_else_of_its_host() {
    type Case<'a> = (&'a [&'a [&'a str]], bool, Option<&'a str>);
    let cases: [Case<'_>; 6] = [
        (&[&["reviews"], &[TARGET]], false, Some("h1")),
        (&[&["reviews"], &["other"]], false, Some("h0")),
        (&[&["*"], &["reviews:*"]], false, Some("h1")),
        (&[&[TARGET], &["reviews"]], true, Some("h1")),
        (&[&["other"], &["reviews:9081"]], false, None),
        (&[&["*"], &["other"]], false, Some("h0")),
    ];
    for (at, (domains, ignore_port, wanted)) in cases.into_iter().enumerate() {
        let mut rig = Rig::new(Variant::StateOfTheWorld);
        rig.sent();
        rig.deliver(LDS, vec![listener(TARGET, ROUTES)]);
        let hosts = domains.iter().enumerate().map(|(at, domains)| {
            let name = format!("h{at}");
            wire::host_message(&name, domains, &[(&name, 1)])
        });
        let message = RouteConfiguration {
            ignore_port_in_host_matching: ignore_port,
            ..configuration(ROUTES, hosts.collect())
        };
        let sent = rig.deliver(RDS, vec![wire::any(RDS, &message)]);
        let clusters = sent.into_iter().find(|(of, ..)| *of == CDS);
        let clusters = clusters.map(|(_, names, _)| names);
        assert_eq!(
            clusters,
            wanted.map(|name| vec![name.to_owned()]),
            "case {at}"
        );
        if wanted.is_none() {
            assert!(
                rig.why().contains("has no virtual host for it"),
                "case {at}"
            );
        }
    }
}

#[test]
fn inline_routes_need_no_rds() {
    for variant in BOTH {
        let mut rig = Rig::new(variant);
        rig.sent();
        let host = wire::host_message("h", &["*"], &[("one", 1)]);
        let inline = http::HttpConnectionManager {
            route_specifier: Some(RouteSpecifier::RouteConfig(configuration("", vec![host]))),
            ..manager("")
        };
        let sent = rig.deliver(LDS, vec![listener_of(TARGET, &inline)]);
        assert_eq!(sent, [asked(CDS, &["one"]), asked(LDS, &[TARGET])]);
    }
}

#[test]
fn max_stream_duration_is_the_only_limit_of_time() {
    let seconds = |seconds: i64| Some(PbDuration { seconds, nanos: 0 });
    let max = |max: Option<i64>, header: Option<i64>| MaxStreamDuration {
        max_stream_duration: max.and_then(seconds),
        grpc_timeout_header_max: header.and_then(seconds),
        ..MaxStreamDuration::default()
    };
    let cases = [
        (None, None, None),
        (Some(max(Some(3), None)), None, Some(3)),
        (Some(max(Some(3), Some(2))), None, Some(2)),
        (Some(max(Some(3), Some(0))), None, None),
        (None, Some(9), Some(9)),
        (Some(max(Some(3), None)), Some(9), Some(3)),
        (Some(max(Some(0), None)), Some(9), None),
    ];
    for (at, (own, of_listener, wanted)) in cases.into_iter().enumerate() {
        let mut rig = Rig::new(Variant::StateOfTheWorld);
        rig.sent();
        let options = of_listener.map(|limit| HttpProtocolOptions {
            max_stream_duration: seconds(limit),
            ..HttpProtocolOptions::default()
        });
        let with = http::HttpConnectionManager {
            common_http_protocol_options: options,
            ..manager(ROUTES)
        };
        rig.deliver(LDS, vec![listener_of(TARGET, &with)]);
        let mut host = wire::host_message("h", &["*"], &[("one", 1)]);
        let Some(route::Action::Route(action)) = &mut host.routes[0].action else {
            panic!("a route")
        };
        *action = RouteAction {
            timeout: seconds(1),
            max_stream_duration: own,
            ..action.clone()
        };
        rig.deliver(
            RDS,
            vec![wire::any(RDS, &configuration(ROUTES, vec![host]))],
        );
        rig.deliver(CDS, wire::clusters(&["one"]));
        rig.deliver(EDS, vec![wire::endpoints("one", 1)]);
        let limit = wanted.map(Duration::from_secs);
        let expected = Timeouts {
            max_stream: limit.map(|limit| MaxStream {
                max: Some(limit),
                grpc_max: Some(limit),
                grpc_offset: Duration::ZERO,
            }),
            ..Timeouts::default()
        };
        assert_eq!(rig.timeouts(), expected, "case {at}");
    }
}

#[test]
fn made_up_hosts_do_not_pile_up() {
    let mut rig = Rig::configured(Variant::Delta);
    let mut most = 0;
    for at in 0..1100 {
        rig.machine.want(target(&format!("made-up-{at}:9080")));
        rig.sent();
        rig.take(LDS, &[&format!("made-up-{at}:9080")]);
        most = most.max(rig.subscribed[LDS as usize].len());
    }
    assert!(
        (1000..1100).contains(&most),
        "{most} listeners are followed"
    );
    assert_eq!(rig.ports(), [1], "what is there stays");
}

#[test]
fn the_dialects_do_not_ask_for_what_is_not_theirs() {
    let mut rig = Rig::configured(Variant::Delta);
    assert!(!rig.machine.want(TableKey::Port(9080)));
    assert_eq!(rig.sent(), []);
    let mut sidecar = Machine::new(Node::sidecar("a", "default"), "plane");
    assert!(!sidecar.want(target(TARGET)));
    for bad in [
        "reviews", ":80", "*.a:80", "a b:80", "a/b:80", "u@a:80", "a:99999",
    ] {
        assert!(bad.parse::<ListenerName>().is_err(), "{bad}");
    }
}
