//! A gRPC server over TLS that takes any client, and tells what came to it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use http::header::AUTHORIZATION;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rustls::pki_types::CertificateDer;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use super::tls::{Authority, Leaf};

#[derive(Clone)]
pub(crate) struct Plane {
    pub(crate) address: SocketAddr,
    held: Arc<Mutex<Held>>,
}

struct Held {
    config: Arc<ServerConfig>,
    connections: Vec<AbortHandle>,
    seen: Seen,
}

/// What came to a server.
#[derive(Clone, Default, Debug)]
pub(crate) struct Seen {
    /// How many connections were opened.
    pub(crate) opened: usize,
    /// The SNI of each handshake that came about.
    pub(crate) names: Vec<Option<String>>,
    /// What clients showed in those, if they showed something.
    pub(crate) clients: Vec<Option<CertificateDer<'static>>>,
    /// `authorization` of each request.
    pub(crate) tokens: Vec<Option<String>>,
}

/// What a server shows, and whom it takes: with an authority, also those that show a certificate by it.
pub(crate) fn shows(leaf: &Leaf, clients: Option<&Authority>) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.der()).unwrap();
            let judge = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            builder.with_client_cert_verifier(judge.allow_unauthenticated().build().unwrap())
        }
    };
    let (chain, key) = leaf.der();
    let mut config = builder.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Arc::new(config)
}

impl Plane {
    pub(crate) async fn start(config: Arc<ServerConfig>, app: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let this = Self {
            address: listener.local_addr().unwrap(),
            held: Arc::new(Mutex::new(Held {
                config,
                connections: Vec::new(),
                seen: Seen::default(),
            })),
        };
        tokio::spawn(this.clone().accept(listener, app));
        this
    }

    pub(crate) fn seen(&self) -> Seen {
        self.held.lock().unwrap().seen.clone()
    }

    /// Shows another certificate from the next handshake on.
    pub(crate) fn now_shows(&self, config: Arc<ServerConfig>) {
        self.held.lock().unwrap().config = config;
    }

    /// Ends all connections.
    pub(crate) fn cut(&self) {
        let mut held = self.held.lock().unwrap();
        held.connections.drain(..).for_each(|open| open.abort());
    }

    async fn accept(self, listener: TcpListener, app: Router) {
        while let Ok((tcp, _)) = listener.accept().await {
            let mut held = self.held.lock().unwrap();
            held.seen.opened += 1;
            let acceptor = TlsAcceptor::from(Arc::clone(&held.config));
            let serving = tokio::spawn(self.clone().serve(tcp, acceptor, app.clone()));
            held.connections.push(serving.abort_handle());
        }
    }

    async fn serve(self, tcp: TcpStream, acceptor: TlsAcceptor, app: Router) {
        let Ok(stream) = acceptor.accept(tcp).await else {
            return;
        };
        {
            let session = stream.get_ref().1;
            let client = session.peer_certificates();
            let client = client.and_then(|all| all.first());
            let seen = &mut self.held.lock().unwrap().seen;
            seen.names.push(session.server_name().map(Into::into));
            seen.clients
                .push(client.map(|der| der.clone().into_owned()));
        }
        let app = app.map_request(move |request: http::Request<hyper::body::Incoming>| {
            let token = request.headers().get(AUTHORIZATION);
            let token = token.map(|value| value.to_str().unwrap().to_owned());
            self.held.lock().unwrap().seen.tokens.push(token);
            request
        });
        let serving = auto::Builder::new(TokioExecutor::new());
        let served = serving.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
        drop(served.await);
    }
}
