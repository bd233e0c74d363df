//! Everything that runs beside a comparison: backends, the ADS server, Envoy, our meshes.

use std::net::SocketAddr;
use std::path::Path;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, EdsClusterConfig,
};
use envoy_types::pb::envoy::config::core::v3::{
    Address, AggregatedConfigSource, ApiVersion, ConfigSource, Http2ProtocolOptions, SocketAddress,
    address, config_source::ConfigSourceSpecifier, socket_address::PortSpecifier,
};
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier,
};
use envoy_types::pb::google::protobuf::Duration;
use prost::Message;

use crate::ads::{Fixed, Plane};
use crate::backend;
use crate::copies::Copies;
use crate::envoy::{Envoy, Normalization};
use crate::failure::Result;
use crate::feature::{Feature, Features};
use crate::ours::Ours;
use crate::reference::Regexes;

/// Clusters with one backend each, and whether they are spoken to in HTTP/2.
pub(crate) const CLUSTERS: &[(&str, bool)] = &[
    ("c0", false),
    ("c1", false),
    ("c2", true),
    ("c3", false),
    ("c4", false),
    ("c5", true),
    ("c6", false),
    ("c7", false),
];
/// A cluster without endpoints.
pub(crate) const EMPTY: &str = "empty";
/// A cluster that no one has heard of.
pub(crate) const UNKNOWN: &str = "unknown";

/// All of it. Ends with this value.
#[derive(Debug)]
pub(crate) struct World {
    /// Where both sides have their configuration from.
    pub(crate) plane: Plane,
    /// One side.
    pub(crate) envoy: Envoy,
    /// The other.
    pub(crate) ours: Ours,
    /// What the backends got.
    pub(crate) copies: Copies,
    /// Of the plain reading of the rules.
    pub(crate) regexes: Regexes,
    /// Whether that reading judges, too. Of normalised paths it knows nothing.
    pub(crate) judged: bool,
    /// Whether the headers of direct responses are compared.
    pub(crate) direct_headers: bool,
}

impl World {
    /// Starts everything.
    pub(crate) async fn start(
        envoy: &Path,
        seed: u64,
        normalization: Normalization,
        features: &Features,
    ) -> Result<Self> {
        let copies = Copies::new();
        let mut fixed = Fixed::default();
        for (name, http2) in CLUSTERS {
            let address = backend::start(name, &copies).await?;
            put(&mut fixed, name, *http2, Some(address));
        }
        put(&mut fixed, EMPTY, false, None);
        let (plane, address) = Plane::start(fixed).await?;
        let ours = Ours::start(address, seed, normalization, copies.clone())?;
        let envoy = Envoy::start(envoy, address, normalization, copies.clone()).await?;
        Ok(Self {
            plane,
            envoy,
            ours,
            copies,
            regexes: Regexes::default(),
            judged: normalization == Normalization::None,
            direct_headers: features.has(Feature::DirectHeaders),
        })
    }
}

fn put(fixed: &mut Fixed, name: &str, http2: bool, backend: Option<SocketAddr>) {
    let ads = ConfigSource {
        resource_api_version: ApiVersion::V3.into(),
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        ..ConfigSource::default()
    };
    #[allow(deprecated, reason = "the short form of HTTP/2, which both sides take")]
    let cluster = Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: Some(ads),
            ..EdsClusterConfig::default()
        }),
        connect_timeout: Some(Duration {
            seconds: 5,
            nanos: 0,
        }),
        http2_protocol_options: http2.then(Http2ProtocolOptions::default),
        ..Cluster::default()
    };
    let endpoint = |address: SocketAddr| LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
            address: Some(Address {
                address: Some(address::Address::SocketAddress(SocketAddress {
                    address: address.ip().to_string(),
                    port_specifier: Some(PortSpecifier::PortValue(address.port().into())),
                    ..SocketAddress::default()
                })),
            }),
            ..Endpoint::default()
        })),
        ..LbEndpoint::default()
    };
    let assignment = ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: backend
            .into_iter()
            .map(|address| LocalityLbEndpoints {
                lb_endpoints: vec![endpoint(address)],
                ..LocalityLbEndpoints::default()
            })
            .collect(),
        ..ClusterLoadAssignment::default()
    };
    fixed
        .clusters
        .insert(name.to_owned(), cluster.encode_to_vec());
    fixed
        .endpoints
        .insert(name.to_owned(), assignment.encode_to_vec());
}
