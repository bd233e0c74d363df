//! Where a request asks to go, settled once: scheme, authority, host and port.

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Request, Uri, header};
use mesh_core::request::split_port;
use mesh_core::snapshot::TableKey;

use super::Scope;
use crate::body::Body;
use crate::error::{Error, Kind, Place};

/// The table of a request, and how much of its authority is the host.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) table: TableKey,
    pub(super) host_length: usize,
}

impl Asked {
    /// Reads the destination; completes the URI of a request that names its host in a header only.
    pub(super) fn of(request: &mut Request<Body>, scope: Scope) -> Result<Self, Error> {
        if request.uri().authority().is_none() {
            let absolute = absolute(request)?;
            *request.uri_mut() = absolute;
        }
        let uri = request.uri();
        let authority = uri.authority().map_or("", Authority::as_str);
        if let Some(reason) = refusal(request.method(), uri, authority, request.headers()) {
            return Err(invalid(request.uri(), reason));
        }
        let (host, port) = split_port(authority);
        let table = match scope {
            Scope::Gateway(port) => TableKey::Gateway(port),
            Scope::Mesh => TableKey::Port(port.unwrap_or(80)),
        };
        Ok(Self {
            table,
            host_length: host.len(),
        })
    }
}

/// Why a request cannot be sent at all.
fn refusal(
    method: &Method,
    uri: &Uri,
    authority: &str,
    headers: &HeaderMap,
) -> Option<&'static str> {
    match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTP => {}
        None => return Some("it has no scheme; write http:// in front of the host"),
        Some(_) => {
            return Some(
                "its scheme is not http; originated TLS is not served yet, and plaintext in its place would be unsafe",
            );
        }
    }
    if authority.contains('@') {
        return Some("its authority holds user information, which no host name has");
    }
    if *method == Method::CONNECT || headers.contains_key(header::UPGRADE) {
        return Some("CONNECT and Upgrade are not served yet");
    }
    None
}

fn absolute(request: &Request<Body>) -> Result<Uri, Error> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = match (
        hosts.next().and_then(|host| host.to_str().ok()),
        hosts.next(),
    ) {
        (Some(host), None) => host,
        (Some(_), Some(_)) => return Err(invalid(request.uri(), "it has several Host headers")),
        (None, _) => {
            return Err(invalid(
                request.uri(),
                "neither its URI nor a Host header names a host",
            ));
        }
    };
    let mut parts = request.uri().clone().into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(
        host.parse()
            .map_err(|_| invalid(request.uri(), "its Host header is no authority"))?,
    );
    parts
        .path_and_query
        .get_or_insert_with(|| PathAndQuery::from_static("/"));
    Uri::from_parts(parts).map_err(|error| invalid(request.uri(), &error.to_string()))
}

/// Names the host alone: a query or user information may hold what no log should.
pub(crate) fn invalid(uri: &Uri, reason: &str) -> Error {
    let host = uri.host().map(Into::into);
    Error::new(
        Kind::InvalidRequest,
        Place {
            authority: host,
            ..Place::default()
        },
        reason,
    )
}
