//! What comes of a request, in Envoy's words.

use http::{HeaderValue, StatusCode};

use super::effects::Verified;
use super::rules::Rules;
use crate::RequestView;

/// How much of a path is told back (Envoy).
const LONGEST_PATH: usize = 256;

/// What [`check`](super::check) came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The request passes, and nothing is known of its sender: it has no token, or one that nobody asked for.
    Missing,
    /// The request passes, and this was said of its sender.
    Verified(Verified),
    /// The request is answered with [`Rules::answer`].
    Refused(Why),
}

/// Why a token is refused. The texts are Envoy's, and are the bodies of the answers: clients match on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say it")]
pub enum Why {
    #[error("Jwt is missing")]
    Missing,
    #[error("Jwt not yet valid")]
    NotYetValid,
    #[error("Jwt is expired")]
    Expired,
    #[error("Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections")]
    BadFormat,
    /// Longer than [`LONGEST`](super::LONGEST). Envoy has no such bound but that of all headers.
    #[error("Jwt is too long")]
    TooLong,
    #[error("Jwt header is an invalid Base64url encoded")]
    HeaderBase64,
    #[error("Jwt header is an invalid JSON")]
    HeaderJson,
    #[error("Jwt header [alg] field is required and must be a string")]
    HeaderAlg,
    #[error("Jwt header [alg] is not supported")]
    Unsupported,
    #[error("Jwt header [kid] field is not a string")]
    HeaderKid,
    /// Envoy passes over it, against RFC 7515, 4.1.11.
    #[error("Jwt header [crit] is not supported")]
    Critical,
    #[error("Jwt payload is an invalid Base64url encoded")]
    PayloadBase64,
    #[error("Jwt payload is an invalid JSON")]
    PayloadJson,
    #[error("Jwt payload [iss] field is not a string")]
    Issuer,
    #[error("Jwt payload [sub] field is not a string")]
    Subject,
    #[error("Jwt payload [iat] field is not an integer")]
    IssuedAt,
    #[error("Jwt payload [iat] field is not a positive 64 bit integer")]
    IssuedAtRange,
    #[error("Jwt payload [nbf] field is not an integer")]
    NotBefore,
    #[error("Jwt payload [nbf] field is not a positive 64 bit integer")]
    NotBeforeRange,
    #[error("Jwt payload [exp] field is not an integer")]
    Expires,
    #[error("Jwt payload [exp] field is not a positive 64 bit integer")]
    ExpiresRange,
    #[error("Jwt payload [jti] field is not a string")]
    Id,
    #[error("Jwt payload [aud] field is not a string or string list")]
    AudienceType,
    #[error("Jwt signature is an invalid Base64url encoded")]
    SignatureBase64,
    #[error("Jwt ED25519 signature is wrong length")]
    Ed25519Length,
    #[error("Jwt issuer is not configured")]
    UnknownIssuer,
    #[error("Audiences in Jwt are not allowed")]
    AudienceNotAllowed,
    /// `subjects` does not match. Envoy has one text for this and the two below.
    #[error("Jwt verification fails")]
    SubjectNotAllowed,
    /// `require_expiration` or `max_lifetime` is not met.
    #[error("Jwt verification fails")]
    Lifetime,
    /// No key that fits made the signature.
    #[error("Jwt verification fails")]
    Verification,
    /// Different tokens for one provider.
    #[error("Found multiple Jwt tokens")]
    Several,
    #[error("Jwks doesn't have any valid public key")]
    NoKeys,
    #[error("Jwks doesn't have key to match kid or alg from Jwt")]
    NoSuchKey,
    #[error("Jwks remote fetch is failed")]
    NotFetched,
}

impl Why {
    /// 403 for a token that is good and for somebody else, 401 for all others (Envoy).
    pub const fn status(self) -> StatusCode {
        match self {
            Self::AudienceNotAllowed => StatusCode::FORBIDDEN,
            _ => StatusCode::UNAUTHORIZED,
        }
    }

    /// Whether it says no more than that there is no token of this provider.
    pub(super) const fn is_of_another(self) -> bool {
        matches!(self, Self::Missing | Self::UnknownIssuer)
    }
}

/// The answer to a request that is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// 401 or 403. For gRPC they are `UNAUTHENTICATED` and `PERMISSION_DENIED`.
    pub status: StatusCode,
    /// The text, empty with `strip_failure_response`.
    pub body: String,
    /// `www-authenticate` (RFC 6750, 3), not there with `strip_failure_response`.
    pub challenge: Option<HeaderValue>,
}

impl Rules {
    /// The answer to a request that is refused.
    pub fn answer(&self, why: Why, request: &RequestView<'_>) -> Answer {
        let stripped = self.strip_failure_response;
        Answer {
            status: why.status(),
            body: if stripped {
                String::new()
            } else {
                why.to_string()
            },
            challenge: if stripped {
                None
            } else {
                challenge(why, request)
            },
        }
    }
}

/// The realm is the URI without its query, since that may hold a token; it ends where a quote would end it.
fn challenge(why: Why, request: &RequestView<'_>) -> Option<HeaderValue> {
    let path: String = request.path.chars().take(LONGEST_PATH).collect();
    let realm = format!("{}://{}{path}", request.scheme, request.authority);
    let realm = realm.split(['"', '\\']).next().unwrap_or_default();
    let error = match why {
        Why::Missing => "",
        _ => ", error=\"invalid_token\"",
    };
    HeaderValue::try_from(format!("Bearer realm=\"{realm}\"{error}")).ok()
}
