//! What a running request holds, and what becomes of it at its end: the connection goes back only
//! when the response was read to its end, the counts always go back.

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use http::StatusCode;

use super::http1::{self, Sender};
use super::http2::Answering;
use crate::client::{Expired, Trail, Watch};
use crate::error::{Error, Place};
use crate::telemetry::{Account, Cells, Edge, Outcome};

/// A request that is counted on its cluster and endpoint, until dropped.
#[derive(Debug)]
pub(crate) struct Counted {
    cluster: Arc<Cells>,
    /// None where a foreign client finds the host itself.
    endpoint: Option<Arc<Cells>>,
    outcome: Outcome,
    /// Of a call with limits of time.
    trail: Option<Arc<Trail>>,
}

impl Counted {
    pub(crate) fn start(
        cluster: Arc<Cells>,
        endpoint: Option<Arc<Cells>>,
        trail: Option<Arc<Trail>>,
    ) -> Self {
        cluster.start();
        if let Some(endpoint) = &endpoint {
            endpoint.start();
        }
        Self {
            cluster,
            endpoint,
            outcome: Outcome::Failed,
            trail,
        }
    }

    /// The request was handed to a connection.
    pub(crate) fn handed_over(&self) {
        if let Some(trail) = &self.trail {
            trail.handed_over();
        }
    }

    /// The edge to the endpoint.
    pub(crate) fn edge(&self) -> Option<Arc<Edge>> {
        self.endpoint.as_ref()?.edge().map(Arc::clone)
    }

    pub(crate) fn answered(mut self, status: StatusCode) -> Self {
        self.outcome = Outcome::Answered(status);
        self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.cluster.end(self.outcome);
        if let Some(endpoint) = &self.endpoint {
            endpoint.end(self.outcome);
        }
    }
}

/// The connection under a response whose body is being read.
#[derive(Debug)]
pub(crate) struct Lease(Box<Held>);

#[derive(Debug)]
struct Held {
    connection: Connection,
    counted: Counted,
    place: Place,
    watch: Option<Pin<Box<Watch>>>,
    account: Option<Account>,
}

#[derive(Debug)]
pub(super) enum Connection {
    /// The pool only if it is still in use: a stream may last a day and must not keep idle sockets open.
    Http1(Sender, Weak<http1::Pool>),
    /// Held for its drop: a stream is open until its body ends or is dropped, and the upload of gRPC until then.
    Http2(Answering),
    /// A foreign client's, which keeps it.
    Foreign,
}

impl Lease {
    pub(super) fn new(connection: Connection, counted: Counted, place: Place) -> Self {
        Self(Box::new(Held {
            connection,
            counted,
            place,
            watch: None,
            account: None,
        }))
    }

    /// Of a response that a foreign client brought.
    pub(crate) fn foreign(counted: Counted, place: Place) -> Self {
        Self::new(Connection::Foreign, counted, place)
    }

    /// The response was read to its end.
    pub(crate) fn finished(self) {
        match self.0.connection {
            Connection::Http1(sender, pool) => {
                if let Some(pool) = pool.upgrade() {
                    pool.give_back(sender);
                }
            }
            Connection::Http2(answering) => drop(answering),
            Connection::Foreign => {}
        }
    }

    /// The response broke off: the connection is not used again, and the error is counted.
    pub(crate) fn failed(mut self, error: impl FnOnce(Place) -> Error) -> Error {
        self.0.counted.outcome = Outcome::Failed;
        let error = error(std::mem::take(&mut self.0.place));
        self.0.counted.cluster.failed_with(error.flags());
        error
    }

    /// What is told how the response ended. It stands here so that a body stays small: it is moved often.
    pub(crate) const fn account(&mut self) -> &mut Option<Account> {
        &mut self.0.account
    }

    /// Lets a timer watch over the rest of the response.
    pub(crate) fn watch(&mut self, watch: Pin<Box<Watch>>) {
        self.0.watch = Some(watch);
    }

    /// Ready when a limit has passed: asked when the response keeps its reader waiting, and when a
    /// frame of it came.
    pub(crate) fn limit(&mut self, cx: &mut Context<'_>, frame: bool) -> Poll<Expired> {
        match &mut self.0.watch {
            None => Poll::Pending,
            Some(watch) => watch.as_mut().next(cx, frame),
        }
    }
}
