//! Who we are to a control plane (`envoy.config.core.v3.Node`), in Istio's form of it.
//!
//! istiod reads the identity from `node.id` = `<type>~<ip>~<name>.<namespace>~<dns domain>` and from
//! metadata; it finds the services that a node *is* by its IP address, never by the TCP peer.

mod pod;
mod workload;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::google::protobuf::{Struct, Value, value::Kind};

pub use pod::PodError;

/// Where a node is (`envoy.config.core.v3.Locality`). Empty texts stand for "not known".
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeLocality {
    /// `region`
    pub region: String,
    /// `zone`
    pub zone: String,
    /// `sub_zone`
    pub sub_zone: String,
}

/// The kind of proxy that a node is to istiod: the first part of its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NodeType {
    /// A workload: routes of the virtual gateway `mesh`.
    Sidecar,
    /// A gateway: routes of the `Gateway` resources whose selector matches the node's labels.
    Router,
}

impl fmt::Display for NodeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sidecar => "sidecar",
            Self::Router => "router",
        })
    }
}

/// A node: what a control plane must know to send the right rules.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Sidecar or router.
    pub node_type: NodeType,
    /// The workload's own address: how istiod finds the services that it backs.
    pub ip: IpAddr,
    /// The workload's (pod's) name, without its namespace.
    pub name: String,
    /// The namespace whose rules apply.
    pub namespace: String,
    /// Labels: `sourceLabels`, gateway selectors.
    pub labels: BTreeMap<String, String>,
    /// The Kubernetes service account, where there is one.
    pub service_account: Option<String>,
    /// `node.cluster`: what the workload belongs to, in a control plane's own words. Empty by default.
    pub cluster: String,
    /// Where it is. Unknown by default.
    pub locality: NodeLocality,
    /// Any further metadata, as it will be sent; wins over the fields above.
    pub metadata: BTreeMap<String, Value>,
    /// A full id that replaces the composed one (a bootstrap file may carry a foreign form).
    pub id_override: Option<String>,
}

impl Node {
    /// A sidecar of this name in this namespace at 127.0.0.1, without labels.
    pub fn sidecar(name: impl Into<String>, namespace: impl Into<String>) -> Self {
        Self {
            node_type: NodeType::Sidecar,
            ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            name: name.into(),
            namespace: namespace.into(),
            labels: BTreeMap::new(),
            service_account: None,
            cluster: String::new(),
            locality: NodeLocality::default(),
            metadata: BTreeMap::new(),
            id_override: None,
        }
    }

    /// A gateway of this name in this namespace, with the labels that `Gateway.spec.selector` asks for.
    pub fn router<K: Into<String>, V: Into<String>>(
        name: impl Into<String>,
        namespace: impl Into<String>,
        labels: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        Self {
            node_type: NodeType::Router,
            ..Self::sidecar(name, namespace)
        }
        .with_labels(labels)
    }

    /// The same node with these labels added.
    #[must_use]
    pub fn with_labels<K: Into<String>, V: Into<String>>(
        mut self,
        labels: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        self.labels
            .extend(labels.into_iter().map(|(k, v)| (k.into(), v.into())));
        self
    }

    /// The same node at this address.
    #[must_use]
    pub fn with_ip(mut self, ip: IpAddr) -> Self {
        self.ip = ip;
        self
    }

    /// `<type>~<ip>~<name>.<namespace>~<namespace>.svc.cluster.local`, or the override.
    pub fn id(&self) -> String {
        if let Some(id) = &self.id_override {
            return id.clone();
        }
        let Self {
            node_type,
            ip,
            name,
            namespace,
            ..
        } = self;
        format!("{node_type}~{ip}~{name}.{namespace}~{namespace}.svc.cluster.local")
    }

    /// The wire form, with the metadata that istiod reads.
    pub fn to_proto(&self) -> core::Node {
        let mut fields = BTreeMap::new();
        fields.insert("NAMESPACE".to_owned(), string(&self.namespace));
        fields.insert("INSTANCE_IPS".to_owned(), string(&self.ip.to_string()));
        fields.insert("CLUSTER_ID".to_owned(), string("Kubernetes"));
        // Keeps ambient tunnelling out of endpoints: we do not speak HBONE.
        fields.insert("DISABLE_HBONE_SEND".to_owned(), string("true"));
        fields.insert("WORKLOAD_NAME".to_owned(), string(&self.name));
        if let Some(account) = &self.service_account {
            fields.insert("SERVICE_ACCOUNT".to_owned(), string(account));
        }
        if !self.labels.is_empty() {
            let labels = self
                .labels
                .iter()
                .map(|(k, v)| (k.clone(), string(v)))
                .collect();
            let kind = Kind::StructValue(Struct { fields: labels });
            fields.insert("LABELS".to_owned(), Value { kind: Some(kind) });
        }
        fields.extend(self.metadata.clone());
        let NodeLocality {
            region,
            zone,
            sub_zone,
        } = self.locality.clone();
        let locality = (self.locality != NodeLocality::default()).then_some(core::Locality {
            region,
            zone,
            sub_zone,
        });
        core::Node {
            id: self.id(),
            cluster: self.cluster.clone(),
            locality,
            metadata: Some(Struct {
                fields: fields.into_iter().collect(),
            }),
            user_agent_name: "mesh-tower".to_owned(),
            user_agent_version_type: Some(core::node::UserAgentVersionType::UserAgentVersion(
                env!("CARGO_PKG_VERSION").to_owned(),
            )),
            ..core::Node::default()
        }
    }

    /// Reads a node as a control plane does.
    ///
    /// # Errors
    /// When the id is not `<type>~<ip>~<name>~<domain>` with a type and an address that we know.
    pub fn from_proto(node: &core::Node) -> Result<Self, NodeError> {
        let mut this: Self = node.id.parse()?;
        this.cluster.clone_from(&node.cluster);
        if let Some(locality) = node.locality.clone() {
            this.locality = NodeLocality {
                region: locality.region,
                zone: locality.zone,
                sub_zone: locality.sub_zone,
            };
        }
        let Some(metadata) = &node.metadata else {
            return Ok(this);
        };
        for (key, value) in &metadata.fields {
            match (key.as_str(), &value.kind) {
                ("NAMESPACE", Some(Kind::StringValue(s))) => this.namespace.clone_from(s),
                ("SERVICE_ACCOUNT", Some(Kind::StringValue(s))) => {
                    this.service_account = Some(s.clone())
                }
                ("LABELS", Some(Kind::StructValue(labels))) => {
                    this.labels
                        .extend(labels.fields.iter().filter_map(|(k, v)| match &v.kind {
                            Some(Kind::StringValue(s)) => Some((k.clone(), s.clone())),
                            _ => None,
                        }));
                }
                _ => {
                    this.metadata.insert(key.clone(), value.clone());
                }
            }
        }
        Ok(this)
    }
}

fn string(s: &str) -> Value {
    Value {
        kind: Some(Kind::StringValue(s.to_owned())),
    }
}

impl FromStr for Node {
    type Err = NodeError;

    fn from_str(id: &str) -> Result<Self, NodeError> {
        let error = |reason| NodeError {
            id: id.to_owned(),
            reason,
        };
        let parts: Vec<&str> = id.split('~').collect();
        let [node_type, ip, name, domain] = parts[..] else {
            return Err(error("it does not have four parts"));
        };
        let node_type = match node_type {
            "sidecar" => NodeType::Sidecar,
            "router" => NodeType::Router,
            _ => return Err(error("its type is neither sidecar nor router")),
        };
        let ip = ip
            .parse()
            .map_err(|_| error("its second part is not an IP address"))?;
        let from_domain = domain.split('.').next().unwrap_or_default();
        let (name, namespace) = name.rsplit_once('.').unwrap_or((name, from_domain));
        Ok(Self {
            node_type,
            ip,
            ..Self::sidecar(name, namespace)
        })
    }
}

/// A node id that no Istio control plane would accept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("node id {id:?}: {reason}; expected <sidecar|router>~<ip>~<name>.<namespace>~<dns domain>")]
pub struct NodeError {
    id: String,
    reason: &'static str,
}
