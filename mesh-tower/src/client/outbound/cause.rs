//! What the error of a foreign client says of a call.

use std::error::Error as StdError;
use std::fmt::Write;

use hyper_util::client::legacy;

use crate::body::is_ours;
use crate::error::{BoxError, Error, Kind, Place, Sent};

/// The client could take no request.
pub(super) fn not_ready(cause: BoxError, place: Place) -> Error {
    let reason = format!("the client was not ready: {}", told(&*cause));
    Error::new(Kind::Connect, place, reason).caused(Sent::NotSent, cause)
}

/// The client failed with a request. Unless hyper-util, which reqwest stands on, says that there was no connection,
/// it may have been processed.
pub(super) fn failed(cause: BoxError, place: Place) -> Error {
    let (kind, sent) = if chain(&*cause).any(is_connect) {
        (Kind::Connect, Sent::NotSent)
    } else if is_ours(&*cause) || chain(&*cause).any(is_user) {
        (Kind::Upload, Sent::MaybeProcessed)
    } else {
        (Kind::Reset, Sent::MaybeProcessed)
    };
    let what = match kind {
        Kind::Connect => "the client has no connection",
        Kind::Upload => "the request's own body failed",
        _ => "the client failed before the response",
    };
    let reason = format!("{what}: {}", told(&*cause));
    Error::new(kind, place, reason).caused(sent, cause)
}

fn is_connect(error: &(dyn StdError + 'static)) -> bool {
    let error = error.downcast_ref::<legacy::Error>();
    error.is_some_and(legacy::Error::is_connect)
}

fn is_user(error: &(dyn StdError + 'static)) -> bool {
    let error = error.downcast_ref::<hyper::Error>();
    error.is_some_and(hyper::Error::is_user)
}

fn chain<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// The whole chain in one sentence: what clients say themselves is often no more than "client error".
fn told(cause: &(dyn StdError + 'static)) -> String {
    let mut text = String::new();
    let mut before = String::new();
    for error in chain(cause) {
        let said = error.to_string();
        // Some repeat what is below them.
        if before.contains(&said) {
            continue;
        }
        let separator = if text.is_empty() { "" } else { ": " };
        let _ = write!(text, "{separator}{said}");
        before = said;
    }
    text
}
