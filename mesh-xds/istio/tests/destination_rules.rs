//! `DestinationRule`, each field as the cluster, the endpoints or the route that istiod makes of it.

mod common;

use common::*;
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::common_lb_config::LocalityConfigSpecifier;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, LbConfig, LbPolicy,
};
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::hash_policy::PolicySpecifier;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    UpstreamProtocolOptions, explicit_http_config::ProtocolConfig,
};
use envoy_types::pb::google::protobuf::UInt32Value;
use mesh_xds::{Node, NodeLocality, Resources};
use prost::Message;

const WHOLE: &str = "outbound|80||a.default.svc.cluster.local";

/// A service at five places, and a rule for it.
fn with_rule(spec: &str) -> String {
    format!(
        "{}---\n{}",
        service("[ { number: 80, name: http, protocol: HTTP } ]"),
        rule("a", spec)
    )
}

fn service(ports: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{ name: a }}\nspec:\n  \
         hosts: [a.default.svc.cluster.local]\n  location: MESH_INTERNAL\n  resolution: STATIC\n  ports: {ports}\n  endpoints:\n  \
         - {{ address: 10.0.0.1, locality: r1/z1/s1, labels: {{ version: v1, tier: a }} }}\n  \
         - {{ address: 10.0.0.2, locality: r1/z1/s2, labels: {{ version: v2, tier: b }} }}\n  \
         - {{ address: 10.0.0.3, locality: r1/z2, labels: {{ tier: a }} }}\n  \
         - {{ address: 10.0.0.4, locality: r2/z1 }}\n  - {{ address: 10.0.0.5, locality: r3/z1, weight: 3 }}\n"
    )
}

fn rule(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{ name: {name} }}\nspec: {spec}\n"
    )
}

fn policy(policy: &str) -> Cluster {
    cluster(
        &compile(&with_rule(&format!(
            "{{ host: a, trafficPolicy: {policy} }}"
        ))),
        WHOLE,
    )
}

fn number(value: Option<UInt32Value>) -> Option<u32> {
    value.map(|value| value.value)
}

fn options(cluster: &Cluster) -> Option<HttpProtocolOptions> {
    let any = cluster.typed_extension_protocol_options.values().next()?;
    Some(HttpProtocolOptions::decode(any.value.as_slice()).expect("options"))
}

#[test]
fn simple_balancers_and_warm_up() {
    for (simple, wanted) in [
        ("UNSPECIFIED", LbPolicy::LeastRequest),
        ("LEAST_CONN", LbPolicy::LeastRequest),
        ("LEAST_REQUEST", LbPolicy::LeastRequest),
        ("ROUND_ROBIN", LbPolicy::RoundRobin),
        ("RANDOM", LbPolicy::Random),
    ] {
        let cluster = policy(&format!("{{ loadBalancer: {{ simple: {simple} }} }}"));
        assert_eq!(
            (cluster.lb_policy(), cluster.lb_config),
            (wanted, None),
            "{simple}"
        );
    }
    let warm = policy(
        "{ loadBalancer: { simple: ROUND_ROBIN, warmup: { duration: 30s, minimumPercent: 25, aggression: 1.5 } } }",
    );
    let Some(LbConfig::RoundRobinLbConfig(config)) = warm.lb_config else {
        panic!("{:?}", warm.lb_config)
    };
    let slow = config.slow_start_config.expect("slow start");
    assert_eq!(slow.slow_start_window.map(|d| d.seconds), Some(30));
    assert_eq!(slow.aggression.map(|a| a.default_value), Some(1.5));
    assert_eq!(slow.min_weight_percent.map(|p| p.value), Some(25.0));
    let older = policy("{ loadBalancer: { warmupDurationSecs: 20s } }");
    let Some(LbConfig::LeastRequestLbConfig(config)) = older.lb_config else {
        panic!("{:?}", older.lb_config)
    };
    let slow = config.slow_start_config.expect("slow start");
    assert_eq!(
        (slow.slow_start_window.map(|d| d.seconds), slow.aggression),
        (Some(20), None)
    );
}

#[test]
fn pass_through_dials_what_the_caller_asked_for() {
    let resources = compile(&with_rule(
        "{ host: a, trafficPolicy: { loadBalancer: { simple: PASSTHROUGH } } }",
    ));
    let cluster = cluster(&resources, WHOLE);
    let dialled = ClusterDiscoveryType::Type(DiscoveryType::OriginalDst.into());
    assert_eq!(cluster.cluster_discovery_type, Some(dialled));
    assert_eq!(cluster.lb_policy(), LbPolicy::ClusterProvided);
    assert!(cluster.eds_cluster_config.is_none() && !resources.endpoints.contains_key(WHOLE));
}

#[test]
fn hash_tables() {
    let ring = |hash: &str| {
        let cluster = policy(&format!("{{ loadBalancer: {{ consistentHash: {hash} }} }}"));
        assert_eq!(cluster.lb_policy(), LbPolicy::RingHash);
        match cluster.lb_config {
            Some(LbConfig::RingHashLbConfig(config)) => config.minimum_ring_size.map(|n| n.value),
            _ => None,
        }
    };
    assert_eq!(ring("{ httpHeaderName: x }"), Some(1024));
    assert_eq!(ring("{ httpHeaderName: x, minimumRingSize: 64 }"), Some(64));
    assert_eq!(
        ring("{ httpHeaderName: x, ringHash: { minimumRingSize: 128 } }"),
        Some(128)
    );
    assert_eq!(ring("{ httpHeaderName: x, ringHash: {} }"), None);
    let maglev = policy(
        "{ loadBalancer: { consistentHash: { useSourceIp: true, maglev: { tableSize: 1009 } } } }",
    );
    assert_eq!(maglev.lb_policy(), LbPolicy::Maglev);
    let Some(LbConfig::MaglevLbConfig(config)) = maglev.lb_config else {
        panic!("{:?}", maglev.lb_config)
    };
    assert_eq!(config.table_size.map(|n| n.value), Some(1009));
}

/// The hash policies of the first route of a table.
fn hashes(resources: &Resources) -> (Vec<PolicySpecifier>, bool) {
    let table = routes(resources, "80");
    let route = &host_routes(&table, "a.default.svc.cluster.local:80")[0];
    let Some(Action::Route(action)) = &route.action else {
        panic!("{route:?}")
    };
    let policies = action.hash_policy.iter().cloned();
    let retry = action.retry_policy.as_ref().expect("retries");
    (
        policies.filter_map(|p| p.policy_specifier).collect(),
        retry.retry_host_predicate.is_empty(),
    )
}

#[test]
fn hash_keys_stand_in_routes() {
    let of = |hash: &str| {
        let rule = format!(
            "{{ host: a, trafficPolicy: {{ loadBalancer: {{ consistentHash: {hash} }} }} }}"
        );
        hashes(&compile(&with_rule(&rule)))
            .0
            .pop()
            .expect("a policy")
    };
    assert!(
        matches!(of("{ httpHeaderName: x-user }"), PolicySpecifier::Header(h) if h.header_name == "x-user")
    );
    assert!(
        matches!(of("{ httpQueryParameterName: q }"), PolicySpecifier::QueryParameter(q) if q.name == "q")
    );
    assert!(
        matches!(of("{ useSourceIp: true }"), PolicySpecifier::ConnectionProperties(c) if c.source_ip)
    );
    let cookie = of(
        "{ httpCookie: { name: c, path: /p, ttl: 0s, attributes: [ { name: SameSite, value: Lax } ] } }",
    );
    let PolicySpecifier::Cookie(cookie) = cookie else {
        panic!("{cookie:?}")
    };
    assert_eq!(
        (&*cookie.name, &*cookie.path, cookie.ttl.map(|t| t.seconds)),
        ("c", "/p", Some(0))
    );
    assert_eq!(
        (&*cookie.attributes[0].name, &*cookie.attributes[0].value),
        ("SameSite", "Lax")
    );
    let none = hashes(&compile(&with_rule("{ host: a }"))).0;
    assert!(none.is_empty());
}

#[test]
fn hashes_of_destinations_come_from_the_subset_before_the_rule() {
    let hash = |name: &str| {
        format!("{{ loadBalancer: {{ consistentHash: {{ httpHeaderName: {name} }} }} }}")
    };
    let rule = format!(
        "{{ host: a, trafficPolicy: {}, subsets: [ {{ name: v1, labels: {{ version: v1 }}, trafficPolicy: {} }}, {{ name: v2, labels: {{ version: v2 }} }} ] }}",
        hash("of-rule"),
        hash("of-subset")
    );
    let to = |route: &str| {
        let service = format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{ name: a }}\nspec: {{ hosts: [a], http: [ {{ route: {route} }} ] }}\n"
        );
        let (found, no_predicate) =
            hashes(&compile(&format!("{}---\n{service}", with_rule(&rule))));
        let names = found.into_iter().map(|policy| match policy {
            PolicySpecifier::Header(header) => header.header_name,
            other => panic!("{other:?}"),
        });
        (names.collect::<Vec<_>>(), no_predicate)
    };
    assert_eq!(
        to("[ { destination: { host: a, subset: v1 } } ]"),
        (vec!["of-subset".to_owned()], true)
    );
    assert_eq!(
        to("[ { destination: { host: a, subset: v2 } } ]"),
        (vec!["of-rule".to_owned()], true)
    );
    let both = to(
        "[ { destination: { host: a, subset: v1 }, weight: 1 }, { destination: { host: a }, weight: 1 } ]",
    );
    assert_eq!(
        both,
        (vec!["of-subset".to_owned(), "of-rule".to_owned()], false)
    );
}

#[test]
fn connection_pools() {
    let cluster = policy(
        "{ connectionPool: { tcp: { maxConnections: 1, connectTimeout: 30ms, maxConnectionDuration: 5s, idleTimeout: 6s, \
         tcpKeepalive: { probes: 7, time: 8s, interval: 9s } }, http: { http1MaxPendingRequests: 2, http2MaxRequests: 3, \
         maxRequestsPerConnection: 4, maxRetries: 5, idleTimeout: 10s } }, retryBudget: { percent: 12.5 } }",
    );
    let limits = &cluster
        .circuit_breakers
        .as_ref()
        .expect("breakers")
        .thresholds[0];
    assert_eq!(number(limits.max_connections), Some(1));
    assert_eq!(number(limits.max_pending_requests), Some(2));
    assert_eq!(number(limits.max_requests), Some(3));
    assert_eq!(number(limits.max_retries), Some(5));
    let budget = limits.retry_budget.as_ref().expect("a budget");
    assert_eq!(budget.budget_percent.map(|p| p.value), Some(12.5));
    assert_eq!(number(budget.min_retry_concurrency), Some(3));
    assert_eq!(cluster.connect_timeout.map(|d| d.nanos), Some(30_000_000));
    let keepalive = cluster
        .upstream_connection_options
        .as_ref()
        .and_then(|o| o.tcp_keepalive);
    let keepalive = keepalive.expect("keepalive");
    let told = [
        keepalive.keepalive_probes,
        keepalive.keepalive_time,
        keepalive.keepalive_interval,
    ];
    assert_eq!(told.map(number), [Some(7), Some(8), Some(9)]);
    let common = options(&cluster)
        .and_then(|o| o.common_http_protocol_options)
        .expect("options");
    assert_eq!(common.idle_timeout.map(|d| d.seconds), Some(10));
    assert_eq!(common.max_connection_duration.map(|d| d.seconds), Some(5));
    assert_eq!(number(common.max_requests_per_connection), Some(4));
    let plain = policy("{ connectionPool: { tcp: { idleTimeout: 6s } } }");
    let common = options(&plain)
        .and_then(|o| o.common_http_protocol_options)
        .expect("options");
    assert_eq!(common.idle_timeout.map(|d| d.seconds), Some(6));
    // Zero is no limit, and nothing said is nothing sent.
    let none = policy("{ connectionPool: { http: { http2MaxRequests: 0 } } }");
    let limits = &none.circuit_breakers.as_ref().expect("breakers").thresholds[0];
    assert_eq!(
        (number(limits.max_requests), options(&none)),
        (Some(u32::MAX), None)
    );
}

#[test]
fn protocols_of_connections() {
    let of = |http: &str| {
        let cluster = policy(&format!("{{ connectionPool: {{ http: {http} }} }}"));
        options(&cluster).and_then(|options| options.upstream_protocol_options)
    };
    let upgraded = of("{ h2UpgradePolicy: UPGRADE, maxConcurrentStreams: 17 }");
    let Some(UpstreamProtocolOptions::ExplicitHttpConfig(config)) = upgraded else {
        panic!("{upgraded:?}")
    };
    let Some(ProtocolConfig::Http2ProtocolOptions(http2)) = config.protocol_config else {
        panic!("{config:?}")
    };
    assert_eq!(number(http2.max_concurrent_streams), Some(17));
    assert_eq!(of("{ h2UpgradePolicy: DO_NOT_UPGRADE }"), None);
    let as_client = of("{ useClientProtocol: true }");
    assert!(matches!(
        as_client,
        Some(UpstreamProtocolOptions::UseDownstreamProtocolConfig(_))
    ));
}

#[test]
fn outlier_detection_in_istiods_numbers() {
    let cluster = policy(
        "{ outlierDetection: { consecutive5xxErrors: 7, consecutiveGatewayErrors: 0, interval: 1s, baseEjectionTime: 2m, \
         maxEjectionPercent: 50, minHealthPercent: 40, splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 3 } }",
    );
    let out = cluster.outlier_detection.expect("detection");
    assert_eq!(
        (
            number(out.consecutive_5xx),
            number(out.enforcing_consecutive_5xx)
        ),
        (Some(7), Some(100))
    );
    let gateway = (
        out.consecutive_gateway_failure,
        out.enforcing_consecutive_gateway_failure,
    );
    assert_eq!((number(gateway.0), number(gateway.1)), (Some(0), Some(0)));
    assert_eq!(number(out.enforcing_success_rate), Some(0));
    assert_eq!(
        (
            out.interval.map(|d| d.seconds),
            out.base_ejection_time.map(|d| d.seconds)
        ),
        (Some(1), Some(120))
    );
    assert_eq!(number(out.max_ejection_percent), Some(50));
    assert!(out.split_external_local_origin_errors);
    let local = (
        out.consecutive_local_origin_failure,
        out.enforcing_consecutive_local_origin_failure,
    );
    assert_eq!((number(local.0), number(local.1)), (Some(3), Some(100)));
    assert_eq!(number(out.enforcing_local_origin_success_rate), Some(0));
    let panic = |cluster: &Cluster| {
        let common = cluster.common_lb_config.clone().expect("common");
        common.healthy_panic_threshold.map(|p| p.value)
    };
    assert_eq!(
        cluster
            .common_lb_config
            .and_then(|c| c.healthy_panic_threshold)
            .map(|p| p.value),
        Some(40.0)
    );
    // An empty block turns ejection on and panic off.
    let empty = policy("{ outlierDetection: {} }");
    assert_eq!(panic(&empty), Some(0.0));
    let out = empty.outlier_detection.expect("detection");
    assert_eq!(
        (
            out.consecutive_5xx,
            out.enforcing_consecutive_gateway_failure,
            out.max_ejection_percent
        ),
        (None, None, None)
    );
    let absent = policy("{ loadBalancer: { simple: RANDOM } }");
    assert_eq!((panic(&absent), absent.outlier_detection), (None, None));
}

/// A port's entry takes the place of all blocks, a subset's blocks only of those that it has.
#[test]
fn blocks_of_ports_subsets_and_rules() {
    let ports = "[ { number: 80, name: http, protocol: HTTP }, { number: 81, name: other, protocol: HTTP } ]";
    let spec = "{ host: a, trafficPolicy: { outlierDetection: {}, connectionPool: { http: { maxRetries: 9 } }, retryBudget: {}, \
                portLevelSettings: [ { port: { number: 81 }, connectionPool: { http: { maxRetries: 8 } } } ] }, \
                subsets: [ { name: s, labels: {}, trafficPolicy: { connectionPool: { http: { maxRetries: 7 } }, \
                portLevelSettings: [ { port: { number: 81 }, loadBalancer: { simple: RANDOM } } ] } } ] }";
    let resources = compile(&format!("{}---\n{}", service(ports), rule("a", spec)));
    let told = |name: &str| {
        let cluster = cluster(&resources, name);
        let limits = cluster
            .circuit_breakers
            .as_ref()
            .expect("breakers")
            .thresholds[0];
        let retries = number(limits.max_retries).filter(|n| *n < u32::MAX);
        (
            cluster.outlier_detection.is_some(),
            retries,
            limits.retry_budget.is_some(),
            cluster.lb_policy(),
        )
    };
    let host = "a.default.svc.cluster.local";
    let least = LbPolicy::LeastRequest;
    assert_eq!(
        told(&format!("outbound|80||{host}")),
        (true, Some(9), true, least)
    );
    assert_eq!(
        told(&format!("outbound|81||{host}")),
        (false, Some(8), false, least)
    );
    assert_eq!(
        told(&format!("outbound|80|s|{host}")),
        (true, Some(7), true, least)
    );
    assert_eq!(
        told(&format!("outbound|81|s|{host}")),
        (false, None, false, LbPolicy::Random)
    );
}

/// Places with their weight, priority and number of endpoints, as a node at `r1/z1/s1` gets them.
fn places(text: &str) -> Vec<(String, u32, u32, usize)> {
    let node = Node {
        locality: NodeLocality {
            region: "r1".to_owned(),
            zone: "z1".to_owned(),
            sub_zone: "s1".to_owned(),
        },
        ..client().with_labels([("tier", "a"), ("version", "v2")])
    };
    let resources = load(text).config.resources(&node);
    let groups = assignment(&resources, WHOLE).endpoints.into_iter();
    let told = groups.map(|group| {
        let place = group.locality.expect("a place");
        let place = [place.region, place.zone, place.sub_zone].join("/");
        let weight = group.load_balancing_weight.map_or(0, |w| w.value);
        (place, weight, group.priority, group.lb_endpoints.len())
    });
    told.collect()
}

fn expected(list: &[(&str, u32, u32, usize)]) -> Vec<(String, u32, u32, usize)> {
    list.iter()
        .map(|(place, w, p, n)| ((*place).to_owned(), *w, *p, *n))
        .collect()
}

#[test]
fn places_are_alike_until_something_is_said_or_ejected() {
    let alike = expected(&[
        ("r1/z1/s1", 1, 0, 1),
        ("r1/z1/s2", 1, 0, 1),
        ("r1/z2/", 1, 0, 1),
        ("r2/z1/", 1, 0, 1),
        ("r3/z1/", 3, 0, 1),
    ]);
    for policy in [
        "{ loadBalancer: { simple: RANDOM } }",
        // Nothing fails over where nothing is ejected.
        "{ loadBalancer: { localityLbSetting: { failover: [ { from: r1, to: r3 } ] } } }",
        "{ outlierDetection: {}, loadBalancer: { localityLbSetting: { enabled: false } } }",
    ] {
        assert_eq!(
            places(&with_rule(&format!(
                "{{ host: a, trafficPolicy: {policy} }}"
            ))),
            alike,
            "{policy}"
        );
    }
    let near_first = expected(&[
        ("r1/z1/s1", 1, 0, 1),
        ("r1/z1/s2", 1, 1, 1),
        ("r1/z2/", 1, 2, 1),
        ("r2/z1/", 1, 3, 1),
        ("r3/z1/", 3, 3, 1),
    ]);
    let ejecting = with_rule("{ host: a, trafficPolicy: { outlierDetection: {} } }");
    assert_eq!(places(&ejecting), near_first);
    // The mesh can turn it off.
    let off = "---\napiVersion: mesh.istio.io/v1alpha1\nkind: MeshConfig\nmetadata: { name: m }\nspec: { localityLbSetting: { enabled: false } }\n";
    assert_eq!(places(&format!("{ejecting}{off}")), alike);
}

#[test]
fn failover_to_a_region_and_by_labels() {
    let weighted = |text: &str| {
        let common = cluster(&compile(text), WHOLE)
            .common_lb_config
            .expect("common");
        matches!(
            common.locality_config_specifier,
            Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_))
        )
    };
    let to_r3 = with_rule(
        "{ host: a, trafficPolicy: { outlierDetection: {}, loadBalancer: { localityLbSetting: { failover: [ { from: r1, to: r3 } ] } } } }",
    );
    let wanted = [
        ("r1/z1/s1", 1, 0, 1),
        ("r1/z1/s2", 1, 1, 1),
        ("r1/z2/", 1, 2, 1),
        ("r2/z1/", 1, 4, 1),
        ("r3/z1/", 3, 3, 1),
    ];
    assert_eq!(places(&to_r3), expected(&wanted));
    assert!(weighted(&to_r3));
    let labels = with_rule(
        "{ host: a, trafficPolicy: { outlierDetection: {}, loadBalancer: { localityLbSetting: { failoverPriority: [ tier, version=v1 ] } } } }",
    );
    let wanted = [
        ("r1/z1/s1", 1, 0, 1),
        ("r1/z1/s2", 1, 2, 1),
        ("r1/z2/", 1, 1, 1),
        ("r2/z1/", 1, 2, 1),
        ("r3/z1/", 3, 2, 1),
    ];
    assert_eq!(places(&labels), expected(&wanted));
    assert!(!weighted(&with_rule(
        "{ host: a, trafficPolicy: { outlierDetection: {} } }"
    )));
}

#[test]
fn shares_of_places() {
    let text = with_rule(
        "{ host: a, trafficPolicy: { loadBalancer: { localityLbSetting: { distribute: [ { from: r9, to: { r9: 100 } }, \
         { from: r1/z1/*, to: { r1/z1/s1: 70, 'r1/z2/*': 20, r3: 10 } } ] } } } }",
    );
    let wanted = [
        ("r1/z1/s1", 70, 0, 1),
        ("r1/z1/s2", 1, 0, 0),
        ("r1/z2/", 20, 0, 1),
        ("r2/z1/", 1, 0, 0),
        ("r3/z1/", 10, 0, 1),
    ];
    assert_eq!(places(&text), expected(&wanted));
}

/// `localityLbSetting` of the `MeshConfig`; what a rule says takes its place as a whole.
#[test]
fn shares_of_places_by_the_mesh() {
    const SHARES: &str = "distribute: [ { from: r1/*, to: { r1/z1/s1: 80, r2: 20 } } ]";
    let of = |rule: &str, setting: &str| {
        let mesh = format!(
            "---\napiVersion: mesh.istio.io/v1alpha1\nkind: MeshConfig\nmetadata: {{ name: mesh }}\nspec: {{ localityLbSetting: {{ {setting} }} }}\n"
        );
        places(&(with_rule(rule) + &mesh))
    };
    let alike = places(&with_rule("{ host: a }"));
    let shared = expected(&[
        ("r1/z1/s1", 80, 0, 1),
        ("r1/z1/s2", 1, 0, 0),
        ("r1/z2/", 1, 0, 0),
        ("r2/z1/", 20, 0, 1),
        ("r3/z1/", 3, 0, 0),
    ]);
    assert_eq!(of("{ host: a }", SHARES), shared);
    assert_eq!(of("{ host: a }", &SHARES.replace("r1/*", "r9")), alike);
    assert_eq!(
        of("{ host: a }", &format!("enabled: false, {SHARES}")),
        alike
    );
    let own = |setting: &str| {
        format!(
            "{{ host: a, trafficPolicy: {{ loadBalancer: {{ localityLbSetting: {setting} }} }} }}"
        )
    };
    assert_eq!(of(&own("{ enabled: false }"), SHARES), alike);
    let to_r3 = of(
        &own("{ distribute: [ { from: '*', to: { r3: 100 } } ] }"),
        SHARES,
    );
    let called: Vec<_> = to_r3.iter().filter(|place| place.3 > 0).collect();
    assert_eq!(called, [&("r3/z1/".to_owned(), 100, 0, 1)]);
}

#[test]
fn several_rules_for_one_host() {
    let first = rule(
        "a1",
        "{ host: a, subsets: [ { name: v1, labels: { version: v1 } } ] }",
    );
    let second = rule(
        "a2",
        "{ host: a.default.svc.cluster.local, trafficPolicy: { loadBalancer: { simple: RANDOM } }, subsets: [ { name: v1, labels: {} }, { name: v2, labels: { version: v2 } } ] }",
    );
    let third = rule(
        "a3",
        "{ host: a, trafficPolicy: { loadBalancer: { simple: ROUND_ROBIN } } }",
    );
    let resources = compile(&format!(
        "{}---\n{first}---\n{second}---\n{third}",
        with_rule("{ host: b }")
    ));
    let host = "a.default.svc.cluster.local";
    assert_eq!(cluster(&resources, WHOLE).lb_policy(), LbPolicy::Random);
    assert_eq!(
        addresses(&resources, &format!("outbound|80|v1|{host}")),
        ["10.0.0.1:80"]
    );
    assert_eq!(
        addresses(&resources, &format!("outbound|80|v2|{host}")),
        ["10.0.0.2:80"]
    );
}

#[test]
fn rules_for_some_clients_and_namespaces() {
    let own = rule(
        "own",
        "{ host: a, workloadSelector: { matchLabels: { app: productpage } }, trafficPolicy: { loadBalancer: { simple: RANDOM } } }",
    );
    let config = load(&format!(
        "{}---\n{own}",
        with_rule(
            "{ host: a, exportTo: ['.'], trafficPolicy: { loadBalancer: { simple: ROUND_ROBIN } } }"
        )
    ))
    .config;
    let of = |node: &Node| cluster(&config.resources(node), WHOLE).lb_policy();
    assert_eq!(of(&client()), LbPolicy::Random);
    assert_eq!(of(&Node::sidecar("other", "default")), LbPolicy::RoundRobin);
    assert_eq!(
        of(&Node::sidecar("productpage", "elsewhere")),
        LbPolicy::LeastRequest
    );
}

#[test]
fn what_is_wrong_is_told_at_once() {
    let text = with_rule(
        "{ host: a, trafficPolicy: { loadBalancer: { simple: RANDOM, consistentHash: { maglev: { tableSize: 10 } }, warmup: { minimumPercent: 101 }, \
         localityLbSetting: { distribute: [ { from: r1, to: { r1: 60 } } ], failover: [ { from: r1, to: r1 } ] } }, \
         connectionPool: { tcp: { connectTimeout: 1us, maxConnections: -1 }, http: { useClientProtocol: true, h2UpgradePolicy: UPGRADE } }, \
         outlierDetection: { maxEjectionPercent: 101, consecutiveLocalOriginFailures: 1 }, retryBudget: { percent: 200 } } }",
    );
    let told = reject(&text).to_string();
    for wanted in [
        "loadBalancer may have simple or consistentHash, not both",
        "maglev.tableSize must be a prime, not 10",
        "warmup.duration is missing",
        "warmup.minimumPercent must be a number from 0 to 100",
        "the weights must be 100 in sum, not 60",
        "may have distribute or failover, not both",
        "from and to must be different regions",
        "connectionPool.tcp.connectTimeout must be 1ms or more",
        "maxConnections must be a number from 0",
        "may have useClientProtocol or h2UpgradePolicy UPGRADE, not both",
        "outlierDetection.maxEjectionPercent must be a number from 0 to 100",
        "counts only with splitExternalLocalOriginErrors: true",
        "retryBudget.percent must be a number from 0 to 100",
    ] {
        assert!(told.contains(wanted), "{wanted}\n{told}");
    }
}

/// The dialect of gRPC has the hash and the limit of requests, and nothing of the rest.
#[test]
fn what_the_grpc_dialect_has_of_it() {
    use envoy_types::pb::google::protobuf::{Value, value::Kind};
    let mut node = client();
    let grpc = Value {
        kind: Some(Kind::StringValue("grpc".to_owned())),
    };
    node.metadata.insert("GENERATOR".to_owned(), grpc);
    let rule = "{ host: a, trafficPolicy: { outlierDetection: {}, loadBalancer: { consistentHash: { httpHeaderName: x } }, \
                connectionPool: { http: { http2MaxRequests: 3, maxRetries: 4 } } } }";
    let cluster = cluster(&load(&with_rule(rule)).config.resources(&node), WHOLE);
    assert_eq!(
        (cluster.lb_policy(), cluster.outlier_detection),
        (LbPolicy::RingHash, None)
    );
    let limits = &cluster.circuit_breakers.expect("breakers").thresholds[0];
    assert_eq!(
        (number(limits.max_requests), limits.max_retries),
        (Some(3), None)
    );
}
