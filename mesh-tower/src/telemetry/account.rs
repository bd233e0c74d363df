//! One call from its beginning to its end, for the cells of its edge.

use std::sync::Arc;
use std::time::Instant;

use bytes::Buf;
use http::{HeaderMap, StatusCode};
use http_body::Frame;

use super::edge::Edge;
use super::edges::Edges;
use super::ended::{Ended, Flags};
use super::observe::Observed;
use crate::error::Error;
use crate::live::LiveCluster;

/// A call that has begun.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begun {
    at: Instant,
    grpc: bool,
}

/// Where a call goes, as far as it is known.
#[derive(Debug)]
pub(crate) enum Toward {
    Edge(Arc<Edge>),
    /// To one of its endpoints.
    Cluster(Arc<LiveCluster>),
    /// Not counted.
    Unknown,
}

/// Counts a call when it is dropped: by then it has said how it ended, or nobody waits for it any more.
#[derive(Debug)]
pub(crate) struct Account {
    begun: Begun,
    toward: Toward,
    ended: Ended,
    /// Of what was done to it on purpose: they stay, however it ends.
    injected: Flags,
    /// What tells of this one call, if that was asked for.
    observed: Option<Box<Observed>>,
}

impl Begun {
    pub(crate) fn now(headers: &HeaderMap) -> Self {
        Self {
            at: Instant::now(),
            grpc: mesh_core::request::is_grpc(headers),
        }
    }

    pub(crate) const fn is_grpc(self) -> bool {
        self.grpc
    }

    pub(crate) const fn toward(self, toward: Toward) -> Account {
        Account {
            begun: self,
            toward,
            ended: Ended::abandoned(self.grpc),
            injected: Flags::NONE,
            observed: None,
        }
    }

    /// Counts a call that failed before it was known where it goes.
    pub(crate) fn refused(self, edges: &Edges, error: &Error) {
        let nowhere = Arc::clone(edges.nowhere());
        self.toward(Toward::Edge(nowhere)).failed(error);
    }
}

impl Toward {
    fn edge(&self) -> Option<&Arc<Edge>> {
        match self {
            Self::Edge(edge) => Some(edge),
            Self::Cluster(cluster) => Some(&cluster.edge),
            Self::Unknown => None,
        }
    }

    /// The endpoint that failed is the end of the edge, as it is in Envoy's statistics.
    fn failed_at<'a>(&'a self, error: &'a Error) -> Option<&'a Arc<Edge>> {
        let endpoint = match (self, error.endpoint()) {
            (Self::Cluster(cluster), Some(address)) => {
                let mut endpoints = cluster.endpoints.iter();
                endpoints.find(|endpoint| endpoint.address == address)
            }
            _ => None,
        };
        let tried = endpoint.and_then(|endpoint| endpoint.cells.edge());
        error.edge().or(tried).or_else(|| self.edge())
    }
}

impl Account {
    /// A response has begun, at this edge if it is known.
    pub(crate) fn answered(
        &mut self,
        status: StatusCode,
        headers: &HeaderMap,
        edge: Option<Arc<Edge>>,
    ) {
        self.ended.answered(status, headers);
        // A stream may last a day: it must not keep the cluster's configuration.
        let edge = edge.or_else(|| match &self.toward {
            Toward::Cluster(cluster) => Some(Arc::clone(&cluster.edge)),
            Toward::Edge(_) | Toward::Unknown => None,
        });
        if let Some(edge) = edge {
            self.toward = Toward::Edge(edge);
        }
    }

    /// Flags of a fault that the configuration injected, with commas between them.
    pub(crate) fn flagged(&mut self, flags: &str) {
        if !flags.is_empty() {
            self.injected = Flags::named(flags);
        }
    }

    /// The call failed inside of the mesh.
    pub(crate) fn failed(mut self, error: &Error) {
        if let Some(edge) = self.toward.failed_at(error).map(Arc::clone) {
            self.toward = Toward::Edge(edge);
        }
        self.ended.failed(error);
    }

    /// Lets somebody be told of this one call.
    pub(crate) fn observe(&mut self, observed: Box<Observed>) {
        self.observed = Some(observed);
    }

    pub(crate) const fn observed(&mut self) -> Option<&mut Box<Observed>> {
        self.observed.as_mut()
    }

    /// A frame of the response has come.
    pub(crate) fn frame<D: Buf>(&mut self, frame: &Frame<D>) {
        if let Some(trailers) = frame.trailers_ref() {
            self.ended.protocol.read(trailers);
        }
        if let (Some(observed), Some(data)) = (&mut self.observed, frame.data_ref()) {
            observed.sent(data.remaining());
        }
    }

    /// The response broke off.
    pub(crate) fn broken_off(mut self, flags: &str) {
        self.ended.flags = Flags::named(flags);
    }

    /// The application failed without a response: to a sidecar, its upstream closed the connection.
    pub(crate) fn no_answer(mut self) {
        self.ended.code = StatusCode::SERVICE_UNAVAILABLE.as_u16();
        self.ended.flags = Flags::named("UC");
    }

    /// Another account counts the call.
    pub(crate) fn void(mut self) {
        self.toward = Toward::Unknown;
    }

    /// The response is over.
    pub(crate) fn finished(mut self) {
        self.ended.flags = Flags::NONE;
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let took = self.begun.at.elapsed();
        self.ended.flags = self.ended.flags.and(self.injected);
        if let Some(edge) = self.toward.edge() {
            edge.record(self.ended, took);
        }
        if let Some(observed) = &mut self.observed {
            observed.ended(self.ended);
        }
    }
}
