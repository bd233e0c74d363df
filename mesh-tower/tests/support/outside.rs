//! Hosts outside of the mesh: servers on loopback, and the names that lead to them.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use mesh_tower::{Resolve, Resolving};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

/// A server that answers in which HTTP version it was asked, for which host, and counts.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) counts: Arc<Counts>,
}

#[derive(Default)]
pub(crate) struct Counts {
    connections: AtomicUsize,
    closed: AtomicUsize,
    requests: AtomicUsize,
}

impl Server {
    pub(crate) async fn plain() -> Self {
        Self::start(|stream| async { Some(stream) }).await
    }

    /// A server that closes each connection after its response.
    pub(crate) async fn closing() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let this = Self {
            address: listener.local_addr().unwrap(),
            counts: Arc::default(),
        };
        let counts = Arc::clone(&this.counts);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counts.connections.fetch_add(1, Ordering::SeqCst);
                let counts = Arc::clone(&counts);
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(Arc::clone(&counts), request));
                    let mut http = hyper::server::conn::http1::Builder::new();
                    http.keep_alive(false);
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        this
    }

    /// A server whose connections are prepared by `accept`.
    pub(crate) async fn start<S, F>(
        accept: impl Fn(tokio::net::TcpStream) -> F + Send + 'static,
    ) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Future<Output = Option<S>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let this = Self {
            address: listener.local_addr().unwrap(),
            counts: Arc::default(),
        };
        let counts = Arc::clone(&this.counts);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counts.connections.fetch_add(1, Ordering::SeqCst);
                let (counts, accepted) = (Arc::clone(&counts), accept(stream));
                tokio::spawn(async move {
                    let Some(stream) = accepted.await else { return };
                    let answers = Arc::clone(&counts);
                    let service = service_fn(move |request| answer(Arc::clone(&answers), request));
                    let _ = auto::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                    counts.closed.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        this
    }

    /// How many connections of [`Self::start`] have ended.
    pub(crate) fn closed(&self) -> usize {
        self.counts.closed.load(Ordering::SeqCst)
    }

    pub(crate) fn connections(&self) -> usize {
        self.counts.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> usize {
        self.counts.requests.load(Ordering::SeqCst)
    }
}

async fn answer(
    counts: Arc<Counts>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, std::convert::Infallible> {
    counts.requests.fetch_add(1, Ordering::SeqCst);
    let host = request.headers().get(http::header::HOST);
    let host = host.and_then(|host| host.to_str().ok()).map(str::to_owned);
    let authority = request.uri().authority().map(ToString::to_string);
    let text = format!(
        "{:?} {}",
        request.version(),
        authority.or(host).unwrap_or_default()
    );
    Ok(Response::new(Full::new(text.into())))
}

/// Where a name leads.
#[derive(Debug, Clone)]
pub(crate) enum Leads {
    /// To these addresses, whatever the port.
    To(Vec<SocketAddr>),
    /// To no address.
    Nowhere,
    /// The question is never answered.
    Hangs,
}

/// A resolver of names that a test decides. Clones share.
#[derive(Clone, Default)]
pub(crate) struct Names {
    known: Arc<Mutex<BTreeMap<String, Leads>>>,
    asked: Arc<Mutex<Vec<(String, u16)>>>,
}

impl Names {
    /// `*` is every name that is not there by itself.
    pub(crate) fn of(name: &str, leads: Leads) -> Self {
        let this = Self::default();
        this.lead(name, leads);
        this
    }

    pub(crate) fn to(name: &str, server: &Server) -> Self {
        Self::of(name, Leads::To(vec![server.address]))
    }

    pub(crate) fn lead(&self, name: &str, leads: Leads) {
        self.known.lock().unwrap().insert(name.to_owned(), leads);
    }

    /// What was asked, in order.
    pub(crate) fn asked(&self) -> Vec<(String, u16)> {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) fn times(&self, name: &str) -> usize {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|(host, _)| host == name).count()
    }
}

impl Resolve for Names {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Resolving<'a> {
        self.asked.lock().unwrap().push((host.to_owned(), port));
        let known = self.known.lock().unwrap();
        let leads = known.get(host).or_else(|| known.get("*")).cloned();
        Box::pin(async move {
            // Whoever asks meanwhile waits.
            tokio::task::yield_now().await;
            match leads {
                Some(Leads::To(addresses)) => Ok(addresses),
                Some(Leads::Hangs) => std::future::pending().await,
                Some(Leads::Nowhere) | None => Err(io::Error::other("no such name in this test")),
            }
        })
    }
}
