//! The servers behind the clusters: each answers with what it saw.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::copies::{Copies, NUMBER};
use crate::failure::{Doing, Result};

/// The status that the backend shall answer.
pub(crate) const WANT_STATUS: &str = "x-want-status";
/// A header `name=value` that the backend shall answer; may stand several times.
pub(crate) const WANT_HEADER: &str = "x-want-header";

/// A request as its backend got it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// Who got it.
    pub(crate) cluster: String,
    /// `:method`
    pub(crate) method: String,
    /// `:path`, query included
    pub(crate) path: String,
    /// `Host` or `:authority`
    pub(crate) host: String,
    /// All others, in order per name, one character per byte.
    pub(crate) headers: Vec<(String, String)>,
    /// Its body.
    pub(crate) body: String,
}

/// Starts the backend of a cluster.
pub(crate) async fn start(cluster: &str, copies: &Copies) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await.doing("a backend")?;
    let address = listener.local_addr().doing("a backend")?;
    let (cluster, copies): (Arc<str>, _) = (cluster.into(), copies.clone());
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (cluster, copies) = (Arc::clone(&cluster), copies.clone());
            let service =
                service_fn(move |request| answer(Arc::clone(&cluster), copies.clone(), request));
            tokio::spawn(async move {
                let _ = Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(socket), service)
                    .await;
            });
        }
    });
    Ok(address)
}

async fn answer(
    cluster: Arc<str>,
    copies: Copies,
    request: Request<Incoming>,
) -> std::result::Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = match body.collect().await {
        Ok(body) => latin(&body.to_bytes()),
        Err(error) => format!("the body broke off: {error}"),
    };
    let mut hosts = head.headers.get_all(http::header::HOST).iter();
    let host = match head.uri.authority() {
        Some(authority) => authority.to_string(),
        None => hosts.next().map_or(String::new(), |v| latin(v.as_bytes())),
    };
    let seen = Seen {
        cluster: cluster.to_string(),
        method: head.method.to_string(),
        path: head
            .uri
            .path_and_query()
            .map_or(String::new(), ToString::to_string),
        host,
        headers: listed(&head.headers, &["host"]),
        body,
    };
    let text = serde_json::to_vec(&seen).unwrap_or_default();
    let number = head.headers.get(NUMBER).and_then(|v| v.to_str().ok());
    if let Some(number) = number.and_then(|number| number.parse().ok()) {
        copies.arrived(number, seen);
    }
    let mut response = Response::new(Full::from(text));
    obey(&head.headers, &mut response);
    Ok(response)
}

/// Status and headers as the request asks for them.
fn obey(asked: &HeaderMap, response: &mut Response<Full<Bytes>>) {
    let status = asked
        .get(WANT_STATUS)
        .and_then(|v| StatusCode::from_bytes(v.as_bytes()).ok());
    *response.status_mut() = status.unwrap_or(StatusCode::OK);
    for wanted in asked.get_all(WANT_HEADER) {
        let pair = wanted.to_str().ok().and_then(|text| text.split_once('='));
        let parsed = pair.and_then(|(name, value)| {
            Some((
                name.parse::<HeaderName>().ok()?,
                value.parse::<HeaderValue>().ok()?,
            ))
        });
        if let Some((name, value)) = parsed {
            response.headers_mut().append(name, value);
        }
    }
}

/// Headers as pairs, sorted by name, the values of a name in their order.
pub(crate) fn listed(headers: &HeaderMap, without: &[&str]) -> Vec<(String, String)> {
    let mut pairs: Vec<(String, String)> = headers
        .iter()
        .filter(|(name, _)| !without.contains(&name.as_str()))
        .map(|(name, value)| (name.to_string(), latin(value.as_bytes())))
        .collect();
    pairs.sort_by(|a, b| a.0.cmp(&b.0)); // stable: the order within a name stays
    pairs
}

/// One character per byte, so that any bytes can be compared and printed.
pub(crate) fn latin(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}
