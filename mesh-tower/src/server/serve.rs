//! The ready-made loop: HTTP/1.1 and HTTP/2 on each connection of a listener.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::sync::watch;
use tower_layer::Layer;
use tower_service::Service;

use super::inbound::InboundLayer;
use super::listener::MeshListener;
use super::stream::MeshStream;
use super::talk::{Conversation, Talk, attend};
use crate::body::Body;
use crate::error::BoxError;
use crate::seldom::Seldom;

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

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    // hyper's own limit costs each request a timer and a look at the socket: `attend` keeps it.
    builder.http1().header_read_timeout(None);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    builder
}

async fn connection<S, B>(mut stream: MeshStream, service: S)
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: http_body::Body + Send + 'static,
    B::Data: From<Bytes> + Send,
    B::Error: Into<BoxError>,
{
    let connection = stream.connection();
    stream.attended();
    // The layer is in front of the service.
    connection.guard();
    let peer = stream.peer().clone();
    let address = peer.address;
    let talk = Arc::new(Talk::default());
    let mut seldom = Seldom::default();
    let mut attending = pin!(attend(&connection, stream.watcher(), &talk));
    let conversation = Conversation::new(service, peer, Arc::clone(&talk));
    let builder = builder();
    let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), conversation));
    let mut ends = false;
    let served = poll_fn(|cx| {
        let mut cut = None;
        if let Some(mut cx) = seldom.woken(cx) {
            let _: Poll<Infallible> = attending.as_mut().poll(&mut cx);
            if talk.is_to_end() && !ends {
                ends = true;
                serving.as_mut().graceful_shutdown();
            }
            cut = talk.cut_for();
        }
        let served = serving.as_mut().poll(cx);
        match cut {
            Some(reason) if served.is_pending() => {
                tracing::debug!(peer = %address, reason, "connection closed");
                Poll::Ready(Ok(()))
            }
            _ => served,
        }
    });
    if let Err(error) = served.await {
        tracing::debug!(peer = %address, %error, "connection ended with an error");
    }
}
