//! The caller's own choice among the clusters of a route: by the subset in Istio's names.

use std::fmt::Write;

use mesh_core::cluster::IstioName;
use mesh_core::route::{Choice, Forward, Route, VirtualHost};

/// The route's first choice in a subset. The weights do not count.
pub(super) fn choose<'a>(
    host: &VirtualHost,
    route: &Route,
    forward: &'a Forward,
    subset: &str,
) -> Result<&'a Choice, String> {
    let is_it = |choice: &&Choice| subset_of(host, choice) == Some(subset);
    let mut choices = forward.split.weights().map(|(choice, _)| choice);
    let chosen = choices.find(is_it);
    chosen.ok_or_else(|| no_such(host, route, forward, subset))
}

fn subset_of<'a>(host: &'a VirtualHost, choice: &Choice) -> Option<&'a str> {
    IstioName::parse(host.cluster(choice.cluster)?)?.subset
}

fn no_such(host: &VirtualHost, route: &Route, forward: &Forward, subset: &str) -> String {
    let mut there: Vec<_> = forward
        .split
        .weights()
        .filter_map(|(choice, _)| subset_of(host, choice))
        .collect();
    there.sort_unstable();
    there.dedup();
    let mut reason = format!(
        "the CallOptions ask for subset {subset:?}, and route {:?} of virtual host {:?} leads to ",
        route.name,
        host.name()
    );
    match there.split_first() {
        None => reason.push_str("no subset"),
        Some((first, rest)) => {
            // Writing to a text does not fail.
            let _ = write!(reason, "{first:?}");
            for name in rest {
                let _ = write!(reason, ", {name:?}");
            }
            reason.push_str(" only");
        }
    }
    reason.push_str("; ask for one that is there, or add it to the route's destinations");
    reason
}

/// Why a call that no route is for has no subset to choose.
pub(super) fn without_route(subset: &str) -> String {
    format!(
        "the CallOptions ask for subset {subset:?}, and https goes through no route; ask for http, or leave the subset out"
    )
}
