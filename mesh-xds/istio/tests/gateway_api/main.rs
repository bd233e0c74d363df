//! `HTTPRoute` and `GRPCRoute` with services as parents: each field as the proto that it becomes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a test may fail, and may be a long table"
)]

#[path = "../common/mod.rs"]
mod common;

mod actions;
mod attached;
mod grpc;
mod matches;
mod precedence;
mod refused;

use common::*;
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::{Route, RouteAction, route};

/// Reviews on port 9080, and ratings on port 7000.
fn services() -> String {
    let ratings = REVIEWS
        .replace("reviews", "ratings")
        .replace("number: 9080", "number: 7000")
        .replace("127.0.11", "127.0.12");
    format!("{REVIEWS}---\n{ratings}")
}

/// A route of this kind and name for reviews.
fn object(kind: &str, name: &str, rules: &str) -> String {
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{ name: {name}, namespace: default }}\nspec:\n  parentRefs: [ {{ group: '', kind: Service, name: reviews }} ]\n  rules:\n{rules}"
    )
}

fn text(rules: &str) -> String {
    services() + &object("HTTPRoute", "r", rules)
}

/// The routes for reviews.
fn compiled(text: &str) -> Vec<Route> {
    let routes = routes(&load(text).config.resources(&client()), "9080");
    host_routes(&routes, &format!("{HOST}:9080"))
}

/// The only route of an `HTTPRoute` with a rule of this and a backend.
fn one(rest: &str) -> Route {
    let routes = compiled(&text(&format!(
        "  - {rest}\n    backendRefs: [ {{ name: ratings, port: 7000 }} ]\n"
    )));
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

fn path(route: &Route) -> String {
    match route.r#match.as_ref().unwrap().path_specifier.as_ref() {
        Some(PathSpecifier::Prefix(path)) => format!("prefix {path}"),
        Some(PathSpecifier::PathSeparatedPrefix(path)) => format!("segments {path}"),
        Some(PathSpecifier::Path(path)) => format!("path {path}"),
        Some(PathSpecifier::SafeRegex(regex)) => format!("regex {}", regex.regex),
        other => panic!("{other:?}"),
    }
}

const RATINGS: &str = "outbound|7000||ratings.default.svc.cluster.local";
