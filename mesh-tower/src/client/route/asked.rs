//! Where a request asks to go, settled once: scheme, authority, host and port.

use std::borrow::Cow;

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Uri, header};
use mesh_core::request::{PathNormalization, normalized, split_port};
use mesh_core::route::Requested;
use mesh_core::snapshot::TableKey;

use super::Scope;
use crate::client::head::Head;
use crate::error::{Error, Kind, Place};
use crate::server::{self, GatewayChain};

/// The table of a request, and how much of its authority is the host.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) table: TableKey,
    pub(super) host_length: usize,
    /// The port, 80 or 443 where none is said.
    pub(super) port: u16,
    /// Whether it asks for TLS.
    pub(super) secure: bool,
    /// How long it may take.
    pub(super) time: Requested,
    pub(super) carrier: Carrier,
}

/// Whose connections a request goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carrier {
    /// The mesh's.
    Own,
    /// Those of a client that the caller brings, which finds hosts outside of the mesh and gives them TLS itself.
    Foreign,
}

impl Asked {
    /// Reads the destination; completes the URI of a request that names its host in a header only, and
    /// gives its path the one form in which it is matched and sent. Also the URI as it was, if it is another now.
    pub(super) fn of<B>(
        request: &mut Request<B>,
        scope: Scope,
        normalization: PathNormalization,
        carrier: Carrier,
    ) -> Result<(Self, Option<Uri>), Error> {
        let mut was = None;
        if request.uri().authority().is_none() {
            let absolute = absolute(request)?;
            was = Some(std::mem::replace(request.uri_mut(), absolute));
        }
        let uri = request.uri();
        let authority = uri.authority().map_or("", Authority::as_str);
        if let Some(reason) = refusal(request, authority, scope, carrier) {
            return Err(invalid(request.uri(), reason));
        }
        let (host, port) = split_port(authority);
        let secure = uri.scheme() == Some(&Scheme::HTTPS);
        let port = port.unwrap_or(if secure { 443 } else { 80 });
        // Of what came in by a gateway the scheme tells how it came, and not how it goes on.
        let chain = match scope {
            Scope::Gateway(_) => request.extensions().get::<GatewayChain>(),
            Scope::Mesh => None,
        };
        let secure = secure && chain.is_none();
        let table = match scope {
            Scope::Gateway(_) if secure => {
                return Err(invalid(uri, "https is not among the routes of a gateway"));
            }
            Scope::Gateway(port) => {
                let table = chain.and_then(GatewayChain::routes).cloned();
                table.unwrap_or(TableKey::Gateway(port))
            }
            Scope::Mesh => TableKey::Port(port),
        };
        let host_length = host.len();
        // Of https a sidecar sees no path.
        if !secure && let Cow::Owned(path) = normalized(uri.path(), normalization) {
            let normal = with_path(uri, path)?;
            let before = std::mem::replace(request.uri_mut(), normal);
            was.get_or_insert(before);
        }
        let asked = Self {
            table,
            host_length,
            port,
            secure,
            time: Requested::of(request.headers()),
            carrier,
        };
        Ok((asked, was))
    }

    /// The host, without the port.
    pub(super) fn host<'a>(&self, head: Head<'a>) -> &'a str {
        head.authority().get(..self.host_length).unwrap_or_default()
    }
}

/// Why a request cannot be sent at all.
fn refusal<B>(
    request: &Request<B>,
    authority: &str,
    scope: Scope,
    carrier: Carrier,
) -> Option<&'static str> {
    let has_tls = cfg!(feature = "tls") || carrier == Carrier::Foreign;
    match request.uri().scheme() {
        Some(scheme) if *scheme == Scheme::HTTP => {}
        Some(scheme) if *scheme == Scheme::HTTPS && has_tls => {}
        Some(scheme) if *scheme == Scheme::HTTPS => {
            return Some(
                "its scheme is https and this build has no TLS; switch on the feature `tls` of mesh-tower, which is on by default",
            );
        }
        None => return Some("it has no scheme; write http:// in front of the host"),
        Some(_) => {
            return Some("its scheme is neither http nor https");
        }
    }
    if authority.contains('@') {
        return Some("its authority holds user information, which no host name has");
    }
    if *request.method() == Method::CONNECT {
        return Some("CONNECT is not served yet");
    }
    // What a gateway lets through was asked for by somebody else, and allowed.
    let is_allowed = matches!(scope, Scope::Gateway(_))
        && server::upgrade(request.version(), request.headers()).is_some();
    if !is_allowed && request.headers().contains_key(header::UPGRADE) {
        return Some("Upgrade is served by the client of a gateway alone");
    }
    None
}

/// The same URI with another path.
fn with_path(uri: &Uri, mut path: String) -> Result<Uri, Error> {
    if let Some(query) = uri.query() {
        path.push('?');
        path.push_str(query);
    }
    let mut parts = uri.clone().into_parts();
    let invalid = |error: &dyn std::fmt::Display| {
        invalid(uri, &format!("its path has no normal form: {error}"))
    };
    parts.path_and_query = Some(PathAndQuery::try_from(path).map_err(|error| invalid(&error))?);
    Uri::from_parts(parts).map_err(|error| invalid(&error))
}

fn absolute<B>(request: &Request<B>) -> Result<Uri, Error> {
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
