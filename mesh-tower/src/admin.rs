//! The admin port: pages by which operators and their tools see a mesh, under Envoy's names. It changes nothing, and
//! has a thread of its own, so that neither requests nor configuration wait for it.

mod clusters;
mod pages;

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use mesh_core::request::without_brackets;
use tokio::sync::{Semaphore, oneshot};

use crate::body::Body;
use crate::mesh::{Mesh, Shared};
use crate::server::ACCEPT_PAUSE;
use pages::Page;

/// How long a request's head may take.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a whole connection may last: who does not read its answer must not hold it.
const LONGEST: Duration = Duration::from_secs(15);
/// The bounds of a request's head, in bytes and in headers.
const MOST_HEAD: usize = 16 * 1024;
const MOST_HEADERS: usize = 64;
/// How many connections there may be; others wait in the socket's queue.
const MOST_CONNECTIONS: usize = 64;

/// The admin port of a mesh. It is closed when this is dropped.
#[derive(Debug)]
pub(crate) struct Admin {
    address: SocketAddr,
    // Its drop wakes the thread.
    _alive: oneshot::Sender<Infallible>,
    serving: Serving,
}

/// What becomes the thread, once there is a mesh to show.
#[derive(Debug)]
struct Serving(std::sync::Mutex<Option<(TcpListener, oneshot::Receiver<Infallible>)>>);

impl Admin {
    /// Binds; a port alone is one of the loopback interface.
    pub(crate) fn bind(address: &str) -> io::Result<Self> {
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let addresses: Vec<SocketAddr> = match address.parse::<u16>() {
            Ok(port) => vec![loopback(port)],
            Err(_) => address.to_socket_addrs()?.collect(),
        };
        let socket = TcpListener::bind(&*addresses)?;
        socket.set_nonblocking(true)?;
        let (alive, ended) = oneshot::channel();
        Ok(Self {
            address: socket.local_addr()?,
            _alive: alive,
            serving: Serving(std::sync::Mutex::new(Some((socket, ended)))),
        })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Begins to serve the pages of a mesh.
    pub(crate) fn start(&self, shared: &Arc<Shared>) -> io::Result<()> {
        let mut serving = self
            .serving
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let Some((socket, ended)) = serving.take() else {
            return Ok(());
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (shared, own) = (Arc::downgrade(shared), self.address.ip());
        std::thread::Builder::new()
            .name("mesh-admin".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        _ = ended => {}
                        () = serve(socket, shared, own) => {}
                    }
                });
            })?;
        Ok(())
    }
}

async fn serve(socket: TcpListener, shared: Weak<Shared>, own: IpAddr) {
    let Ok(socket) = tokio::net::TcpListener::from_std(socket)
        .inspect_err(|error| tracing::error!(%error, "the admin port cannot be served"))
    else {
        return;
    };
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let stream = match socket.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection to the admin port could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let shared = Weak::clone(&shared);
        // The address that this visitor came to: that of the socket may stand for all.
        let own = stream.local_addr().map_or(own, |address| address.ip());
        let own = own.to_canonical();
        tokio::spawn(async move {
            let answer = service_fn(|request| {
                let shared = Weak::clone(&shared);
                async move { Ok::<_, Infallible>(answer(&request, &shared, own).await) }
            });
            let mut builder = http1::Builder::new();
            builder
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .max_buf_size(MOST_HEAD)
                .max_headers(MOST_HEADERS)
                .keep_alive(false);
            let serving = builder.serve_connection(TokioIo::new(stream), answer);
            // What went wrong is the visitor's business.
            let _ = tokio::time::timeout(LONGEST, serving).await;
            drop(place);
        });
    }
}

async fn answer(request: &Request<Incoming>, shared: &Weak<Shared>, own: IpAddr) -> Response<Body> {
    let page = match (refused(request, own), shared.upgrade()) {
        (Some(page), _) => page,
        (None, Some(shared)) => pages::page(&Mesh { shared }, request.uri()).await,
        (None, None) => Page::text(StatusCode::SERVICE_UNAVAILABLE, "the mesh has ended\n"),
    };
    let length = page.text.len();
    let mut response = Response::new(match *request.method() == Method::HEAD {
        true => Body::empty(),
        false => Body::from(page.text),
    });
    *response.status_mut() = page.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    for (name, value) in [
        (header::CONTENT_TYPE, page.content_type),
        (header::CACHE_CONTROL, "no-cache, max-age=0"),
        // Names come from a control plane: no browser takes a page for another type than it says.
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if page.status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

/// What is not answered, whatever page it is for.
fn refused(request: &Request<Incoming>, own: IpAddr) -> Option<Page> {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let text = "only GET and HEAD: the admin port changes nothing\n";
        return Some(Page::text(StatusCode::METHOD_NOT_ALLOWED, text));
    }
    if !request.body().is_end_stream() {
        let text = "no page takes a body\n";
        return Some(Page::text(StatusCode::PAYLOAD_TOO_LARGE, text));
    }
    if own.is_loopback() && !asks_here(request.headers()) {
        // A page of the web whose name leads to 127.0.0.1 would read through its visitor's browser.
        let text = "the admin port of the loopback interface answers to an address or to localhost, not to names\n";
        return Some(Page::text(StatusCode::FORBIDDEN, text));
    }
    None
}

/// Whether the host that is asked for is an address or `localhost`.
fn asks_here(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else {
        return true;
    };
    let Ok(authority) = host
        .to_str()
        .unwrap_or_default()
        .parse::<http::uri::Authority>()
    else {
        return false;
    };
    let host = without_brackets(authority.host());
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok()
}
