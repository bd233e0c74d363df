//! Which of istiod's two shapes of configuration a node is sent.

use envoy_types::pb::google::protobuf::{Value, value::Kind};

use crate::node::Node;

/// The key of the metadata by which a node chooses.
pub(crate) const GENERATOR: &str = "GENERATOR";
const GRPC: &str = "grpc";

/// The shape of the resources: istiod's choice by `node.metadata.GENERATOR`.
///
/// It is part of the node, so that a client cannot read another shape than it asks for: [`Node::dialect`] and
/// [`Node::with_dialect`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Dialect {
    /// What an Envoy gets: all clusters, routes by port. Any other generator, and none.
    #[default]
    Sidecar,
    /// `GENERATOR: grpc`, what gRPC's own xDS clients read: each resource by name, from a `Listener` on. What those
    /// refuse and Envoy serves is refused (gRPC A27, A28, A37, A39, A42, A44), but where that would take from a call
    /// what it can have.
    Grpc,
}

impl Dialect {
    /// The dialect that a node asks for.
    pub fn of(node: &Node) -> Self {
        match node.metadata.get(GENERATOR).map(|value| &value.kind) {
            Some(Some(Kind::StringValue(generator))) if generator == GRPC => Self::Grpc,
            _ => Self::Sidecar,
        }
    }
}

impl Node {
    /// The dialect that it asks for.
    pub fn dialect(&self) -> Dialect {
        Dialect::of(self)
    }

    /// The same node asking for this dialect.
    #[must_use]
    pub fn with_dialect(mut self, dialect: Dialect) -> Self {
        match dialect {
            Dialect::Sidecar => drop(self.metadata.remove(GENERATOR)),
            Dialect::Grpc => {
                let kind = Some(Kind::StringValue(GRPC.to_owned()));
                self.metadata.insert(GENERATOR.to_owned(), Value { kind });
            }
        }
        self
    }
}
