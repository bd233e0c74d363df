//! An ADS server whose every resource and push a test decides.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use mesh_tower::Mesh;
use mesh_xds::{ResourceType, Resources};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

/// Answers what it holds, and pushes a type when told to.
#[derive(Clone)]
pub(crate) struct Scripted {
    resources: Arc<Mutex<Resources>>,
    pushes: watch::Sender<BTreeMap<ResourceType, u64>>,
    pub(crate) nacks: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    /// One that is served nowhere yet.
    pub(crate) fn of(resources: Resources) -> Self {
        Self {
            resources: Arc::new(Mutex::new(resources)),
            pushes: watch::Sender::new(BTreeMap::new()),
            nacks: Arc::default(),
        }
    }

    pub(crate) async fn start(resources: Resources) -> (Self, SocketAddr) {
        let this = Self::of(resources);
        let mesh = Mesh::builder().build().unwrap();
        let listener = mesh.listen("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr();
        let server = AggregatedDiscoveryServiceServer::new(this.clone());
        tokio::spawn(listener.serve(tonic::service::Routes::new(server).prepare()));
        (this, address)
    }

    /// Changes what is held and pushes one type.
    pub(crate) fn push(&self, resource_type: ResourceType, change: impl FnOnce(&mut Resources)) {
        change(&mut self.resources.lock().unwrap());
        self.pushes
            .send_modify(|pushes| *pushes.entry(resource_type).or_default() += 1);
    }

    fn response(
        &self,
        resource_type: ResourceType,
        names: &BTreeSet<String>,
        nonce: u64,
    ) -> DiscoveryResponse {
        let held = self.resources.lock().unwrap();
        // Listeners are asked for by name by clients, and all of them by servers.
        let all = match resource_type {
            ResourceType::Cluster => true,
            ResourceType::Listener => names.is_empty(),
            ResourceType::Endpoints | ResourceType::Route => false,
        };
        let asked = |name: &String| all || names.contains(name);
        let resources = held
            .of(resource_type)
            .iter()
            .filter(|(name, _)| asked(name));
        DiscoveryResponse {
            version_info: nonce.to_string(),
            nonce: nonce.to_string(),
            type_url: resource_type.type_url().to_owned(),
            resources: resources.map(|(_, any)| any.clone()).collect(),
            ..DiscoveryResponse::default()
        }
    }

    async fn stream(
        self,
        mut requests: Streaming<DiscoveryRequest>,
        out: mpsc::Sender<Result<DiscoveryResponse, Status>>,
    ) {
        let mut pushes = self.pushes.subscribe();
        let mut pushed = pushes.borrow_and_update().clone();
        let mut names: BTreeMap<ResourceType, BTreeSet<String>> = BTreeMap::new();
        let mut nonce = 0;
        loop {
            let due: Vec<ResourceType> = tokio::select! {
                request = requests.next() => {
                    let Some(Ok(request)) = request else { return };
                    if let Some(error) = request.error_detail {
                        self.nacks.lock().unwrap().push(error.message);
                    }
                    let resource_type = ResourceType::from_type_url(&request.type_url).unwrap();
                    let asked: BTreeSet<String> = request.resource_names.into_iter().collect();
                    match names.insert(resource_type, asked.clone()) {
                        Some(before) if before == asked => Vec::new(),
                        _ => vec![resource_type],
                    }
                }
                changed = pushes.changed() => {
                    if changed.is_err() { return }
                    let now = pushes.borrow_and_update().clone();
                    let due = now.iter().filter(|(key, count)| pushed.get(key) != Some(count)).map(|(key, _)| *key);
                    let due = due.filter(|key| names.contains_key(key)).collect();
                    pushed = now;
                    due
                }
            };
            for resource_type in due {
                nonce += 1;
                let response = self.response(resource_type, &names[&resource_type], nonce);
                if out.send(Ok(response)).await.is_err() {
                    return;
                }
            }
        }
    }
}

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl AggregatedDiscoveryService for Scripted {
    type StreamAggregatedResourcesStream = Responses<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Responses<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        let (out, responses) = mpsc::channel(1);
        tokio::spawn(self.clone().stream(request.into_inner(), out));
        Ok(Response::new(Box::pin(ReceiverStream::new(responses))))
    }

    async fn delta_aggregated_resources(
        &self,
        _: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("state of the world only"))
    }
}
