//! What is said on one connection, and who sees to it that it ends.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use http::{Request, Response, Version};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tokio::time::{MissedTickBehavior, interval};
use tower_service::Service;

use super::connection::Connection;
use super::drain::Watcher;
use super::stream::PeerIdentity;
use crate::body::Body;
use crate::error::BoxError;

/// How long a peer may take for its first request, for the head of each, and until it sends another one: half-open, slow and
/// idle peers hold no task for ever. An answer may take as long as it takes to be read, and a body to be sent.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// How often that is looked after: so much longer it may last, but for the first request.
const LOOK: Duration = Duration::from_secs(HEADER_TIMEOUT.as_secs() / LOOKS as u64);
const LOOKS: u32 = 3;

/// Room for headers in a response that has none: hyper reads the next request of the connection into the same map, which
/// would have to grow for what is said of the peer's certificate.
const HEADERS: usize = 6;

/// Of one connection, for who serves it and who looks after it.
#[derive(Debug, Default)]
pub(super) struct Talk {
    requests: AtomicUsize,
    is_http2: AtomicBool,
    is_to_end: AtomicBool,
    /// Why it has to end now.
    cut: OnceLock<&'static str>,
}

impl Talk {
    /// Who holds it beside answers that have not come to their end: who serves the connection, and the conversation. Once an
    /// answer has ended, hyper reads no more of its request's body.
    const HOLDERS: usize = 2;

    fn note(&self, version: Version) {
        // There is one task that calls.
        self.requests
            .store(self.requests().wrapping_add(1), Relaxed);
        if version == Version::HTTP_2 {
            self.is_http2.store(true, Relaxed);
        }
    }

    fn requests(&self) -> usize {
        self.requests.load(Relaxed)
    }

    /// Whether it has to end when what runs is answered.
    pub(super) fn is_to_end(&self) -> bool {
        self.is_to_end.load(Relaxed)
    }

    /// Why it has to end now, if it has.
    pub(super) fn cut_for(&self) -> Option<&'static str> {
        self.cut.get().copied()
    }

    fn end(&self) {
        self.is_to_end.store(true, Relaxed);
    }

    /// What can end well at once does.
    fn cut(&self, why: &'static str) {
        self.end();
        // The first reason is the one.
        let _ = self.cut.set(why);
    }
}

/// Looks after a connection until it has ended.
pub(super) async fn attend(
    connection: &Connection,
    mut drain: Watcher,
    talk: &Arc<Talk>,
) -> Infallible {
    let mut drained = drain.clone();
    let (mut leaving, mut over) = (pin!(connection.leaving()), pin!(connection.over()));
    let (mut draining, mut drained) = (pin!(drain.draining()), pin!(drained.over()));
    let mut drains = false;
    let (mut leaves, mut is_over) = (false, !connection.is_ruled());
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut silence = Silence::default();
    loop {
        tokio::select! {
            // HTTP/1 would close an idle connection at once, while a request may be on its way. Who may still be served is
            // told by the next answer (`Connection: close`).
            () = leaving.as_mut(), if !is_over && !leaves => {
                leaves = true;
                if connection.is_refused() || talk.is_http2.load(Relaxed) {
                    talk.end();
                }
            }
            () = over.as_mut(), if !is_over => {
                is_over = true;
                talk.cut("its peer is not let in any more");
            }
            () = draining.as_mut(), if !drains => {
                drains = true;
                talk.end();
            }
            () = drained.as_mut(), if drains => {
                talk.cut("the time for draining is up");
                return std::future::pending().await;
            }
            // HTTP/2 has pings of its own.
            _ = looks.tick(), if !talk.is_http2.load(Relaxed) => {
                if silence.look(connection, talk) {
                    talk.cut("nothing was asked for too long");
                }
            }
        }
    }
}

/// How long nothing was asked on a connection of HTTP/1, or of one whose protocol is not known yet.
#[derive(Debug, Default)]
struct Silence {
    requests: usize,
    /// For so many looks.
    lasts: u32,
}

impl Silence {
    /// Another look: whether it lasts too long.
    fn look(&mut self, connection: &Connection, talk: &Arc<Talk>) -> bool {
        let is_in_use = Arc::strong_count(talk) > Talk::HOLDERS || connection.sends.load(Relaxed);
        let requests = talk.requests();
        self.lasts = match requests == self.requests {
            _ if is_in_use => 0,
            true => self.lasts + 1,
            false => 1,
        };
        self.requests = requests;
        self.lasts > LOOKS
    }
}

/// Answers the requests of one connection by a tower service.
pub(super) struct Conversation<S> {
    service: S,
    peer: PeerIdentity,
    talk: Arc<Talk>,
}

impl<S> Conversation<S> {
    pub(super) const fn new(service: S, peer: PeerIdentity, talk: Arc<Talk>) -> Self {
        Self {
            service,
            peer,
            talk,
        }
    }
}

impl<S, B> hyper::service::Service<Request<Incoming>> for Conversation<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone,
    S::Error: Into<BoxError>,
{
    type Response = Response<Said<B>>;
    type Error = BoxError;
    type Future = Saying<S, S::Future>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        self.talk.note(request.version());
        request.extensions_mut().insert(self.peer.clone());
        let is_http2 = request.version() == Version::HTTP_2;
        let request = request.map(Body::from);
        let mut service = self.service.clone();
        // Most are ready always. Whom to wake is told to those that are not when the answer is asked for. With HTTP/2 that is
        // by a task of the request's own, which has the work of the call, and its panic.
        let is_ready = match is_http2 {
            true => Poll::Pending,
            false => service.poll_ready(&mut Context::from_waker(Waker::noop())),
        };
        let (called, waits) = match is_ready {
            Poll::Ready(Ok(())) => (Some(service.call(request)), None),
            Poll::Ready(Err(error)) => (None, Some(Err(error.into()))),
            Poll::Pending => (None, Some(Ok(Box::new((service, request))))),
        };
        Saying {
            called,
            waits,
            talk: Some(Arc::clone(&self.talk)),
        }
    }
}

pin_project! {
    /// One answer, from the request to its head.
    pub(super) struct Saying<S, F> {
        #[pin]
        called: Option<F>,
        waits: Option<Result<Box<(S, Request<Body>)>, BoxError>>,
        // Until hyper has all of it.
        talk: Option<Arc<Talk>>,
    }
}

impl<S, B> Future for Saying<S, S::Future>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Into<BoxError>,
{
    type Output = Result<Response<Said<B>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(waits) = this.waits.take() {
            let (mut service, request) = *waits?;
            if service.poll_ready(cx).map_err(Into::into)?.is_pending() {
                *this.waits = Some(Ok(Box::new((service, request))));
                return Poll::Pending;
            }
            this.called.set(Some(service.call(request)));
        }
        let Some(called) = this.called.as_pin_mut() else {
            return Poll::Pending;
        };
        let mut response = ready!(called.poll(cx)).map_err(Into::into)?;
        let talk = this.talk.take();
        let headers = response.headers_mut();
        if headers.capacity() == 0 {
            headers.reserve(HEADERS);
        }
        Poll::Ready(Ok(response.map(|body| Said { body, talk })))
    }
}

pin_project! {
    /// The body of a response, until hyper has all of it.
    pub(super) struct Said<B> {
        #[pin]
        body: B,
        talk: Option<Arc<Talk>>,
    }
}

impl<B: http_body::Body> http_body::Body for Said<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
