//! A response -> the assembler: each resource on its own, so that one bad one spoils no other (gRPC A46).

use std::collections::BTreeMap;
use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::{Resource, ResourceError};
use envoy_types::pb::google::protobuf::Any;
use envoy_types::pb::google::rpc::Status;
use mesh_core::snapshot::Missing;

use crate::assemble::Assembler;
use crate::decode::{self, Invalid, Rejected, cluster, endpoints, listener, route};
use crate::resource::{ResourceType, Resources};

/// One response, whichever variant of the protocol brought it.
pub(super) struct Batch {
    pub(super) resource_type: ResourceType,
    /// What errors call the whole of it.
    pub(super) version: Arc<str>,
    pub(super) items: Vec<Item>,
    pub(super) scope: Scope,
}

impl Batch {
    /// What a state-of-the-world response, or a folder, holds.
    pub(super) fn state(
        resource_type: ResourceType,
        version: &Arc<str>,
        resources: Vec<Any>,
        keep: bool,
    ) -> Self {
        let item = |any| Item {
            name: None,
            version: Arc::clone(version),
            any,
        };
        Self {
            resource_type,
            version: Arc::clone(version),
            items: resources.into_iter().map(item).collect(),
            scope: Scope::State {
                keep,
                errors: Vec::new(),
            },
        }
    }

    /// The same response with errors in the place of these resources.
    pub(super) fn with_errors(mut self, all: &[ResourceError]) -> Self {
        if let Scope::State { errors, .. } = &mut self.scope {
            let named = all.iter().filter_map(|error| error.resource_name.as_ref());
            errors.extend(named.map(|resource| Arc::from(&*resource.name)));
        }
        self
    }

    /// What an incremental response holds. A server that numbers no resources has numbered the whole.
    pub(super) fn changes(
        resource_type: ResourceType,
        version: &Arc<str>,
        resources: Vec<Resource>,
        removed: Vec<String>,
    ) -> Self {
        let item = |resource: Resource| Item {
            name: Some(resource.name),
            version: match resource.version.is_empty() {
                true => Arc::clone(version),
                false => resource.version.into(),
            },
            any: resource.resource.unwrap_or_default(),
        };
        Self {
            resource_type,
            version: Arc::clone(version),
            items: resources.into_iter().map(item).collect(),
            scope: Scope::Changes {
                removed: removed.into_iter().map(Into::into).collect(),
            },
        }
    }
}

/// A resource on its way in.
pub(super) struct Item {
    /// The name that the envelope gives it, where there is one.
    pub(super) name: Option<String>,
    pub(super) version: Arc<str>,
    pub(super) any: Any,
}

/// What a response says of the resources that are not in it.
pub(super) enum Scope {
    /// A full-state type's are gone, unless `keep` (gRPC A53) or the response holds an error for them
    /// (gRPC A88). Of other types it says nothing.
    State { keep: bool, errors: Vec<Arc<str>> },
    /// These are gone, all others stay.
    Changes { removed: Vec<Arc<str>> },
}

/// What became of a [`Batch`].
pub(super) struct Accepted {
    /// Name and version of each resource that was taken.
    pub(super) taken: Vec<(Arc<str>, Arc<str>)>,
    pub(super) rejected: Vec<Rejected>,
}

impl Accepted {
    /// The names of the resources that came, good or bad.
    pub(super) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        let taken = self.taken.iter().map(|(name, _)| name);
        taken.chain(self.rejected.iter().map(|rejected| &rejected.name))
    }
}

/// Hands the resources of one response over.
pub(super) fn accept(assembler: &mut Assembler, batch: Batch) -> Accepted {
    let resource_type = batch.resource_type;
    let mut rejected = Vec::new();
    let mut reject = |name: Arc<str>, version: Arc<str>, reason: Invalid| {
        rejected.push(Rejected {
            resource_type,
            name,
            version,
            reason,
        });
    };
    let mut taken = BTreeMap::new();
    let mut clusters = BTreeMap::new();
    for item in batch.items {
        let version = Arc::clone(&item.version);
        match one(assembler, resource_type, item, &mut clusters) {
            Ok(name) if taken.contains_key(&name) => {
                let reason = Invalid::new("", "appears twice in one response");
                reject(name, version, reason);
            }
            Ok(name) => drop(taken.insert(name, version)),
            Err((name, reason)) => reject(name, version, reason),
        }
    }
    if resource_type == ResourceType::Cluster {
        match &batch.scope {
            Scope::State { keep, errors } => {
                for name in errors {
                    if let Some(wire) = assembler.cluster(name) {
                        clusters.entry(Arc::clone(name)).or_insert(wire);
                    }
                }
                // What could not be read may be one of those that are missing.
                let unreadable = rejected.iter().any(|rejected| rejected.name.is_empty());
                assembler.set_clusters(&batch.version, clusters, *keep || unreadable);
            }
            Scope::Changes { removed } => {
                assembler.change_clusters(&batch.version, clusters, removed);
            }
        }
        rejected.extend(assembler.take_cluster_faults());
    } else if resource_type == ResourceType::Listener
        && let Scope::State { keep, errors } = &batch.scope
    {
        let is_told = |name: &Arc<str>| taken.contains_key(name) || errors.contains(name);
        only_listeners(assembler, &rejected, *keep, is_told);
    } else if let Scope::Changes { removed } = &batch.scope {
        // What has come with the same response is there.
        let gone = removed.iter().filter(|name| !taken.contains_key(*name));
        gone.for_each(|name| remove(assembler, resource_type, name));
    }
    if resource_type == ResourceType::Listener {
        assembler.inbound_answered();
    }
    for rejected in &rejected {
        refuse(assembler, rejected);
        taken.remove(&rejected.name);
    }
    Accepted {
        taken: taken.into_iter().collect(),
        rejected,
    }
}

/// The listeners that a whole state does not hold are gone, as far as all of it could be read.
fn only_listeners(
    assembler: &mut Assembler,
    rejected: &[Rejected],
    keep: bool,
    is_told: impl Fn(&Arc<str>) -> bool,
) {
    let unreadable = rejected.iter().any(|rejected| rejected.name.is_empty());
    if !keep && !unreadable {
        let is_bad = |name: &Arc<str>| rejected.iter().any(|it| it.name == *name);
        assembler.only_listeners(|name| is_told(name) || is_bad(name));
    }
}

/// A named resource that the control plane has taken away, or never had. What we have of it stays, as in
/// Envoy: it lives as long as what refers to it, and only that something does not exist ends the waiting.
fn remove(assembler: &mut Assembler, resource_type: ResourceType, name: &Arc<str>) {
    match resource_type {
        ResourceType::Listener => assembler.listener_gone(name),
        ResourceType::Route | ResourceType::Endpoints
            if !assembler.is_answered(resource_type, name) =>
        {
            let reason =
                format!("the control plane says that {resource_type} {name:?} does not exist");
            assembler.missing(resource_type, name, Missing::NotReceived(reason.into()));
        }
        _ => {}
    }
}

/// Lets calls that wait for a resource know that it came and why it cannot be used. Where there is a
/// last good version, that one stays.
fn refuse(assembler: &mut Assembler, rejected: &Rejected) {
    let fault: Arc<str> = rejected.to_string().into();
    match rejected.resource_type {
        ResourceType::Endpoints => assembler.endpoints_refused(&rejected.name, fault),
        ResourceType::Listener => assembler.listener_refused(&rejected.name, fault),
        ResourceType::Route => {
            let why = Missing::NotReceived(fault);
            assembler.missing(ResourceType::Route, &rejected.name, why);
        }
        // One that can be named is found out when a route names it.
        ResourceType::Cluster => {}
    }
}

/// What the control plane sends in a resource's place, in words.
pub(super) fn instead(status: &Status) -> String {
    format!(
        "the control plane answers with code {}: {}",
        status.code, status.message
    )
}

/// The errors that the control plane sends in a resource's place (xRFC TP3, gRPC A88): calls that wait for
/// it are told, what is cached stays. Returns one sentence for each.
pub(super) fn errors(
    assembler: &mut Assembler,
    resource_type: ResourceType,
    errors: Vec<ResourceError>,
) -> Vec<Arc<str>> {
    let mut texts = Vec::new();
    for error in errors {
        let name: Arc<str> = error.resource_name.unwrap_or_default().name.into();
        let status = error.error_detail.unwrap_or_default();
        let text: Arc<str> = format!("{resource_type} {name:?}: {}", instead(&status)).into();
        match resource_type {
            ResourceType::Endpoints => assembler.endpoints_refused(&name, Arc::clone(&text)),
            ResourceType::Listener if !assembler.has(ResourceType::Listener, &name) => {
                assembler.listener_refused(&name, Arc::clone(&text));
            }
            of if !assembler.has(of, &name) => {
                assembler.missing(of, &name, Missing::NotReceived(Arc::clone(&text)));
            }
            _ => {}
        }
        texts.push(text);
    }
    texts
}

/// Returns the resource's name.
fn one(
    assembler: &mut Assembler,
    resource_type: ResourceType,
    item: Item,
    clusters: &mut BTreeMap<Arc<str>, Vec<u8>>,
) -> Result<Arc<str>, (Arc<str>, Invalid)> {
    let Item {
        name: envelope,
        version,
        any,
    } = item;
    let called = envelope.as_deref().unwrap_or_default();
    let bytes = decode::unwrapped(any, resource_type).map_err(|reason| (called.into(), reason))?;
    let same = |name: Arc<str>| match &envelope {
        Some(envelope) if **envelope != *name => {
            let reason = format_args!("the resource in it is called {name:?}");
            Err((envelope.as_str().into(), Invalid::new("name", reason)))
        }
        _ => Ok(name),
    };
    match resource_type {
        ResourceType::Cluster => {
            let name = cluster::name(&bytes).map_err(|reason| (called.into(), reason))?;
            let name = same(name)?;
            clusters.insert(Arc::clone(&name), bytes);
            Ok(name)
        }
        ResourceType::Endpoints => {
            let (name, decoded) = endpoints::decode(&bytes, assembler.dialect())?;
            let name = same(name)?;
            assembler.set_endpoints(Arc::clone(&name), decoded);
            Ok(name)
        }
        ResourceType::Route => {
            let decoded = route::decode(&bytes, assembler.timing())?;
            let name = same(Arc::clone(&decoded.name))?;
            assembler.set_route(&version, decoded, &bytes);
            Ok(name)
        }
        ResourceType::Listener => {
            let name = listener::name(&bytes).map_err(|reason| (called.into(), reason))?;
            let name = same(name)?;
            let of_name = |reason| (Arc::clone(&name), reason);
            if assembler.is_listener_wanted(&name) {
                let decoded = listener::decode(&bytes).map_err(of_name)?;
                assembler.set_listener(&name, decoded);
            } else {
                let taken = assembler.set_inbound(&name, &version, bytes);
                taken.map_err(of_name)?;
            }
            Ok(name)
        }
    }
}

/// Hands over a whole set that came from no stream: what it does not hold does not exist. Returns what became
/// of each type.
pub(super) fn accept_all(
    assembler: &mut Assembler,
    version: &Arc<str>,
    resources: &Resources,
) -> Vec<(ResourceType, Accepted)> {
    assembler.is_whole();
    let mut accepted = Vec::new();
    // Routes decide which load assignments are looked at, and a gateway's listeners which routes. Listeners are looked at
    // once servers ask.
    for resource_type in [
        ResourceType::Cluster,
        ResourceType::Listener,
        ResourceType::Route,
        ResourceType::Endpoints,
    ] {
        let wanted = |name: &str| {
            resource_type != ResourceType::Route
                || name.parse().is_ok_and(|key| assembler.is_wanted(&key))
        };
        let all = resources
            .of(resource_type)
            .iter()
            .filter(|(name, _)| wanted(name));
        let all = all.map(|(_, any)| any.clone()).collect();
        let batch = Batch::state(resource_type, version, all, false);
        accepted.push((resource_type, accept(assembler, batch)));
    }
    let absent = |name: &&Arc<str>| !resources.endpoints.contains_key(&***name);
    let names = assembler.endpoint_names();
    for name in names.iter().filter(absent).cloned() {
        assembler.endpoints_absent(name);
    }
    let unknown: Vec<_> = assembler
        .wanted()
        .filter(|key| !resources.routes.contains_key(&key.to_string()))
        .collect();
    for key in unknown {
        let reason = format!(
            "no HTTP service of the configuration listens on {key}; check the port in the URL (80 if there is none), and that the ServiceEntry gives that port the protocol HTTP, HTTP2 or GRPC"
        );
        assembler.table_gone(key, reason.into());
    }
    accepted
}
