//! What a call hangs on a body: what is given back when it has been read, who is told how far it is, and what ends it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Body as HttpBody;
use hyper::body::Incoming;

use super::{Body, Inner, taken};
use crate::client::{Expired, Trail, Watch};
use crate::error::{BoxError, Error, Kind, Place, Sent};
use crate::pool::{Lease, Received, Tied};
use crate::telemetry::{Account, Observed};

impl Body {
    /// The body of a response, with what it holds until it has been read.
    pub(crate) fn leased(incoming: Incoming, lease: Lease) -> Self {
        Self::from(incoming).under(lease)
    }

    /// The same of HTTP/2.
    pub(crate) fn received(received: Received, lease: Lease) -> Self {
        Self::of(Inner::Received(received)).under(lease)
    }

    /// The same of any client. What another mesh's body holds stays with that one.
    pub(crate) fn leased_any<B>(body: B, lease: Lease) -> Self
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let mut body = Some(body);
        let plain = match taken::<Incoming, B>(&mut body) {
            Some(incoming) => Self::from(incoming),
            None => body.map_or(Self::empty(), Self::boxed),
        };
        plain.under(lease)
    }

    fn under(mut self, lease: Lease) -> Self {
        self.lease = Some(lease);
        if self.is_end_stream() {
            self.finish();
        }
        self
    }

    pub(super) fn finish(&mut self) {
        let account = self.take_account();
        // It says nothing more, but for the reset of what is left of its upload.
        if matches!(self.inner, Inner::Received(_)) {
            self.inner = Inner::Empty;
        }
        if let Some(lease) = self.lease.take() {
            lease.finished();
        }
        if let Some(account) = account {
            account.finished();
        }
    }

    fn take_account(&mut self) -> Option<Account> {
        match &mut self.lease {
            Some(lease) => lease.account().take(),
            None => self.account.take().map(|account| *account),
        }
    }

    pub(super) fn open_account(&mut self) -> Option<&mut Account> {
        match &mut self.lease {
            Some(lease) => lease.account().as_mut(),
            None => self.account.as_deref_mut(),
        }
    }

    /// Lets the body of a request tell how far it is.
    pub(crate) fn upload(&mut self, trail: Arc<Trail>) {
        self.upload = Some(trail);
    }

    /// Lets the body of a request end with its call.
    pub(crate) fn tie(&mut self, tied: Tied) {
        self.tied = Some(tied);
    }

    /// Lets a timer watch over the rest of a response. One that has ended needs none.
    pub(crate) fn watch(&mut self, watch: Pin<Box<Watch>>) {
        if let Some(lease) = &mut self.lease {
            lease.watch(watch);
        }
    }

    /// Lets a response tell how it ends.
    pub(crate) fn account(&mut self, account: Account) {
        if self.is_end_stream() {
            return account.finished();
        }
        match &mut self.lease {
            Some(lease) => *lease.account() = Some(account),
            None => self.account = Some(Box::new(account)),
        }
    }

    /// Lets somebody be told of a response's end. One that has ended already is told at once.
    pub(crate) fn observe(&mut self, observed: Box<Observed>) {
        if let Some(account) = self.open_account() {
            account.observe(observed);
        }
    }

    pub(super) fn failed(&mut self, cause: BoxError) -> Error {
        let reason = format!("the body ended before it was complete: {cause}");
        let account = self.take_account();
        let error = match self.lease.take() {
            Some(lease) => lease.failed(|place| {
                let kind = match is_ours(&*cause) {
                    true => Kind::Upload,
                    false => Kind::Body,
                };
                Error::new(kind, place, reason).caused(Sent::Processed, cause)
            }),
            // A body of the caller's own: whoever sends it knows how far it came.
            None => Error::new(Kind::Upload, Place::default(), reason)
                .caused(Sent::MaybeProcessed, cause),
        };
        broken_off(account, error)
    }

    /// A limit has passed: what is left of the response is given up, and its connection with it.
    pub(super) fn expired(&mut self, expired: Expired) -> Error {
        self.inner = Inner::Empty;
        let account = self.take_account();
        let error = match self.lease.take() {
            Some(lease) => lease.failed(|place| expired.error(place, Sent::Processed)),
            None => expired.error(Place::default(), Sent::Processed),
        };
        broken_off(account, error)
    }

    /// Whether the call of which this is the request has ended, at a limit or because nobody waits for it.
    pub(crate) fn is_abandoned(&self, cx: &Context<'_>) -> bool {
        self.upload.as_ref().is_some_and(|trail| trail.is_over(cx))
            || self.tied.as_ref().is_some_and(|tied| tied.is_over(cx))
    }

    pub(super) fn abandoned(&mut self) -> Error {
        self.inner = Inner::Empty;
        self.upload = None;
        self.tied = None;
        Error::abandoned()
    }

    pub(super) fn limit(&mut self, cx: &mut Context<'_>, frame: bool) -> Poll<Expired> {
        match &mut self.lease {
            Some(lease) => lease.limit(cx, frame),
            None => Poll::Pending,
        }
    }
}

/// The response has failed.
fn broken_off(account: Option<Account>, error: Error) -> Error {
    if let Some(account) = account {
        account.broken_off(error.flags());
    }
    error
}

/// Whether it was this side that reset the stream: that is done when the body of the request fails.
pub(crate) fn is_ours(cause: &(dyn std::error::Error + 'static)) -> bool {
    let chain = std::iter::successors(Some(cause), |error| error.source());
    chain
        .filter_map(|error| error.downcast_ref::<h2::Error>())
        .any(|error| error.is_reset() && !error.is_remote() && !error.is_library())
}
