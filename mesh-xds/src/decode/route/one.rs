//! `envoy.config.route.v3.Route`: one rule.

use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::Metadata;
use envoy_types::pb::envoy::config::route::v3::{self as pb, route};
use envoy_types::pb::google::protobuf::value::Kind;
use mesh_core::matcher::PathMatcher;
use mesh_core::route::{Action, Fault, Level, Mutation, Route};

use super::clusters::Clusters;
use super::headers::Changes;
use super::ignored::Ignored;
use super::matches::{self, Matched};
use super::{Common, action, direct_response, fault, mirror, own_rules, redirect};
use crate::decode::{Faults, Invalid};

/// What stands around a route.
pub(super) struct Around<'a> {
    pub(super) common: &'a Common,
    pub(super) host: &'a Changes,
    pub(super) fault: Option<&'a Arc<Fault>>,
    pub(super) mirrors: &'a [mirror::Policy],
    /// The filter that is told rules there.
    pub(super) own_rules: Option<&'a str>,
    pub(super) clusters: &'a mut Clusters,
    pub(super) ignored: &'a mut Ignored,
}

/// The changes of headers of a route and of what stands around it, in Envoy's order.
pub(super) struct Levels {
    request: [Arc<Level>; 3],
    response: [Arc<Level>; 3],
}

/// `None` when the rule can never be evaluated here; gRPC A28 skips such routes, it does not reject them.
pub(super) fn decode(route: &pb::Route, around: &mut Around<'_>) -> Result<Option<Route>, Invalid> {
    let mut faults = Faults::default();
    around.ignored.route(route);
    let matches = faults.take(match &route.r#match {
        Some(wanted) => matches::decode(wanted).map_err(|e| e.within("match")),
        None => Err(Invalid::new("match", "is missing")),
    });
    let changes = faults.take(Changes::decode(
        (
            &route.request_headers_to_add,
            &route.request_headers_to_remove,
        ),
        (
            &route.response_headers_to_add,
            &route.response_headers_to_remove,
        ),
        around.ignored,
    ));
    let levels = Levels::new(&changes.unwrap_or_default(), around);
    let path = match &matches {
        Some(Matched::By(matches)) => matches.path.clone(),
        // Of a route that will not be there.
        _ => PathMatcher::Prefix("".into()),
    };
    let fault = faults.take(fault::decode(
        &route.typed_per_filter_config,
        around.ignored,
    ));
    let action = match own_rules::of_route(route).or(around.own_rules) {
        None => faults.take(action(route, &path, &levels, around)),
        Some(filter) => Some(Ok(Action::Unsupported(
            format!("with rules of its own for a filter (typed_per_filter_config[{filter:?}])")
                .into(),
        ))),
    };
    let (matches, action) = match faults.or(matches.zip(action))? {
        (Matched::By(matches), Ok(action)) => (matches, action),
        (Matched::Unknowable(what), _) | (_, Err(Skipped(what))) => {
            around
                .ignored
                .add(format!("the route is skipped, for its {what}"));
            return Ok(None);
        }
    };
    let name = if route.name.is_empty() {
        "-"
    } else {
        &route.name
    };
    Ok(Some(Route {
        name: name.into(),
        matches,
        action,
        source: route.metadata.as_ref().and_then(source),
        fault: fault.flatten().or_else(|| around.fault.cloned()),
    }))
}

/// Why a route is left out.
pub(super) struct Skipped(pub(super) &'static str);

fn action(
    route: &pb::Route,
    path: &PathMatcher,
    levels: &Levels,
    around: &mut Around<'_>,
) -> Result<Result<Action, Skipped>, Invalid> {
    let unsupported = |what: &str| Ok(Ok(Action::Unsupported(what.into())));
    match &route.action {
        Some(route::Action::Route(route)) => {
            around.ignored.action(route);
            action::decode(route, path, levels, around)
                .map(|forward| forward.map(|forward| Action::Forward(Box::new(forward))))
                .map_err(|e| e.within("route"))
        }
        Some(route::Action::DirectResponse(direct)) => {
            direct_response::decode(direct, levels, around)
                .map(Ok)
                .map_err(|e| e.within("direct_response"))
        }
        Some(route::Action::Redirect(redirect)) => redirect::decode(redirect, path, levels)
            .map(|redirect| Ok(Action::Redirect(Box::new(redirect))))
            .map_err(|e| e.within("redirect")),
        Some(route::Action::FilterAction(_)) => unsupported("filter_action"),
        Some(route::Action::NonForwardingAction(_)) => unsupported("non_forwarding_action"),
        None => Err(Invalid::new("action", "is missing")),
    }
}

impl Levels {
    /// The last of two that set the same header wins: the least specific, unless the configuration wants
    /// the most specific.
    fn new(route: &Changes, around: &Around<'_>) -> Self {
        let mut levels = [route, around.host, &around.common.changes];
        if around.common.most_specific_wins {
            levels.reverse();
        }
        Self {
            request: levels.map(|changes| Arc::clone(&changes.request)),
            response: levels.map(|changes| Arc::clone(&changes.response)),
        }
    }

    /// With the changes of a cluster's entry, which come first in either order.
    pub(super) fn request(&self, first: Option<Level>) -> Mutation {
        Mutation::levels(
            first
                .map(Arc::new)
                .into_iter()
                .chain(self.request.iter().cloned()),
        )
    }

    /// With the changes of a cluster's entry, which come first in either order.
    pub(super) fn response(&self, first: Option<Level>) -> Mutation {
        Mutation::levels(
            first
                .map(Arc::new)
                .into_iter()
                .chain(self.response.iter().cloned()),
        )
    }
}

/// `metadata.filter_metadata.istio.config`: which resource a route was made of.
fn source(metadata: &Metadata) -> Option<Arc<str>> {
    let istio = metadata.filter_metadata.get("istio")?;
    match istio.fields.get("config")?.kind.as_ref()? {
        Kind::StringValue(text) => Some(text.as_str().into()),
        _ => None,
    }
}
