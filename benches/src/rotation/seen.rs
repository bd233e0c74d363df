//! The server, and which certificates it was shown and has shown.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use mesh_tower::{Body, PeerIdentity};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_rustls::TlsConnector;
use tower::Service;

use crate::secured::{NAME, is_proven};

/// The path of a request over a connection that is kept, and of one after which it is not.
pub(super) const KEPT: &str = "/kept";
pub(super) const LAST: &str = "/last";
/// That of a request over a connection of its own.
pub(super) const NEW: &str = "/new";

/// How long an answer takes: so that more than one connection is in use.
const ANSWER: Duration = Duration::from_millis(20);
/// How often the server is looked at.
const LOOK: Duration = Duration::from_millis(500);

type Hash = [u8; 32];

/// What was seen up to now.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen(Arc<Mutex<Sets>>);

#[derive(Debug, Default)]
struct Sets {
    kept: BTreeSet<Hash>,
    new: BTreeSet<Hash>,
    server: BTreeSet<Vec<u8>>,
    connections: BTreeSet<SocketAddr>,
}

/// How many of each.
#[derive(Debug)]
pub(super) struct Count {
    pub(super) kept: usize,
    pub(super) new: usize,
    pub(super) server: usize,
    pub(super) connections: usize,
}

impl Seen {
    fn lock(&self) -> MutexGuard<'_, Sets> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins anew.
    pub(super) fn forget(&self) {
        *self.lock() = Sets::default();
    }

    pub(super) fn count(&self) -> Count {
        let sets = self.lock();
        Count {
            kept: sets.kept.len(),
            new: sets.new.len(),
            server: sets.server.len(),
            connections: sets.connections.len(),
        }
    }
}

/// Answers 200 to whoever has proven to be the caller.
#[derive(Debug, Clone)]
pub(super) struct Served(Seen);

impl Served {
    pub(super) const fn new(seen: Seen) -> Self {
        Self(seen)
    }

    fn note(&self, request: &Request<Body>) -> StatusCode {
        let peer = request.extensions().get::<PeerIdentity>();
        let Some((peer, certificate)) = peer.and_then(|peer| Some((peer, peer.certificate()?)))
        else {
            return StatusCode::UNAUTHORIZED;
        };
        if !is_proven(Some(peer)) {
            return StatusCode::FORBIDDEN;
        }
        let mut sets = self.0.lock();
        sets.connections.insert(peer.address);
        match request.uri().path() {
            NEW => sets.new.insert(certificate.sha256),
            _ => sets.kept.insert(certificate.sha256),
        };
        StatusCode::OK
    }
}

impl Service<Request<Body>> for Served {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let mut response = Response::new(Full::new(Bytes::from_static(b"here\n")));
        *response.status_mut() = self.note(&request);
        if matches!(request.uri().path(), NEW | LAST) {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        Box::pin(async move {
            sleep(ANSWER).await;
            Ok(response)
        })
    }
}

/// Looks which certificate the server shows, again and again.
pub(super) async fn look(config: ClientConfig, server: SocketAddr, seen: Seen) {
    let connector = TlsConnector::from(Arc::new(config));
    loop {
        if let Some(shown) = shown(&connector, server).await {
            seen.lock().server.insert(shown);
        }
        sleep(LOOK).await;
    }
}

async fn shown(connector: &TlsConnector, server: SocketAddr) -> Option<Vec<u8>> {
    let tcp = TcpStream::connect(server).await.ok()?;
    let name = ServerName::try_from(NAME).ok()?;
    let stream = connector.connect(name, tcp).await.ok()?;
    let chain = stream.get_ref().1.peer_certificates()?;
    Some(chain.first()?.to_vec())
}
