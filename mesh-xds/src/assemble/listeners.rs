//! gRPC's dialect: listeners by `host:port`, the route configurations that they name, and the one virtual host that
//! each target is served by (gRPC A27).
//!
//! What comes of it is a table for each port, like those of the dialect of sidecars: its hosts are the targets, each
//! with the routes of the virtual host that its listener leads to. So requests, and all that completes targets, know
//! nothing of listeners.

mod compose;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_core::snapshot::Missing;

use super::clusters::Tally;
use crate::decode::listener::{ListenerResource, Routes};
use crate::decode::route::RouteResource;
use crate::listener_name::ListenerName;
use compose::{Composed, Served};

/// How many listeners that do not exist are remembered, and followed. An application that calls made-up hosts without
/// end must not grow by them: beyond it all of them are forgotten, and asked for again when they are called.
const MOST_MISSING: usize = 1024;
/// How many may be on their way.
const MOST_WAITING: usize = 4096;

type Names = Arc<BTreeSet<Arc<str>>>;

/// What is known of a resource that was asked for.
#[derive(Debug)]
pub(super) enum Stated<T> {
    Waiting,
    Known(T),
    Missing(Missing),
}

impl<T> Stated<T> {
    const fn is_answered(&self) -> bool {
        !matches!(self, Self::Waiting)
    }

    const fn known(&self) -> Option<&T> {
        match self {
            Self::Known(known) => Some(known),
            Self::Waiting | Self::Missing(_) => None,
        }
    }

    /// Records that it is not there, unless it is.
    fn miss(&mut self, reason: Missing) {
        if self.known().is_none() {
            *self = Self::Missing(reason);
        }
    }
}

/// A route configuration, with the wire form that a listener with limits of its own has it decoded from.
#[derive(Debug)]
pub(super) struct NamedRoutes {
    resource: RouteResource,
    wire: Vec<u8>,
}

#[derive(Debug)]
struct Listener {
    name: ListenerName,
    state: Stated<ListenerResource>,
    /// What it was last served by.
    served: Option<Served>,
}

#[derive(Debug, Default)]
pub(super) struct Listeners {
    wanted: BTreeMap<Arc<str>, Listener>,
    /// Those that servers ask for, and that are none of these.
    others: BTreeSet<Arc<str>>,
    /// Those that listeners name, and those that the control plane is still asked for.
    routes: BTreeMap<Arc<str>, Stated<NamedRoutes>>,
    /// What the control plane was last asked for. It does not send one again while it is asked for, so what it has
    /// sent is kept that long.
    requested: Names,
    /// The names in use, until they change.
    names: Option<(Names, Names)>,
    changed: BTreeSet<u16>,
}

impl Listeners {
    /// Returns whether it is new.
    pub(super) fn want(&mut self, name: ListenerName) -> bool {
        if self.wanted.contains_key(name.name()) || self.is_full() {
            return false;
        }
        self.forget_missing();
        self.changed.insert(name.port());
        self.names = None;
        let key = Arc::clone(name.name());
        let listener = Listener {
            name,
            state: Stated::Waiting,
            served: None,
        };
        self.wanted.insert(key, listener);
        true
    }

    /// Asks for one of this name too, that calls have no use for.
    pub(super) fn also_ask(&mut self, name: &Arc<str>) {
        self.names = None;
        self.others.insert(Arc::clone(name));
    }

    /// Whether as many are on their way as may be: hosts that somebody makes up must not cost memory, nor hold up the
    /// configuration. Who calls a further one asks again with the next generation.
    fn is_full(&self) -> bool {
        let waiting = |it: &&Listener| !it.state.is_answered();
        self.wanted.len() >= MOST_WAITING
            && self.wanted.values().filter(waiting).count() >= MOST_WAITING
    }

    fn forget_missing(&mut self) {
        let is_missing = |it: &Listener| matches!(it.state, Stated::Missing(_));
        if self.wanted.values().filter(|it| is_missing(it)).count() < MOST_MISSING {
            return;
        }
        let gone = self.wanted.values().filter(|it| is_missing(it));
        self.changed.extend(gone.map(|it| it.name.port()));
        self.wanted.retain(|_, it| !is_missing(it));
    }

    /// The listeners, and the route configurations that they name.
    fn names(&mut self) -> &(Names, Names) {
        self.names.get_or_insert_with(|| {
            let listeners = self.wanted.keys().chain(&self.others).cloned().collect();
            let named = self.wanted.values().filter_map(|it| route_name(&it.state));
            (Arc::new(listeners), Arc::new(named.cloned().collect()))
        })
    }

    pub(super) fn listener_names(&mut self) -> Names {
        Arc::clone(&self.names().0)
    }

    pub(super) fn route_names(&mut self) -> Names {
        Arc::clone(&self.names().1)
    }

    /// Records which route configurations the control plane is now asked for.
    pub(super) fn routes_requested(&mut self, names: Names) {
        self.requested = names;
        self.drop_routes();
    }

    fn drop_routes(&mut self) {
        let (used, requested) = (self.route_names(), Arc::clone(&self.requested));
        self.routes
            .retain(|name, _| used.contains(name) || requested.contains(name));
        for name in used.iter() {
            self.routes
                .entry(Arc::clone(name))
                .or_insert(Stated::Waiting);
        }
    }

    pub(super) fn is_wanted(&self, name: &str) -> bool {
        self.wanted.contains_key(name)
    }

    pub(super) fn has_listener(&self, name: &str) -> bool {
        let known = |it: &Listener| it.state.known().is_some();
        self.wanted.get(name).is_some_and(known)
    }

    pub(super) fn is_listener_answered(&self, name: &str) -> bool {
        // One that is not wanted any more is not waited for.
        self.wanted
            .get(name)
            .is_none_or(|it| it.state.is_answered())
    }

    pub(super) fn knows_route(&self, name: &str) -> bool {
        self.routes.contains_key(name)
    }

    pub(super) fn has_route(&self, name: &str) -> bool {
        let state = self.routes.get(name);
        state.is_some_and(|state| state.known().is_some())
    }

    pub(super) fn is_route_answered(&self, name: &str) -> bool {
        self.routes.get(name).is_none_or(Stated::is_answered)
    }

    pub(super) fn is_all_answered(&self) -> bool {
        let listeners = self.wanted.values().all(|it| it.state.is_answered());
        listeners && self.routes.values().all(Stated::is_answered)
    }

    pub(super) fn listeners(&self) -> impl Iterator<Item = (&Arc<str>, &Stated<ListenerResource>)> {
        let all = self.wanted.iter();
        all.map(|(name, listener)| (name, &listener.state))
    }

    pub(super) fn routes(&self) -> impl Iterator<Item = (&Arc<str>, &Stated<NamedRoutes>)> {
        self.routes.iter()
    }

    /// Takes a listener. One that nobody wants is ignored.
    pub(super) fn set_listener(&mut self, name: &str, resource: ListenerResource) {
        if let Some(listener) = self.wanted.get_mut(name) {
            listener.state = Stated::Known(resource);
            self.listener_changed(name);
        }
    }

    /// A listener did not come, cannot be used, or does not exist; if there is one, it stays.
    pub(super) fn miss_listener(&mut self, name: &str, reason: Missing) {
        if let Some(listener) = self.wanted.get_mut(name) {
            listener.state.miss(reason);
            self.listener_changed(name);
        }
    }

    /// The control plane has taken a listener away, and with it what it led to.
    pub(super) fn take_listener(&mut self, name: &str, reason: Missing) {
        if let Some(listener) = self.wanted.get_mut(name) {
            listener.state = Stated::Missing(reason);
            self.listener_changed(name);
        }
    }

    fn listener_changed(&mut self, name: &str) {
        if let Some(listener) = self.wanted.get(name) {
            self.changed.insert(listener.name.port());
        }
        self.names = None;
        self.drop_routes();
    }

    /// Takes a route configuration. One that no listener names, and that is not asked for, is ignored.
    pub(super) fn set_route(&mut self, resource: RouteResource, wire: Vec<u8>) {
        let name = Arc::clone(&resource.name);
        if let Some(state) = self.routes.get_mut(&name) {
            *state = Stated::Known(NamedRoutes { resource, wire });
            self.route_changed(&name);
        }
    }

    /// A route configuration did not come, or cannot be used; if there is one, it stays.
    pub(super) fn miss_route(&mut self, name: &str, reason: Missing) {
        if let Some(state) = self.routes.get_mut(name) {
            state.miss(reason);
            self.route_changed(name);
        }
    }

    fn route_changed(&mut self, name: &str) {
        let users = self.wanted.values();
        let users = users.filter(|it| route_name(&it.state).is_some_and(|used| **used == *name));
        self.changed.extend(users.map(|it| it.name.port()));
    }

    /// The tables that differ since this was last asked.
    pub(super) fn take_changed(&mut self) -> Vec<Composed> {
        let ports = std::mem::take(&mut self.changed).into_iter();
        ports.map(|port| self.compose(port)).collect()
    }

    /// What is in the resources in force and has no effect here; of listeners each kind once, since there may be
    /// thousands of them.
    pub(super) fn ignored(&self) -> impl Iterator<Item = Arc<str>> {
        let mut tally = Tally::default();
        let mut inline = Vec::new();
        for (name, state) in self.listeners() {
            let Some(known) = state.known() else { continue };
            tally.set(name, &known.ignored);
            if let Routes::Inline(routes) = &known.routes {
                let told = |what| format!("listener {name:?}: route_config: {what}").into();
                inline.extend(routes.ignored.iter().map(told));
            }
        }
        let routes = self.routes().filter_map(|(name, state)| {
            let ignored = state.known()?.resource.ignored.iter();
            Some(ignored.map(move |what| format!("route configuration {name:?}: {what}").into()))
        });
        let told: Vec<Arc<str>> = tally.told(["listener", "listeners"]).collect();
        told.into_iter().chain(inline).chain(routes.flatten())
    }
}

fn route_name(state: &Stated<ListenerResource>) -> Option<&Arc<str>> {
    match &state.known()?.routes {
        Routes::Named(name) => Some(name),
        Routes::Inline(_) => None,
    }
}
