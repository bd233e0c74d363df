//! The incremental protocol (`DeltaAggregatedResources`).
//!
//! A client says what it begins and ends to follow, and after a reconnect which version of what it holds; it is sent
//! what differs from that. A resource's version is a digest of its content, so it also says "the same" over a
//! restart of ours. What names nothing any more is told in `removed_resources`; a route configuration is emptied
//! instead, as istiod does, because Envoy keeps one that is removed.
//!
//! New things go out in the order of the types (clusters, endpoints, routes), then removals in the other one:
//! nothing is taken away before what replaces it has been sent.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hasher;
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::Node as NodeProto;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource,
};
use envoy_types::pb::google::protobuf::Any;
use mesh_xds::{Node, ResourceType};
use twox_hash::XxHash64;

use super::{Kind, Nack, Session, SessionError, View};

/// How much of one stream's names is kept, in bytes; the names in requests add up here, unlike in the other variant.
pub(super) const MAX_NAMES: usize = 32 << 20;
/// What a kept name costs beside its text.
const NAME_COST: usize = 64;
/// The name that stands for all resources of a type.
const ALL: &str = "*";

/// Why a name is owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owed {
    /// It may have changed: sent when it is not what the client holds.
    Change,
    /// The client asks, or waits: sent whatever the client holds.
    Answer,
}

/// What the client follows of one type.
#[derive(Debug, Default)]
struct Watch {
    /// Whether the first request of the type has come; only that one tells what the client holds.
    asked: bool,
    /// Names that it gave, without `*`.
    names: BTreeSet<String>,
    /// Whether it follows all.
    all: bool,
    /// What it holds, by digest; nothing for a version that is not one of ours.
    held: BTreeMap<String, Option<u64>>,
    due: BTreeMap<String, Owed>,
    /// What the names that the client gave cost to keep.
    cost: usize,
    /// Set while a response is owed even when there is nothing to send: who follows all waits for the first one.
    answer: bool,
}

impl Watch {
    fn follows(&self, name: &str) -> bool {
        self.all || self.names.contains(name)
    }

    fn owe(&mut self, name: &str, owed: Owed) {
        match self.due.get_mut(name) {
            Some(before) if owed == Owed::Answer => *before = owed,
            Some(_) => {}
            None => {
                self.due.insert(name.to_owned(), owed);
            }
        }
    }

    /// Takes what the first request alone may say.
    fn start(&mut self, versions: HashMap<String, String>, subscribe: &[String], kind: &Kind) {
        // The older way to follow all, of the types that have it.
        self.all =
            !kind.is_by_name() && (subscribe.is_empty() || subscribe.iter().any(|n| n == ALL));
        let named: BTreeSet<&String> = subscribe.iter().collect();
        let followed = versions
            .into_iter()
            .filter(|(name, _)| self.all || named.contains(name));
        self.held = followed
            .map(|(name, version)| (name, u64::from_str_radix(&version, 16).ok()))
            .collect();
        self.cost = self.held.keys().map(|name| cost(name)).sum();
    }

    /// From now on all that there is.
    fn follow_all(&mut self, present: Option<&BTreeMap<String, Any>>) {
        self.all = true;
        self.answer = true;
        let known: Vec<_> = self.held.keys().cloned().collect();
        for name in present.into_iter().flat_map(BTreeMap::keys).chain(&known) {
            self.owe(name, Owed::Change);
        }
    }

    /// From now on this name too; `first` in the first request of the type.
    fn subscribe(&mut self, name: String, first: bool) {
        // A name that comes again is answered, for the client may have dropped what it held; what it tells
        // at the start that it holds is not.
        let owed = if first && self.held.contains_key(&name) {
            Owed::Change
        } else {
            Owed::Answer
        };
        self.owe(&name, owed);
        let cost = cost(&name);
        if self.names.insert(name) {
            self.cost += cost;
        }
    }

    fn unsubscribe(&mut self, name: &str) {
        if name == ALL && self.all {
            self.all = false;
            self.answer = false;
            self.held.retain(|name, _| self.names.contains(name));
            self.due.retain(|name, _| self.names.contains(name));
        } else if self.names.remove(name) {
            self.cost -= cost(name);
            if self.all {
                // The client cannot know whether "all" has this name: it is told.
                self.owe(name, Owed::Answer);
            } else {
                self.held.remove(name);
                self.due.remove(name);
            }
        }
    }

    /// Takes the due resources that exist; names that do not stay due if the client has to hear of it.
    fn present(&mut self, kind: &Kind, view: &View) -> Vec<Resource> {
        let mut out = Vec::new();
        for (name, owed) in std::mem::take(&mut self.due) {
            let Some(resource) = content(kind, view, &name) else {
                if owed == Owed::Answer || self.held.contains_key(&name) {
                    self.due.insert(name, owed);
                }
                continue;
            };
            let version = digest(&resource);
            if owed == Owed::Answer || self.held.get(&name) != Some(&Some(version)) {
                self.held.insert(name.clone(), Some(version));
                out.push(Resource {
                    name,
                    version: format!("{version:016x}"),
                    resource: Some(resource),
                    ..Resource::default()
                });
            }
        }
        out
    }

    /// Takes all due names as removed.
    fn removed(&mut self) -> Vec<String> {
        let names: Vec<_> = std::mem::take(&mut self.due).into_keys().collect();
        for name in &names {
            self.held.remove(name);
        }
        names
    }
}

/// One client on one stream.
#[derive(Debug)]
pub(crate) struct Delta {
    node: Node,
    view: View,
    watches: BTreeMap<Kind, Watch>,
    responses: u64,
}

impl Delta {
    fn next(&mut self) -> Option<DeltaDiscoveryResponse> {
        for (kind, watch) in &mut self.watches {
            let resources = watch.present(kind, &self.view);
            if std::mem::take(&mut watch.answer) || !resources.is_empty() {
                return Some(DeltaDiscoveryResponse {
                    type_url: kind.type_url().to_owned(),
                    resources,
                    ..DeltaDiscoveryResponse::default()
                });
            }
        }
        let (kind, watch) = (self.watches.iter_mut().rev()).find(|(_, w)| !w.due.is_empty())?;
        Some(DeltaDiscoveryResponse {
            type_url: kind.type_url().to_owned(),
            removed_resources: watch.removed(),
            ..DeltaDiscoveryResponse::default()
        })
    }
}

impl Session for Delta {
    type Request = DeltaDiscoveryRequest;
    type Response = DeltaDiscoveryResponse;

    fn sender(request: &DeltaDiscoveryRequest) -> Option<&NodeProto> {
        request.node.as_ref()
    }

    fn new(node: Node, view: View) -> Self {
        Self {
            node,
            view,
            watches: BTreeMap::new(),
            responses: 0,
        }
    }

    fn node(&self) -> &Node {
        &self.node
    }

    fn request(&mut self, request: DeltaDiscoveryRequest) -> Result<Option<Nack>, SessionError> {
        let DeltaDiscoveryRequest {
            type_url,
            resource_names_subscribe: subscribe,
            resource_names_unsubscribe: unsubscribe,
            initial_resource_versions: versions,
            response_nonce,
            error_detail,
            ..
        } = request;
        let nack = Nack::of(
            &self.node,
            &type_url,
            &response_nonce,
            error_detail.as_ref(),
        );
        let (kind, watch) = super::watch(&mut self.watches, &self.node, type_url)?;
        let first = !std::mem::replace(&mut watch.asked, true);
        if first {
            watch.start(versions, &subscribe, &kind);
            if watch.all {
                watch.follow_all(self.view.of(&kind));
            }
        }
        for name in subscribe {
            if name != ALL || kind.is_by_name() {
                watch.subscribe(name, first);
            } else if !first {
                watch.follow_all(self.view.of(&kind));
            }
        }
        for name in unsubscribe {
            watch.unsubscribe(&name);
        }
        if self.watches.values().map(|w| w.cost).sum::<usize>() > MAX_NAMES {
            return Err(SessionError::TooManyNames(self.node.id()));
        }
        Ok(nack)
    }

    fn update(&mut self, view: View) {
        let old = std::mem::replace(&mut self.view, view);
        let new = &self.view;
        if Arc::ptr_eq(&old.compiled, &new.compiled) {
            return;
        }
        for (kind, watch) in &mut self.watches {
            let (Some(before), Some(after)) = (old.of(kind), new.of(kind)) else {
                continue;
            };
            let gone = before.keys().filter(|name| !after.contains_key(*name));
            let moved = (after.iter())
                .filter(|(name, resource)| before.get(*name) != Some(resource))
                .map(|(name, _)| name);
            for name in gone.chain(moved) {
                if watch.follows(name) {
                    watch.owe(name, Owed::Change);
                }
            }
            let waiting = |name: &&String| super::warms(kind, name, &old, new);
            let waiting: Vec<_> = watch.names.iter().filter(waiting).cloned().collect();
            for name in waiting {
                watch.owe(&name, Owed::Answer);
            }
        }
    }

    fn response(&mut self) -> Option<DeltaDiscoveryResponse> {
        let response = self.next()?;
        self.responses += 1;
        Some(DeltaDiscoveryResponse {
            system_version_info: self.view.version.to_string(),
            nonce: self.view.nonce(self.responses),
            control_plane: Some(super::identity()),
            ..response
        })
    }
}

/// What a name stands for now.
fn content(kind: &Kind, view: &View, name: &str) -> Option<Any> {
    let present = view.of(kind).and_then(|all| all.get(name)).cloned();
    let emptied = || (*kind == Kind::Served(ResourceType::Route)).then(|| super::empty_route(name));
    present.or_else(emptied)
}

/// What it costs to keep a name.
const fn cost(name: &str) -> usize {
    name.len() + NAME_COST
}

/// The version of a resource: two configurations that make the same of it give it the same one.
fn digest(resource: &Any) -> u64 {
    let mut hasher = XxHash64::with_seed(0);
    hasher.write(&resource.value);
    hasher.finish()
}

#[cfg(test)]
mod tests;
