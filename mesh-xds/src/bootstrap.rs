//! The bootstrap file of gRPC (A27) and of istio-agent: which control plane, and who we are.
//!
//! `GRPC_XDS_BOOTSTRAP` names a file, `GRPC_XDS_BOOTSTRAP_CONFIG` holds the JSON itself; the file
//! wins. Unknown fields are ignored, as A27 demands. `null` stands for an absent field: istio-agent's
//! encoder writes it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use envoy_types::pb::google::protobuf::{ListValue, Struct, Value, value::Kind};
use serde::{Deserialize, Deserializer};
use serde_json::Value as Json;

use crate::ads::{InvalidServer, Server};
use crate::node::{Node, NodeError};

/// The variable that names a bootstrap file.
pub const FILE_VARIABLE: &str = "GRPC_XDS_BOOTSTRAP";
/// The variable that holds the bootstrap itself.
pub const INLINE_VARIABLE: &str = "GRPC_XDS_BOOTSTRAP_CONFIG";

/// What a bootstrap says.
#[derive(Debug, Clone)]
pub struct Bootstrap {
    /// The control plane.
    pub server: Server,
    /// Who we are.
    pub node: Node,
}

impl Bootstrap {
    /// Reads the environment. `None` when neither variable is set.
    ///
    /// # Errors
    /// When the file cannot be read, or the JSON does not hold a bootstrap that can be used.
    pub fn from_env() -> Result<Option<Self>, BootstrapError> {
        if let Some(path) = std::env::var_os(FILE_VARIABLE).filter(|path| !path.is_empty()) {
            let path = PathBuf::from(path);
            let whence = format!("{} (from {FILE_VARIABLE})", path.display());
            let json = std::fs::read_to_string(&path).map_err(|error| BootstrapError {
                whence: whence.clone(),
                reason: error.to_string(),
            })?;
            return Self::parse(&json, &whence).map(Some);
        }
        match std::env::var(INLINE_VARIABLE) {
            Ok(json) if !json.is_empty() => Self::parse(&json, INLINE_VARIABLE).map(Some),
            _ => Ok(None),
        }
    }

    /// Parses the JSON; `whence` is what errors call it.
    ///
    /// # Errors
    /// As [`Self::from_env`].
    pub fn parse(json: &str, whence: &str) -> Result<Self, BootstrapError> {
        let error = |reason: String| BootstrapError {
            whence: whence.to_owned(),
            reason,
        };
        let file: File = serde_json::from_str(json).map_err(|e| error(e.to_string()))?;
        let first = file
            .xds_servers
            .first()
            .ok_or_else(|| error("xds_servers names no control plane".to_owned()))?;
        // The first supported type of the list counts; the others are skipped (A27).
        if !first
            .channel_creds
            .iter()
            .any(|creds| creds.kind == "insecure")
        {
            return Err(error(
                "xds_servers[0].channel_creds has no type that is served yet; list {\"type\": \"insecure\"} for a plaintext control plane".to_owned(),
            ));
        }
        let server = Server::parse(&first.server_uri)
            .map_err(|e: InvalidServer| error(format!("xds_servers[0].server_uri: {e}")))?;
        let node = file
            .node
            .into_node()
            .map_err(|e| error(format!("node: {e}")))?;
        Ok(Self { server, node })
    }
}

/// A bootstrap that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("xDS bootstrap {whence}: {reason}")]
pub struct BootstrapError {
    whence: String,
    reason: String,
}

#[derive(Deserialize)]
#[serde(expecting = "the JSON object of a bootstrap")]
struct File {
    #[serde(default, deserialize_with = "or_default")]
    xds_servers: Vec<XdsServer>,
    #[serde(default, deserialize_with = "or_default")]
    node: FileNode,
}

#[derive(Deserialize)]
#[serde(expecting = "an object of xds_servers")]
struct XdsServer {
    server_uri: String,
    #[serde(default, deserialize_with = "or_default")]
    channel_creds: Vec<ChannelCreds>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object of channel_creds")]
struct ChannelCreds {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize, Default)]
#[serde(expecting = "an object")]
struct FileNode {
    #[serde(default, deserialize_with = "or_default")]
    id: String,
    #[serde(default, deserialize_with = "or_default")]
    metadata: BTreeMap<String, Json>,
}

impl FileNode {
    fn into_node(self) -> Result<Node, NodeError> {
        let metadata = Struct {
            fields: self
                .metadata
                .into_iter()
                .map(|(k, v)| (k, value(v)))
                .collect(),
        };
        let wire = envoy_types::pb::envoy::config::core::v3::Node {
            id: self.id.clone(),
            metadata: Some(metadata),
            ..Default::default()
        };
        let node = Node::from_proto(&wire)?;
        Ok(Node {
            id_override: Some(self.id),
            ..node
        })
    }
}

fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

fn value(json: Json) -> Value {
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(value) => Kind::BoolValue(value),
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Json::String(text) => Kind::StringValue(text),
        Json::Array(values) => Kind::ListValue(ListValue {
            values: values.into_iter().map(value).collect(),
        }),
        Json::Object(fields) => Kind::StructValue(Struct {
            fields: fields.into_iter().map(|(k, v)| (k, value(v))).collect(),
        }),
    };
    Value { kind: Some(kind) }
}
