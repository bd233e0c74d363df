//! The answer to a request that is not served.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use mesh_core::jwt::{Answer, Why};
use mesh_core::request::BadHead;
use mesh_core::server::ask::Denial;
use tonic::{Code, Status};

/// Envoy's text, for every refusal by a policy: which one it was is nobody's business but ours.
const ACCESS_DENIED: &str = "RBAC: access denied";

/// Why a request is not served, as it is answered and told.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: Code,
    text: Cow<'static, str>,
    /// What the client should have shown.
    challenge: Option<HeaderValue>,
    /// An authorizer's own answer, in the place of these.
    denial: Option<Box<Denial>>,
    /// Envoy's response flags, with commas between them.
    pub(super) flags: &'static str,
    /// Envoy's `%RESPONSE_CODE_DETAILS%`.
    pub(super) details: Cow<'static, str>,
}

impl Refusal {
    /// By a policy, if one was met, or for want of one that allows it.
    pub(super) fn policy(name: Option<&str>) -> Self {
        let name = name.unwrap_or("none");
        Self::denied(&format!("rbac_access_denied_matched_policy[{name}]"))
    }

    /// By a filter that is demanded and not served.
    pub(super) fn filter(reason: &str) -> Self {
        Self::denied(&format!("filter_not_served[{reason}]"))
    }

    /// By what it asks to change to: its gateway allows no such protocol (Envoy's answer).
    pub(super) const fn upgrade() -> Self {
        Self {
            status: StatusCode::FORBIDDEN,
            code: Code::PermissionDenied,
            text: Cow::Borrowed(""),
            challenge: None,
            denial: None,
            flags: "",
            details: Cow::Borrowed("upgrade_failed"),
        }
    }

    /// By its token.
    pub(super) fn token(why: Why, answer: Answer) -> Self {
        Self {
            status: answer.status,
            code: match answer.status {
                StatusCode::FORBIDDEN => Code::PermissionDenied,
                _ => Code::Unauthenticated,
            },
            text: answer.body.into(),
            challenge: answer.challenge,
            denial: None,
            flags: "",
            details: one_word(&format!("jwt_authn_access_denied{{{why}}}")),
        }
    }

    fn denied(details: &str) -> Self {
        Self {
            status: StatusCode::FORBIDDEN,
            code: Code::PermissionDenied,
            text: Cow::Borrowed(ACCESS_DENIED),
            challenge: None,
            denial: None,
            flags: "",
            details: one_word(details),
        }
    }

    /// Two readers could take its head for two requests.
    pub(super) fn head(bad: &BadHead) -> Self {
        let status = bad.status();
        Self {
            status,
            code: code(status),
            text: Cow::Borrowed(""),
            challenge: None,
            denial: None,
            flags: "",
            details: one_word(&format!("bad_request_head[{bad}]")),
        }
    }

    /// By an authorizer, in its own words.
    pub(super) fn by_authorizer(denial: Box<Denial>) -> Self {
        Self {
            denial: Some(denial),
            ..Self::unauthorized(StatusCode::FORBIDDEN, "", "ext_authz_denied")
        }
    }

    /// The authorizer could not be asked, or does not know.
    pub(super) fn authorizer_away(status: StatusCode, denial: Option<Box<Denial>>) -> Self {
        Self {
            denial,
            ..Self::unauthorized(status, "", "ext_authz_error")
        }
    }

    /// What the authorizer wants cannot be done.
    pub(super) const fn authorizer_invalid() -> Self {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Self::unauthorized(status, "", "ext_authz_invalid")
    }

    /// Its body is longer than an authorizer is shown.
    pub(super) fn too_long() -> Self {
        Self {
            flags: "",
            ..Self::unauthorized(
                StatusCode::PAYLOAD_TOO_LARGE,
                "Payload Too Large",
                "request_payload_too_large",
            )
        }
    }

    /// Its body ended before its end.
    pub(super) fn broken_off() -> Self {
        Self {
            flags: "",
            ..Self::unauthorized(StatusCode::BAD_REQUEST, "", "request_body_broken_off")
        }
    }

    const fn unauthorized(status: StatusCode, text: &'static str, details: &'static str) -> Self {
        Self {
            status,
            code: code(status),
            text: Cow::Borrowed(text),
            challenge: None,
            denial: None,
            flags: "UAEX",
            details: Cow::Borrowed(details),
        }
    }

    /// Its connection would not be let in any more; on another one it may be served.
    pub(super) const fn leaving() -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            code: Code::Unavailable,
            text: Cow::Borrowed("this connection is not admitted any more"),
            challenge: None,
            denial: None,
            flags: "",
            details: Cow::Borrowed("connection_not_admitted"),
        }
    }

    /// It is for a host that its client has to prove more to, on a connection of that host's (RFC 9110, 15.5.20).
    pub(super) const fn misdirected() -> Self {
        Self {
            status: StatusCode::MISDIRECTED_REQUEST,
            code: Code::Unknown,
            text: Cow::Borrowed(""),
            challenge: None,
            denial: None,
            flags: "",
            details: Cow::Borrowed("misdirected_request"),
        }
    }

    /// Nothing is known of its connection, and there are rules for connections.
    pub(super) const fn stranger() -> Self {
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            code: Code::Internal,
            text: Cow::Borrowed(""),
            challenge: None,
            denial: None,
            flags: "",
            details: Cow::Borrowed("connection_unknown"),
        }
    }

    /// The head of the answer, and its body.
    pub(super) fn response(&self, is_grpc: bool) -> (Response<()>, Bytes) {
        if let Some(denial) = &self.denial {
            return denied(denial, denial.status.unwrap_or(self.status), is_grpc);
        }
        let mut response = Response::new(());
        let headers = response.headers_mut();
        if let Some(challenge) = &self.challenge {
            headers.insert(WWW_AUTHENTICATE, challenge.clone());
        }
        if is_grpc {
            // The status is in the headers: there is no message, so they are the trailers, too.
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            headers.insert(Status::GRPC_STATUS, HeaderValue::from(self.code as i32));
            // Texts of refusals are ASCII without a `%`, so that they are their own escaped form.
            if !self.text.is_empty()
                && let Ok(text) = HeaderValue::from_str(&self.text)
            {
                headers.insert(Status::GRPC_MESSAGE, text);
            }
            return (response, Bytes::new());
        }
        let body = match &self.text {
            Cow::Borrowed(text) => Bytes::from_static(text.as_bytes()),
            Cow::Owned(text) => Bytes::copy_from_slice(text.as_bytes()),
        };
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        if !body.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        }
        *response.status_mut() = self.status;
        (response, body)
    }
}

/// What an authorizer answers in the place of the application.
fn denied(denial: &Denial, status: StatusCode, is_grpc: bool) -> (Response<()>, Bytes) {
    let mut response = Response::new(());
    let headers = response.headers_mut();
    for change in &denial.headers {
        change.apply(headers);
    }
    if is_grpc {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        let text = String::from_utf8_lossy(&denial.body);
        // A message that is no header value is left out; the status stands.
        let _ = Status::new(Code::Unknown, text).add_header(headers);
        let code = HeaderValue::from(code(status) as i32);
        headers.insert(Status::GRPC_STATUS, code);
        return (response, Bytes::new());
    }
    *response.status_mut() = status;
    if matches!(status.as_u16(), 204 | 304) {
        return (response, Bytes::new());
    }
    let headers = response.headers_mut();
    let body = denial.body.clone();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    if !body.is_empty() {
        let text = HeaderValue::from_static("text/plain");
        headers.entry(CONTENT_TYPE).or_insert(text);
    }
    (response, body)
}

/// gRPC's mapping of HTTP statuses, as Envoy's local replies have it.
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

/// The access log has words between spaces.
fn one_word(text: &str) -> Cow<'static, str> {
    text.replace(
        |letter: char| letter.is_whitespace() || letter.is_control(),
        "_",
    )
    .into()
}
