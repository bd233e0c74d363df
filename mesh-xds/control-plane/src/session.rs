//! One ADS stream as a machine without IO: requests and configurations in, responses out.
//!
//! The two variants of the protocol share their words here: [`sotw::Sotw`] names the whole set of what it follows
//! in each request, [`delta::Delta`] only what is new. Both are served from the same compiled configuration.
//!
//! Nothing is queued. A watch knows *which names* are owed to the client; the content is looked up when the
//! client has room for the message, so a slow client costs a set of names and then gets the newest state.

pub(crate) mod delta;
pub(crate) mod sotw;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::{ControlPlane, Node as NodeProto};
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use envoy_types::pb::google::protobuf::Any;
use envoy_types::pb::google::rpc::Status;
use envoy_types::util::pack_any;
use mesh_istio::Dialect;
use mesh_xds::node::NodeError;
use mesh_xds::{Node, ResourceType, Resources};

/// How many types one stream may ask for; Envoy knows about a dozen.
const MAX_TYPES: usize = 32;
/// How much of a client's error text is kept.
const MAX_MESSAGE: usize = 4096;

/// One client on one stream, in one variant of the protocol.
pub(crate) trait Session: fmt::Debug + Sized {
    /// What the client sends.
    type Request;
    /// What it is sent.
    type Response;

    /// Who a request says it is from. The first of a stream must say it.
    fn sender(request: &Self::Request) -> Option<&NodeProto>;

    /// A session that has not been asked for anything yet.
    fn new(node: Node, view: View) -> Self;

    /// Who the client is.
    fn node(&self) -> &Node;

    /// Takes a request: a subscription, an ACK, a NACK, or several of these in one.
    fn request(&mut self, request: Self::Request) -> Result<Option<Nack>, SessionError>;

    /// Moves the client to another configuration. Owed is what it follows and what is not the same any more.
    fn update(&mut self, view: View);

    /// The next response that is owed, with the newest content; `None` when the client has everything.
    fn response(&mut self) -> Option<Self::Response>;

    /// Reads who the client is from the first request of a stream. The request itself goes to
    /// [`request`](Self::request) afterwards.
    fn node_of(first: &Self::Request) -> Result<Node, SessionError> {
        let node = Self::sender(first)
            .filter(|n| !n.id.is_empty())
            .ok_or(SessionError::NoNode)?;
        Ok(Node::from_proto(node)?)
    }
}

/// What one node is to have now.
#[derive(Debug, Clone)]
pub(crate) struct View {
    /// The `version_info` of this configuration.
    pub(crate) version: Arc<str>,
    /// Everything that the node may ask for.
    pub(crate) compiled: Arc<Compiled>,
}

/// What a configuration is to one kind of nodes.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Compiled {
    pub(crate) dialect: Dialect,
    pub(crate) resources: Resources,
}

impl View {
    /// The resources of a type; nothing where we do not serve it.
    fn of(&self, kind: &Kind) -> Option<&BTreeMap<String, Any>> {
        match kind {
            Kind::Served(served) => Some(self.compiled.resources.of(*served)),
            Kind::Empty(_) => None,
        }
    }

    /// The nonce of the `count`th response of a stream.
    fn nonce(&self, count: u64) -> String {
        format!("{}#{count}", self.version)
    }
}

/// An update that a client refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nack {
    /// The id of the node.
    pub node: String,
    /// The `type_url` of the refused response.
    pub type_url: String,
    /// The `version_info` (delta: `system_version_info`) of the refused response; empty if the client named a
    /// response that we never sent.
    pub version: String,
    /// The client's own words.
    pub message: String,
}

impl Nack {
    /// The refusal in a request, if there is one.
    fn of(node: &Node, type_url: &str, nonce: &str, detail: Option<&Status>) -> Option<Self> {
        let detail = detail?;
        let version = nonce.rsplit_once('#').map_or("", |(version, _)| version);
        Some(Self {
            node: node.id(),
            type_url: type_url.to_owned(),
            version: version.to_owned(),
            message: detail.message.chars().take(MAX_MESSAGE).collect(),
        })
    }
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
    #[error(
        "node {0:?} follows more names on one stream than are kept ({limit} MiB): unsubscribe from some, or follow all with \"*\"",
        limit = delta::MAX_NAMES >> 20
    )]
    TooManyNames(String),
}

/// The types in the order in which they are pushed: `ResourceType` is ordered make before break, listeners last, as they
/// lead to routes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Served(ResourceType),
    /// A type that we have nothing of, by its `type_url`.
    Empty(String),
}

impl Kind {
    fn of(type_url: String) -> Self {
        match ResourceType::from_type_url(&type_url) {
            Some(served) => Self::Served(served),
            None => Self::Empty(type_url),
        }
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

/// The watch of a type, made where the client asks for the type for the first time.
fn watch<'a, W: Default>(
    watches: &'a mut BTreeMap<Kind, W>,
    node: &Node,
    type_url: String,
) -> Result<(Kind, &'a mut W), SessionError> {
    if type_url.is_empty() {
        return Err(SessionError::NoType(node.id()));
    }
    let kind = Kind::of(type_url);
    if watches.len() >= MAX_TYPES && !watches.contains_key(&kind) {
        return Err(SessionError::TooManyTypes(
            node.id(),
            kind.type_url().to_owned(),
        ));
    }
    let watch = watches.entry(kind.clone()).or_default();
    Ok((kind, watch))
}

/// Whether a stock Envoy waits for these endpoints: it warms a changed cluster until endpoints arrive *after* it,
/// so they go out again though they are the same. Our clusters' EDS service names are the clusters' names.
fn warms(kind: &Kind, name: &str, old: &View, new: &View) -> bool {
    let (old, new) = (&old.compiled.resources, &new.compiled.resources);
    *kind == Kind::Served(ResourceType::Endpoints)
        && new.clusters.contains_key(name)
        && old.clusters.get(name) != new.clusters.get(name)
}

/// What istiod answers for a route configuration that it does not know.
fn empty_route(name: &str) -> Any {
    pack_any(RouteConfiguration {
        name: name.to_owned(),
        ..RouteConfiguration::default()
    })
}

/// The same for endpoints.
fn empty_endpoints(name: &str) -> Any {
    pack_any(ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        ..ClusterLoadAssignment::default()
    })
}

/// Who we are, in every response.
fn identity() -> ControlPlane {
    ControlPlane {
        identifier: "mesh-control-plane".to_owned(),
    }
}
