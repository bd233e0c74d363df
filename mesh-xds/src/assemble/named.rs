//! What differs in gRPC's dialect: everything is asked for by name, and listeners make the tables.

use std::collections::BTreeSet;
use std::sync::Arc;

use mesh_core::snapshot::{Missing, TableKey};

use super::Assembler;
use super::inbound::Inbounds;
use super::listeners::Stated;
use crate::decode::listener::ListenerResource;
use crate::decode::route::{RouteResource, Timing};
use crate::dialect::Dialect;
use crate::resource::ResourceType;

type Names = Arc<BTreeSet<Arc<str>>>;

impl Assembler {
    /// What is to be subscribed; `None` is a wildcard.
    pub(crate) fn names(&mut self, resource_type: ResourceType) -> Option<Names> {
        match (resource_type, &mut self.listeners) {
            (ResourceType::Cluster, _) => self.clusters.names_to_ask(),
            (ResourceType::Endpoints, _) => Some(self.clusters.endpoint_names()),
            (ResourceType::Route, Some(listeners)) => Some(listeners.route_names()),
            (ResourceType::Route, None) => {
                let names = self.wanted().map(|key| key.to_string().into());
                Some(Arc::new(names.collect()))
            }
            (ResourceType::Listener, Some(listeners)) => Some(listeners.listener_names()),
            (ResourceType::Listener, None) if self.inbound.is_some() => None,
            (ResourceType::Listener, None) => Some(Arc::default()),
        }
    }

    /// Records what the control plane is now asked for by name.
    pub(crate) fn requested(&mut self, resource_type: ResourceType, names: Names) {
        match (resource_type, &mut self.listeners) {
            (ResourceType::Cluster, _) => self.clusters.clusters_requested(names),
            (ResourceType::Endpoints, _) => self.clusters.endpoints_requested(names),
            (ResourceType::Route, Some(listeners)) => listeners.routes_requested(names),
            // Tables are never let go, and of a listener that is not wanted nothing is kept.
            (ResourceType::Route, None) | (ResourceType::Listener, _) => {}
        }
    }

    /// Whether a resource that was asked for has been answered, with content or with "no such".
    pub(crate) fn is_answered(&self, resource_type: ResourceType, name: &str) -> bool {
        match (resource_type, &self.listeners) {
            (ResourceType::Cluster, _) => {
                self.listeners.is_none() || self.clusters.is_answered(name)
            }
            (ResourceType::Endpoints, _) => self.clusters.has_endpoints(name),
            (ResourceType::Route, Some(listeners)) => listeners.is_route_answered(name),
            (ResourceType::Route, None) => {
                let table = name.parse();
                table.is_ok_and(|table| self.is_table_answered(&table))
            }
            (ResourceType::Listener, Some(listeners)) => {
                listeners.is_listener_answered(name) && self.servers.is_answered(name)
            }
            (ResourceType::Listener, None) => {
                let inbound = self.inbound.as_ref();
                inbound.is_none_or(Inbounds::is_answered)
            }
        }
    }

    /// The names of the resources that can be used of the types that only this dialect asks for by name.
    pub(super) fn cached_by_name(&self, resource_type: ResourceType) -> Option<Vec<Arc<str>>> {
        fn known<'a, T: 'a>(
            states: impl Iterator<Item = (&'a Arc<str>, &'a Stated<T>)>,
        ) -> Vec<Arc<str>> {
            let known = states.filter(|(_, state)| matches!(state, Stated::Known(_)));
            known.map(|(name, _)| Arc::clone(name)).collect()
        }
        let listeners = self.listeners.as_ref()?;
        match resource_type {
            ResourceType::Listener => {
                let mut all = known(listeners.listeners());
                all.extend(self.servers.names().cloned());
                Some(all)
            }
            ResourceType::Route => Some(known(listeners.routes())),
            ResourceType::Cluster | ResourceType::Endpoints => None,
        }
    }

    /// Whose rules resources are judged by.
    pub(crate) const fn dialect(&self) -> Dialect {
        match self.listeners {
            None => Dialect::Sidecar,
            Some(_) => Dialect::Grpc,
        }
    }

    /// Which fields limit the time of a route.
    pub(crate) const fn timing(&self) -> Timing {
        match self.dialect() {
            Dialect::Sidecar => Timing::Envoy,
            Dialect::Grpc => Timing::Grpc { max_stream: None },
        }
    }

    /// Whether a listener of this name is asked for; of others not even the content is looked at.
    pub(crate) fn is_listener_wanted(&self, name: &str) -> bool {
        let listeners = self.listeners.as_ref();
        listeners.is_some_and(|listeners| listeners.is_wanted(name)) && !self.servers.knows(name)
    }

    /// Takes a listener.
    pub(crate) fn set_listener(&mut self, name: &str, listener: ListenerResource) {
        if let Some(listeners) = &mut self.listeners {
            listeners.set_listener(name, listener);
            self.compose();
        }
    }

    /// Records that a resource that was asked for by name is not there: it does not exist, did not come or cannot be
    /// used. One that is there stays.
    pub(crate) fn missing(&mut self, resource_type: ResourceType, name: &Arc<str>, why: Missing) {
        match (resource_type, &mut self.listeners) {
            (ResourceType::Cluster, _) => self.clusters.cluster_absent(name),
            (ResourceType::Route, Some(listeners)) => listeners.miss_route(name, why),
            (ResourceType::Listener, Some(_)) if self.servers.knows(name) => {
                self.servers.miss(name, why);
            }
            (ResourceType::Listener, Some(listeners)) => listeners.miss_listener(name, why),
            (ResourceType::Route, None) => {
                if let Ok(table) = name.parse() {
                    self.table_absent(table, why);
                }
            }
            (ResourceType::Endpoints, _) => {
                if !self.has_endpoints(name) {
                    self.endpoints_absent(Arc::clone(name));
                }
            }
            // What it is that is missing is told by what there is.
            (ResourceType::Listener, None) => {
                if let Some(inbound) = &mut self.inbound {
                    inbound.answered();
                }
            }
        }
        self.compose();
    }

    /// Whether a resource of these types is there.
    pub(crate) fn has(&self, resource_type: ResourceType, name: &str) -> bool {
        match (resource_type, &self.listeners) {
            (ResourceType::Cluster, _) => self.cluster(name).is_some(),
            (ResourceType::Endpoints, _) => self.has_endpoints(name),
            (ResourceType::Route, Some(listeners)) => listeners.has_route(name),
            (ResourceType::Route, None) => name.parse().is_ok_and(|table| self.has_table(&table)),
            (ResourceType::Listener, Some(listeners)) => {
                listeners.has_listener(name) || self.servers.has(name)
            }
            (ResourceType::Listener, None) => {
                let inbound = self.inbound.as_ref();
                inbound.is_some_and(|inbound| inbound.has(name))
            }
        }
    }

    /// The control plane has said all that there is: the listeners that were there and of which it says nothing do not
    /// exist any more. Those that have not come yet are waited for, as it may not have read the request for them.
    pub(crate) fn only_listeners(&mut self, is_told: impl Fn(&Arc<str>) -> bool) {
        if let (None, Some(inbound)) = (&self.listeners, &mut self.inbound) {
            inbound.retain(is_told);
            return self.link_callees();
        }
        let had = self.cached_by_name(ResourceType::Listener);
        let gone = had.into_iter().flatten().filter(|name| !is_told(name));
        gone.for_each(|name| self.listener_gone(&name));
    }

    /// The control plane has taken a listener away, or says that there is none.
    pub(crate) fn listener_gone(&mut self, name: &Arc<str>) {
        let Some(listeners) = &mut self.listeners else {
            self.inbound.iter_mut().for_each(|all| all.remove(name));
            return self.link_callees();
        };
        if self.servers.knows(name) {
            let what = match self.servers.has(name) {
                true => "the control plane has taken it away",
                false => "the control plane says that it does not exist",
            };
            let reason = format!(
                "listener {name:?}: {what}; check that the port is the target port of a service that has an endpoint at the node's address"
            );
            return self.servers.gone(name, Missing::NoSuch(reason.into()));
        }
        let what = match listeners.has_listener(name) {
            true => "the control plane has taken it away",
            false => "the control plane says that it does not exist",
        };
        let reason = format!(
            "listener {name:?}: {what}; check the host and the port of the call, and that the service is in the mesh"
        );
        listeners.take_listener(name, Missing::NoSuch(reason.into()));
        self.compose();
    }

    /// Makes the tables anew whose listeners or routes differ.
    pub(super) fn compose(&mut self) {
        let Some(listeners) = &mut self.listeners else {
            return;
        };
        for composed in listeners.take_changed() {
            let key = TableKey::Port(composed.port);
            self.hosts.want(key.clone());
            let routes = RouteResource {
                name: key.to_string().into(),
                ignore_port: true,
                hosts: composed.hosts,
                ignored: Vec::new(),
            };
            // The table has no version of its own: its hosts may be of several.
            self.hosts
                .set(key.clone(), &"".into(), routes, &mut self.clusters);
            let unserved = Arc::new(composed.unserved);
            if self.unserved.get(&key) != Some(&unserved) {
                self.unserved.insert(key.clone(), unserved);
                self.hosts.touch(key);
            }
        }
    }
}
