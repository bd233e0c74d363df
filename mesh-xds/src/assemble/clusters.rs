//! Clusters as they arrive, and as routes need them: decoded when first referred to.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use mesh_core::cluster::{Cluster, Endpoint};

use crate::decode::cluster::{self, ClusterResource, Discovery};
use crate::decode::endpoints::EndpointsResource;
use crate::decode::{Invalid, Rejected};
use crate::resource::ResourceType;

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
            (Self::Absent, Self::Absent) | (Self::Waiting(_), Self::Waiting(_)) => true,
            _ => false,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Clusters {
    /// The last CDS, undecoded. `None` until the first one.
    wire: Option<BTreeMap<Arc<str>, Vec<u8>>>,
    version: Arc<str>,
    /// Load assignments by EDS service name; `None` is known not to exist.
    endpoints: HashMap<Arc<str>, Option<EndpointsResource>>,
    /// Clusters that some host refers to.
    referenced: HashMap<Arc<str>, Referenced>,
    /// EDS service name -> the referenced clusters that use it.
    by_service: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    dirty: BTreeSet<Arc<str>>,
    late_faults: Vec<Rejected>,
}

#[derive(Debug)]
struct Referenced {
    by: usize,
    /// Decoded when first needed and when its wire form changes.
    resource: Option<Result<Arc<ClusterResource>, Arc<str>>>,
    /// The load assignment that it is linked to.
    service: Option<Arc<str>>,
    resolution: Resolution,
}

impl Clusters {
    pub(super) fn wire(&self, name: &str) -> Option<&[u8]> {
        self.wire.as_ref()?.get(name).map(Vec::as_slice)
    }

    pub(super) fn endpoint_names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.by_service.keys()
    }

    pub(super) fn has_endpoints(&self, name: &str) -> bool {
        self.endpoints.contains_key(name)
    }

    pub(super) fn take_late_faults(&mut self) -> Vec<Rejected> {
        std::mem::take(&mut self.late_faults)
    }

    pub(super) fn replace(
        &mut self,
        version: &Arc<str>,
        mut clusters: BTreeMap<Arc<str>, Vec<u8>>,
        keep: bool,
    ) {
        if keep && let Some(wire) = &self.wire {
            for (name, former) in wire {
                clusters
                    .entry(Arc::clone(name))
                    .or_insert_with(|| former.clone());
            }
        }
        for (name, referenced) in &mut self.referenced {
            let before = self.wire.as_ref().and_then(|wire| wire.get(name));
            let after = clusters.get(name);
            if self.wire.is_none() || before != after {
                if before != after {
                    referenced.resource = None;
                }
                self.dirty.insert(Arc::clone(name));
            }
        }
        self.version = Arc::clone(version);
        self.wire = Some(clusters);
    }

    pub(super) fn set_endpoints(&mut self, name: Arc<str>, endpoints: Option<EndpointsResource>) {
        let Some(users) = self.by_service.get(&name) else {
            // Nobody refers to it any more; keeping it would grow without bound.
            return;
        };
        self.dirty.extend(users.iter().cloned());
        self.endpoints.insert(name, endpoints);
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
        let Some(wire) = &self.wire else {
            return Resolution::Waiting("the clusters (CDS)".into());
        };
        let Some(bytes) = wire.get(name) else {
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
                return Resolution::Ready(Arc::new(Cluster::faulty(Arc::clone(name), fault)));
            }
        };
        match &resource.discovery {
            Discovery::Static(endpoints) => {
                Resolution::Ready(Arc::new(cluster_of(name, &resource, Some(endpoints))))
            }
            Discovery::Unsupported(why) => {
                Resolution::Ready(Arc::new(Cluster::faulty(Arc::clone(name), why.as_str())))
            }
            Discovery::Eds { service_name } => match self.endpoints.get(service_name) {
                None => Resolution::Waiting(format!("the endpoints {service_name:?} (EDS)").into()),
                Some(endpoints) => {
                    Resolution::Ready(Arc::new(cluster_of(name, &resource, endpoints.as_ref())))
                }
            },
        }
    }

    /// Keeps a decoded cluster, links it to its load assignment, and records its fault.
    fn remember(
        &mut self,
        name: &Arc<str>,
        decoded: Result<ClusterResource, Invalid>,
    ) -> Result<Arc<ClusterResource>, Arc<str>> {
        let resource = decoded.map(Arc::new).map_err(|reason| {
            let fault = Rejected {
                resource_type: ResourceType::Cluster,
                name: Arc::clone(name),
                version: Arc::clone(&self.version),
                reason,
            };
            tracing::warn!(%fault, "a cluster that a route needs cannot be used");
            let text: Arc<str> = fault.to_string().into();
            self.late_faults.push(fault);
            text
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
            self.by_service
                .entry(Arc::clone(service))
                .or_default()
                .insert(Arc::clone(name));
        }
        if let Some(referenced) = self.referenced.get_mut(name) {
            referenced.resource = Some(resource.clone());
            referenced.service = service;
        }
        resource
    }

    /// Takes a cluster away from its load assignment, and the assignment away if it was the last.
    fn unlink(&mut self, name: &Arc<str>) {
        let linked = self
            .referenced
            .get_mut(name)
            .and_then(|referenced| referenced.service.take());
        let Some(service) = linked else { return };
        if let Some(users) = self.by_service.get_mut(&service) {
            users.remove(name);
            if users.is_empty() {
                self.by_service.remove(&service);
                self.endpoints.remove(&service);
            }
        }
    }
}

fn cluster_of(
    name: &Arc<str>,
    resource: &ClusterResource,
    sent: Option<&EndpointsResource>,
) -> Cluster {
    let endpoints: Vec<Endpoint> = sent
        .into_iter()
        .flat_map(|sent| &sent.endpoints)
        .map(|endpoint| Endpoint {
            address: endpoint.address,
            weight: endpoint.weight,
            priority: endpoint.priority,
            health: endpoint.health,
            transport: resource.transport.of(&endpoint.socket_match),
        })
        .collect();
    Cluster::new(
        Arc::clone(name),
        resource.protocol,
        resource.connect_timeout,
        resource.policy,
        endpoints,
    )
}
