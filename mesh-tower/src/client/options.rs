//! What an application may say of one call.

use std::time::Duration;

use http::Request;
use tokio::time::Instant;

use super::limit::Limit;
use crate::span::bounded;

/// What the application wants of one call, beside what the rules say. It goes into the extensions of
/// a request:
///
/// ```
/// # use std::time::Duration;
/// # use mesh_tower::{Body, CallOptions};
/// let mut request = http::Request::new(Body::empty());
/// let options = CallOptions::new().timeout(Duration::from_secs(2));
/// request.extensions_mut().insert(options);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallOptions {
    /// From the beginning of the call to the end of the response's body, whatever is waited for:
    /// configuration, connection, attempts. It holds beside the limits of the route; the first to
    /// pass ends the call. By default there is none.
    pub timeout: Option<Duration>,
}

impl CallOptions {
    /// No wishes.
    pub const fn new() -> Self {
        Self { timeout: None }
    }

    /// Sets [`Self::timeout`].
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

/// When the caller's patience ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Due {
    pub(crate) at: Instant,
    pub(crate) timeout: Duration,
    /// How he said so.
    pub(crate) limit: Limit,
}

impl Due {
    /// Of a request that is called now, with a deadline that its headers set.
    pub(crate) fn of<B>(request: &Request<B>, deadline: Option<Duration>) -> Option<Self> {
        let options = request.extensions().get::<CallOptions>();
        let own = options.and_then(|options| options.timeout);
        let limits = [
            own.map(|timeout| (timeout, Limit::Caller)),
            deadline.map(|timeout| (timeout, Limit::Deadline)),
        ];
        let (timeout, limit) = limits.into_iter().flatten().min_by_key(|(at, _)| *at)?;
        Some(Self {
            at: Instant::now().checked_add(bounded(timeout))?,
            timeout,
            limit,
        })
    }
}
