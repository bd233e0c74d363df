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
use tokio_stream::wrappers::UnboundedReceiverStream;
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
pub(crate) struct Conversation<Q = DiscoveryRequest, R = DiscoveryResponse> {
    pub(crate) requests: mpsc::Receiver<Q>,
    pub(crate) responses: mpsc::UnboundedSender<Result<R, Status>>,
}

/// One incremental stream.
pub(crate) type DeltaConversation = Conversation<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;

impl<Q, R> Conversation<Q, R> {
    /// Reads `incoming` one by one: a full channel stops the reading, so that the test decides when the
    /// server reads.
    fn start(
        first: Option<Q>,
        mut incoming: Streaming<Q>,
    ) -> (Self, UnboundedReceiverStream<Result<R, Status>>)
    where
        Q: Send + 'static,
    {
        let (read, requests) = mpsc::channel(1);
        let (responses, outgoing) = mpsc::unbounded_channel();
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
        let conversation = Self {
            requests,
            responses,
        };
        (conversation, UnboundedReceiverStream::new(outgoing))
    }

    pub(crate) async fn read(&mut self) -> Q {
        soon("a request", self.requests.recv())
            .await
            .expect("an open stream")
    }

    pub(crate) fn write(&self, response: R) {
        let sent = self.responses.send(Ok(response));
        assert!(sent.is_ok(), "an open stream");
    }
}

struct Scripted {
    /// Send the headers only after the first request.
    late_headers: bool,
    conversations: mpsc::UnboundedSender<Conversation>,
    /// Where incremental streams go; they are refused as `UNIMPLEMENTED` if nowhere.
    deltas: Option<mpsc::UnboundedSender<DeltaConversation>>,
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Scripted {
    type StreamAggregatedResourcesStream =
        UnboundedReceiverStream<Result<DiscoveryResponse, Status>>;
    type DeltaAggregatedResourcesStream =
        UnboundedReceiverStream<Result<DeltaDiscoveryResponse, Status>>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        let mut incoming = request.into_inner();
        let first = match self.late_headers {
            true => incoming.message().await?,
            false => None,
        };
        let (conversation, outgoing) = Conversation::start(first, incoming);
        let gone = |_| Status::unavailable("the test is over");
        self.conversations.send(conversation).map_err(gone)?;
        Ok(Response::new(outgoing))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let Some(deltas) = &self.deltas else {
            return Err(Status::unimplemented("state of the world only"));
        };
        let (conversation, outgoing) = Conversation::start(None, request.into_inner());
        let gone = |_| Status::unavailable("the test is over");
        deltas.send(conversation).map_err(gone)?;
        Ok(Response::new(outgoing))
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
        Self::serving(listener, late_headers, None)
    }

    /// One that speaks delta too.
    pub(crate) async fn with_delta() -> (Self, mpsc::UnboundedReceiver<DeltaConversation>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (sender, deltas) = mpsc::unbounded_channel();
        (Self::serving(listener, false, Some(sender)), deltas)
    }

    fn serving(
        listener: TcpListener,
        late_headers: bool,
        deltas: Option<mpsc::UnboundedSender<DeltaConversation>>,
    ) -> Self {
        let address = listener.local_addr().expect("an address");
        let listener = listener.into_std().expect("a listener");
        let (sender, conversations) = mpsc::unbounded_channel();
        let scripted = Scripted {
            late_headers,
            conversations: sender,
            deltas,
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
