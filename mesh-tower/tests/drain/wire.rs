//! An application with a slow answer, and clients that hold their connection in the hand.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::routing::get;
use http::Response;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mesh_tower::PeerIdentity;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// Tells when a slow request is in its handler, and lets it go on.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) entered: Arc<Semaphore>,
    pub(crate) open: Arc<Semaphore>,
}

impl Gate {
    pub(crate) fn new() -> Self {
        let closed = || Arc::new(Semaphore::new(0));
        Self {
            entered: closed(),
            open: closed(),
        }
    }

    pub(crate) async fn entered(&self) {
        self.entered.acquire().await.unwrap().forget();
    }

    /// `/slow` passes the gate, `/endless` never answers, `/peer` says who asks.
    pub(crate) fn app(&self) -> Router {
        let (slow, endless) = (self.clone(), self.clone());
        Router::new()
            .route("/quick", get(|| async { "quick" }))
            .route("/peer", get(peer))
            .route(
                "/slow",
                get(move || async move {
                    slow.entered.add_permits(1);
                    slow.open.acquire().await.unwrap().forget();
                    "done"
                }),
            )
            .route(
                "/endless",
                get(move || async move {
                    endless.entered.add_permits(1);
                    std::future::pending::<()>().await;
                }),
            )
    }
}

async fn peer(request: Request) -> String {
    let peer = request.extensions().get::<PeerIdentity>();
    peer.map_or_else(|| "nobody".to_owned(), |peer| peer.address.to_string())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

pub(crate) const PROTOCOLS: [Protocol; 2] = [Protocol::Http1, Protocol::Http2];

/// One connection.
pub(crate) struct Client {
    sender: Sender,
    pub(crate) address: SocketAddr,
    /// How the connection ended.
    pub(crate) ended: JoinHandle<hyper::Result<()>>,
}

enum Sender {
    Http1(http1::SendRequest<Empty<Bytes>>),
    Http2(http2::SendRequest<Empty<Bytes>>),
}

impl Client {
    pub(crate) async fn connect(server: SocketAddr, protocol: Protocol) -> Self {
        let stream = TcpStream::connect(server).await.unwrap();
        let address = stream.local_addr().unwrap();
        let io = TokioIo::new(stream);
        let (sender, ended) = match protocol {
            Protocol::Http1 => {
                let (sender, connection) = http1::handshake(io).await.unwrap();
                (Sender::Http1(sender), tokio::spawn(connection))
            }
            Protocol::Http2 => {
                let (sender, connection) =
                    http2::handshake(TokioExecutor::new(), io).await.unwrap();
                (Sender::Http2(sender), tokio::spawn(connection))
            }
        };
        Self {
            sender,
            address,
            ended,
        }
    }

    /// Another handle of an HTTP/2 connection.
    pub(crate) fn second_stream(&self) -> Option<http2::SendRequest<Empty<Bytes>>> {
        match &self.sender {
            Sender::Http1(_) => None,
            Sender::Http2(sender) => Some(sender.clone()),
        }
    }

    pub(crate) async fn get(&mut self, path: &str) -> hyper::Result<Response<Incoming>> {
        match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request(path)).await
            }
            Sender::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request(path)).await
            }
        }
    }
}

pub(crate) fn request(path: &str) -> http::Request<Empty<Bytes>> {
    http::Request::get(format!("http://test{path}"))
        .header("host", "test")
        .body(Empty::new())
        .unwrap()
}

pub(crate) async fn text(response: Response<Incoming>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Connects until that is refused.
pub(crate) async fn refused(server: SocketAddr) {
    while TcpStream::connect(server).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

/// Asks for new streams until the peer's GOAWAY refuses one.
pub(crate) async fn goes_away(mut sender: http2::SendRequest<Empty<Bytes>>) {
    loop {
        if sender.ready().await.is_err() || sender.send_request(request("/quick")).await.is_err() {
            return;
        }
    }
}
