//! The ready-made loop: HTTP/1.1 and HTTP/2 on each connection of a listener.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::sync::watch;
use tower_layer::Layer;
use tower_service::Service;

use super::inbound::InboundLayer;
use super::listener::MeshListener;
use super::stream::MeshStream;
use crate::body::Body;
use crate::error::BoxError;

/// How long a peer may take for its first request, and for the head of each: half-open and slow peers hold no task for ever.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Finds peers that are gone without a word: an HTTP/2 connection can stay open for days.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Until draining has begun and the last connection has ended.
pub(super) async fn run<S, B>(mut listener: MeshListener, service: S, inbound: InboundLayer)
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: http_body::Body + Send + 'static,
    B::Data: From<Bytes> + Send,
    B::Error: Into<BoxError>,
{
    let service = inbound.layer(service);
    let open = watch::Sender::new(());
    while let Some(stream) = listener.next().await {
        let service = service.clone();
        let counted = open.subscribe();
        tokio::spawn(async move {
            connection(stream, service).await;
            drop(counted);
        });
    }
    open.closed().await;
}

/// How a connection was asked so far.
#[derive(Default)]
struct Spoken {
    any: AtomicBool,
    http2: AtomicBool,
}

impl Spoken {
    fn note(&self, version: Version) {
        self.any.store(true, Relaxed);
        if version == Version::HTTP_2 {
            self.http2.store(true, Relaxed);
        }
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    builder
}

async fn connection<S, B>(stream: MeshStream, service: S)
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: http_body::Body + Send + 'static,
    B::Data: From<Bytes> + Send,
    B::Error: Into<BoxError>,
{
    let connection = stream.connection();
    // The layer is in front of the service.
    connection.guard();
    let peer = stream.peer().clone();
    let address = peer.address;
    let mut drain = stream.watcher();
    let spoken = Arc::new(Spoken::default());
    let speaking = Arc::clone(&spoken);
    let answer = service_fn(move |mut request: Request<Incoming>| {
        speaking.note(request.version());
        request.extensions_mut().insert(peer.clone());
        let mut service = service.clone();
        async move {
            std::future::poll_fn(|cx| service.poll_ready(cx)).await?;
            service.call(request.map(Body::from)).await
        }
    });
    let builder = builder();
    let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), answer));
    let mut first_request = pin!(tokio::time::sleep(HEADER_TIMEOUT));
    let (mut leaving, mut over) = (pin!(connection.leaving()), pin!(connection.over()));
    let (mut waited, mut leaves, mut is_over) = (false, false, !connection.is_ruled());
    let served = loop {
        tokio::select! {
            served = serving.as_mut() => break served,
            // Which protocol is spoken is not known yet, so no limit of a protocol applies.
            () = first_request.as_mut(), if !waited => {
                waited = true;
                if !spoken.any.load(Relaxed) {
                    return;
                }
            }
            // HTTP/1 would close an idle connection at once, while a request may be on its way. Who may still be served
            // is told by the next answer (`Connection: close`).
            () = leaving.as_mut(), if !is_over && !leaves => {
                leaves = true;
                if connection.is_refused() || spoken.http2.load(Relaxed) {
                    serving.as_mut().graceful_shutdown();
                }
            }
            // What does not end by itself then, its stream cuts.
            () = over.as_mut(), if !is_over => {
                is_over = true;
                serving.as_mut().graceful_shutdown();
            }
            () = drain.draining() => {
                serving.as_mut().graceful_shutdown();
                tokio::select! {
                    served = serving.as_mut() => break served,
                    () = drain.over() => return,
                }
            }
        }
    };
    if let Err(error) = served {
        tracing::debug!(peer = %address, %error, "connection ended with an error");
    }
}
