//! One request through the proxy: outside in, and its answer back out. Bodies are streamed both ways.

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderValue, Request, Response, StatusCode, Uri, Version};
use mesh_tower::{Body, BoxError, MeshClient};

use super::headers;

/// Sends requests on by the gateway's routes.
#[derive(Debug, Clone)]
pub struct Proxy {
    client: MeshClient,
}

impl Proxy {
    /// A proxy over [`mesh_tower::Mesh::gateway`].
    pub const fn new(client: MeshClient) -> Self {
        Self { client }
    }

    /// Answers one request of `peer`: with the mesh's answer, or with a sentence that says why there is none.
    pub async fn handle<B>(&self, request: Request<B>, peer: Option<IpAddr>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let request = match forwarded(request, peer) {
            Ok(request) => request,
            Err(why) => return text(StatusCode::BAD_REQUEST, why.to_owned()),
        };
        let host = request.uri().authority().cloned();
        match self.client.send(request).await {
            Ok(mut response) => {
                if let Some(why) = unfit(&response) {
                    let host = host.as_ref().map_or("", Authority::as_str);
                    tracing::warn!(host, why, "a backend's answer was not passed on");
                    let message = format!("a backend of {host} {why}; look at its log\n");
                    return text(StatusCode::BAD_GATEWAY, message);
                }
                headers::strip(response.headers_mut());
                *response.version_mut() = Version::HTTP_11;
                response
            }
            Err(error) => {
                tracing::info!(%error, flags = error.flags(), "not served");
                // The sentence names routes and clusters: this ingress is for a demonstration, so it says them.
                text(error.status(), format!("{error}\n"))
            }
        }
    }
}

/// Why this answer cannot be passed on: it answers a request that was not made.
fn unfit(response: &Response<Body>) -> Option<&'static str> {
    // `Upgrade` stays outside, so nobody asked for another protocol. The client has taken all other 1xx.
    if response.status().is_informational() {
        return Some("switched protocols (101), and nobody had asked it to");
    }
    // `TE: gzip` stays outside as well. Without the header the coding would be taken for the content.
    let mut codings = response.headers().get_all(TRANSFER_ENCODING).iter();
    let chunked = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"chunked");
    if codings.next().is_some_and(|value| !chunked(value)) || codings.next().is_some() {
        return Some(
            "sent a Transfer-Encoding that is not chunked alone, and nobody had asked it to",
        );
    }
    None
}

/// The request as the mesh sees it.
fn forwarded<B>(request: Request<B>, peer: Option<IpAddr>) -> Result<Request<B>, &'static str> {
    let (mut parts, body) = request.into_parts();
    if parts.method == http::Method::CONNECT {
        return Err("CONNECT is not served here\n");
    }
    let authority = authority(&parts)?;
    let path = parts
        .uri
        .path_and_query()
        .cloned()
        .unwrap_or_else(|| PathAndQuery::from_static("/"));
    let host =
        HeaderValue::from_str(authority.as_str()).map_err(|_| "the host is not a host name\n")?;
    parts.uri = Uri::builder()
        .scheme("http")
        .authority(authority)
        .path_and_query(path)
        .build()
        .map_err(|_| "the request line is not a path on a host\n")?;
    // One name for the host, in both places where a route may look for it.
    parts.headers.insert(HOST, host);
    parts.version = Version::HTTP_11;
    headers::inbound(&mut parts.headers, peer, headers::uuid);
    Ok(Request::from_parts(parts, body))
}

/// The host: of an absolute request line or HTTP/2's `:authority`, else of the one `Host` header.
fn authority(parts: &http::request::Parts) -> Result<Authority, &'static str> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let header = hosts.next();
    if hosts.next().is_some() {
        return Err("the request has more than one Host header\n");
    }
    let header = header.map(|header| {
        Authority::try_from(header.as_bytes()).map_err(|_| "the Host header is not a host name\n")
    });
    let header = header.transpose()?;
    let line = parts.uri.authority();
    // `GET foo`: that form is CONNECT's.
    if line.is_some() && parts.uri.scheme().is_none() {
        return Err("the request line has neither a path nor a whole URL\n");
    }
    // A name and a password belong to nobody here, and a route must not take them for a host (RFC 9110, 4.2.4).
    if line
        .into_iter()
        .chain(&header)
        .any(|authority| authority.as_str().contains('@'))
    {
        return Err("the host has a user name in it (user@host)\n");
    }
    line.cloned()
        .or(header)
        .ok_or("the request has no Host header\n")
}

/// A short answer of our own.
fn text(status: StatusCode, message: String) -> Response<Body> {
    let mut response = Response::new(Body::from(message));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}
