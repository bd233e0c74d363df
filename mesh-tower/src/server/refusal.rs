//! The answer to a request that is not served.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use mesh_core::jwt::{Answer, Why};
use mesh_core::request::BadHead;
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
            details: one_word(&format!("jwt_authn_access_denied{{{why}}}")),
        }
    }

    fn denied(details: &str) -> Self {
        Self {
            status: StatusCode::FORBIDDEN,
            code: Code::PermissionDenied,
            text: Cow::Borrowed(ACCESS_DENIED),
            challenge: None,
            details: one_word(details),
        }
    }

    /// Two readers could take its head for two requests.
    pub(super) fn head(bad: &BadHead) -> Self {
        let status = bad.status();
        Self {
            status,
            // gRPC's mapping of HTTP statuses, as Envoy's local replies have it.
            code: match status {
                StatusCode::FORBIDDEN => Code::PermissionDenied,
                StatusCode::NOT_FOUND => Code::Unimplemented,
                _ => Code::Internal,
            },
            text: Cow::Borrowed(""),
            challenge: None,
            details: one_word(&format!("bad_request_head[{bad}]")),
        }
    }

    /// Its connection would not be let in any more; on another one it may be served.
    pub(super) const fn leaving() -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            code: Code::Unavailable,
            text: Cow::Borrowed("this connection is not admitted any more"),
            challenge: None,
            details: Cow::Borrowed("connection_not_admitted"),
        }
    }

    /// Nothing is known of its connection, and there are rules for connections.
    pub(super) const fn stranger() -> Self {
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            code: Code::Internal,
            text: Cow::Borrowed(""),
            challenge: None,
            details: Cow::Borrowed("connection_unknown"),
        }
    }

    /// The head of the answer, and its body.
    pub(super) fn response(&self, is_grpc: bool) -> (Response<()>, Bytes) {
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

/// The access log has words between spaces.
fn one_word(text: &str) -> Cow<'static, str> {
    text.replace(
        |letter: char| letter.is_whitespace() || letter.is_control(),
        "_",
    )
    .into()
}
