//! The bootstrap file of gRPC (A27) and of istio-agent: which control plane, and who we are.
//!
//! `GRPC_XDS_BOOTSTRAP` names a file, `GRPC_XDS_BOOTSTRAP_CONFIG` holds the JSON itself; the file
//! wins. Unknown fields are ignored, as A27 demands. `null` stands for an absent field: istio-agent's
//! encoder writes it.
//!
//! The way to each control plane is its `channel_creds`, of which the first type that is known counts:
//!
//! | type | `config` | |
//! | --- | --- | --- |
//! | `tls` | `ca_certificate_file`, `certificate_file`, `private_key_file` (gRPC A65), all optional; `server_name`, which is ours | `server_uri` is `host:port` or `https://host:port`. The server must have a certificate for its host, or for `server_name`, by `ca_certificate_file`, or else by the roots of the platform. The files are read for each connection; `refresh_interval` has no meaning beside that |
//! | `insecure` | | `host:port` or `http://host:port` in plaintext, or `unix:///path` |
//!
//! `certificate_providers` has the workload's own certificate: the instance `default`, with the plugin `file_watcher`, whose
//! `config` names `certificate_file`, `private_key_file` and `ca_certificate_file` (gRPC A29). They are looked at each second;
//! `refresh_interval` has no meaning beside that. `server_listener_resource_name_template` names the listeners of servers
//! (gRPC A36).
//!
//! `call_creds` of type `jwt_token_file` (gRPC A97) names in `config.jwt_token_file` a token that is sent with each stream.
//! It needs `tls`. Other types are not served: `google_default` is for Google's own control planes.

mod certificates;
mod credentials;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::google::protobuf::{ListValue, Struct, Value, value::Kind};
use serde::{Deserialize, Deserializer};
use serde_json::Value as Json;

use crate::ads::{Features, Server};
use crate::dialect::{Dialect, GENERATOR};
use crate::node::{Node, NodeError};
use crate::server_listener::ServerListenerTemplate;
pub use certificates::CertificateFiles;
use certificates::Provider;
use credentials::Credential;

/// The variable that names a bootstrap file.
pub const FILE_VARIABLE: &str = "GRPC_XDS_BOOTSTRAP";
/// The variable that holds the bootstrap itself.
pub const INLINE_VARIABLE: &str = "GRPC_XDS_BOOTSTRAP_CONFIG";

/// What a bootstrap says.
#[derive(Debug, Clone)]
pub struct Bootstrap {
    /// The control plane.
    pub server: Server,
    /// Those that stand in for it, in the order of preference (gRPC A71).
    pub fallback: Vec<Server>,
    /// Who we are; with `GENERATOR: grpc` in its metadata, as istio-agent writes it, in gRPC's [`Dialect`].
    pub node: Node,
    /// `server_listener_resource_name_template` (gRPC A36): by which names servers ask for their listeners.
    pub server_listeners: Option<ServerListenerTemplate>,
    /// The files of the workload's certificate, if all three are named: those of the provider `default` of `certificate_providers` (gRPC A29), by
    /// which name istiod's resources call it. Of other providers nothing is taken, and what names one is not served.
    pub certificates: Option<CertificateFiles>,
}

impl Bootstrap {
    /// Reads the environment. `None` when neither variable is set; one that is empty counts as not set.
    ///
    /// # Errors
    /// When the file cannot be read, or the JSON does not hold a bootstrap that can be used.
    pub fn from_env() -> Result<Option<Self>, BootstrapError> {
        if let Some(path) = variable(FILE_VARIABLE) {
            let path = PathBuf::from(path);
            let whence = format!("{} (from {FILE_VARIABLE})", path.display());
            let json = std::fs::read_to_string(&path).map_err(|error| BootstrapError {
                whence: whence.clone(),
                reason: error.to_string(),
            })?;
            return Self::parse_in(&json, &whence, variables()).map(Some);
        }
        let Some(json) = variable(INLINE_VARIABLE) else {
            return Ok(None);
        };
        let json = json.into_string().map_err(|_| BootstrapError {
            whence: INLINE_VARIABLE.to_owned(),
            reason: "it is not UTF-8".to_owned(),
        })?;
        Self::parse_in(&json, INLINE_VARIABLE, variables()).map(Some)
    }

    /// Whether the environment names a bootstrap: whether [`Self::from_env`] gives one, or an error.
    pub fn is_named() -> bool {
        [FILE_VARIABLE, INLINE_VARIABLE]
            .iter()
            .any(|name| variable(name).is_some())
    }

    /// Parses the JSON; `whence` is what errors call it.
    ///
    /// # Errors
    /// As [`Self::from_env`].
    pub fn parse(json: &str, whence: &str) -> Result<Self, BootstrapError> {
        Self::parse_in(json, whence, [])
    }

    /// The same among these environment variables: a bootstrap whose node has no id takes the node of the pod
    /// ([`Node::from_pod`]), with what it says of it added.
    ///
    /// # Errors
    /// As [`Self::from_env`].
    pub fn parse_in(
        json: &str,
        whence: &str,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, BootstrapError> {
        let error = |reason: String| BootstrapError {
            whence: whence.to_owned(),
            reason,
        };
        let file: File = serde_json::from_str(json).map_err(|e| error(e.to_string()))?;
        let servers = file.xds_servers.into_iter().enumerate();
        let servers = servers.map(|(at, server)| server.parse(at).map_err(error));
        let mut servers = servers.collect::<Result<Vec<_>, _>>()?.into_iter();
        let server = servers
            .next()
            .ok_or_else(|| error("xds_servers names no control plane".to_owned()))?;
        let pod = match file.node.id.is_empty() {
            true => Node::from_pod(variables).map_err(|e| error(format!("node has no id: {e}")))?,
            false => None,
        };
        let node = file.node.into_node(pod);
        let mut node = node.map_err(|e| error(format!("node: {e}")))?;
        // istiod answers in the dialect that is asked for, and of its other generators this client reads nothing.
        if node.dialect() == Dialect::Sidecar
            && let Some(generator) = node.metadata.remove(GENERATOR)
        {
            tracing::info!(
                ?generator,
                whence,
                "node.metadata.GENERATOR of the bootstrap is not sent: this client speaks the dialects of sidecars and of \"grpc\""
            );
        }
        let server_listeners = file.server_listeners.as_deref().map(str::parse);
        let server_listeners = server_listeners.transpose();
        Ok(Self {
            server_listeners: server_listeners
                .map_err(|e: crate::InvalidTemplate| error(e.to_string()))?,
            certificates: certificates::workload(file.certificate_providers).map_err(error)?,
            server,
            fallback: servers.collect(),
            node,
        })
    }

    /// All control planes in the order of preference.
    pub fn servers(&self) -> impl Iterator<Item = &Server> {
        std::iter::once(&self.server).chain(&self.fallback)
    }
}

/// The value of a variable of the environment; one that is empty counts as not set.
pub fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The environment, as far as it is text.
fn variables() -> impl Iterator<Item = (String, String)> {
    let text = |(name, value): (OsString, OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text)
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
    #[serde(
        default,
        rename = "server_listener_resource_name_template",
        deserialize_with = "or_default"
    )]
    server_listeners: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    certificate_providers: BTreeMap<String, Provider>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object of xds_servers")]
struct XdsServer {
    server_uri: String,
    #[serde(default, deserialize_with = "or_default")]
    channel_creds: Vec<Credential>,
    #[serde(default, deserialize_with = "or_default")]
    call_creds: Vec<Credential>,
    #[serde(default, deserialize_with = "or_default")]
    server_features: Vec<String>,
}

impl XdsServer {
    /// `at` is its place in the list.
    fn parse(self, at: usize) -> Result<Server, String> {
        let server = credentials::server(&self.server_uri, &self.channel_creds, &self.call_creds)
            .map_err(|reason| format!("xds_servers[{at}].{reason}"))?;
        let features = self.server_features.iter().map(String::as_str);
        Ok(server.with_features(Features::from_names(features)))
    }
}

#[derive(Deserialize, Default)]
#[serde(expecting = "an object")]
struct FileNode {
    #[serde(default, deserialize_with = "or_default")]
    id: String,
    #[serde(default, deserialize_with = "or_default")]
    cluster: String,
    #[serde(default, deserialize_with = "or_default")]
    locality: FileLocality,
    #[serde(default, deserialize_with = "or_default")]
    metadata: BTreeMap<String, Json>,
}

#[derive(Deserialize, Default)]
#[serde(expecting = "an object")]
struct FileLocality {
    #[serde(default, deserialize_with = "or_default")]
    region: String,
    #[serde(default, deserialize_with = "or_default")]
    zone: String,
    #[serde(default, deserialize_with = "or_default")]
    sub_zone: String,
}

impl FileNode {
    /// What the file says, on top of what the pod is.
    fn into_node(self, pod: Option<Node>) -> Result<Node, NodeError> {
        let fields = self.metadata.into_iter().map(|(k, v)| (k, value(v)));
        let locality = core::Locality {
            region: self.locality.region,
            zone: self.locality.zone,
            sub_zone: self.locality.sub_zone,
        };
        let wire = core::Node {
            id: pod.as_ref().map_or_else(|| self.id.clone(), Node::id),
            cluster: self.cluster,
            locality: Some(locality),
            metadata: Some(Struct {
                fields: fields.collect(),
            }),
            ..core::Node::default()
        };
        let mut node = Node::from_proto(&wire)?;
        let Some(pod) = pod else {
            node.id_override = Some(self.id);
            return Ok(node);
        };
        let mut metadata = pod.metadata;
        metadata.append(&mut node.metadata);
        let mut labels = pod.labels;
        labels.append(&mut node.labels);
        Ok(Node {
            service_account: node.service_account.or(pod.service_account),
            metadata,
            labels,
            ..node
        })
    }
}

fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

pub(crate) fn value(json: Json) -> Value {
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
