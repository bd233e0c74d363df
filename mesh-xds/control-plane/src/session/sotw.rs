//! The state-of-the-world protocol as istiod speaks it to sidecars.
//!
//! CDS is always the complete set, EDS and RDS are by name and may carry only what changed, a name that we do not
//! have is answered with an empty resource of that name (so that nobody waits for it, or keeps what has been
//! removed), and a type that we do not serve gets an empty answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::Node as NodeProto;
use envoy_types::pb::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use envoy_types::pb::google::protobuf::Any;
use mesh_xds::{Node, ResourceType};

use super::{Kind, Nack, Session, SessionError, View};

/// What the client follows of one type.
#[derive(Debug, Default)]
struct Watch {
    names: BTreeSet<String>,
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
        let old = std::mem::replace(&mut self.view, view).resources;
        let new = Arc::clone(&self.view.resources);
        if Arc::ptr_eq(&old, &new) {
            return;
        }
        for (kind, watch) in &mut self.watches {
            let Kind::Served(served) = *kind else {
                continue;
            };
            if served.is_full_state() {
                if old.of(served) != new.of(served) {
                    watch.owe([]);
                }
                continue;
            }
            let moved = |name: &String| old.of(served).get(name) != new.of(served).get(name);
            // The endpoints of a removed cluster are left alone: a client that still holds a route to it would
            // lose them before it hears of the new route.
            let kept =
                |name: &String| served == ResourceType::Route || new.of(served).contains_key(name);
            let changed: Vec<_> = (watch.names.iter())
                .filter(|n| kept(n) && (moved(n) || super::warms(kind, n, &old, &new)))
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
        let resources = match kind {
            Kind::Empty(_) => Vec::new(),
            Kind::Served(served) if served.is_full_state() => {
                self.view.resources.of(*served).values().cloned().collect()
            }
            Kind::Served(served) => {
                let all = self.view.resources.of(*served);
                let present = |name: &String| all.get(name).cloned();
                names
                    .iter()
                    .map(|name| present(name).unwrap_or_else(|| empty(*served, name)))
                    .collect()
            }
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

/// What istiod answers for a name that it does not know.
fn empty(served: ResourceType, name: &str) -> Any {
    match served {
        ResourceType::Route => super::empty_route(name),
        ResourceType::Endpoints => super::empty_endpoints(name),
        // CDS is never asked for by name.
        ResourceType::Cluster => Any::default(),
    }
}

#[cfg(test)]
pub(super) mod tests;
