//! A control plane that says once, over ADS, what it was started with. It is a child process of the same
//! program, so that what it does is not measured.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use envoy_types::pb::google::protobuf::Any;
use mesh_tower::Mesh;
use mesh_xds::ResourceType;
use tokio_stream::{Empty, Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use crate::error::BenchError;
use crate::{paired, server};

/// What there is to say: resources by type URL and name.
pub(crate) type Held = BTreeMap<&'static str, BTreeMap<String, Any>>;

/// The control plane's process: prints its address, serves until its input ends.
pub(crate) fn serve(held: Held) -> Result<(), BenchError> {
    let plane = Plane {
        held: Arc::new(held),
    };
    paired::runtime()?.block_on(async {
        let failed = |error: String| BenchError::Server(error);
        let mesh = Mesh::builder()
            .build()
            .map_err(|error| failed(error.to_string()))?;
        let listener = mesh
            .listen("127.0.0.1:0")
            .await
            .map_err(|error| failed(error.to_string()))?;
        let address = listener.local_addr();
        let service = AggregatedDiscoveryServiceServer::new(plane);
        server::until_input_ends(address, async {
            let served = listener.serve(tonic::service::Routes::new(service).prepare());
            served.await.map_err(|error| failed(error.to_string()))
        })
        .await
    })
}

/// Answers each request for names that it has not answered before; nothing ever changes.
struct Plane {
    held: Arc<Held>,
}

/// One client's stream: the names last answered, by type.
struct Told {
    held: Arc<Held>,
    names: BTreeMap<String, Vec<String>>,
}

impl Told {
    fn answer(&mut self, request: DiscoveryRequest) -> Option<DiscoveryResponse> {
        let of = request.type_url;
        let held = self.held.get(&*of)?;
        let asked = request.resource_names;
        if self.names.get(&of) == Some(&asked) {
            return None;
        }
        let is_whole = of == ResourceType::Cluster.type_url();
        let wanted = held
            .iter()
            .filter(|(name, _)| is_whole || asked.contains(name));
        let response = DiscoveryResponse {
            version_info: "1".to_owned(),
            nonce: "1".to_owned(),
            type_url: of.clone(),
            resources: wanted.map(|(_, any)| any.clone()).collect(),
            ..DiscoveryResponse::default()
        };
        self.names.insert(of, asked);
        Some(response)
    }
}

type Responses = Pin<Box<dyn Stream<Item = Result<DiscoveryResponse, Status>> + Send>>;

#[tonic::async_trait]
impl AggregatedDiscoveryService for Plane {
    type StreamAggregatedResourcesStream = Responses;
    type DeltaAggregatedResourcesStream = Empty<Result<DeltaDiscoveryResponse, Status>>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Responses>, Status> {
        let mut told = Told {
            held: Arc::clone(&self.held),
            names: BTreeMap::new(),
        };
        let responses = request
            .into_inner()
            .filter_map(move |request| request.map(|request| told.answer(request)).transpose());
        Ok(Response::new(Box::pin(responses)))
    }

    async fn delta_aggregated_resources(
        &self,
        _: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("state of the world only"))
    }
}
