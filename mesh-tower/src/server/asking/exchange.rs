//! One question and its answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, TE};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version,
};
use http_body_util::BodyExt;
use mesh_core::identity::{Peer, SpiffeId};
use mesh_core::request::Admitted;
use mesh_core::server::ask::{Answer, Ask, Authorizer, HttpAuthorizer, MOST_BODY};
use mesh_xds::ext_authz::{self, CHECK, Check};
use tonic::Status;

use super::Trouble;
use super::shown::Shown;
use crate::body::Body;
use crate::client;
use crate::duration::bounded;
use crate::live::LiveCluster;
use crate::mesh::Shared;
use crate::server::connection::Connection;
use crate::server::stream::PeerIdentity;

/// How long the first configuration of an authorizer's cluster is waited for.
const PATIENCE: Duration = Duration::from_secs(15);
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// gRPC's longest timeout in milliseconds has eight digits.
const MOST_MILLISECONDS: u128 = 99_999_999;
/// What is before each message of gRPC: whether it is compressed, and its length.
const PREFIX: usize = 5;

pub(super) async fn exchange(
    ask: &Ask,
    head: &Admitted,
    peer: &PeerIdentity,
    shown: Option<&Shown>,
) -> Result<Answer, Trouble> {
    if tokio::runtime::Handle::try_current().is_err() {
        return Err(Trouble::Away("there is no runtime of tokio".to_owned()));
    }
    let connection = &peer.connection;
    let asked = async {
        let shared = connection.door().mesh();
        let shared = shared.ok_or_else(|| away("the mesh has been shut down"))?;
        let cluster = tokio::time::timeout(PATIENCE, shared.live.callee(&ask.cluster)).await;
        let cluster = cluster.map_err(|_| away("its cluster has not arrived"))?;
        let cluster = cluster.ok_or_else(|| away("the control plane does not have its cluster"))?;
        match &ask.authorizer {
            Authorizer::Grpc(authority) => {
                let check = check(head, peer.address, connection, shown);
                by_grpc(shared, cluster, ask, authority, check.encode(ask)).await
            }
            Authorizer::Http(http) => by_http(shared, cluster, ask, http, head, shown).await,
        }
    };
    match tokio::time::timeout(bounded(ask.timeout), asked).await {
        Ok(answer) => answer,
        Err(_) => Err(Trouble::Away(format!(
            "it did not answer within {:?}",
            ask.timeout
        ))),
    }
}

fn away(why: &str) -> Trouble {
    Trouble::Away(why.to_owned())
}

fn check<'a>(
    head: &'a Admitted,
    source: SocketAddr,
    connection: &'a Connection,
    shown: Option<&'a Shown>,
) -> Check<'a> {
    let principal = match connection.peer() {
        Peer::Proven(certificate) => {
            let id = certificate.spiffe.as_ref().map(SpiffeId::as_str);
            let sans = &certificate.sans;
            // As Envoy: a URI, else a DNS name, else the subject.
            id.or_else(|| sans.uri.first().map(|it| &**it))
                .or_else(|| sans.dns.first().map(|it| &**it))
                .unwrap_or(&certificate.subject)
        }
        Peer::Plaintext | Peer::Anonymous => "",
    };
    Check {
        seen: head.seen(),
        version: head.version(),
        source,
        destination: connection.local,
        source_principal: principal,
        destination_principal: connection.own_principal(),
        sni: connection.sni(),
        body: shown.map(|shown| (&shown.bytes, shown.partial)),
        time: SystemTime::now(),
    }
}

async fn by_grpc(
    shared: Arc<Shared>,
    cluster: Arc<LiveCluster>,
    ask: &Ask,
    authority: &str,
    message: Vec<u8>,
) -> Result<Answer, Trouble> {
    let mut framed = BytesMut::with_capacity(PREFIX + message.len());
    framed.put_u8(0);
    let length = u32::try_from(message.len()).map_err(|_| away("the request is too long"))?;
    framed.put_u32(length);
    framed.put_slice(&message);
    let mut request = Request::new(Body::from(framed.freeze()));
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = uri(authority, CHECK)?;
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    let left = ask.timeout.as_millis().clamp(1, MOST_MILLISECONDS);
    if let Ok(left) = HeaderValue::try_from(format!("{left}m")) {
        headers.insert(GRPC_TIMEOUT, left);
    }
    let response = sent(shared, cluster, request).await?;
    let (head, body) = response.into_parts();
    if head.status != StatusCode::OK {
        return Err(Trouble::Away(format!("it answered with {}", head.status)));
    }
    // Without a message the status is in the headers.
    if head.headers.contains_key(Status::GRPC_STATUS) {
        status(&head.headers)?;
    }
    let (bytes, trailers) = read(body).await?;
    status(trailers.as_ref().unwrap_or(&head.headers))?;
    Ok(ext_authz::answer(message_of(&bytes)?)?)
}

/// OK, or why not.
fn status(headers: &HeaderMap) -> Result<(), Trouble> {
    let Some(status) = Status::from_header_map(headers) else {
        return Err(away("it told no gRPC status"));
    };
    match status.code() {
        tonic::Code::Ok => Ok(()),
        code => Err(Trouble::Away(format!(
            "it answered with {code:?}: {:?}",
            status.message()
        ))),
    }
}

/// The one message of an answer.
fn message_of(bytes: &Bytes) -> Result<&[u8], Trouble> {
    let (prefix, message) = bytes
        .split_at_checked(PREFIX)
        .ok_or_else(|| away("its answer has no message"))?;
    let (compressed, length) = match *prefix {
        [compressed, a, b, c, d] => (compressed, u32::from_be_bytes([a, b, c, d])),
        _ => return Err(away("its answer has no message")),
    };
    match compressed == 0 && message.len() == length as usize {
        true => Ok(message),
        false => Err(away("its answer is not one message without compression")),
    }
}

async fn by_http(
    shared: Arc<Shared>,
    cluster: Arc<LiveCluster>,
    ask: &Ask,
    http: &HttpAuthorizer,
    head: &Admitted,
    shown: Option<&Shown>,
) -> Result<Answer, Trouble> {
    let body = shown.map(|shown| (shown.bytes.len(), shown.partial));
    let check = http.check(ask, head.seen(), body);
    let body = shown.map_or_else(Body::empty, |shown| Body::from(shown.bytes.clone()));
    let mut request = Request::new(body);
    *request.method_mut() = check.method;
    *request.uri_mut() = uri(&check.authority, &check.target)?;
    *request.headers_mut() = check.headers;
    let response = sent(shared, cluster, request).await?;
    let (head, body) = response.into_parts();
    let (bytes, _) = read(body).await?;
    Ok(http.answer(&head, bytes)?)
}

fn uri(authority: &str, target: &str) -> Result<Uri, Trouble> {
    let built = Uri::builder().scheme("http").authority(authority);
    let built = built.path_and_query(target).build();
    built.map_err(|error| Trouble::Away(format!("it cannot be called: {error}")))
}

async fn sent(
    shared: Arc<Shared>,
    cluster: Arc<LiveCluster>,
    request: Request<Body>,
) -> Result<Response<Body>, Trouble> {
    let answered = Box::pin(client::direct(shared, cluster, request)).await;
    answered.map_err(|error| Trouble::Away(error.to_string()))
}

/// All of an answer that is not too long, and its trailers.
async fn read(mut body: Body) -> Result<(Bytes, Option<HeaderMap>), Trouble> {
    let mut whole = BytesMut::new();
    let mut trailers = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Trouble::Away(error.to_string()))?;
        match frame.into_data() {
            Ok(data) if whole.len() + data.len() > MOST_BODY => {
                return Err(Trouble::Away(format!(
                    "its answer is longer than {MOST_BODY} bytes"
                )));
            }
            Ok(data) => whole.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    Ok((whole.freeze(), trailers))
}
