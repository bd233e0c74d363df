//! Both servers of mutual TLS, in one child process: the mesh's, and hyper's with rustls by hand. Each answers with the
//! body it got.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use mesh_tower::{Body, PeerIdentity};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::error::BenchError;
use crate::secured::{self, CALLED, World, is_proven, say};
use crate::server::Server;
use crate::{machine, paired};

/// The process, from its parent's side.
#[derive(Debug)]
pub(crate) struct Servers {
    pub(crate) process: Server,
    /// Where rustls by hand listens.
    pub(crate) plain: SocketAddr,
}

impl Servers {
    /// Starts it on the core of the calling thread; where handshakes are to have another core, all threads of the mesh but
    /// the one that serves requests have the others.
    pub(crate) async fn start(world: &World, shakes_elsewhere: bool) -> Result<Self, BenchError> {
        let plane = world.plane().to_string();
        let folder = world.certificates(CALLED);
        let folder = folder
            .to_str()
            .ok_or_else(|| BenchError::Server(format!("{} is no text", folder.display())))?;
        let mut arguments = vec!["serve-mtls", &plane, folder];
        if shakes_elsewhere {
            arguments.push("--shakes-elsewhere");
        }
        let mut process = Server::spawn(&arguments).await?;
        let said = process.next_line().await?;
        let plain = said
            .parse()
            .map_err(|_| BenchError::Server(format!("it said {said:?} instead of its address")))?;
        world.serves_at(process.address)?;
        Ok(Self { process, plain })
    }
}

/// The process itself: prints both addresses, serves until its input ends.
pub(crate) fn serve(
    plane: SocketAddr,
    certificates: &Path,
    shakes_elsewhere: bool,
) -> Result<(), BenchError> {
    paired::runtime()?.block_on(async {
        let failed = |error: String| BenchError::Server(error);
        // The mesh starts its threads when it is made.
        let elsewhere = shakes_elsewhere.then(machine::elsewhere).transpose()?;
        let mesh = secured::mesh(CALLED, plane, certificates)?;
        drop(elsewhere);
        let listener = mesh.listen("127.0.0.1:0").await;
        let listener = listener.map_err(|error| failed(error.to_string()))?;
        let plain = TcpListener::bind("127.0.0.1:0").await?;
        say(listener.local_addr())?;
        say(plain.local_addr()?)?;
        let acceptor = TlsAcceptor::from(Arc::new(secured::server(certificates)?));
        let mut ignored = Vec::new();
        let mut stdin = tokio::io::stdin();
        tokio::select! {
            served = listener.serve(tower::service_fn(ours)) => {
                served.map_err(|error| failed(error.to_string()))
            }
            served = accept_all(plain, acceptor) => Ok(served?),
            _ = stdin.read_to_end(&mut ignored) => Ok(()),
        }
    })
}

/// By the mesh, from whom it has proven to be the caller.
async fn ours(request: Request<Body>) -> Result<Response<Full<Bytes>>, mesh_tower::Error> {
    let proven = is_proven(request.extensions().get::<PeerIdentity>());
    let body = request.into_body().bytes().await?;
    let mut response = Response::new(Full::new(body));
    if !proven {
        *response.status_mut() = http::StatusCode::FORBIDDEN;
    }
    Ok(response)
}

async fn accept_all(listener: TcpListener, acceptor: TlsAcceptor) -> io::Result<()> {
    loop {
        let (tcp, _) = listener.accept().await?;
        tcp.set_nodelay(true)?;
        tokio::spawn(connection(tcp, acceptor.clone()));
    }
}

async fn connection(tcp: TcpStream, acceptor: TlsAcceptor) {
    // On this thread, which serves requests.
    let Ok(stream) = acceptor.accept(tcp).await else {
        return;
    };
    let served = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service_fn(echo))
        .await;
    // A client that goes away between two requests is how every connection ends.
    drop(served);
}

async fn echo(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let body = request.into_body().collect().await?.to_bytes();
    Ok(Response::new(Full::new(body)))
}
