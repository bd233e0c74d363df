//! Which of istiod's two shapes of configuration a node is sent.

use envoy_types::pb::google::protobuf::value::Kind;
use mesh_xds::Node;

/// The shape of the resources: istiod's choice by `node.metadata.GENERATOR`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Dialect {
    /// What an Envoy gets: all clusters, routes by port. Any other generator, and none.
    #[default]
    Sidecar,
    /// `GENERATOR: grpc`, what gRPC's own xDS clients read: each resource by name, from a `Listener` on.
    Grpc,
}

impl Dialect {
    /// The dialect that a node asks for.
    pub fn of(node: &Node) -> Self {
        match node.metadata.get("GENERATOR").map(|value| &value.kind) {
            Some(Some(Kind::StringValue(generator))) if generator == "grpc" => Self::Grpc,
            _ => Self::Sidecar,
        }
    }
}
