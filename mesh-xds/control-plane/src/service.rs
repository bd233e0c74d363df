//! The gRPC side: `envoy.service.discovery.v3.AggregatedDiscoveryService` over the session machine.
//!
//! A stream is polled only when HTTP/2 has room for another message, and only then does it look at the
//! configuration and at the client's requests. So there is no task and no queue per client.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryService;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use tokio::sync::watch;
use tokio_stream::Stream;
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status, Streaming};

use crate::generation::Generation;
use crate::nacks::Nacks;
use crate::session::{Session, SessionError};

/// How many requests of one stream are read before other streams of the same thread get their turn.
const TURN: usize = 32;

/// The service: one for all streams.
#[derive(Debug)]
pub(crate) struct Ads {
    pub(crate) current: watch::Receiver<Arc<Generation>>,
    pub(crate) nacks: Arc<Nacks>,
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Ads {
    type StreamAggregatedResourcesStream = AdsStream;
    type DeltaAggregatedResourcesStream =
        tokio_stream::Empty<Result<DeltaDiscoveryResponse, Status>>;

    /// Answers with headers at once: a half-duplex client sends its first request only after them.
    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<AdsStream>, Status> {
        let current = Arc::clone(&self.current.borrow());
        Ok(Response::new(AdsStream {
            requests: Some(request.into_inner()),
            changes: WatchStream::new(self.current.clone()),
            current,
            session: None,
            nacks: Arc::clone(&self.nacks),
            ended: false,
        }))
    }

    async fn delta_aggregated_resources(
        &self,
        _: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented(
            "this control plane does not serve delta xDS: use StreamAggregatedResources (in Envoy: api_type GRPC)",
        ))
    }
}

/// The responses to one client.
pub(crate) struct AdsStream {
    /// `None` after the client has closed its side: it then gets what it is owed, and the end.
    requests: Option<Streaming<DiscoveryRequest>>,
    changes: WatchStream<Arc<Generation>>,
    current: Arc<Generation>,
    session: Option<Session>,
    nacks: Arc<Nacks>,
    ended: bool,
}

impl AdsStream {
    fn request(&mut self, request: DiscoveryRequest) -> Result<(), SessionError> {
        let session = match &mut self.session {
            Some(session) => session,
            None => {
                let node = Session::node_of(&request)?;
                let view = self.current.view(&node);
                tracing::info!(node = node.id(), "client connected");
                self.session.insert(Session::new(node, view))
            }
        };
        if let Some(nack) = session.request(request)? {
            self.nacks.record(nack);
        }
        Ok(())
    }

    /// Takes the newest configuration; false when the control plane stops.
    fn follow(&mut self, cx: &mut Context<'_>) -> bool {
        while let Poll::Ready(change) = Pin::new(&mut self.changes).poll_next(cx) {
            let Some(generation) = change else {
                return false;
            };
            self.current = generation;
            if let Some(session) = &mut self.session {
                let view = self.current.view(session.node());
                session.update(view);
            }
        }
        true
    }

    fn end(&mut self, status: Option<Status>) -> Poll<Option<Result<DiscoveryResponse, Status>>> {
        self.ended = true;
        if let Some(session) = &self.session {
            tracing::info!(node = session.node().id(), "client gone");
        }
        Poll::Ready(status.map(Err))
    }
}

impl Stream for AdsStream {
    type Item = Result<DiscoveryResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        if !this.follow(cx) {
            return this.end(Some(Status::unavailable("the control plane is stopping")));
        }
        for _ in 0..TURN {
            if let Some(response) = this.session.as_mut().and_then(Session::response) {
                return Poll::Ready(Some(Ok(response)));
            }
            let Some(requests) = &mut this.requests else {
                return this.end(None);
            };
            match Pin::new(requests).poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => this.requests = None,
                Poll::Ready(Some(Err(status))) => return this.end(Some(status)),
                Poll::Ready(Some(Ok(request))) => {
                    if let Err(error) = this.request(request) {
                        tracing::warn!(%error, "stream refused");
                        return this.end(Some(Status::invalid_argument(error.to_string())));
                    }
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl fmt::Debug for AdsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdsStream")
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}
