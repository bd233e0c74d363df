//! The accept loop.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tower_service::Service;

use super::drain::Member;
use crate::error::BoxError;

/// How long a peer may take for its first request, and for the head of each: half-open and slow peers hold no task for ever.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Finds peers that are gone without a word: an HTTP/2 connection can stay open for days.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause after an accept that failed for lack of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Who is on the other end of a connection; in the extensions of each request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerIdentity {
    /// The peer's address.
    pub address: SocketAddr,
}

pub(super) async fn run<S, B>(listener: TcpListener, service: S, mut member: Member)
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = member.draining() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let service = service.clone();
                let member = member.clone();
                tokio::spawn(connection(stream, peer, service, member));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection<S, B>(stream: TcpStream, peer: SocketAddr, service: S, mut member: Member)
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    // A response head and a short body are one write; a dead socket says so on its first use.
    drop(stream.set_nodelay(true));
    let begun = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&begun);
    let answer = service_fn(move |mut request: Request<Incoming>| {
        asked.store(true, Relaxed);
        request
            .extensions_mut()
            .insert(PeerIdentity { address: peer });
        let mut service = service.clone();
        async move {
            std::future::poll_fn(|cx| service.poll_ready(cx)).await?;
            service.call(request).await
        }
    });
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
    let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), answer));
    let mut first_request = pin!(tokio::time::sleep(HEADER_TIMEOUT));
    let mut waited = false;
    let served = loop {
        tokio::select! {
            served = serving.as_mut() => break served,
            // Which protocol is spoken is not known yet, so no limit of a protocol applies.
            () = first_request.as_mut(), if !waited => {
                waited = true;
                if !begun.load(Relaxed) {
                    return;
                }
            }
            () = member.draining() => {
                serving.as_mut().graceful_shutdown();
                tokio::select! {
                    served = serving.as_mut() => break served,
                    () = member.over() => return,
                }
            }
        }
    };
    if let Err(error) = served {
        tracing::debug!(%peer, %error, "connection ended with an error");
    }
}
