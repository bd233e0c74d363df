//! What the cache holds, resource by resource: for those who look at a client from outside.

use std::sync::Arc;

use mesh_core::snapshot::{Missing, TableKey};

use super::Assembler;
use super::hosts::TableState;
use super::inbound::Inbounds;
use super::listeners::Stated;
use crate::decode::Rejected;
use crate::resource::ResourceType;

/// A resource that is wanted or cached.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) resource_type: ResourceType,
    pub(crate) name: Arc<str>,
    pub(crate) held: Held<'a>,
    /// The wire form, where the cache keeps it: clusters do.
    pub(crate) wire: Option<&'a [u8]>,
}

/// What the cache has of it.
#[derive(Debug)]
pub(crate) enum Held<'a> {
    /// It is wanted and nothing was said of it.
    Waiting,
    Usable,
    Absent,
    /// It was sent and cannot be used, and there is none before it.
    Refused(&'a str),
    /// The same of a cluster that was found out when a route named it.
    Faulty(&'a Rejected),
}

impl Assembler {
    /// All that is wanted or cached, type by type and in the order of names.
    pub(crate) fn entries(&self) -> Vec<Entry<'_>> {
        let mut entries = self.clusters.cluster_entries();
        entries.extend(self.clusters.endpoints_entries());
        if let Some(listeners) = &self.listeners {
            let routes = listeners.routes();
            let listeners = listeners.listeners();
            entries.extend(routes.map(|it| named_entry(ResourceType::Route, it)));
            entries.extend(listeners.map(|it| named_entry(ResourceType::Listener, it)));
            entries.extend(self.servers.entries());
            return entries;
        }
        let tables = self.hosts.tables();
        entries.extend(tables.map(|(key, state)| table_entry(key, state)));
        entries.extend(self.inbound.iter().flat_map(Inbounds::entries));
        entries
    }

    /// Whether a resource of this name is among [`Self::entries`].
    pub(crate) fn knows(&self, resource_type: ResourceType, name: &str) -> bool {
        match (resource_type, &self.listeners) {
            (ResourceType::Cluster, _) => self.clusters.knows_cluster(name),
            (ResourceType::Endpoints, _) => self.clusters.knows_endpoints(name),
            (ResourceType::Route, Some(listeners)) => listeners.knows_route(name),
            (ResourceType::Listener, Some(_)) => {
                self.is_listener_wanted(name) || self.servers.knows(name)
            }
            (ResourceType::Listener, None) => {
                let inbound = self.inbound.as_ref();
                inbound.is_some_and(|inbound| inbound.knows(name))
            }
            (ResourceType::Route, None) => name.parse().is_ok_and(|key| self.is_wanted(&key)),
        }
    }
}

fn named_entry<'a, T>(
    resource_type: ResourceType,
    (name, state): (&Arc<str>, &'a Stated<T>),
) -> Entry<'a> {
    Entry {
        resource_type,
        name: Arc::clone(name),
        held: match state {
            Stated::Waiting => Held::Waiting,
            Stated::Known(_) => Held::Usable,
            Stated::Missing(Missing::NoSuch(_) | Missing::NotReceived(_)) => Held::Absent,
        },
        wire: None,
    }
}

fn table_entry(key: &TableKey, state: &TableState) -> Entry<'static> {
    Entry {
        resource_type: ResourceType::Route,
        name: key.to_string().into(),
        held: match state {
            TableState::Waiting => Held::Waiting,
            TableState::Absent(_) => Held::Absent,
            TableState::Known { .. } => Held::Usable,
        },
        wire: None,
    }
}
