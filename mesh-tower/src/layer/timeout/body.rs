//! The two bodies of a call with limits of time: the request's tells how far it is, the response's ends at a limit.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::client::{Trail, Watch};
use crate::error::{BoxError, Error, Place, Sent};

/// The body of a request below a [`TimeoutLayer`](super::TimeoutLayer): that of the caller, which ends with an error
/// when the call has come to its limit.
pub struct UploadBody<B: Body> {
    /// Boxed, because it is polled before it is moved; a request without a body costs no box.
    inner: Option<Pin<Box<B>>>,
    /// Frames that were at hand.
    looked: [Option<Polled<B>>; 2],
    /// Of the whole body, before any of it was taken.
    size: SizeHint,
    trail: Option<Arc<Trail>>,
}

type Polled<B> = Result<Frame<<B as Body>::Data>, <B as Body>::Error>;

impl<B: Body> UploadBody<B> {
    /// Looks at the first two frames, as far as they are at hand: of most requests that is the whole body and its end,
    /// which then do not depend on when the service comes to read them.
    pub(super) fn new(body: B) -> Self {
        let size = body.size_hint();
        let mut inner = (!body.is_end_stream()).then(|| Box::pin(body));
        let mut looked = [None, None];
        // Nobody has to be woken: whoever sends the body asks again, with a waker of his own.
        let mut cx = Context::from_waker(Waker::noop());
        for place in &mut looked {
            let at_hand = inner
                .as_mut()
                .map(|inner| inner.as_mut().poll_frame(&mut cx));
            match at_hand {
                Some(Poll::Ready(Some(frame))) => *place = Some(frame),
                Some(Poll::Ready(None)) => inner = None,
                Some(Poll::Pending) | None => break,
            }
        }
        Self {
            inner,
            looked,
            size,
            trail: None,
        }
    }

    /// Whether anything is still to come of which nobody knows when.
    pub(super) fn is_stream(&self) -> bool {
        self.inner
            .as_ref()
            .is_some_and(|inner| !inner.is_end_stream())
    }

    /// Whether a frame is here that was at hand.
    fn looks(&self) -> bool {
        self.looked.iter().any(Option::is_some)
    }

    pub(super) fn tell(&mut self, trail: Arc<Trail>) {
        self.trail = Some(trail);
    }
}

impl<B> Body for UploadBody<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let this = self.get_mut();
        if this.trail.as_ref().is_some_and(|trail| trail.is_over(cx)) {
            (this.inner, this.looked, this.trail) = (None, [None, None], None);
            return Poll::Ready(Some(Err(Error::abandoned().into())));
        }
        let frame = match (
            this.looked.iter_mut().find_map(Option::take),
            &mut this.inner,
        ) {
            (Some(looked), _) => Some(looked),
            (None, Some(inner)) => ready!(inner.as_mut().poll_frame(cx)),
            (None, None) => None,
        };
        if let Some(trail) = &this.trail {
            trail.upload(frame.is_none() || !this.is_stream());
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        !self.looks() && !self.is_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            _ if self.looked[0].is_some() => self.size,
            // Nobody knows the size of a frame and the rest; hyper has asked before.
            _ if self.looks() => SizeHint::default(),
            Some(inner) => inner.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}

/// Of a body that can be repeated, as [`RepeatLayer`](crate::layer::RepeatLayer) needs it.
impl<B> Clone for UploadBody<B>
where
    B: Body + Clone,
    B::Data: Clone,
    B::Error: Clone,
{
    fn clone(&self) -> Self {
        let polled = |polled: &Polled<B>| match polled {
            Ok(frame) => {
                let data = frame.data_ref().cloned().map(Frame::data);
                let trailers = || frame.trailers_ref().cloned().map(Frame::trailers);
                data.or_else(trailers).map(Ok)
            }
            Err(error) => Some(Err(error.clone())),
        };
        Self {
            inner: self.inner.clone(),
            looked: self
                .looked
                .each_ref()
                .map(|looked| looked.as_ref().and_then(polled)),
            size: self.size,
            trail: self.trail.clone(),
        }
    }
}

// The body within is boxed, and nothing else of it is ever pinned.
impl<B: Body> Unpin for UploadBody<B> {}

impl<B: Body> fmt::Debug for UploadBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UploadBody")
            .field("streams", &self.is_stream())
            .finish_non_exhaustive()
    }
}

pin_project! {
    /// The body of a response above a [`TimeoutLayer`](super::TimeoutLayer): that of the service, which ends with an
    /// [`Error`] when a limit has passed.
    pub struct TimedBody<R> {
        // None once a limit has ended it: what it holds goes at once.
        #[pin]
        inner: Option<R>,
        watch: Option<Pin<Box<Watch>>>,
    }
}

impl<R: Body> TimedBody<R> {
    pub(super) fn new(body: R, watch: Option<Pin<Box<Watch>>>) -> Self {
        let mut watch = watch.filter(|_| !body.is_end_stream());
        if let Some(watch) = &mut watch {
            watch.as_mut().answered();
        }
        Self {
            inner: Some(body),
            watch,
        }
    }
}

impl<R> Body for TimedBody<R>
where
    R: Body,
    R::Error: Into<BoxError>,
{
    type Data = R::Data;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<R::Data>, BoxError>>> {
        let mut this = self.project();
        let Some(mut inner) = this.inner.as_mut().as_pin_mut() else {
            return Poll::Ready(None);
        };
        let frame = inner.as_mut().poll_frame(cx);
        let last = match &frame {
            Poll::Ready(Some(Ok(_))) => inner.is_end_stream(),
            Poll::Ready(_) => true,
            Poll::Pending => false,
        };
        if last {
            *this.watch = None;
        }
        if let Some(watch) = this.watch
            && let Poll::Ready(expired) = watch.as_mut().next(cx, frame.is_ready())
        {
            this.inner.set(None);
            *this.watch = None;
            let error = expired.error(Place::default(), Sent::Processed);
            return Poll::Ready(Some(Err(error.into())));
        }
        frame.map(|frame| frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Some(inner) => inner.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}

impl<R> fmt::Debug for TimedBody<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimedBody")
            .field("limited", &self.watch.is_some())
            .finish_non_exhaustive()
    }
}
