//! `envoy.config.cluster.v3.Cluster`.
//!
//! On arrival only the name and the wire form are looked at: a sidecar's CDS holds every service of
//! the mesh. The content is decoded when a route first refers to the cluster.

mod constraints;
mod dns;
mod grpc;
mod ignored;
mod lb;
mod options;
mod socket;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3 as pb;
use envoy_types::pb::envoy::config::core::v3::{
    ConfigSource, TransportSocket, config_source::ConfigSourceSpecifier,
};
use envoy_types::pb::google::protobuf::{Struct, value::Kind};
use mesh_core::cluster::{Protocol, Service, Transport};
use prost::Message;

pub(crate) use dns::{Host, Names};
pub(crate) use lb::LbRules;
use options::{HTTP_OPTIONS, Options};

use super::endpoints::{self, EndpointsResource};
use super::ignored::Ignored;
use super::{Faults, Invalid, message};
use crate::dialect::Dialect;

/// Envoy's default of `connect_timeout`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A cluster without its endpoints.
#[derive(Debug)]
pub(crate) struct ClusterResource {
    pub(crate) discovery: Discovery,
    pub(crate) protocol: Protocol,
    pub(crate) connect_timeout: Duration,
    pub(crate) lb: LbRules,
    pub(crate) transport: TransportRules,
    /// What is in it and has no effect here, in words, each kind once.
    pub(crate) ignored: Vec<Box<str>>,
    pub(crate) service: Option<Arc<Service>>,
}

/// Where a cluster's endpoints come from.
#[derive(Debug)]
pub(crate) enum Discovery {
    Eds {
        service_name: Arc<str>,
    },
    Static(EndpointsResource),
    Dns(Names),
    /// The host that the caller asked for; `callers_version`: in the caller's HTTP version.
    OriginalDestination {
        callers_version: bool,
    },
    Unsupported(String),
}

/// `transport_socket_matches`, then `transport_socket`: what each endpoint's metadata leads to.
#[derive(Debug, Default)]
pub(crate) struct TransportRules {
    matches: Vec<(BTreeMap<String, String>, Transport)>,
    otherwise: Option<Transport>,
}

impl TransportRules {
    /// The first match whose labels are all in the endpoint's `envoy.transport_socket_match`.
    pub(crate) fn of(&self, labels: &BTreeMap<String, String>) -> Transport {
        let fits = |wanted: &BTreeMap<String, String>| {
            wanted.iter().all(|(k, v)| labels.get(k) == Some(v))
        };
        let matched = self
            .matches
            .iter()
            .find(|(wanted, _)| fits(wanted))
            .map(|(_, transport)| transport);
        matched
            .or(self.otherwise.as_ref())
            .cloned()
            .unwrap_or(Transport::Plaintext)
    }
}

/// Only the name; every other field is walked over, which checks the wire form.
#[derive(Clone, PartialEq, Message)]
struct NameOnly {
    #[prost(string, tag = "1")]
    name: String,
}

pub(crate) fn name(bytes: &[u8]) -> Result<Arc<str>, Invalid> {
    let NameOnly { name } = message(bytes)?;
    if name.is_empty() {
        Err(Invalid::new("name", "is empty"))
    } else {
        Ok(name.into())
    }
}

pub(crate) fn decode(bytes: &[u8], dialect: Dialect) -> Result<ClusterResource, Invalid> {
    let cluster: pb::Cluster = message(bytes)?;
    let mut ignored = Ignored::default();
    ignored.unknown_fields(&cluster, bytes);
    ignored.cluster(&cluster);
    let mut faults = Faults::default();
    let options = faults.take(options::decode(&cluster)).unwrap_or_default();
    let discovery = faults.take(discovery(&cluster, options, &mut ignored));
    let connect_timeout = faults.take(connect_timeout(&cluster));
    let lb = faults.take(lb::rules(&cluster, &mut ignored));
    let transport = faults.take(transport(&cluster, options));
    faults.take(constraints::check(&cluster));
    if dialect == Dialect::Grpc {
        faults.take(grpc::check(&cluster));
    }
    let all = discovery.zip(connect_timeout).zip(lb.zip(transport));
    let ((discovery, connect_timeout), (lb, transport)) = faults.or(all)?;
    Ok(ClusterResource {
        discovery,
        protocol: options.protocol,
        connect_timeout,
        lb,
        transport,
        service: service(&cluster).map(Arc::new),
        ignored: ignored.kinds(),
    })
}

fn connect_timeout(cluster: &pb::Cluster) -> Result<Duration, Invalid> {
    let Some(wire) = &cluster.connect_timeout else {
        return Ok(CONNECT_TIMEOUT);
    };
    super::duration(wire)
        .filter(|timeout| !timeout.is_zero())
        .ok_or_else(|| {
            let reason = "must be positive, and at most 315576000000 s";
            Invalid::new("connect_timeout", reason)
        })
}

fn discovery(
    cluster: &pb::Cluster,
    options: Options,
    ignored: &mut Ignored,
) -> Result<Discovery, Invalid> {
    use pb::cluster::{ClusterDiscoveryType, DiscoveryType};
    let kind = match &cluster.cluster_discovery_type {
        None => DiscoveryType::Static,
        Some(ClusterDiscoveryType::Type(number)) => DiscoveryType::try_from(*number)
            .map_err(|_| Invalid::new("type", format_args!("{number} is no discovery type")))?,
        Some(ClusterDiscoveryType::ClusterType(custom)) => {
            return Ok(Discovery::Unsupported(format!(
                "cluster type {:?} is not supported yet",
                custom.name
            )));
        }
    };
    Ok(match kind {
        DiscoveryType::Eds => eds(cluster),
        DiscoveryType::Static => Discovery::Static(match &cluster.load_assignment {
            None => EndpointsResource::default(),
            Some(assignment) => endpoints::from_proto(assignment, endpoints::socket_addr, ignored)
                .map_err(|e| e.within("load_assignment"))?,
        }),
        DiscoveryType::StrictDns => Discovery::Dns(dns::strict(cluster, ignored)?),
        DiscoveryType::LogicalDns => Discovery::Dns(dns::logical(cluster, ignored)?),
        DiscoveryType::OriginalDst => Discovery::OriginalDestination {
            callers_version: options.callers_version,
        },
    })
}

fn eds(cluster: &pb::Cluster) -> Discovery {
    let config = cluster.eds_cluster_config.as_ref();
    if let Some(source) = config.and_then(|config| foreign(config.eds_config.as_ref()?)) {
        return Discovery::Unsupported(format!(
            "eds_cluster_config.eds_config: endpoints from {source} are not supported, only those of the control plane's own stream"
        ));
    }
    let service = config.map(|eds| eds.service_name.as_str());
    let service = service
        .filter(|name| !name.is_empty())
        .unwrap_or(&cluster.name);
    Discovery::Eds {
        service_name: service.into(),
    }
}

/// What a source is that is not the stream which the cluster came by. gRPC A27 refuses the cluster, Envoy follows
/// the source.
#[allow(deprecated, reason = "the older form may still be sent")]
const fn foreign(source: &ConfigSource) -> Option<&'static str> {
    match &source.config_source_specifier {
        Some(ConfigSourceSpecifier::Path(_) | ConfigSourceSpecifier::PathConfigSource(_)) => {
            Some("a file")
        }
        Some(ConfigSourceSpecifier::ApiConfigSource(_)) => Some("another server"),
        Some(ConfigSourceSpecifier::Ads(_) | ConfigSourceSpecifier::Self_(_)) | None => None,
    }
}

fn transport(cluster: &pb::Cluster, options: Options) -> Result<TransportRules, Invalid> {
    let mut faults = Faults::default();
    let mut matches = Vec::with_capacity(cluster.transport_socket_matches.len());
    for (at, entry) in cluster.transport_socket_matches.iter().enumerate() {
        let within = |e: Invalid| e.within(format_args!("transport_socket_matches[{at}]"));
        faults.take(constraints::named(&entry.name).map_err(within));
        faults.take(is_named(entry.transport_socket.as_ref()).map_err(within));
        let labels = entry.r#match.as_ref().map(labels).unwrap_or_default();
        let who = format!(
            "transport socket match {:?} of cluster {:?}",
            entry.name, cluster.name
        );
        let transport = socket::transport(entry.transport_socket.as_ref(), &who, cluster, options);
        matches.extend(
            faults
                .take(transport.map_err(within))
                .map(|it| (labels, it)),
        );
    }
    faults.take(is_named(cluster.transport_socket.as_ref()));
    let who = format!("transport socket of cluster {:?}", cluster.name);
    let own = cluster.transport_socket.as_ref();
    let otherwise = own.map(|own| socket::transport(Some(own), &who, cluster, options));
    let otherwise = faults.take(otherwise.transpose()).flatten();
    faults.or(Some(TransportRules { matches, otherwise }))
}

fn is_named(socket: Option<&TransportSocket>) -> Result<(), Invalid> {
    let name = socket.map_or("-", |socket| &socket.name);
    constraints::named(name).map_err(|e| e.within("transport_socket"))
}

/// `metadata.filter_metadata.istio.services[0]`, as Istio's own statistics read it.
fn service(cluster: &pb::Cluster) -> Option<Service> {
    let istio = cluster.metadata.as_ref()?.filter_metadata.get("istio")?;
    let Some(Kind::ListValue(services)) = &istio.fields.get("services")?.kind else {
        return None;
    };
    let Some(Kind::StructValue(first)) = &services.values.first()?.kind else {
        return None;
    };
    let mut texts = labels(first);
    let mut text = |key: &str| Arc::from(texts.remove(key).unwrap_or_default());
    Some(Service {
        host: text("host"),
        name: text("name"),
        namespace: text("namespace"),
    })
}

/// The string fields of a struct.
pub(crate) fn labels(fields: &Struct) -> BTreeMap<String, String> {
    let text = |kind: &Option<Kind>| match kind {
        Some(Kind::StringValue(text)) => Some(text.clone()),
        _ => None,
    };
    fields
        .fields
        .iter()
        .filter_map(|(key, value)| Some((key.clone(), text(&value.kind)?)))
        .collect()
}
