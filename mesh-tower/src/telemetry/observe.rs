//! What a mesh tells of single calls, where that was asked for: headers by which they are found together, spans, and
//! lines of the access log. Nothing of it exists otherwise.

mod access_log;
#[cfg(feature = "otel")]
mod otel;
mod propagation;
mod record;

use std::any::Any;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use http::{Request, Response};
use mesh_xds::Node;

use super::ended::{Ended, Flags};
use crate::body::Body;
use crate::client::CallInfo;
use crate::error::Error;
use crate::random::Randomness;
use crate::server::PeerIdentity;
pub use access_log::AccessLog;
use access_log::Lines;
#[cfg(feature = "otel")]
pub(crate) use otel::{Tracer, Tried};
pub use propagation::Propagation;
use record::Record;

/// What was asked for. In one place, so that a builder's fields stay few.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    pub(crate) propagation: Option<Propagation>,
    pub(crate) access_log: Option<AccessLog>,
    #[cfg(feature = "otel")]
    pub(crate) tracer: Option<Tracer>,
}

/// Watches single calls.
#[derive(Debug)]
pub(crate) struct Observer {
    propagation: Option<Propagation>,
    random: Randomness,
    lines: Option<Lines>,
    #[cfg(feature = "otel")]
    spans: Option<otel::Spans>,
}

impl Asked {
    /// `None` when nothing was.
    pub(crate) fn start(self, node: &Node, seed: u64) -> io::Result<Option<Arc<Observer>>> {
        #[cfg(not(feature = "otel"))]
        let (traced, _) = (false, node);
        #[cfg(feature = "otel")]
        let traced = self.tracer.is_some();
        let propagation = match traced {
            true => Some(self.propagation.unwrap_or_default()),
            false => self.propagation,
        };
        if propagation.is_none() && self.access_log.is_none() {
            return Ok(None);
        }
        Ok(Some(Arc::new(Observer {
            propagation,
            // Apart from the numbers that rules are drawn by: those are the same with and without.
            random: Randomness::new(!seed),
            lines: self.access_log.map(AccessLog::start).transpose()?,
            #[cfg(feature = "otel")]
            spans: self
                .tracer
                .map(|tracer| otel::Spans::new(tracer, node, propagation.unwrap_or_default())),
        })))
    }
}

impl Observer {
    /// A call begins: its headers are completed.
    pub(crate) fn outbound<B: 'static>(
        self: &Arc<Self>,
        request: &mut Request<B>,
    ) -> Box<Observed> {
        if let Some(propagation) = self.propagation {
            propagation.complete(request.headers_mut(), &self.random);
        }
        let body = (request.body() as &dyn Any).downcast_ref::<Body>();
        let received = body.and_then(|body| http_body::Body::size_hint(body).exact());
        #[allow(unused_mut, reason = "without spans nothing is added")]
        let mut observed = self.observed(request, received);
        #[cfg(feature = "otel")]
        if let (Some(spans), Some(record)) = (&self.spans, &observed.record) {
            observed.span = Some(spans.client(request, record));
        }
        observed
    }

    /// A request has come: what its task has to know.
    pub(crate) fn inbound<B>(self: &Arc<Self>, request: &mut Request<B>) -> (Box<Observed>, Scope) {
        let carried = self
            .propagation
            .map(|propagation| propagation.carried(request.headers_mut(), &self.random));
        let mut observed = self.observed(request, None);
        let peer = request.extensions().get::<PeerIdentity>();
        if let Some(record) = &mut observed.record {
            record.peer = peer.map(|peer| peer.address);
        }
        #[cfg(feature = "otel")]
        if let (Some(spans), Some(record)) = (&self.spans, &observed.record) {
            observed.span = Some(spans.server(request.headers(), record));
        }
        let scope = Scope {
            carried,
            #[cfg(feature = "otel")]
            context: observed.span.as_ref().map(otel::Span::context),
        };
        (observed, scope)
    }

    fn observed<B>(self: &Arc<Self>, request: &Request<B>, received: Option<u64>) -> Box<Observed> {
        let grpc = mesh_core::request::is_grpc(request.headers());
        Box::new(Observed {
            observer: Arc::clone(self),
            begun: Instant::now(),
            record: Some(Box::new(Record::of(request, received, grpc))),
            #[cfg(feature = "otel")]
            span: None,
        })
    }

    /// How many lines of the access log were dropped.
    pub(crate) fn dropped(&self) -> u64 {
        self.lines.as_ref().map_or(0, Lines::dropped)
    }
}

/// What holds while a task serves a request.
#[derive(Debug)]
pub(crate) struct Scope {
    carried: Option<Arc<http::HeaderMap>>,
    #[cfg(feature = "otel")]
    context: Option<opentelemetry::Context>,
}

impl Scope {
    pub(crate) fn within<T>(&self, step: impl FnOnce() -> T) -> T {
        #[cfg(feature = "otel")]
        let _attached = self.context.clone().map(opentelemetry::Context::attach);
        match &self.carried {
            Some(carried) => propagation::within(carried, step),
            None => step(),
        }
    }
}

/// A call or a request that runs. It is told when it is dropped.
pub(crate) struct Observed {
    observer: Arc<Observer>,
    begun: Instant,
    /// Until it is dropped.
    record: Option<Box<Record>>,
    #[cfg(feature = "otel")]
    span: Option<otel::Span>,
}

impl Observed {
    /// A response has begun; its end is still to come.
    pub(crate) fn answered<B>(&mut self, response: &Response<B>) {
        let after = self.begun.elapsed();
        self.note(|record| {
            record.answered_after = Some(after);
            record.ended.answered(response.status(), response.headers());
        });
    }

    /// The mesh has answered for the application, for the reason that Envoy's details name.
    pub(crate) fn refused<B>(&mut self, response: &Response<B>, details: &str, sent: usize) {
        self.note(|record| {
            record.details = Some(details.into());
            record.ended.answered(response.status(), response.headers());
            record.sent = sent as u64;
        });
    }

    /// By which rule a call was made.
    pub(crate) fn went(&mut self, info: CallInfo) {
        self.note(|record| {
            record.is_direct = info.attempts == 0;
            record.route = Some(info.route).filter(|route| !route.is_empty());
            record.cluster = Some(info.cluster).filter(|cluster| !cluster.is_empty());
            record.endpoint = info.endpoint;
            // For a response that is already over; one that goes on is told by its body.
            record.ended.flags = Flags::named(info.flags);
        });
    }

    /// The call failed inside of the mesh.
    pub(crate) fn failed(&mut self, error: &Error) {
        self.note(|record| {
            record.ended.failed(error);
            record.route = error.route().map(Arc::from);
            record.cluster = error.cluster().map(Arc::from);
            record.endpoint = error.endpoint();
            record.failure = error.connect_failure();
        });
    }

    /// Bytes of the response's body have gone by.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.note(|record| record.sent += bytes as u64);
    }

    /// How it ended, as it is counted.
    pub(super) fn ended(&mut self, ended: Ended) {
        self.note(|record| record.ended = ended);
    }

    fn note(&mut self, note: impl FnOnce(&mut Record)) {
        if let Some(record) = &mut self.record {
            note(record);
        }
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        let Some(mut record) = self.record.take() else {
            return;
        };
        record.took = self.begun.elapsed();
        #[cfg(feature = "otel")]
        if let Some(span) = self.span.take() {
            span.end(&record);
        }
        if let Some(lines) = &self.observer.lines {
            lines.push(record);
        }
    }
}

impl fmt::Debug for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observed").finish_non_exhaustive()
    }
}
