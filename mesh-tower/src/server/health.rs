//! The port that kubelets ask whether this process is to be sent anything.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::listener::{ListenError, accept, bind};
use crate::body::Body;
use crate::mesh::{Mesh, Shared};

/// Istio's path for the readiness of a sidecar.
const READY: &str = "/healthz/ready";
/// How long a whole connection may last; each serves one request.
const LONGEST: Duration = Duration::from_secs(10);
/// The bound of a request's head, in bytes: the least that hyper takes.
const MOST_HEAD: usize = 8 * 1024;
/// How many connections there may be; others wait in the socket's queue.
const MOST_CONNECTIONS: usize = 64;

impl Mesh {
    /// Answers `GET` and `HEAD` of `/healthz/ready` on `host:port`, Istio's path and usually its port 15021, and
    /// returns where. 200 says that all that was declared is configured, and that the rules for connections are known
    /// if the mesh listens; 503 that it is not so, or that the mesh drains. There is nothing else on it: all else is
    /// 404, and no body is read.
    ///
    /// It is plaintext whatever the rules say, as kubelets have no certificate of the mesh, and no policy is asked. It is
    /// served on the current runtime until the mesh is gone; a drain does not end it.
    ///
    /// ```no_run
    /// # async fn example(mesh: mesh_tower::Mesh) -> Result<(), Box<dyn std::error::Error>> {
    /// mesh.health("0.0.0.0:15021").await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn health(&self, address: &str) -> Result<SocketAddr, ListenError> {
        let (socket, bound) = bind(address).await?;
        let mut watcher = self.shared.drain.watcher();
        let shared = Arc::downgrade(&self.shared);
        tokio::spawn(async move {
            tokio::select! {
                () = watcher.gone() => {}
                () = serve(socket, shared) => {}
            }
        });
        Ok(bound)
    }

    fn is_ready(&self) -> bool {
        let lacks = || self.shared.listens() && self.shared.door.lacks().is_some();
        !self.shared.drain.begun().get() && self.missing().is_empty() && !lacks()
    }
}

async fn serve(socket: TcpListener, shared: Weak<Shared>) {
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let (stream, _) = accept(&socket).await;
        let shared = Weak::clone(&shared);
        tokio::spawn(async move {
            let answer = service_fn(|request| {
                let answer = answer(&request, &shared);
                async move { Ok::<_, Infallible>(answer) }
            });
            let mut builder = http1::Builder::new();
            builder
                .timer(TokioTimer::new())
                .max_buf_size(MOST_HEAD)
                .keep_alive(false);
            let serving = builder.serve_connection(TokioIo::new(stream), answer);
            // What went wrong is the visitor's business.
            drop(tokio::time::timeout(LONGEST, serving).await);
            drop(place);
        });
    }
}

fn answer(request: &Request<Incoming>, shared: &Weak<Shared>) -> Response<Body> {
    let is_read = [Method::GET, Method::HEAD].contains(request.method());
    let is_ready = || {
        let shared = shared.upgrade();
        shared.is_some_and(|shared| Mesh { shared }.is_ready())
    };
    let status = match request.uri().path() {
        READY if is_read && is_ready() => StatusCode::OK,
        READY if is_read => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::NOT_FOUND,
    };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
