//! One ADS stream as a machine without IO: requests and configurations in, responses out.
//!
//! The rules are those of the state-of-the-world protocol as istiod speaks it to sidecars: CDS is always the
//! complete set, EDS and RDS are by name and may carry only what changed, a name that we do not have is answered
//! with an empty resource of that name (so that nobody waits for it, or keeps what has been removed), and a type
//! that we do not serve gets an empty answer.
//!
//! Nothing is queued. A watch knows *which names* are owed to the client; the content is looked up when the
//! client has room for the message, so a slow client costs a set of names and then gets the newest state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::ControlPlane;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use envoy_types::pb::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use envoy_types::pb::google::protobuf::Any;
use envoy_types::util::pack_any;
use mesh_xds::node::NodeError;
use mesh_xds::{Node, ResourceType, Resources};

/// How many types one stream may ask for; Envoy knows about a dozen.
const MAX_TYPES: usize = 32;
/// How much of a client's error text is kept.
const MAX_MESSAGE: usize = 4096;

/// What one node is to have now.
#[derive(Debug, Clone)]
pub(crate) struct View {
    /// The `version_info` of this configuration.
    pub(crate) version: Arc<str>,
    /// Everything that the node may ask for.
    pub(crate) resources: Arc<Resources>,
}

/// An update that a client refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nack {
    /// The id of the node.
    pub node: String,
    /// The `type_url` of the refused response.
    pub type_url: String,
    /// The `version_info` of the refused response; empty if the client named a response that we never sent.
    pub version: String,
    /// The client's own words.
    pub message: String,
}

/// Why a stream cannot go on. All of them are the client's fault.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SessionError {
    #[error("the first request of the stream carries no node: send node.id with it")]
    NoNode,
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error(
        "node {0:?} sent a request without type_url: on an aggregated stream every request names its type"
    )]
    NoType(String),
    #[error(
        "node {0:?} asked for more than {MAX_TYPES} types on one stream; the last one was {1:?}"
    )]
    TooManyTypes(String, String),
}

/// The types in the order in which they are pushed: `ResourceType` is ordered make before break.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Served(ResourceType),
    /// A type that we have nothing of, by its `type_url`.
    Empty(String),
}

impl Kind {
    fn of(type_url: String) -> Self {
        ResourceType::from_type_url(&type_url).map_or(Self::Empty(type_url), Self::Served)
    }

    fn type_url(&self) -> &str {
        match self {
            Self::Served(served) => served.type_url(),
            Self::Empty(url) => url,
        }
    }

    /// Whether the names of a request choose what is sent.
    fn is_by_name(&self) -> bool {
        matches!(self, Self::Served(served) if !served.is_full_state())
    }
}

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
pub(crate) struct Session {
    node: Node,
    view: View,
    watches: BTreeMap<Kind, Watch>,
    responses: u64,
}

impl Session {
    /// Reads who the client is from the first request of a stream. The request itself goes to
    /// [`request`](Self::request) afterwards.
    pub(crate) fn node_of(first: &DiscoveryRequest) -> Result<Node, SessionError> {
        let node = first
            .node
            .as_ref()
            .filter(|n| !n.id.is_empty())
            .ok_or(SessionError::NoNode)?;
        Ok(Node::from_proto(node)?)
    }

    /// A session that has not been asked for anything yet.
    pub(crate) const fn new(node: Node, view: View) -> Self {
        Self {
            node,
            view,
            watches: BTreeMap::new(),
            responses: 0,
        }
    }

    /// Who the client is.
    pub(crate) const fn node(&self) -> &Node {
        &self.node
    }

    /// Takes a request: a subscription, an ACK, a NACK, or several of these in one.
    pub(crate) fn request(
        &mut self,
        request: DiscoveryRequest,
    ) -> Result<Option<Nack>, SessionError> {
        if request.type_url.is_empty() {
            return Err(SessionError::NoType(self.node.id()));
        }
        let nack = self.nack_of(&request);
        let kind = Kind::of(request.type_url);
        if self.watches.len() >= MAX_TYPES && !self.watches.contains_key(&kind) {
            return Err(SessionError::TooManyTypes(
                self.node.id(),
                kind.type_url().to_owned(),
            ));
        }
        let by_name = kind.is_by_name();
        let watch = self.watches.entry(kind).or_default();
        // A nonce on a type that got no response yet belongs to an earlier stream: the client starts over.
        let fresh = request.response_nonce.is_empty() || watch.nonce.is_empty();
        if fresh || watch.nonce == request.response_nonce {
            watch.subscribe(request.resource_names.into_iter().collect(), fresh, by_name);
        }
        // Else it is stale: the client had not seen our last response yet. Its answer to that one repeats all names.
        Ok(nack)
    }

    fn nack_of(&self, request: &DiscoveryRequest) -> Option<Nack> {
        let detail = request.error_detail.as_ref()?;
        let version = request
            .response_nonce
            .rsplit_once('#')
            .map_or("", |(version, _)| version);
        Some(Nack {
            node: self.node.id(),
            type_url: request.type_url.clone(),
            version: version.to_owned(),
            message: detail.message.chars().take(MAX_MESSAGE).collect(),
        })
    }

    /// Moves the client to another configuration. Owed is what it follows and what is not the same any more.
    pub(crate) fn update(&mut self, view: View) {
        let old = std::mem::replace(&mut self.view, view).resources;
        let new = Arc::clone(&self.view.resources);
        if Arc::ptr_eq(&old, &new) {
            return;
        }
        let moved = |of: ResourceType, name: &String| old.of(of).get(name) != new.of(of).get(name);
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
            // A stock Envoy warms a changed cluster until endpoints arrive *after* it, so they go out again
            // though they are the same. Our clusters' EDS service names are the clusters' names.
            let warms = |name: &String| {
                served == ResourceType::Endpoints
                    && new.clusters.contains_key(name)
                    && moved(ResourceType::Cluster, name)
            };
            // The endpoints of a removed cluster are left alone: a client that still holds a route to it would
            // lose them before it hears of the new route.
            let kept =
                |name: &String| served == ResourceType::Route || new.of(served).contains_key(name);
            let changed: Vec<_> = (watch.names.iter())
                .filter(|n| kept(n) && (moved(served, n) || warms(n)))
                .cloned()
                .collect();
            if !changed.is_empty() {
                watch.owe(&changed);
            }
        }
    }

    /// The next response that is owed, with the newest content; `None` when the client has everything.
    pub(crate) fn response(&mut self) -> Option<DiscoveryResponse> {
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
                names
                    .iter()
                    .map(|name| {
                        all.get(name)
                            .cloned()
                            .unwrap_or_else(|| empty(*served, name))
                    })
                    .collect()
            }
        };
        self.responses += 1;
        watch.nonce = format!("{}#{}", self.view.version, self.responses);
        Some(DiscoveryResponse {
            version_info: self.view.version.to_string(),
            resources,
            type_url: kind.type_url().to_owned(),
            nonce: watch.nonce.clone(),
            control_plane: Some(ControlPlane {
                identifier: "mesh-control-plane".to_owned(),
            }),
            ..DiscoveryResponse::default()
        })
    }
}

/// What istiod answers for a name that it does not know.
fn empty(served: ResourceType, name: &str) -> Any {
    match served {
        ResourceType::Route => pack_any(RouteConfiguration {
            name: name.to_owned(),
            ..RouteConfiguration::default()
        }),
        ResourceType::Endpoints => pack_any(ClusterLoadAssignment {
            cluster_name: name.to_owned(),
            ..ClusterLoadAssignment::default()
        }),
        // CDS is never asked for by name.
        ResourceType::Cluster => Any::default(),
    }
}

#[cfg(test)]
mod tests;
