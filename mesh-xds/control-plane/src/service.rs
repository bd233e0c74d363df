//! The gRPC side: `envoy.service.discovery.v3.AggregatedDiscoveryService` over the session machine.
//!
//! A stream is polled only when HTTP/2 has room for another message, and only then does it look at the
//! configuration and at the client's requests. So there is no task and no queue per client.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryService;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use mesh_istio::Unselected;
use mesh_xds::Node;
use tokio::sync::watch;
use tokio_stream::Stream;
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status, Streaming};

use crate::generation::Generation;
use crate::nacks::Nacks;
use crate::session::delta::Delta;
use crate::session::sotw::Sotw;
use crate::session::{Session, SessionError};

/// How many requests of one stream are read before other streams of the same thread get their turn.
const TURN: usize = 32;

/// The service: one for all streams.
#[derive(Debug)]
pub(crate) struct Ads {
    pub(crate) current: watch::Receiver<Arc<Generation>>,
    pub(crate) nacks: Arc<Nacks>,
}

impl Ads {
    fn stream<S: Session>(&self, requests: Streaming<S::Request>) -> Response<AdsStream<S>> {
        let current = Arc::clone(&self.current.borrow());
        Response::new(AdsStream {
            requests: Some(requests),
            changes: WatchStream::new(self.current.clone()),
            current,
            session: None,
            nacks: Arc::clone(&self.nacks),
            told: None,
            ended: false,
        })
    }
}

/// Both answer with headers at once: a half-duplex client sends its first request only after them.
#[tonic::async_trait]
impl AggregatedDiscoveryService for Ads {
    type StreamAggregatedResourcesStream = AdsStream<Sotw>;
    type DeltaAggregatedResourcesStream = AdsStream<Delta>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<AdsStream<Sotw>>, Status> {
        Ok(self.stream(request.into_inner()))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<AdsStream<Delta>>, Status> {
        Ok(self.stream(request.into_inner()))
    }
}

/// The responses to one client.
pub(crate) struct AdsStream<S: Session> {
    /// `None` after the client has closed its side: it then gets what it is owed, and the end.
    requests: Option<Streaming<S::Request>>,
    changes: WatchStream<Arc<Generation>>,
    current: Arc<Generation>,
    session: Option<S>,
    nacks: Arc<Nacks>,
    /// What was said last of policies that do not apply to it.
    told: Option<Unselected>,
    ended: bool,
}

// Nothing in it is pinned in place.
impl<S: Session> Unpin for AdsStream<S> {}

impl<S: Session> AdsStream<S> {
    fn request(&mut self, request: S::Request) -> Result<(), SessionError> {
        let session = match &mut self.session {
            Some(session) => session,
            None => {
                let node = S::node_of(&request)?;
                let view = self.current.view(&node);
                tracing::info!(node = node.id(), "client connected");
                warn(&node, &self.current, &mut self.told);
                self.session.insert(S::new(node, view))
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
                warn(session.node(), &self.current, &mut self.told);
            }
        }
        true
    }

    fn end(&mut self, status: Option<Status>) -> Poll<Option<Result<S::Response, Status>>> {
        self.ended = true;
        if let Some(session) = &self.session {
            tracing::info!(node = session.node().id(), "client gone");
        }
        Poll::Ready(status.map(Err))
    }
}

/// Says of a client that policies pass it by because nobody knows its labels: when it connects, and when those policies
/// are others. Neither it nor the policies look wrong of themselves.
fn warn(node: &Node, generation: &Generation, told: &mut Option<Unselected>) {
    let unselected = generation.config.unselected(node);
    if let Some(why) = &unselected
        && unselected != *told
    {
        let version = generation.number;
        tracing::warn!(node = node.id(), version, "{why}");
    }
    *told = unselected;
}

impl<S: Session> Stream for AdsStream<S> {
    type Item = Result<S::Response, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        if !this.follow(cx) {
            return this.end(Some(Status::unavailable("the control plane is stopping")));
        }
        for _ in 0..TURN {
            if let Some(response) = this.session.as_mut().and_then(S::response) {
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

impl<S: Session> fmt::Debug for AdsStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdsStream")
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}
