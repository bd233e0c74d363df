//! What a running request holds, and what becomes of it at its end: the connection goes back only
//! when the response was read to its end, the counts always go back.

use std::sync::Arc;

use http::StatusCode;

use super::EndpointPool;
use super::http1::{self, Sender};
use super::http2::Stream;
use crate::error::Place;
use crate::live::LiveCluster;
use crate::telemetry::Outcome;

/// A request that is counted on its cluster and endpoint, until dropped.
#[derive(Debug)]
pub(crate) struct Counted {
    cluster: Arc<LiveCluster>,
    endpoint: Arc<EndpointPool>,
    outcome: Outcome,
}

impl Counted {
    pub(crate) fn start(cluster: Arc<LiveCluster>, endpoint: Arc<EndpointPool>) -> Self {
        cluster.cells.start();
        endpoint.cells.start();
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
        self.cluster.cells.end(self.outcome);
        self.endpoint.cells.end(self.outcome);
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
    Http1(Sender, Arc<http1::Pool>),
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
            Connection::Http1(sender, pool) => pool.give_back(sender),
            Connection::Http2(stream) => drop(stream),
        }
    }

    /// The response broke off: the connection is not used again. Tells where that was.
    pub(crate) fn failed(mut self) -> Place {
        self.0.counted.outcome = Outcome::Failed;
        std::mem::take(&mut self.0.place)
    }
}
