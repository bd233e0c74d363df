//! Lies about what the configuration itself answers.

use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::config::route::v3::Route;
use envoy_types::pb::envoy::config::route::v3::route::Action;

use super::{Sabotage, routes};
use crate::feature::Feature;

/// All of them.
pub(super) const ALL: &[Sabotage] = &[
    Sabotage {
        name: "a direct response of another status",
        feature: Feature::Direct,
        shows: "status",
        change: |c| routes(c, other_status),
    },
    Sabotage {
        name: "a direct response of another body",
        feature: Feature::Direct,
        shows: "body",
        change: |c| routes(c, other_body),
    },
    Sabotage {
        name: "a redirect of another code",
        feature: Feature::Redirect,
        shows: "status",
        change: |c| routes(c, other_code),
    },
    Sabotage {
        name: "a redirect to another host",
        feature: Feature::Redirect,
        shows: "response header location",
        change: |c| routes(c, other_host),
    },
];

fn other_status(route: &mut Route) {
    if let Some(Action::DirectResponse(direct)) = &mut route.action {
        direct.status = if direct.status == 200 { 201 } else { 200 };
    }
}

fn other_body(route: &mut Route) {
    if let Some(Action::DirectResponse(direct)) = &mut route.action
        && let Some(body) = &mut direct.body
    {
        body.specifier = Some(Specifier::InlineString("wrong".to_owned()));
    }
}

fn other_code(route: &mut Route) {
    if let Some(Action::Redirect(redirect)) = &mut route.action {
        redirect.response_code = (redirect.response_code + 1) % 5;
    }
}

fn other_host(route: &mut Route) {
    if let Some(Action::Redirect(redirect)) = &mut route.action {
        "wrong.test".clone_into(&mut redirect.host_redirect);
    }
}
