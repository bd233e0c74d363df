//! What a running request holds, and what becomes of it at its end: the connection goes back only
//! when the response was read to its end, the counts always go back.

use std::sync::{Arc, Weak};

use http::StatusCode;

use super::http1::{self, Sender};
use super::http2::Stream;
use crate::error::Place;
use crate::telemetry::{Cells, Outcome};

/// A request that is counted on its cluster and endpoint, until dropped.
#[derive(Debug)]
pub(crate) struct Counted {
    cluster: Arc<Cells>,
    endpoint: Arc<Cells>,
    outcome: Outcome,
}

impl Counted {
    pub(crate) fn start(cluster: Arc<Cells>, endpoint: Arc<Cells>) -> Self {
        cluster.start();
        endpoint.start();
        Self {
            cluster,
            endpoint,
            outcome: Outcome::Failed,
        }
    }

    pub(super) fn answered(mut self, status: StatusCode) -> Self {
        self.outcome = Outcome::Answered(status);
        self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.cluster.end(self.outcome);
        self.endpoint.end(self.outcome);
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
}

#[derive(Debug)]
pub(super) enum Connection {
    /// The pool only if it is still in use: a stream may last a day and must not keep idle sockets open.
    Http1(Sender, Weak<http1::Pool>),
    /// Held for its drop: a stream is open until its body ends or is dropped.
    Http2(Stream),
}

impl Lease {
    pub(super) fn new(connection: Connection, counted: Counted, place: Place) -> Self {
        Self(Box::new(Held {
            connection,
            counted,
            place,
        }))
    }

    /// The response was read to its end.
    pub(crate) fn finished(self) {
        match self.0.connection {
            Connection::Http1(sender, pool) => {
                if let Some(pool) = pool.upgrade() {
                    pool.give_back(sender);
                }
            }
            Connection::Http2(stream) => drop(stream),
        }
    }

    /// The response broke off: the connection is not used again. Tells where that was.
    pub(crate) fn failed(mut self) -> Place {
        self.0.counted.outcome = Outcome::Failed;
        std::mem::take(&mut self.0.place)
    }
}
