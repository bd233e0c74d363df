//! What an application may say of one call.

use std::sync::Arc;
use std::time::Duration;

use http::Extensions;
use tokio::time::Instant;

use super::limit::Limit;
use crate::duration::bounded;

/// What the application wants of one call, beside what the rules say. It goes into the extensions of
/// a request, an `http::Request` for [`MeshClient`](crate::MeshClient) or a `tonic::Request` for
/// `MeshChannel`:
///
/// ```
/// # use std::time::Duration;
/// # use mesh_tower::{Body, CallOptions};
/// let mut request = http::Request::new(Body::empty());
/// let options = CallOptions::new()
///     .timeout(Duration::from_secs(2))
///     .subset("v2")
///     .retries(3);
/// request.extensions_mut().insert(options);
/// ```
///
/// The client takes it out of the request: nothing of it is forwarded, neither to layers below nor to the peer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallOptions {
    /// From the beginning of the call to the end of the response's body, whatever is waited for:
    /// configuration, connection, attempts. It holds beside the limits of the route; the first to
    /// pass ends the call. By default there is none.
    pub timeout: Option<Duration>,
    /// The call goes to this subset (of Istio's DestinationRule, as `v2`) among the clusters that the matched route
    /// leads to, and their weights do not count. Where several clusters have a subset of that name, it is the first
    /// in the order of the rule. By default the weights decide.
    ///
    /// The call fails with the flag `NC` where the route leads to no such subset; a destination of weight 0 is none
    /// (istiod does not send it). So does a call for `https`, which goes through no route. What the configuration
    /// itself answers (a direct response, a redirect) it answers all the same, and a mesh that is switched off
    /// (`MESH=off`) has no subsets and takes no notice.
    pub subset: Option<Arc<str>>,
    /// How often the request may be repeated at most, at another endpoint of its cluster if there is one. A request
    /// is repeated only when it provably was not sent, and at once; a failed connect to the only
    /// endpoint is never repeated. By default once; 0 is never.
    pub retries: Option<u32>,
}

impl CallOptions {
    /// No wishes.
    pub const fn new() -> Self {
        Self {
            timeout: None,
            subset: None,
            retries: None,
        }
    }

    /// Sets [`Self::timeout`].
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets [`Self::subset`].
    #[must_use]
    pub fn subset(mut self, name: impl Into<Arc<str>>) -> Self {
        self.subset = Some(name.into());
        self
    }

    /// Sets [`Self::retries`].
    #[must_use]
    pub const fn retries(mut self, most: u32) -> Self {
        self.retries = Some(most);
        self
    }

    /// Takes them out of a request.
    pub(crate) fn take(extensions: &mut Extensions) -> Self {
        extensions.remove().unwrap_or_default()
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
    /// Of a call that begins now, with a deadline that the headers of its request set.
    pub(crate) fn of(options: &CallOptions, deadline: Option<Duration>) -> Option<Self> {
        let limits = [
            options.timeout.map(|timeout| (timeout, Limit::Caller)),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_leave_the_request() {
        let mut extensions = Extensions::new();
        let options = CallOptions::new().subset("v2").retries(0);
        extensions.insert(options.clone());
        assert_eq!(CallOptions::take(&mut extensions), options);
        assert!(extensions.get::<CallOptions>().is_none());
        assert_eq!(CallOptions::take(&mut extensions), CallOptions::new());
    }
}
