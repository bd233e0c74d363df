//! Tokens in a request's target: they are credentials, and no log or trace shows them.

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Request, Uri};
use mesh_core::server::{Pipeline, Step};

use super::stream::PeerIdentity;

/// The path before somebody rewrote it, which is told in the place of the path (Envoy).
const ORIGINAL_PATH: HeaderName = HeaderName::from_static("x-envoy-original-path");

/// Tells of a request as it is without the tokens that its rules look for. Afterwards it is as it came.
pub(super) fn told<B, T>(request: &mut Request<B>, tell: impl FnOnce(&mut Request<B>) -> T) -> T {
    let (uri, original) = bare(request);
    let uri = uri.map(|bare| std::mem::replace(request.uri_mut(), bare));
    let original = original.map(|bare| {
        let headers = request.headers_mut();
        let lines: Vec<_> = headers.get_all(ORIGINAL_PATH).iter().cloned().collect();
        headers.insert(ORIGINAL_PATH, bare);
        lines
    });
    let told = tell(request);
    if let Some(uri) = uri {
        *request.uri_mut() = uri;
    }
    if let Some(lines) = original {
        let headers = request.headers_mut();
        headers.remove(ORIGINAL_PATH);
        for line in lines {
            headers.append(ORIGINAL_PATH, line);
        }
    }
    told
}

/// The target and the path before it without tokens, each where it has some.
fn bare<B>(request: &Request<B>) -> (Option<Uri>, Option<HeaderValue>) {
    let Some(peer) = request.extensions().get::<PeerIdentity>() else {
        return (None, None);
    };
    let pipeline = peer.connection.pipeline();
    let Some(pipeline) = pipeline.as_ref() else {
        return (None, None);
    };
    let whole = request.uri().path_and_query().map(PathAndQuery::as_str);
    let uri = whole.and_then(|whole| without_tokens(pipeline, whole));
    let original = request.headers().get(ORIGINAL_PATH);
    let original = original.and_then(|value| value.to_str().ok());
    let original = original.and_then(|path| without_tokens(pipeline, path));
    (
        uri.map(|path| with_path(request.uri(), path)),
        original.and_then(|path| HeaderValue::try_from(path).ok()),
    )
}

/// None where no filter finds one.
fn without_tokens(pipeline: &Pipeline, path: &str) -> Option<String> {
    let rules = pipeline.steps.iter().filter_map(|step| match step {
        Step::Jwt(rules) => Some(rules),
        Step::Authorize(_) | Step::Ask(_) | Step::Deny(_) => None,
    });
    rules.fold(None, |bare: Option<String>, rules| {
        let barer = rules.without_tokens(bare.as_deref().unwrap_or(path));
        barer.or(bare)
    })
}

/// What cannot be told without its tokens is not told.
fn with_path(uri: &Uri, path: String) -> Uri {
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = PathAndQuery::try_from(path).ok();
    Uri::from_parts(parts).unwrap_or_default()
}
