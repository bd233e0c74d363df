//! The negative control: ours is told something else than Envoy, and that must show in what the lie is about.

mod answers;
mod edits;
mod faults;
mod matches;
mod mirrors;
mod rewrites;

use envoy_types::pb::envoy::config::route::v3::{Route, RouteConfiguration};

use crate::feature::Feature;

/// A way of telling ours something wrong.
#[derive(Debug)]
pub(crate) struct Sabotage {
    /// Which.
    pub(crate) name: &'static str,
    /// The subject that must be on: only what is generated can be made wrong.
    pub(crate) feature: Feature,
    /// How the difference that it must make begins.
    pub(crate) shows: &'static str,
    /// Makes a configuration wrong.
    pub(crate) change: fn(&mut RouteConfiguration),
}

/// All of them. Each part of an outcome that a rule can change has one of its own.
pub(crate) fn all() -> impl Iterator<Item = &'static Sabotage> {
    [
        matches::ALL,
        rewrites::ALL,
        edits::ALL,
        answers::ALL,
        faults::ALL,
        mirrors::ALL,
    ]
    .into_iter()
    .flatten()
}

/// Applies a change to every route.
fn routes(configuration: &mut RouteConfiguration, change: fn(&mut Route)) {
    for host in &mut configuration.virtual_hosts {
        // The first route tells the round.
        host.routes.iter_mut().skip(1).for_each(change);
    }
}
