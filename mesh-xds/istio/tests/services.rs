//! ServiceEntry, WorkloadEntry and DestinationRule as clusters and endpoints.

mod common;

use common::*;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, DnsLookupFamily, LbPolicy,
};
use envoy_types::pb::envoy::config::core::v3::HealthStatus;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::UpstreamProtocolOptions;
use envoy_types::pb::google::protobuf::value::Kind;
use mesh_xds::Node;
use prost::Message;

#[test]
fn clusters_of_a_service_and_its_subsets() {
    let resources = compile(REVIEWS);
    let names: Vec<&str> = resources.clusters.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "BlackHoleCluster",
            "PassthroughCluster",
            "outbound|9080|v1|reviews.default.svc.cluster.local",
            "outbound|9080|v2|reviews.default.svc.cluster.local",
            "outbound|9080|v3|reviews.default.svc.cluster.local",
            "outbound|9080||reviews.default.svc.cluster.local",
        ]
    );
    let whole = cluster(&resources, &format!("outbound|9080||{HOST}"));
    assert_eq!(
        whole.cluster_discovery_type,
        Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into()))
    );
    assert_eq!(whole.lb_policy(), LbPolicy::LeastRequest);
    assert_eq!(whole.connect_timeout.map(|d| d.seconds), Some(10));
    let eds = whole.eds_cluster_config.expect("eds");
    assert_eq!(eds.service_name, whole.name);
    let thresholds = &whole.circuit_breakers.expect("breakers").thresholds[0];
    assert_eq!(thresholds.max_requests.map(|v| v.value), Some(u32::MAX));
    assert!(whole.typed_extension_protocol_options.is_empty());
    assert!(whole.transport_socket.is_none());

    let v2 = cluster(&resources, &format!("outbound|9080|v2|{HOST}"));
    assert_eq!(v2.lb_policy(), LbPolicy::RoundRobin);
    let metadata = v2.metadata.as_ref();
    assert_eq!(istio(metadata, "subset"), "v2");
    assert_eq!(
        istio(metadata, "config"),
        "/apis/networking.istio.io/v1/namespaces/default/destination-rule/reviews"
    );
    let services = &metadata.expect("metadata").filter_metadata["istio"].fields["services"];
    let Some(Kind::ListValue(list)) = &services.kind else {
        panic!("{services:?}")
    };
    let Some(Kind::StructValue(service)) = &list.values[0].kind else {
        panic!("{list:?}")
    };
    assert_eq!(
        service.fields["host"].kind,
        Some(Kind::StringValue(HOST.to_owned()))
    );
    assert_eq!(
        service.fields["namespace"].kind,
        Some(Kind::StringValue("default".to_owned()))
    );
}

#[test]
fn clusters_without_endpoints() {
    let resources = compile(REVIEWS);
    let black_hole = cluster(&resources, "BlackHoleCluster");
    assert_eq!(
        black_hole.cluster_discovery_type,
        Some(ClusterDiscoveryType::Type(DiscoveryType::Static.into()))
    );
    let passthrough = cluster(&resources, "PassthroughCluster");
    assert_eq!(
        passthrough.cluster_discovery_type,
        Some(ClusterDiscoveryType::Type(
            DiscoveryType::OriginalDst.into()
        ))
    );
    assert_eq!(passthrough.lb_policy(), LbPolicy::ClusterProvided);
}

#[test]
fn the_same_text_gives_the_same_bytes() {
    let text = format!("{REVIEWS}---\n{}", REVIEWS.replace("reviews", "ratings"));
    let first = compile(&text);
    for _ in 0..20 {
        assert_eq!(compile(&text), first);
    }
}

#[test]
fn endpoints_by_locality_weight_and_subset() {
    let resources = compile(REVIEWS);
    let whole = assignment(&resources, &format!("outbound|9080||{HOST}"));
    let localities: Vec<_> = whole
        .endpoints
        .iter()
        .map(|l| {
            let place = l.locality.clone().expect("locality");
            let weight = l.load_balancing_weight.map_or(0, |w| w.value);
            (
                format!("{}/{}/{}", place.region, place.zone, place.sub_zone),
                weight,
                l.lb_endpoints.len(),
            )
        })
        .collect();
    assert_eq!(
        localities,
        [
            ("region1/zone1/".to_owned(), 1, 1),
            ("region1/zone2/rack7".to_owned(), 3, 1)
        ]
    );
    let endpoint = &whole.endpoints[0].lb_endpoints[0];
    assert_eq!(endpoint.health_status(), HealthStatus::Unknown);
    assert_eq!(
        istio(endpoint.metadata.as_ref(), "workload"),
        "reviews-v1;default;reviews;v1;Kubernetes"
    );

    // Named port, then the service's number.
    assert_eq!(
        addresses(&resources, &format!("outbound|9080||{HOST}")),
        ["127.0.11.1:19081", "127.0.11.2:9080"]
    );
    assert_eq!(
        addresses(&resources, &format!("outbound|9080|v1|{HOST}")),
        ["127.0.11.1:19081"]
    );
    // A subset without endpoints has an empty assignment, not none.
    assert!(addresses(&resources, &format!("outbound|9080|v3|{HOST}")).is_empty());
}

const INLINE: &str = "\
apiVersion: networking.istio.io/v1beta1
kind: ServiceEntry
metadata: { name: details }
spec:
  hosts: [details.default.svc.cluster.local, details.example.com]
  resolution: STATIC
  ports:
  - { number: 9080, name: http, protocol: HTTP, targetPort: 8080 }
  - { number: 7070, name: grpc, protocol: GRPC }
  - { number: 7071, name: web, protocol: grpc-web }
  - { number: 7072, name: h2, protocol: HTTP2 }
  - { number: 3306, name: db, protocol: MySQL }
  endpoints:
  - { address: 127.0.0.2, labels: { app: details } }
  - { address: '::1', ports: { grpc: 50051 } }
";

#[test]
fn inline_endpoints_and_http2() {
    let resources = compile(INLINE);
    for host in ["details.default.svc.cluster.local", "details.example.com"] {
        assert_eq!(
            addresses(&resources, &format!("outbound|9080||{host}")),
            ["127.0.0.2:8080", "::1:8080"]
        );
        assert_eq!(
            addresses(&resources, &format!("outbound|7070||{host}")),
            ["127.0.0.2:7070", "::1:50051"]
        );
    }
    let whole = assignment(&resources, "outbound|9080||details.example.com");
    // istiod names them by their entry and their place in it.
    let metadata = whole.endpoints[0].lb_endpoints[0].metadata.as_ref();
    assert_eq!(
        istio(metadata, "workload"),
        "details-0;default;details;;Kubernetes"
    );

    for (port, http2) in [
        (9080, false),
        (7070, true),
        (7071, true),
        (7072, true),
        (3306, false),
    ] {
        let cluster = cluster(&resources, &format!("outbound|{port}||details.example.com"));
        let options = cluster
            .typed_extension_protocol_options
            .get("envoy.extensions.upstreams.http.v3.HttpProtocolOptions");
        assert_eq!(options.is_some(), http2, "port {port}");
        if let Some(options) = options {
            let options = HttpProtocolOptions::decode(options.value.as_slice()).expect("options");
            let explicit = options.upstream_protocol_options;
            assert!(matches!(
                explicit,
                Some(UpstreamProtocolOptions::ExplicitHttpConfig(_))
            ));
        }
    }
}

/// A service whose addresses are looked up, with more of its spec.
fn looked_up(hosts: &str, resolution: &str, more: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{ name: dns, namespace: default }}\n\
         spec:\n  hosts: [{hosts}]\n  ports: [ {{ number: 80, name: http, protocol: HTTP }} ]\n  resolution: {resolution}\n{more}"
    )
}

#[test]
fn names_that_callers_look_up() {
    #[allow(deprecated, reason = "it is what istiod sends")]
    let told = |text: &str| {
        let resources = compile(text);
        let name = "outbound|80||dns.example.com";
        assert_eq!(resources.endpoints.get(name), None, "it is in the cluster");
        let cluster = cluster(&resources, name);
        assert_eq!(cluster.dns_refresh_rate.map(|rate| rate.seconds), Some(60));
        assert_eq!(cluster.dns_lookup_family(), DnsLookupFamily::V4Only);
        assert!(cluster.respect_dns_ttl && cluster.eds_cluster_config.is_none());
        let assignment = cluster.load_assignment.expect("endpoints");
        let all = assignment
            .endpoints
            .iter()
            .flat_map(|group| &group.lb_endpoints);
        let at: Vec<String> = all.map(address).collect();
        (cluster.cluster_discovery_type, at)
    };
    let kind = |kind: DiscoveryType| Some(ClusterDiscoveryType::Type(kind.into()));
    let itself = told(&looked_up("dns.example.com", "DNS", ""));
    let expected = vec!["dns.example.com:80".to_owned()];
    assert_eq!(itself, (kind(DiscoveryType::StrictDns), expected.clone()));
    let itself = told(&looked_up("dns.example.com", "DNS_ROUND_ROBIN", ""));
    assert_eq!(itself, (kind(DiscoveryType::LogicalDns), expected));
    let listed = "  endpoints: [ { address: a.example.com, ports: { http: 8080 } }, { address: 10.0.0.1 } ]\n";
    let listed = told(&looked_up("dns.example.com", "DNS", listed));
    let expected = vec!["a.example.com:8080".to_owned(), "10.0.0.1:80".to_owned()];
    assert_eq!(listed, (kind(DiscoveryType::StrictDns), expected));

    for (text, reason) in [
        (
            looked_up("'*.example.com'", "DNS", ""),
            "cannot be looked up",
        ),
        (
            looked_up("a", "DNS", "  endpoints: [ { address: 'a b' } ]\n"),
            "spec.endpoints[0].address",
        ),
        (
            looked_up(
                "a",
                "STATIC",
                "  endpoints: [ { address: a.example.com } ]\n",
            ),
            "must be an IP address",
        ),
        (
            looked_up(
                "a",
                "DNS_ROUND_ROBIN",
                "  endpoints: [ { address: a.example.com }, { address: b.example.com } ]\n",
            ),
            "takes one at most",
        ),
    ] {
        let rejected = reject(&text).to_string();
        assert!(rejected.contains(reason), "{reason}: {rejected}");
    }
}

#[test]
fn visibility_by_export_to() {
    let private = INLINE.replace("spec:\n", "spec:\n  exportTo: ['.']\n");
    let config = load(&private).config;
    let count = |namespace: &str| {
        config
            .resources(&Node::sidecar("x", namespace))
            .clusters
            .len()
    };
    assert_eq!(count("default"), 12);
    assert_eq!(count("other"), 2);
}

#[test]
fn workloads_of_another_namespace_are_not_selected() {
    let moved = REVIEWS.replace(
        "name: reviews-v1, namespace: default",
        "name: reviews-v1, namespace: other",
    );
    assert_eq!(
        addresses(&compile(&moved), &format!("outbound|9080||{HOST}")),
        ["127.0.11.2:9080"]
    );
}

#[test]
fn balancers_of_ports_subsets_and_rules() {
    let rule = "\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: details }
spec:
  host: '*.example.com'
  trafficPolicy:
    loadBalancer: { simple: RANDOM }
    portLevelSettings:
    - { port: { number: 7070 }, loadBalancer: { simple: ROUND_ROBIN } }
    - { port: { number: 7071 }, tls: { mode: DISABLE } }
  subsets:
  - { name: v1, labels: {} }
  - name: v2
    labels: {}
    trafficPolicy: { loadBalancer: { simple: UNSPECIFIED } }
";
    let resources = compile(&format!("{INLINE}---\n{rule}"));
    let policy = |name: &str| cluster(&resources, name).lb_policy();
    assert_eq!(
        policy("outbound|9080||details.example.com"),
        LbPolicy::Random
    );
    assert_eq!(
        policy("outbound|7070||details.example.com"),
        LbPolicy::RoundRobin
    );
    // A port's entry that says nothing of balancing has the default, not the rule's.
    assert_eq!(
        policy("outbound|7071||details.example.com"),
        LbPolicy::LeastRequest
    );
    assert_eq!(
        policy("outbound|9080|v1|details.example.com"),
        LbPolicy::Random
    );
    assert_eq!(
        policy("outbound|9080|v2|details.example.com"),
        LbPolicy::LeastRequest
    );
    // The wildcard does not cover the other host.
    assert_eq!(
        policy("outbound|9080||details.default.svc.cluster.local"),
        LbPolicy::LeastRequest
    );
    assert!(
        !resources
            .clusters
            .contains_key("outbound|9080|v1|details.default.svc.cluster.local")
    );
}

#[test]
fn objects_are_listed_with_their_text() {
    let loaded = load(REVIEWS);
    let objects: Vec<_> = loaded.config.objects().collect();
    let ids: Vec<String> = objects.iter().map(|o| o.id()).collect();
    assert_eq!(
        ids,
        [
            "ServiceEntry default/reviews",
            "WorkloadEntry default/reviews-v1",
            "WorkloadEntry default/reviews-v2",
            "DestinationRule default/reviews"
        ]
    );
    assert_eq!(objects[1].line, 12);
    assert!(
        objects[1].yaml.starts_with("apiVersion"),
        "{}",
        objects[1].yaml
    );
    assert!(objects[1].yaml.contains("127.0.11.1") && !objects[1].yaml.contains("---"));
}

/// Two entries of one host and namespace with other ways to find addresses: names do not become endpoints of a
/// cluster that takes addresses, and LOGICAL_DNS has one name. Either would cost the service all endpoints.
#[test]
fn entries_of_one_host_that_find_addresses_in_another_way_are_not_mixed() {
    let fixed = looked_up(
        "a.example.com",
        "STATIC",
        "  endpoints: [ { address: 10.0.0.1 } ]\n",
    );
    let fixed = fixed.replace("name: dns,", "name: a-fixed,");
    let named = looked_up("a.example.com", "DNS", "");
    let resources = compile(&format!("{fixed}---\n{named}"));
    let name = "outbound|80||a.example.com";
    assert_eq!(addresses(&resources, name), ["10.0.0.1:80"]);

    let turns = looked_up("a.example.com", "DNS_ROUND_ROBIN", "");
    let again = turns.replace("name: dns,", "name: again,");
    let resources = compile(&format!("{turns}---\n{again}"));
    let cluster = cluster(&resources, name);
    let assignment = cluster.load_assignment.expect("a name");
    let all = assignment.endpoints.iter();
    assert_eq!(all.map(|group| group.lb_endpoints.len()).sum::<usize>(), 1);
}

/// istiod keeps endpoints by the names of their ports: a name is one thing in all entries of a host.
#[test]
fn entries_of_one_host_share_the_endpoints_of_ports_with_one_name() {
    let entry = |name: &str, ports: &str, address: &str| {
        let endpoint = format!("  endpoints: [ {{ address: {address} }} ]\n");
        let entry = looked_up("a.example.com", "STATIC", &endpoint);
        let (before, after) = entry.split_once("  ports:").expect("ports");
        let (_, after) = after.split_once('\n').expect("a line");
        format!("{before}  ports: [ {ports} ]\n{after}")
            .replace("name: dns,", &format!("name: {name},"))
    };
    let port =
        |number: u32, name: &str| format!("{{ number: {number}, name: {name}, protocol: HTTP }}");
    let text = [
        entry(
            "a",
            &[port(80, "http"), port(81, "admin")].join(", "),
            "10.0.0.1",
        ),
        entry(
            "b",
            &[port(80, "web"), port(82, "admin")].join(", "),
            "10.0.0.2",
        ),
        entry("c", &port(80, "http"), "10.0.0.3"),
    ];
    let resources = compile(&text.join("---\n"));
    let of = |port: u32| addresses(&resources, &format!("outbound|{port}||a.example.com"));
    // The port has the name that came first: the endpoints of `web` are nobody's.
    assert_eq!(of(80), ["10.0.0.1:80", "10.0.0.3:80"]);
    assert_eq!(of(81), ["10.0.0.1:81", "10.0.0.2:82"]);
    assert_eq!(of(82), ["10.0.0.1:81", "10.0.0.2:82"]);
}

#[test]
fn labels_of_the_object_are_labels_of_the_workload() {
    let selected = "---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: reviews-v9, namespace: default, labels: { app: reviews, version: v2 } }
spec: { address: 127.0.11.9, labels: { version: v1 } }
";
    let resources = compile(&format!("{REVIEWS}{selected}"));
    let has = |subset: &str| {
        let name = format!("outbound|9080|{subset}|{HOST}");
        addresses(&resources, &name).contains(&"127.0.11.9:9080".to_owned())
    };
    assert_eq!([has(""), has("v1"), has("v2")], [true, false, true]);
}

#[test]
fn clusters_say_what_is_outside_of_the_mesh() {
    let external = |location: &str| {
        let text = REVIEWS.replace("  location: MESH_INTERNAL\n", location);
        let cluster = cluster(&compile(&text), &format!("outbound|9080|v1|{HOST}"));
        let metadata = cluster.metadata.expect("metadata");
        let said = metadata.filter_metadata["istio"].fields.get("external");
        said.and_then(|value| value.kind.clone())
    };
    assert_eq!(external("  location: MESH_INTERNAL\n"), None);
    for outside in ["  location: MESH_EXTERNAL\n", ""] {
        assert_eq!(external(outside), Some(Kind::BoolValue(true)));
    }
}
