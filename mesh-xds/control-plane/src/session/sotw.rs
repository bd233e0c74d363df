//! The state-of-the-world protocol as istiod speaks it.
//!
//! CDS is to sidecars always the complete set, EDS and RDS are by name and may carry only what changed, a name that we do not
//! have is answered with an empty resource of that name (so that nobody waits for it, or keeps what has been
//! removed), and a type that we do not serve gets an empty answer. To gRPC's clients LDS and CDS are the complete set of
//! what they name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::Node as NodeProto;
use envoy_types::pb::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use envoy_types::pb::google::protobuf::Any;
use mesh_istio::Dialect;
use mesh_xds::{Node, ResourceType};

use super::{Kind, Nack, Session, SessionError, View};

/// What the client follows of one type.
#[derive(Debug, Default)]
struct Watch {
    names: BTreeSet<String>,
    /// Whether it ever named something: no names are then none, not all.
    named: bool,
    /// Set while a response is owed; for types by name, the names that it must cover.
    due: Option<BTreeSet<String>>,
    /// The nonce of the last response; empty before the first.
    nonce: String,
}

impl Watch {
    fn owe<'a>(&mut self, names: impl IntoIterator<Item = &'a String>) {
        self.due
            .get_or_insert_default()
            .extend(names.into_iter().cloned());
    }

    /// Whether the names choose among a type that is always complete: in gRPC's dialect, once there were any.
    fn chooses(&self, view: &View) -> bool {
        self.named && view.compiled.dialect == Dialect::Grpc
    }

    /// Takes the names of a request that is not stale. `fresh`: the client starts over with this type.
    fn subscribe(&mut self, names: BTreeSet<String>, fresh: bool, by_name: bool) {
        let added: Vec<_> = names
            .iter()
            .filter(|n| fresh || !self.names.contains(*n))
            .collect();
        // A wildcard type is owed to whoever starts; a type by name only to whoever names something.
        if !added.is_empty() || (fresh && !by_name) {
            self.owe(added);
        }
        self.named |= !names.is_empty();
        self.names = names;
        if by_name && let Some(due) = &mut self.due {
            due.retain(|n| self.names.contains(n));
            if due.is_empty() {
                self.due = None;
            }
        }
    }
}

/// One client on one stream.
#[derive(Debug)]
pub(crate) struct Sotw {
    node: Node,
    view: View,
    watches: BTreeMap<Kind, Watch>,
    responses: u64,
}

impl Session for Sotw {
    type Request = DiscoveryRequest;
    type Response = DiscoveryResponse;

    fn sender(request: &DiscoveryRequest) -> Option<&NodeProto> {
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

    fn request(&mut self, request: DiscoveryRequest) -> Result<Option<Nack>, SessionError> {
        let DiscoveryRequest {
            type_url,
            resource_names,
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
        // A nonce on a type that got no response yet belongs to an earlier stream: the client starts over.
        let fresh = response_nonce.is_empty() || watch.nonce.is_empty();
        if fresh || watch.nonce == response_nonce {
            watch.subscribe(
                resource_names.into_iter().collect(),
                fresh,
                kind.is_by_name(),
            );
        }
        // Else it is stale: the client had not seen our last response yet. Its answer to that one repeats all names.
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
            let moved = |name: &String| before.get(name) != after.get(name);
            if !kind.is_by_name() {
                let chosen = watch.chooses(new);
                if before != after && (!chosen || watch.names.iter().any(moved)) {
                    watch.owe([]);
                }
                continue;
            }
            // The endpoints of a removed cluster are left alone: a client that still holds a route to it would
            // lose them before it hears of the new route.
            let kept = |name: &String| {
                *kind == Kind::Served(ResourceType::Route) || after.contains_key(name)
            };
            let changed: Vec<_> = (watch.names.iter())
                .filter(|n| kept(n) && (moved(n) || super::warms(kind, n, &old, new)))
                .cloned()
                .collect();
            if !changed.is_empty() {
                watch.owe(&changed);
            }
        }
    }

    fn response(&mut self) -> Option<DiscoveryResponse> {
        let (kind, watch) = self
            .watches
            .iter_mut()
            .find(|(_, watch)| watch.due.is_some())?;
        let names = watch.due.take()?;
        let resources = match self.view.of(kind) {
            None => Vec::new(),
            Some(all) if kind.is_by_name() => (names.iter())
                .map(|name| all.get(name).cloned().unwrap_or_else(|| empty(kind, name)))
                .collect(),
            Some(all) if watch.chooses(&self.view) => {
                let chosen = watch.names.iter().filter_map(|name| all.get(name));
                chosen.cloned().collect()
            }
            Some(all) => all.values().cloned().collect(),
        };
        self.responses += 1;
        watch.nonce = self.view.nonce(self.responses);
        Some(DiscoveryResponse {
            version_info: self.view.version.to_string(),
            resources,
            type_url: kind.type_url().to_owned(),
            nonce: watch.nonce.clone(),
            control_plane: Some(super::identity()),
            ..DiscoveryResponse::default()
        })
    }
}

/// What istiod answers for a name that it does not know, of a type by name.
fn empty(kind: &Kind, name: &str) -> Any {
    if *kind == Kind::Served(ResourceType::Route) {
        super::empty_route(name)
    } else {
        super::empty_endpoints(name)
    }
}

#[cfg(test)]
pub(super) mod tests;
