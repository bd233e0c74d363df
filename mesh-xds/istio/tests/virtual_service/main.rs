//! Each field of a `VirtualService`'s HTTP routes as the proto that istiod makes of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a test may fail, and may be a long table"
)]

#[path = "../common/mod.rs"]
mod common;

mod answers;
mod cors;
mod delegates;
mod faults;
mod headers;
mod matches;
mod mirrors;
mod refused;
mod retries;
mod rewrites;

use common::*;
use envoy_types::pb::envoy::config::route::v3::{Route, RouteAction, route};
use envoy_types::pb::google::protobuf::Any;

/// Reviews, ratings on port 7000 alone, and a rule for reviews with these routes.
fn text(http: &str) -> String {
    let ratings = REVIEWS
        .replace("reviews", "ratings")
        .replace("number: 9080", "number: 7000")
        .replace("127.0.11", "127.0.12");
    let head = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: { name: reviews, namespace: default }\n";
    format!("{REVIEWS}---\n{ratings}---\n{head}spec:\n  hosts: [reviews]\n  http:\n{http}")
}

fn compiled(text: &str) -> Vec<Route> {
    let loaded = load(text);
    let routes = routes(&loaded.config.resources(&client()), "9080");
    host_routes(&routes, &format!("{HOST}:9080"))
}

fn all(http: &str) -> Vec<Route> {
    compiled(&text(http))
}

/// The only route of a rule with one route to reviews that also says this.
fn one(rest: &str) -> Route {
    let routes = all(&format!(
        "  - {rest}\n    route: [ {{ destination: {{ host: reviews }} }} ]\n"
    ));
    let [only] = &routes[..] else {
        panic!("{routes:?}")
    };
    only.clone()
}

fn action(route: &Route) -> RouteAction {
    match &route.action {
        Some(route::Action::Route(action)) => action.clone(),
        other => panic!("{other:?}"),
    }
}

/// A per-filter config, which must be of this type.
fn filter<M: prost::Message + Default + prost::Name>(route: &Route, name: &str) -> M {
    let any: &Any = &route.typed_per_filter_config[name];
    assert_eq!(any.type_url, M::type_url());
    M::decode(any.value.as_slice()).unwrap()
}

#[test]
fn two_compilations_give_the_same_bytes() {
    let text = text(
        "  - fault: { delay: { fixedDelay: 1s } }\n    corsPolicy: {}\n    route: [ { destination: { host: reviews } } ]\n",
    );
    let of = || load(&text).config.resources(&client()).routes;
    let first = of();
    // A map of two keys would come out in either order.
    for _ in 0..32 {
        assert!(of() == first);
    }
}
