//! Kubernetes' `Service` with the endpoints that a folder gives it.

mod common;

use common::*;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use envoy_types::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::UpstreamProtocolOptions;
use mesh_xds::{Node, Resources};
use prost::Message;

const HOST: &str = "web.shop.svc.cluster.local";

fn service(more: &str, spec: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{ name: web, namespace: shop{more} }}\nspec: {spec}\n"
    )
}

fn workload(name: &str, labels: &str, more: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{ name: {name}, namespace: shop }}\nspec: {{ address: 10.1.0.1, labels: {labels}{more} }}\n"
    )
}

fn told(text: &str) -> Resources {
    load(text).config.resources(&Node::sidecar("a", "shop"))
}

fn domains(resources: &Resources, table: &str) -> Vec<String> {
    let name = format!("{HOST}:{table}");
    let table = routes(resources, table);
    let host = table.virtual_hosts.iter().find(|host| host.name == name);
    host.map(|host| host.domains.clone()).unwrap_or_default()
}

#[test]
fn workloads_are_selected_by_labels() {
    let spec = "{ clusterIP: 10.96.0.7, selector: { app: web }, ports: [ { name: http, port: 80, targetPort: 8080 }, \
                { name: http-admin, port: 81, targetPort: admin }, { name: grpc-x, port: 82 } ] }";
    let text = service("", spec)
        + &workload(
            "one",
            "{ app: web }",
            ", ports: { admin: 9000, grpc-x: 9001 }",
        )
        + &workload("two", "{ app: other }", "");
    let resources = told(&text);
    let at = |port: u32| addresses(&resources, &format!("outbound|{port}||{HOST}"));
    assert_eq!(at(80), ["10.1.0.1:8080"]);
    assert_eq!(at(81), ["10.1.0.1:9000"]);
    assert_eq!(at(82), ["10.1.0.1:9001"]);
    let cluster = cluster(&resources, &format!("outbound|80||{HOST}"));
    assert_eq!(
        cluster.cluster_discovery_type,
        Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into()))
    );
    assert_eq!(
        domains(&resources, "80"),
        [
            HOST,
            &format!("{HOST}."),
            "web",
            "web.shop",
            "web.shop.svc",
            "10.96.0.7"
        ]
    );
}

#[test]
fn protocols_by_app_protocol_and_name() {
    let protocol = |port: &str| {
        let resources = told(&service("", &format!("{{ ports: [ {port} ] }}")));
        let (name, cluster) = resources.clusters.iter().next_back().expect("a cluster");
        let cluster = envoy_types::pb::envoy::config::cluster::v3::Cluster::decode(&*cluster.value)
            .expect(name);
        let options = cluster.typed_extension_protocol_options.values().next();
        let options = options.map(|any| HttpProtocolOptions::decode(&*any.value).expect("options"));
        let upstream = match options.and_then(|options| options.upstream_protocol_options) {
            None => "as it is",
            Some(UpstreamProtocolOptions::ExplicitHttpConfig(_)) => "http2",
            Some(_) => "detected",
        };
        let number = name.split('|').nth(1).expect("a port");
        (
            upstream,
            !domains(&resources, "80").is_empty(),
            resources.routes.contains_key(&format!("{HOST}:{number}")),
        )
    };
    let http = ("as it is", true, true);
    assert_eq!(protocol("{ port: 80, name: http }"), http);
    assert_eq!(protocol("{ port: 80, name: http-web }"), http);
    assert_eq!(protocol("{ port: 80, name: x, appProtocol: http }"), http);
    for http2 in [
        "name: grpc",
        "name: http2-a",
        "name: grpc-web-a",
        "name: a, appProtocol: kubernetes.io/h2c",
    ] {
        assert_eq!(
            protocol(&format!("{{ port: 80, {http2} }}")),
            ("http2", true, true),
            "{http2}"
        );
    }
    let opaque = ("as it is", false, false);
    for tcp in [
        "port: 80, name: tcp-x",
        "port: 80, name: http, protocol: UDP",
        "port: 3306, name: db",
    ] {
        assert_eq!(protocol(&format!("{{ {tcp} }}")), opaque, "{tcp}");
    }
    // Detected by each proxy.
    assert_eq!(
        protocol("{ port: 80, name: web }"),
        ("detected", true, true)
    );
}

#[test]
fn endpoints_that_are_listed() {
    let spec = "{ ports: [ { name: http, port: 80 }, { name: http-b, port: 81 } ] }";
    let listed = "---\napiVersion: v1\nkind: Endpoints\nmetadata: { name: web, namespace: shop }\nsubsets:\n\
                  - addresses: [ { ip: 10.2.0.1 }, { ip: 10.2.0.2 } ]\n  notReadyAddresses: [ { ip: 10.2.0.9 } ]\n  ports: [ { name: http, port: 8080 } ]\n";
    let resources = told(&(service("", spec) + listed));
    assert_eq!(
        addresses(&resources, &format!("outbound|80||{HOST}")),
        ["10.2.0.1:8080", "10.2.0.2:8080"]
    );
    assert!(addresses(&resources, &format!("outbound|81||{HOST}")).is_empty());

    let slice = "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: { name: web-abc, namespace: shop, labels: { kubernetes.io/service-name: web } }\n\
                 addressType: IPv4\nports: [ { name: http, port: 8081 } ]\nendpoints:\n\
                 - { addresses: [10.3.0.1], zone: z1, conditions: { ready: true } }\n- { addresses: [10.3.0.2], conditions: { ready: false } }\n";
    let resources = told(&(service("", spec) + slice));
    let name = format!("outbound|80||{HOST}");
    assert_eq!(addresses(&resources, &name), ["10.3.0.1:8081"]);
    let group = &assignment(&resources, &name).endpoints[0];
    assert_eq!(
        group.locality.as_ref().map(|place| &*place.zone),
        Some("z1")
    );
}

#[test]
fn headless_services_are_dialled_by_their_callers() {
    let resources = told(&service(
        "",
        "{ clusterIP: None, ports: [ { name: http, port: 80 } ] }",
    ));
    let cluster = cluster(&resources, &format!("outbound|80||{HOST}"));
    let dialled = ClusterDiscoveryType::Type(DiscoveryType::OriginalDst.into());
    assert_eq!(cluster.cluster_discovery_type, Some(dialled));
    assert!(domains(&resources, "80").contains(&format!("*.{HOST}")));
}

#[test]
fn external_names_stand_for_services() {
    let alias = "---\napiVersion: v1\nkind: Service\nmetadata: { name: shopfront, namespace: shop }\nspec: { type: ExternalName, externalName: web.shop.svc.cluster.local }\n";
    let again = alias
        .replace("shopfront", "again")
        .replace("externalName: web.", "externalName: shopfront.");
    let outside = alias
        .replace("shopfront", "outside")
        .replace("web.shop.svc.cluster.local", "example.com");
    let spec = "{ ports: [ { name: http, port: 80 } ] }";
    let resources = told(&(service("", spec) + alias + &again + &outside));
    let found = domains(&resources, "80");
    for name in [
        "shopfront",
        "shopfront.shop.svc.cluster.local",
        "again",
        "web",
    ] {
        assert!(found.contains(&name.to_owned()), "{name}: {found:?}");
    }
    assert!(!found.contains(&"outside".to_owned()));
    assert_eq!(
        resources
            .clusters
            .keys()
            .filter(|name| name.starts_with("outbound|"))
            .count(),
        1
    );
}

#[test]
fn the_annotation_says_who_sees_it() {
    let spec = "{ ports: [ { name: http, port: 80 } ] }";
    let text = service(
        ", annotations: { networking.istio.io/exportTo: 'a, b' }",
        spec,
    );
    let config = load(&text).config;
    let seen = |namespace: &str| {
        let resources = config.resources(&Node::sidecar("x", namespace));
        resources
            .clusters
            .contains_key(&format!("outbound|80||{HOST}"))
    };
    assert_eq!((seen("a"), seen("b"), seen("c")), (true, true, false));
}

#[test]
fn what_is_wrong_is_told() {
    let told = reject(&service(
        "",
        "{ ports: [ { name: http }, { port: 70000 } ] }",
    ))
    .to_string();
    assert!(told.contains("spec.ports[0].port is missing"), "{told}");
    assert!(
        told.contains("spec.ports[1].port must be a number from 1 to 65535"),
        "{told}"
    );
    let told = reject("apiVersion: v1\nkind: List\nmetadata: { name: x }\nitems: []\n").to_string();
    assert!(told.contains("a List is not read"), "{told}");
}

/// `addresses` of a `ServiceEntry` are names by which it is called.
#[test]
fn addresses_of_service_entries() {
    let text = REVIEWS.replace(
        "  resolution: STATIC\n",
        "  resolution: STATIC\n  addresses: [240.0.0.1, '::2', 10.0.0.0/8]\n",
    );
    let table = routes(&compile(&text), "9080");
    let domains = &table.virtual_hosts[0].domains;
    assert_eq!(domains[domains.len() - 2..], ["240.0.0.1", "[::2]"]);
    let told = reject(&text.replace("10.0.0.0/8", "10.0.0.0/33")).to_string();
    assert!(
        told.contains("spec.addresses: \"10.0.0.0/33\" is no IP address"),
        "{told}"
    );
}
