use envoy_types::pb::envoy::config::core::v3::{
    HeaderValueOption, header_value_option::HeaderAppendAction,
};
use envoy_types::pb::envoy::config::route::v3::route_action::{
    ClusterSpecifier, HostRewriteSpecifier,
};
use envoy_types::pb::envoy::config::route::v3::weighted_cluster::cluster_weight;

use super::*;

fn listed(options: &[HeaderValueOption]) -> Vec<String> {
    let each = options.iter().map(|option| {
        let header = option.header.as_ref().unwrap();
        let how = match option.append_action() {
            HeaderAppendAction::OverwriteIfExistsOrAdd => "set",
            HeaderAppendAction::AppendIfExistsOrAdd => "add",
            other => panic!("{other:?}"),
        };
        format!("{how} {}={}", header.key, header.value)
    });
    each.collect()
}

fn host(route: &Route) -> Option<String> {
    match action(route).host_rewrite_specifier {
        None => None,
        Some(HostRewriteSpecifier::HostRewriteLiteral(host)) => Some(host),
        other => panic!("{other:?}"),
    }
}

#[test]
fn set_add_and_remove_at_the_route() {
    let route = one("headers:
      request: { add: { x-c: 'c%%', x-b: '%REQ(x:y)%' }, set: { x-z: z, A: a }, remove: [x-d, x-e] }
      response: { set: { x-f: '' }, add: { x-g: g }, remove: [server] }");
    assert_eq!(
        listed(&route.request_headers_to_add),
        ["set A=a", "set x-z=z", "add x-b=%REQ(x:y)%", "add x-c=c%%"]
    );
    assert_eq!(route.request_headers_to_remove, ["x-d", "x-e"]);
    assert_eq!(
        listed(&route.response_headers_to_add),
        ["set x-f=", "add x-g=g"]
    );
    assert_eq!(route.response_headers_to_remove, ["server"]);
    assert_eq!(host(&route), None);
}

#[test]
fn those_of_the_only_destination_come_after() {
    let routes = all("  - headers: { request: { set: { x: route } } }
    route:
    - destination: { host: reviews }
      headers: { request: { set: { x: destination, Host: one.org }, remove: [yy] }, response: { add: { z: z }, remove: [w] } }
");
    let [route] = &routes[..] else { panic!() };
    assert_eq!(
        listed(&route.request_headers_to_add),
        ["set x=route", "set x=destination"]
    );
    assert_eq!(route.request_headers_to_remove, ["yy"]);
    assert_eq!(listed(&route.response_headers_to_add), ["add z=z"]);
    assert_eq!(route.response_headers_to_remove, ["w"]);
    assert_eq!(host(route).as_deref(), Some("one.org"));
}

#[test]
fn those_of_one_destination_of_many_stay_with_it() {
    let routes = all("  - route:
    - destination: { host: reviews, subset: v1 }
      weight: 1
      headers: { request: { set: { x: yy, ':authority': v1.org }, remove: [a] }, response: { set: { b: c }, remove: [d] } }
    - { destination: { host: reviews, subset: v2 }, weight: 2 }
    - { destination: { host: reviews, subset: v3 } }
");
    let [route] = &routes[..] else { panic!() };
    assert!(route.request_headers_to_add.is_empty());
    let Some(ClusterSpecifier::WeightedClusters(all)) = action(route).cluster_specifier else {
        panic!()
    };
    let [first, second] = &all.clusters[..] else {
        panic!("{all:?}")
    };
    assert_eq!(listed(&first.request_headers_to_add), ["set x=yy"]);
    assert_eq!(first.request_headers_to_remove, ["a"]);
    assert_eq!(listed(&first.response_headers_to_add), ["set b=c"]);
    assert_eq!(first.response_headers_to_remove, ["d"]);
    assert_eq!(
        first.host_rewrite_specifier,
        Some(cluster_weight::HostRewriteSpecifier::HostRewriteLiteral(
            "v1.org".to_owned()
        ))
    );
    assert_eq!(second.weight.map(|w| w.value), Some(2));
    assert!(second.host_rewrite_specifier.is_none());
    assert_eq!(host(route), None);
}

#[test]
fn who_writes_the_host() {
    let of = |rewrite: &str, route: &str| {
        let routes = all(&format!(
            "  - name: r\n{rewrite}{route}    route: [ {{ destination: {{ host: reviews }}, headers: {{ request: {{ add: {{ host: destination.org }} }} }} }} ]\n"
        ));
        host(&routes[0]).unwrap()
    };
    let rewrite = "    rewrite: { authority: rewrite.org }\n";
    let route = "    headers: { request: { set: { HOST: route.org } } }\n";
    assert_eq!(of("", ""), "destination.org");
    assert_eq!(of("", route), "route.org");
    assert_eq!(of(rewrite, ""), "rewrite.org");
}
