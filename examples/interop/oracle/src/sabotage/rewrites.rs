//! Lies about path and host as the backend sees them.

use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::HostRewriteSpecifier;
use envoy_types::pb::envoy::config::route::v3::{Route, RouteAction};

use super::{Sabotage, routes};
use crate::feature::Feature;

/// All of them.
pub(super) const ALL: &[Sabotage] = &[
    Sabotage {
        name: "a path rewritten to another prefix",
        feature: Feature::PathRewrite,
        shows: "path",
        change: |c| routes(c, other_prefix),
    },
    Sabotage {
        name: "a path rewritten by another substitution",
        feature: Feature::PathRewrite,
        shows: "path",
        change: |c| routes(c, other_substitution),
    },
    Sabotage {
        name: "a host rewritten to another literal",
        feature: Feature::HostRewrite,
        shows: "host",
        change: |c| routes(c, other_literal),
    },
    Sabotage {
        name: "a host rewritten from another header",
        feature: Feature::HostRewrite,
        shows: "host",
        change: |c| routes(c, other_header),
    },
    Sabotage {
        name: "a host rewritten by another substitution",
        feature: Feature::HostRewrite,
        shows: "host",
        change: |c| routes(c, other_host_of_path),
    },
    Sabotage {
        name: "x-forwarded-host written where it should not be, and not where it should",
        feature: Feature::HostRewrite,
        shows: "request headers",
        change: |c| routes(c, flip_forwarded_host),
    },
];

fn action(route: &mut Route) -> Option<&mut RouteAction> {
    match &mut route.action {
        Some(Action::Route(action)) => Some(action),
        _ => None,
    }
}

fn other_prefix(route: &mut Route) {
    if let Some(action) = action(route).filter(|action| !action.prefix_rewrite.is_empty()) {
        action.prefix_rewrite.push_str("wrong");
    }
}

fn other_substitution(route: &mut Route) {
    if let Some(rewrite) = action(route).and_then(|action| action.regex_rewrite.as_mut()) {
        rewrite.substitution.push_str("wrong");
    }
}

fn other_literal(route: &mut Route) {
    if let Some(action) = action(route)
        && let Some(HostRewriteSpecifier::HostRewriteLiteral(host)) =
            &mut action.host_rewrite_specifier
    {
        host.insert_str(0, "wrong.");
    }
}

fn other_header(route: &mut Route) {
    if let Some(action) = action(route)
        && let Some(HostRewriteSpecifier::HostRewriteHeader(name)) =
            &mut action.host_rewrite_specifier
    {
        "x-wrong".clone_into(name);
    }
}

fn other_host_of_path(route: &mut Route) {
    if let Some(action) = action(route)
        && let Some(HostRewriteSpecifier::HostRewritePathRegex(rewrite)) =
            &mut action.host_rewrite_specifier
    {
        rewrite.substitution.insert_str(0, "wrong.");
    }
}

fn flip_forwarded_host(route: &mut Route) {
    if let Some(action) = action(route) {
        action.append_x_forwarded_host = !action.append_x_forwarded_host;
    }
}
