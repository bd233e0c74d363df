//! The gRPC side of [`Csds`].

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use envoy_types::pb::envoy::service::status::v3::client_status_discovery_service_server::{
    ClientStatusDiscoveryService, ClientStatusDiscoveryServiceServer,
};
use envoy_types::pb::envoy::service::status::v3::{ClientStatusRequest, ClientStatusResponse};
use tokio_stream::{Stream, StreamExt};
use tonic::codegen::{Body, BoxFuture, Service, StdError};
use tonic::server::NamedService;
use tonic::{Request, Response, Status, Streaming};

use super::Csds;

/// `envoy.service.status.v3.ClientStatusDiscoveryService` for one client: a tower service, and one of tonic's.
///
/// It shows all that the client was told: serve it where only operators come.
#[derive(Debug, Clone)]
pub struct CsdsService {
    inner: ClientStatusDiscoveryServiceServer<Answering>,
}

impl CsdsService {
    pub(super) fn new(csds: Csds) -> Self {
        Self {
            inner: ClientStatusDiscoveryServiceServer::new(Answering { csds }),
        }
    }
}

impl NamedService for CsdsService {
    const NAME: &'static str = ClientStatusDiscoveryServiceServer::<Answering>::NAME;
}

impl<B> Service<http::Request<B>> for CsdsService
where
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<http::Request<B>>::poll_ready(&mut self.inner, cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        self.inner.call(request)
    }
}

#[derive(Debug, Clone)]
struct Answering {
    csds: Csds,
}

impl Answering {
    async fn answer(&self, request: ClientStatusRequest) -> Result<ClientStatusResponse, Status> {
        // Matchers choose among the clients of a control plane (gRPC A40); a client is one.
        if !request.node_matchers.is_empty() {
            return Err(Status::invalid_argument(
                "node_matchers: this is a client, which answers for itself only; leave them out",
            ));
        }
        let config = self.csds.ask(!request.exclude_resource_contents).await;
        Ok(ClientStatusResponse {
            config: config.into_iter().collect(),
        })
    }
}

#[tonic::async_trait]
impl ClientStatusDiscoveryService for Answering {
    type StreamClientStatusStream =
        Pin<Box<dyn Stream<Item = Result<ClientStatusResponse, Status>> + Send>>;

    /// Every request gets one response, in order.
    async fn stream_client_status(
        &self,
        requests: Request<Streaming<ClientStatusRequest>>,
    ) -> Result<Response<Self::StreamClientStatusStream>, Status> {
        let this = self.clone();
        let responses = requests.into_inner().then(move |request| {
            let this = this.clone();
            async move { this.answer(request?).await }
        });
        Ok(Response::new(Box::pin(responses)))
    }

    async fn fetch_client_status(
        &self,
        request: Request<ClientStatusRequest>,
    ) -> Result<Response<ClientStatusResponse>, Status> {
        self.answer(request.into_inner()).await.map(Response::new)
    }
}
