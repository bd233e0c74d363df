//! Clusters as they arrive, and as routes need them: decoded when first referred to.

mod arrival;
mod build;
mod by_name;
mod entries;
mod ignored;
mod names;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use mesh_core::cluster::Cluster;

use crate::decode::cluster::{self, ClusterResource, Discovery, Names};
use crate::decode::endpoints::EndpointsResource;
use crate::decode::{Invalid, Rejected};
use crate::dns::{Answer, Lookup};
use build::{cluster_of, passing_through};
use by_name::ByName;
pub(super) use ignored::Tally;
use names::LookedUp;

/// What a route finds behind a cluster's name.
#[derive(Debug, Clone)]
pub(super) enum Resolution {
    Ready(Arc<Cluster>),
    /// CDS has arrived and does not list it.
    Absent,
    /// Something about it has not arrived; the text says what.
    Waiting(Arc<str>),
}

impl Resolution {
    /// Whether a target that holds `self` needs no other version for `other`.
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Ready(a), Self::Ready(b)) => Arc::ptr_eq(a, b),
            (Self::Absent, Self::Absent) => true,
            // What is waited for is quoted by the errors of waiting calls.
            (Self::Waiting(a), Self::Waiting(b)) => a == b,
            _ => false,
        }
    }
}

/// What was said of a load assignment.
#[derive(Debug, PartialEq)]
pub(super) enum Assignment {
    Known(EndpointsResource),
    /// It does not exist.
    Absent,
    /// It was sent once and could not be used; the text says why.
    Refused(Arc<str>),
}

#[derive(Debug, Default)]
pub(super) struct Clusters {
    /// The last CDS, undecoded. `None` until the first one.
    wire: Option<BTreeMap<Arc<str>, Vec<u8>>>,
    version: Arc<str>,
    /// Load assignments by EDS service name.
    endpoints: HashMap<Arc<str>, Assignment>,
    /// The load assignments that the control plane was last asked for. It does not send one again
    /// while it is asked for, so what it has sent is kept that long, referred to or not.
    requested: Arc<BTreeSet<Arc<str>>>,
    /// Clusters that some host refers to.
    referenced: HashMap<Arc<str>, Referenced>,
    /// EDS service name -> the referenced clusters that use it.
    by_service: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    /// The names that clusters of DNS types have looked up.
    looked_up: LookedUp,
    /// The keys of `by_service`, until one comes or goes.
    names: Option<Arc<BTreeSet<Arc<str>>>>,
    dirty: BTreeSet<Arc<str>>,
    /// By cluster, so that one that is looked at again and again is told once.
    faults: BTreeMap<Arc<str>, Rejected>,
    /// What clusters that are in use hold without effect.
    ignored: Tally,
    /// The same of load assignments.
    ignored_endpoints: Tally,
    /// In gRPC's dialect, where the clusters are asked for by name.
    by_name: Option<ByName>,
}

#[derive(Debug)]
struct Referenced {
    by: usize,
    /// Decoded when first needed and when its wire form changes.
    resource: Option<Result<Arc<ClusterResource>, Rejected>>,
    /// The load assignment that it is linked to.
    service: Option<Arc<str>>,
    resolution: Resolution,
}

impl Clusters {
    pub(super) fn endpoint_names(&mut self) -> Arc<BTreeSet<Arc<str>>> {
        let by_service = &self.by_service;
        let names = self
            .names
            .get_or_insert_with(|| Arc::new(by_service.keys().cloned().collect()));
        Arc::clone(names)
    }

    pub(super) fn wire(&self, name: &str) -> Option<&Vec<u8>> {
        self.wire.as_ref()?.get(name)
    }

    pub(super) fn has_endpoints(&self, name: &str) -> bool {
        self.endpoints.contains_key(name)
    }

    /// Whether a load assignment is there that can be used.
    pub(super) fn knows_assignment(&self, name: &str) -> bool {
        matches!(self.endpoints.get(name), Some(Assignment::Known(_)))
    }

    /// The load assignments that hold endpoints.
    pub(super) fn known_endpoints(&self) -> impl Iterator<Item = &Arc<str>> {
        let known = |assignment: &Assignment| matches!(assignment, Assignment::Known(_));
        let all = self.endpoints.iter();
        all.filter(move |(_, assignment)| known(assignment))
            .map(|(name, _)| name)
    }

    /// The faults of clusters that are in use, found since they were last taken.
    pub(super) fn take_faults(&mut self) -> impl Iterator<Item = Rejected> + use<> {
        std::mem::take(&mut self.faults).into_values()
    }

    /// What clusters and load assignments hold without effect, each kind once.
    pub(super) fn ignored(&self) -> impl Iterator<Item = Arc<str>> {
        let clusters = self.ignored.told(["cluster", "clusters"]);
        clusters.chain(
            self.ignored_endpoints
                .told(["endpoints", "load assignments"]),
        )
    }

    /// Whether that differs from when this was asked last.
    pub(super) fn take_ignored_changed(&mut self) -> bool {
        // Both are asked, so that neither is asked for nothing later.
        self.ignored.take_changed() | self.ignored_endpoints.take_changed()
    }

    /// Records which load assignments the control plane is now asked for.
    pub(super) fn endpoints_requested(&mut self, names: Arc<BTreeSet<Arc<str>>>) {
        let tally = &mut self.ignored_endpoints;
        self.endpoints.retain(|name, _| {
            let stays = names.contains(name);
            if !stays {
                tally.remove(name);
            }
            stays
        });
        self.requested = names;
    }

    /// The names of the last CDS.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.wire
            .iter()
            .flat_map(BTreeMap::keys)
            .map(|name| &**name)
    }

    pub(super) fn set_endpoints(&mut self, name: Arc<str>, endpoints: Assignment) {
        let users = self.by_service.get(&name);
        if users.is_none() && !self.requested.contains(&name) {
            // Nobody asks for it; keeping it would grow without bound.
            return;
        }
        if self.endpoints.get(&name) == Some(&endpoints) {
            return;
        }
        self.dirty.extend(users.into_iter().flatten().cloned());
        match &endpoints {
            Assignment::Known(known) => self.ignored_endpoints.set(&name, &known.ignored),
            _ => self.ignored_endpoints.remove(&name),
        }
        self.endpoints.insert(name, endpoints);
    }

    /// The names to look up, and how often.
    pub(super) fn wanted_lookups(&self) -> Arc<BTreeMap<Lookup, Duration>> {
        self.looked_up.wanted()
    }

    pub(super) fn set_answer(&mut self, lookup: &Lookup, answer: Answer) {
        self.dirty.extend(self.looked_up.answer(lookup, answer));
    }

    /// One more host refers to a cluster.
    pub(super) fn refer(&mut self, name: &Arc<str>) {
        if let Some(referenced) = self.referenced.get_mut(name) {
            referenced.by += 1;
            return;
        }
        let resolution = Resolution::Waiting("cluster not looked at".into());
        self.referenced.insert(
            Arc::clone(name),
            Referenced {
                by: 1,
                resource: None,
                service: None,
                resolution,
            },
        );
        if let Some(by_name) = &mut self.by_name {
            by_name.names = None;
        }
        self.resolve_again(name);
    }

    /// One host fewer does.
    pub(super) fn release(&mut self, name: &Arc<str>) {
        let Some(referenced) = self.referenced.get_mut(name) else {
            return;
        };
        referenced.by -= 1;
        if referenced.by == 0 {
            self.unlink(name);
            self.referenced.remove(name);
            self.dirty.remove(name);
            self.ignored.remove(name);
            if let Some(by_name) = &mut self.by_name {
                by_name.gone.remove(name);
                by_name.names = None;
            }
        }
    }

    pub(super) fn resolution(&self, name: &str) -> Resolution {
        let unknown = || Resolution::Waiting("cluster not looked at".into());
        self.referenced
            .get(name)
            .map_or_else(unknown, |referenced| referenced.resolution.clone())
    }

    /// Brings every changed cluster up to date; returns those that hosts must look at again.
    pub(super) fn settle(&mut self) -> Vec<Arc<str>> {
        let dirty = std::mem::take(&mut self.dirty);
        dirty
            .into_iter()
            .filter(|name| self.resolve_again(name))
            .collect()
    }

    /// Returns whether the outcome differs.
    fn resolve_again(&mut self, name: &Arc<str>) -> bool {
        let resolution = self.resolved(name);
        match self.referenced.get_mut(name) {
            Some(referenced) => {
                let differs = !referenced.resolution.is_same(&resolution);
                referenced.resolution = resolution;
                differs
            }
            None => false,
        }
    }

    fn resolved(&mut self, name: &Arc<str>) -> Resolution {
        let Some(bytes) = self.wire.as_ref().and_then(|wire| wire.get(name)) else {
            if let Some(what) = self.awaited(name) {
                return Resolution::Waiting(what);
            }
            self.unlink(name);
            return Resolution::Absent;
        };
        let decoded = self
            .referenced
            .get(name)
            .and_then(|referenced| referenced.resource.clone());
        let resource = match decoded {
            Some(resource) => resource,
            None => {
                let decoded = cluster::decode(bytes);
                self.remember(name, decoded)
            }
        };
        let resource = match resource {
            Ok(resource) => resource,
            Err(fault) => {
                let fault = fault.to_string();
                return Resolution::Ready(Arc::new(Cluster::faulty(Arc::clone(name), fault)));
            }
        };
        match &resource.discovery {
            Discovery::Static(endpoints) => {
                Resolution::Ready(Arc::new(cluster_of(name, &resource, Some(endpoints))))
            }
            Discovery::Dns(names) => {
                let former = self.referenced.get(name).map(|it| &it.resolution);
                self.looked_up.resolution(name, &resource, names, former)
            }
            Discovery::OriginalDestination { callers_version } => {
                let cluster = passing_through(name, &resource, *callers_version);
                Resolution::Ready(Arc::new(cluster))
            }
            Discovery::Unsupported(why) => {
                Resolution::Ready(Arc::new(Cluster::faulty(Arc::clone(name), why.as_str())))
            }
            Discovery::Eds { service_name } => match self.endpoints.get(service_name) {
                None => Resolution::Waiting(format!("the endpoints {service_name:?} (EDS)").into()),
                Some(Assignment::Known(endpoints)) => {
                    Resolution::Ready(Arc::new(cluster_of(name, &resource, Some(endpoints))))
                }
                Some(Assignment::Absent) => {
                    Resolution::Ready(Arc::new(cluster_of(name, &resource, None)))
                }
                Some(Assignment::Refused(fault)) => Resolution::Ready(Arc::new(Cluster::faulty(
                    Arc::clone(name),
                    Arc::clone(fault),
                ))),
            },
        }
    }

    /// Keeps a decoded cluster, links it to its load assignment, and records its fault.
    fn remember(
        &mut self,
        name: &Arc<str>,
        decoded: Result<ClusterResource, Invalid>,
    ) -> Result<Arc<ClusterResource>, Rejected> {
        let resource = decoded.map(Arc::new).map_err(|reason| {
            let fault = self.fault(name, reason);
            tracing::warn!(%fault, "a cluster that a route needs cannot be used");
            self.faults.insert(Arc::clone(name), fault.clone());
            fault
        });
        let service = match resource.as_deref() {
            Ok(ClusterResource {
                discovery: Discovery::Eds { service_name },
                ..
            }) => Some(Arc::clone(service_name)),
            _ => None,
        };
        let former = self
            .referenced
            .get(name)
            .and_then(|referenced| referenced.service.clone());
        if former != service {
            self.unlink(name);
        }
        if let Some(service) = &service {
            let users = self
                .by_service
                .entry(Arc::clone(service))
                .or_insert_with(|| {
                    self.names = None;
                    BTreeSet::new()
                });
            users.insert(Arc::clone(name));
        }
        self.looked_up.link(name, names_of(&resource));
        match &resource {
            Ok(resource) => self.ignored.set(name, &resource.ignored),
            Err(_) => self.ignored.remove(name),
        }
        if let Some(referenced) = self.referenced.get_mut(name) {
            referenced.resource = Some(resource.clone());
            referenced.service = service;
        }
        resource
    }

    /// Takes a cluster away from its load assignment, and the assignment away if it was the last.
    fn unlink(&mut self, name: &Arc<str>) {
        self.looked_up.link(name, None);
        let linked = self
            .referenced
            .get_mut(name)
            .and_then(|referenced| referenced.service.take());
        let Some(service) = linked else { return };
        if let Some(users) = self.by_service.get_mut(&service) {
            users.remove(name);
            if users.is_empty() {
                self.by_service.remove(&service);
                self.names = None;
                if !self.requested.contains(&service) {
                    self.ignored_endpoints.remove(&service);
                    self.endpoints.remove(&service);
                }
            }
        }
    }
}

fn names_of<E>(resource: &Result<Arc<ClusterResource>, E>) -> Option<&Names> {
    match &resource.as_deref().ok()?.discovery {
        Discovery::Dns(names) => Some(names),
        _ => None,
    }
}
