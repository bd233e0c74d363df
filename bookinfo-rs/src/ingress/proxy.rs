//! One request through the proxy: outside in, and its answer back out. Bodies are streamed both ways.

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
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
        match self.client.send(request).await {
            Ok(mut response) => {
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
    if let Some(authority) = parts.uri.authority() {
        return Ok(authority.clone());
    }
    let header = header.ok_or("the request has no Host header\n")?;
    Authority::try_from(header.as_bytes()).map_err(|_| "the Host header is not a host name\n")
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
