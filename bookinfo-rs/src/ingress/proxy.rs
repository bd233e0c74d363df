//! One request through the proxy: outside in, and its answer back out. Bodies are streamed both ways.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderValue, Request, Response, StatusCode, Uri, Version};
use hyper::upgrade::OnUpgrade;
use mesh_tower::{Body, BoxError, GatewayChain, MeshClient, PeerIdentity};
use tower_service::Service;

use super::{headers, tunnel};

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

    /// Answers one request, whose [`PeerIdentity`] and [`GatewayChain`] are in its extensions: with the mesh's answer, or
    /// with a sentence that says why there is none.
    pub async fn handle<B>(&self, mut request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let change = Change::asked(&mut request);
        let request = match forwarded(request, change.as_ref()) {
            Ok(request) => request,
            Err(why) => return text(StatusCode::BAD_REQUEST, why.to_owned()),
        };
        let host = request.uri().authority().cloned();
        match self.client.send(request).await {
            Ok(mut response) => {
                if let Some(change) = change
                    && change.is_agreed(&response)
                {
                    return change.made(response);
                }
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

impl<B> Service<Request<B>> for Proxy
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let proxy = self.clone();
        Box::pin(async move { Ok(proxy.handle(request).await) })
    }
}

/// Why this answer cannot be passed on: it answers a request that was not made.
fn unfit(response: &Response<Body>) -> Option<&'static str> {
    // Who was asked for another protocol has answered already. The client has taken all other 1xx.
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

/// A change of protocol that a request asks for, and that its gateway allows.
struct Change {
    protocol: HeaderValue,
    client: OnUpgrade,
}

impl Change {
    /// Where no chain of a gateway has let it in, nobody has allowed it.
    fn asked<B>(request: &mut Request<B>) -> Option<Self> {
        let chain = request.extensions().get::<GatewayChain>()?;
        let protocol = chain.upgrade(request)?.clone();
        Some(Self {
            protocol,
            client: hyper::upgrade::on(request),
        })
    }

    /// Whether the backend changes to what was asked for.
    fn is_agreed(&self, response: &Response<Body>) -> bool {
        let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let protocol = headers::upgrade(response.headers());
        let is_same =
            |it: HeaderValue| it.as_bytes().eq_ignore_ascii_case(self.protocol.as_bytes());
        switched && protocol.is_some_and(is_same)
    }

    /// The answer; what comes after it on both connections is handed from one to the other.
    fn made(self, mut response: Response<Body>) -> Response<Body> {
        let backend = hyper::upgrade::on(&mut response);
        tokio::spawn(tunnel::between(self.client, backend));
        headers::strip(response.headers_mut());
        headers::change_to(response.headers_mut(), self.protocol);
        *response.version_mut() = Version::HTTP_11;
        response.map(|_| Body::empty())
    }
}

/// The request as the mesh sees it.
fn forwarded<B>(request: Request<B>, change: Option<&Change>) -> Result<Request<B>, &'static str> {
    let (mut parts, body) = request.into_parts();
    if parts.method == http::Method::CONNECT {
        return Err("CONNECT is not served here\n");
    }
    let authority = authority(&parts)?;
    let peer = parts.extensions.get::<PeerIdentity>();
    let scheme = match peer.is_some_and(PeerIdentity::is_encrypted) {
        true => "https",
        false => "http",
    };
    let peer = peer.map(|peer| peer.address.ip());
    let path = parts
        .uri
        .path_and_query()
        .cloned()
        .unwrap_or_else(|| PathAndQuery::from_static("/"));
    let host =
        HeaderValue::from_str(authority.as_str()).map_err(|_| "the host is not a host name\n")?;
    parts.uri = Uri::builder()
        .scheme(scheme)
        .authority(authority)
        .path_and_query(path)
        .build()
        .map_err(|_| "the request line is not a path on a host\n")?;
    // One name for the host, in both places where a route may look for it.
    parts.headers.insert(HOST, host);
    parts.version = Version::HTTP_11;
    headers::inbound(&mut parts.headers, peer, scheme, headers::uuid);
    if let Some(change) = change {
        headers::change_to(&mut parts.headers, change.protocol.clone());
    }
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
