//! An ADS server that the test plays: it gets every stream as it is opened, reads from it and
//! writes to it.

use std::net::SocketAddr;
use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
    aggregated_discovery_service_server::{
        AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
    },
};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{ReceiverStream, UnboundedReceiverStream};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

/// Long enough for a machine that builds at the same time; nothing waits for it to pass.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let result = tokio::time::timeout(PATIENCE, future).await;
    result.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// One stream. Dropping it ends it.
pub(crate) struct Conversation {
    pub(crate) requests: mpsc::Receiver<DiscoveryRequest>,
    pub(crate) responses: mpsc::UnboundedSender<Result<DiscoveryResponse, Status>>,
}

impl Conversation {
    pub(crate) async fn read(&mut self) -> DiscoveryRequest {
        soon("a request", self.requests.recv())
            .await
            .expect("an open stream")
    }

    pub(crate) fn write(&self, response: DiscoveryResponse) {
        self.responses.send(Ok(response)).expect("an open stream");
    }
}

struct Scripted {
    /// Send the headers only after the first request.
    late_headers: bool,
    conversations: mpsc::UnboundedSender<Conversation>,
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Scripted {
    type StreamAggregatedResourcesStream =
        UnboundedReceiverStream<Result<DiscoveryResponse, Status>>;
    type DeltaAggregatedResourcesStream = ReceiverStream<Result<DeltaDiscoveryResponse, Status>>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        let mut incoming = request.into_inner();
        // A full channel stops the reading, so that the test decides when the server reads.
        let (read, requests) = mpsc::channel(1);
        let (responses, outgoing) = mpsc::unbounded_channel();
        let first = match self.late_headers {
            true => incoming.message().await?,
            false => None,
        };
        tokio::spawn(async move {
            let mut next = first.map(Ok);
            while let Some(Ok(request)) = match next.take() {
                Some(first) => Some(first),
                None => incoming.next().await,
            } {
                if read.send(request).await.is_err() {
                    return;
                }
            }
        });
        let conversation = Conversation {
            requests,
            responses,
        };
        let gone = |_| Status::unavailable("the test is over");
        self.conversations.send(conversation).map_err(gone)?;
        Ok(Response::new(UnboundedReceiverStream::new(outgoing)))
    }

    async fn delta_aggregated_resources(
        &self,
        _: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("state of the world only"))
    }
}

/// The server, in a runtime of its own: what is dropped is gone with all its connections, as if its
/// process was killed.
pub(crate) struct Plane {
    pub(crate) address: SocketAddr,
    conversations: mpsc::UnboundedReceiver<Conversation>,
    runtime: Option<Runtime>,
}

impl Plane {
    pub(crate) async fn start(late_headers: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        Self::on(listener, late_headers)
    }

    pub(crate) fn on(listener: TcpListener, late_headers: bool) -> Self {
        let address = listener.local_addr().expect("an address");
        let listener = listener.into_std().expect("a listener");
        let (sender, conversations) = mpsc::unbounded_channel();
        let scripted = Scripted {
            late_headers,
            conversations: sender,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a listener");
            Server::builder()
                .add_service(AggregatedDiscoveryServiceServer::new(scripted))
                .serve_with_incoming(TcpIncoming::from(listener))
                .await
        });
        Self {
            address,
            conversations,
            runtime: Some(runtime),
        }
    }

    /// The next stream that a client opens.
    pub(crate) async fn accept(&mut self) -> Conversation {
        soon("a stream", self.conversations.recv())
            .await
            .expect("a server")
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Binds an address that was in use a moment ago.
pub(crate) async fn bind(address: SocketAddr) -> TcpListener {
    soon("the port", async {
        loop {
            match TcpListener::bind(address).await {
                Ok(listener) => return listener,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    })
    .await
}
