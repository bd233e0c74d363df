//! What the configuration itself answers: direct responses and redirects, as Envoy's local replies.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use mesh_core::request::is_grpc;
use mesh_core::route::{AbortStatus, Action, Mutation, Route, Values};
use tonic::{Code, Status};

use super::fault::Abort;
use super::head::Head;
use crate::body::Body;
use crate::error::{Error, Kind, Place};

/// The answer of a route that forwards nothing.
pub(super) fn answer<B>(
    route: &Route,
    request: &Request<B>,
    place: Place,
) -> Result<Response<Body>, Error> {
    let view = Head::of(request).view();
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    let (status, body, changes) = match &route.action {
        Action::DirectResponse(direct) => {
            if let Some(location) = direct.location(&view) {
                headers.insert(header::LOCATION, location);
            }
            (direct.status, direct.body.clone(), &direct.headers)
        }
        Action::Redirect(redirect) => {
            let Some(location) = redirect.location(&view) else {
                let reason = "the redirect of this request would lead to no URI";
                return Err(Error::new(Kind::InvalidRequest, place, reason));
            };
            headers.insert(header::LOCATION, location);
            (redirect.status, Bytes::new(), &redirect.headers)
        }
        // These have become errors or clusters before.
        Action::Forward(_) | Action::Unsupported(_) => return Ok(response),
    };
    let values = Values {
        route: &route.name,
        ..Values::default()
    };
    reply(
        &mut response,
        (status, None),
        body,
        request,
        values,
        Some(changes),
    );
    Ok(response)
}

/// The answer of a fault in place of a call.
pub(super) fn aborted<B>(abort: &Abort, request: &Request<B>) -> Response<Body> {
    let choice = match &abort.route.action {
        Action::Forward(forward) => abort.choice.and_then(|at| forward.split.weights().nth(at)),
        _ => None,
    };
    let status = match abort.status {
        AbortStatus::Http(status) => (status, None),
        AbortStatus::Grpc(code) => (StatusCode::OK, Some(code)),
    };
    let values = Values {
        route: &abort.route.name,
        cluster: abort.cluster.as_deref().unwrap_or_default(),
        ..Values::default()
    };
    // Envoy changes the headers of local replies by routes that forward, and by no others.
    let changes = choice.map(|(choice, _)| &choice.response_headers);
    let mut response = Response::new(Body::empty());
    let body = abort.body.clone();
    reply(&mut response, status, body, request, values, changes);
    response
}

/// Envoy's local reply: its headers are changed by `changes` before those of its body are there. gRPC callers get the
/// status that is given for them, or what that of HTTP stands for.
fn reply<B>(
    response: &mut Response<Body>,
    (status, grpc): (StatusCode, Option<u32>),
    body: Bytes,
    request: &Request<B>,
    values: Values<'_>,
    changes: Option<&Mutation>,
) {
    let headers = response.headers_mut();
    if let Some(changes) = changes {
        let values = Values {
            request: Some(Head::of(request).view()),
            status: Some(status),
            version: request.version(),
            ..values
        };
        changes.apply(headers, &values);
    }
    if is_grpc(request.headers()) {
        let message = String::from_utf8_lossy(&body);
        let grpc = grpc.unwrap_or_else(|| code(status) as u32);
        return trailers_only(headers, grpc, &message);
    }
    *response.status_mut() = status;
    if body.is_empty() || is_bodiless(status) {
        return;
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    headers
        .entry(header::CONTENT_TYPE)
        .or_insert(HeaderValue::from_static("text/plain"));
    // The answer to HEAD is told as that to GET, and is not sent.
    if *request.method() != Method::HEAD {
        *response.body_mut() = Body::from(body);
    }
}

/// Whether HTTP has no body with this status, whatever a rule says (RFC 9110, 6.4.1).
fn is_bodiless(status: StatusCode) -> bool {
    let bodiless = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED];
    status.is_informational() || bodiless.contains(&status)
}

/// Envoy answers gRPC with 200, and with the status and the body's text in `grpc-status` and `grpc-message`.
fn trailers_only(headers: &mut HeaderMap, code: u32, message: &str) {
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    // A message that is no header value is left out; the status stands.
    let _ = Status::new(Code::Unknown, message).add_header(headers);
    headers.insert(Status::GRPC_STATUS, HeaderValue::from(code));
}

/// The gRPC status of an HTTP status (gRPC's "HTTP to gRPC Status Code Mapping").
const fn code(status: StatusCode) -> Code {
    match status.as_u16() {
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502 | 503 | 504 => Code::Unavailable,
        _ => Code::Unknown,
    }
}
