//! What the configuration itself answers: direct responses and redirects, as Envoy's local replies.

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use mesh_core::route::{Action, Route, Values, is_grpc};
use tonic::{Code, Status};

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
            (redirect.status, bytes::Bytes::new(), &redirect.headers)
        }
        // These have become errors or clusters before.
        Action::Forward(_) | Action::Unsupported(_) => return Ok(response),
    };
    let values = Values {
        request: Some(view),
        status: Some(status),
        version: request.version(),
        route: &route.name,
        ..Values::default()
    };
    changes.apply(headers, &values);
    if is_grpc(request.headers()) {
        let message = String::from_utf8_lossy(&body);
        trailers_only(headers, status, &message);
        return Ok(response);
    }
    *response.status_mut() = status;
    if body.is_empty() || is_bodiless(status) {
        return Ok(response);
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
    Ok(response)
}

/// Whether HTTP has no body with this status, whatever a rule says (RFC 9110, 6.4.1).
fn is_bodiless(status: StatusCode) -> bool {
    let bodiless = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED];
    status.is_informational() || bodiless.contains(&status)
}

/// Envoy answers gRPC with 200, and with the status and the body's text in `grpc-status` and `grpc-message`.
fn trailers_only(headers: &mut HeaderMap, status: StatusCode, message: &str) {
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    // A message that is no header value is left out; the status stands.
    let status = Status::new(code(status), message);
    if status.add_header(headers).is_err() {
        headers.insert(Status::GRPC_STATUS, HeaderValue::from(status.code() as i32));
    }
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
