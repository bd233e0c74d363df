//! HTTP clients that stand outside the mesh: the browser of the launcher and of the tour, in plaintext and over TLS.

mod tls;

use std::error::Error;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

pub use tls::{OutsideTls, Secured, TlsError};

/// No answer of Bookinfo takes longer: two tries of 3 s for reviews, 3 s for details, and some.
const TIMEOUT: Duration = Duration::from_secs(15);

/// A client with its own connections.
#[derive(Debug, Clone)]
pub struct Outside {
    client: Client<HttpConnector, Full<Bytes>>,
}

/// An answer, whole.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// No answer.
#[derive(Debug, thiserror::Error)]
pub enum OutsideError {
    /// The connection failed.
    #[error("{0}")]
    Connection(#[from] hyper_util::client::legacy::Error),
    /// The answer broke off.
    #[error("the answer broke off: {0}")]
    Body(#[from] hyper::Error),
    /// Nothing came.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The request cannot be written.
    #[error("the request is not one: {0}")]
    Request(#[from] http::Error),
}

impl OutsideError {
    /// Whether the other end took the connection and then closed or reset it without a word of an answer. It is not if
    /// there was no connection, nothing came in time, or what came was no HTTP.
    pub fn is_cut_off(&self) -> bool {
        match self {
            Self::Connection(error) => !error.is_connect() && is_end(error),
            Self::Body(_) | Self::Timeout(_) | Self::Request(_) => false,
        }
    }
}

/// Whether an error comes of a connection that has ended.
fn is_end(error: &(dyn Error + 'static)) -> bool {
    let ended = |kind| {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        matches!(
            kind,
            BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
        )
    };
    let mut causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.any(|cause| {
        let hyper = cause.downcast_ref::<hyper::Error>();
        let io = cause.downcast_ref::<io::Error>();
        // Canceled is what a connection has not begun to send when it ends.
        hyper.is_some_and(|it| it.is_incomplete_message() || it.is_closed() || it.is_canceled())
            || io.is_some_and(|it| ended(it.kind()))
    })
}

impl Default for Outside {
    fn default() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
        }
    }
}

impl Outside {
    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// When there is no whole answer in time.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Reply, OutsideError> {
        let call = async {
            let (parts, body) = self.client.request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok(Reply {
                status: parts.status,
                headers: parts.headers,
                body,
            })
        };
        tokio::time::timeout(TIMEOUT, call)
            .await
            .unwrap_or(Err(OutsideError::Timeout(TIMEOUT)))
    }

    /// Sends `GET url` with these headers.
    ///
    /// # Errors
    /// When there is no whole answer in time.
    pub async fn get(&self, url: &str, headers: &HeaderMap) -> Result<Reply, OutsideError> {
        let mut request = Request::get(url).body(Full::default())?;
        *request.headers_mut() = headers.clone();
        self.send(request).await
    }
}

impl Reply {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}
