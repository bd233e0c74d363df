//! The ADS server (state of the world) that hands both sides the same routes, and hears what they think of them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use envoy_types::pb::google::protobuf::Any;
use mesh_tower::Mesh;
use prost::Message;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use crate::failure::{Doing, Failure, Result};

const CDS: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
const EDS: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
const RDS: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";

/// The name of the one route configuration.
pub(crate) const TABLE: &str = "9080";

/// How long a side may take to say something about a configuration.
const LIMIT: Duration = Duration::from_secs(20);

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peer {
    /// The stock Envoy.
    Envoy,
    /// Our mesh as a workload's: table `9080`.
    Workload,
    /// Our mesh as a gateway's: the same table as `http.9080`, where an authority may have any port or none.
    Gateway,
}

impl Peer {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Envoy, Self::Workload, Self::Gateway];

    fn of(node: &str) -> Self {
        if node.contains("~envoy.") {
            Self::Envoy
        } else if node.starts_with("router~") {
            Self::Gateway
        } else {
            Self::Workload
        }
    }
}

/// What a side said about a version: `None` took it, `Some` is why not.
pub(crate) type Verdict = Option<String>;

/// Clusters and endpoints, which stay the same throughout.
#[derive(Debug, Default)]
pub(crate) struct Fixed {
    /// By cluster name.
    pub(crate) clusters: BTreeMap<String, Vec<u8>>,
    /// By cluster name.
    pub(crate) endpoints: BTreeMap<String, Vec<u8>>,
}

/// The route configuration of the moment.
#[derive(Debug, Clone, Default)]
struct Published {
    version: u64,
    envoy: Bytes,
    ours: Bytes,
}

/// The server. Clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Plane {
    fixed: Arc<Fixed>,
    published: watch::Sender<Published>,
    verdicts: watch::Sender<BTreeMap<Peer, (u64, Verdict)>>,
}

impl Plane {
    /// Starts the server on a free port.
    pub(crate) async fn start(fixed: Fixed) -> Result<(Self, SocketAddr)> {
        let empty = RouteConfiguration {
            name: TABLE.to_owned(),
            ..RouteConfiguration::default()
        };
        let bytes = Bytes::from(empty.encode_to_vec());
        let this = Self {
            fixed: Arc::new(fixed),
            published: watch::Sender::new(Published {
                version: 0,
                envoy: bytes.clone(),
                ours: bytes,
            }),
            verdicts: watch::Sender::new(BTreeMap::new()),
        };
        let mesh = Mesh::builder().build().doing("the ADS server")?;
        let listener = mesh.listen("127.0.0.1:0").await.doing("the ADS server")?;
        let address = listener.local_addr();
        let server = AggregatedDiscoveryServiceServer::new(this.clone());
        tokio::spawn(listener.serve(tonic::service::Routes::new(server).prepare()));
        Ok((this, address))
    }

    /// Pushes a configuration, and waits until every side has taken or refused it.
    ///
    /// Both sides get the same bytes, but for a negative control.
    pub(crate) async fn push(
        &self,
        envoy: &RouteConfiguration,
        ours: &RouteConfiguration,
    ) -> Result<BTreeMap<Peer, Verdict>> {
        let (envoy, ours) = (envoy.encode_to_vec().into(), ours.encode_to_vec().into());
        let mut version = 0;
        self.published.send_modify(|published| {
            version = published.version + 1;
            *published = Published {
                version,
                envoy,
                ours,
            };
        });
        let mut verdicts = self.verdicts.subscribe();
        let said = |verdicts: &BTreeMap<Peer, (u64, Verdict)>| {
            Peer::ALL
                .iter()
                .all(|peer| verdicts.get(peer).is_some_and(|(v, _)| *v == version))
        };
        match tokio::time::timeout(LIMIT, verdicts.wait_for(said)).await {
            Ok(Ok(all)) => Ok(all.iter().map(|(k, (_, v))| (*k, v.clone())).collect()),
            _ => Err(Failure::new(format!(
                "no word about version {version} of the routes within {LIMIT:?}; last heard: {:?}",
                self.verdicts.borrow()
            ))),
        }
    }

    fn response(
        &self,
        peer: Peer,
        type_url: &str,
        names: &[String],
        nonce: u64,
    ) -> DiscoveryResponse {
        let routes = self.published.borrow().clone();
        let resources: Vec<Vec<u8>> = match type_url {
            CDS => self.fixed.clusters.values().cloned().collect(),
            EDS => names
                .iter()
                .filter_map(|name| self.fixed.endpoints.get(name).cloned())
                .collect(),
            RDS => names
                .iter()
                .map(|name| match peer {
                    Peer::Envoy => routes.envoy.to_vec(),
                    Peer::Workload | Peer::Gateway => named(&routes.ours, name),
                })
                .collect(),
            _ => Vec::new(),
        };
        let wrapped = resources.into_iter().map(|value| Any {
            type_url: type_url.to_owned(),
            value,
        });
        DiscoveryResponse {
            version_info: routes.version.to_string(),
            nonce: nonce.to_string(),
            type_url: type_url.to_owned(),
            resources: wrapped.collect(),
            ..DiscoveryResponse::default()
        }
    }

    /// One stream, until its end.
    async fn stream(
        self,
        mut requests: Streaming<DiscoveryRequest>,
        out: mpsc::Sender<std::result::Result<DiscoveryResponse, Status>>,
    ) {
        let mut published = self.published.subscribe();
        let mut peer = None;
        let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
        // Versions of routes by the nonce that carried them.
        let mut sent: BTreeMap<String, u64> = BTreeMap::new();
        let mut nonce = 0;
        loop {
            let due = tokio::select! {
                request = requests.next() => {
                    let Some(Ok(request)) = request else { return };
                    let asker = *peer.get_or_insert_with(|| Peer::of(request.node.as_ref().map_or("", |node| &node.id)));
                    if let Some(version) = sent.remove(&request.response_nonce) {
                        let verdict = request.error_detail.map(|error| error.message);
                        self.verdicts.send_modify(|all| drop(all.insert(asker, (version, verdict))));
                    }
                    let known = names.insert(request.type_url.clone(), request.resource_names.clone());
                    (known != Some(request.resource_names)).then_some(request.type_url)
                }
                changed = published.changed() => {
                    if changed.is_err() { return }
                    names.contains_key(RDS).then(|| RDS.to_owned())
                }
            };
            let (Some(type_url), Some(peer)) = (due, peer) else {
                continue;
            };
            if type_url == RDS {
                sent.insert(
                    (nonce + 1).to_string(),
                    published.borrow_and_update().version,
                );
            }
            nonce += 1;
            let response = self.response(peer, &type_url, &names[&type_url], nonce);
            if out.send(Ok(response)).await.is_err() {
                return;
            }
        }
    }
}

/// The same configuration under the name that was asked for.
fn named(bytes: &Bytes, name: &str) -> Vec<u8> {
    if name == TABLE {
        return bytes.to_vec();
    }
    // In protobuf's wire form the last value of a field counts.
    let rename = RouteConfiguration {
        name: name.to_owned(),
        ..RouteConfiguration::default()
    };
    [bytes, &*rename.encode_to_vec()].concat()
}

type Responses<T> = Pin<Box<dyn Stream<Item = std::result::Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl AggregatedDiscoveryService for Plane {
    type StreamAggregatedResourcesStream = Responses<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Responses<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> std::result::Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        let (out, responses) = mpsc::channel(1);
        tokio::spawn(self.clone().stream(request.into_inner(), out));
        Ok(Response::new(Box::pin(ReceiverStream::new(responses))))
    }

    async fn delta_aggregated_resources(
        &self,
        _: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> std::result::Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("state of the world only"))
    }
}
