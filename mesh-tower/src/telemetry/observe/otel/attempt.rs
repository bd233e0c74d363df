//! The span of one attempt, under that of its call.

use http::Request;
use opentelemetry::trace::{SpanKind, TraceContextExt};
use opentelemetry::{Context, KeyValue};

use super::{Spans, failed};
use crate::client::Answered;
use crate::error::{Error, Place};
use crate::pool::Sending;

/// In the extensions of a request: the call that it is of.
#[derive(Clone)]
pub(super) struct Tracked {
    pub(super) spans: Spans,
    pub(super) call: Context,
}

/// An attempt that runs. It lasts until the response begins; what comes after is in the span of the call.
pub(crate) struct Tried {
    /// `None` when it has ended.
    span: Option<Context>,
}

impl Tried {
    /// Begins it, if the call has a span: what is sent is under the attempt's own.
    pub(crate) fn start<B>(request: &mut Request<B>, place: &Place) -> Option<Self> {
        let Tracked { spans, call } = request.extensions().get::<Tracked>()?.clone();
        let mut about = spans.own.to_vec();
        let cluster = place.cluster.as_deref().unwrap_or_default();
        about.push(KeyValue::new("upstream_cluster", cluster.to_owned()));
        // As Envoy names them.
        let name = format!("router {cluster} egress");
        let span = spans.start(name, SpanKind::Client, about, &call);
        spans.propagation.inject(&span, request.headers_mut());
        Some(Self { span: Some(span) })
    }

    /// Watches what was begun.
    pub(crate) fn over<B: Send + 'static>(mut self, sending: Sending<B>) -> Sending<B> {
        Box::pin(async move {
            let result = sending.await;
            match &result {
                Ok(answered) => self.answered(answered),
                Err(failed) => self.failed(&failed.error),
            }
            result
        })
    }

    fn answered(&mut self, answered: &Answered) {
        let Some(context) = self.span.take() else {
            return;
        };
        let (span, status) = (context.span(), answered.response.status());
        span.set_attribute(KeyValue::new(
            "http.status_code",
            i64::from(status.as_u16()),
        ));
        if let Some(endpoint) = answered.endpoint {
            span.set_attribute(KeyValue::new("peer.address", endpoint.ip().to_string()));
            span.set_attribute(KeyValue::new("upstream_address", endpoint.to_string()));
        }
        if status.is_server_error() {
            failed(&span, status.to_string());
        }
        span.end();
    }

    fn failed(&mut self, error: &Error) {
        if let Some(endpoint) = error.endpoint() {
            self.tell("peer.address", endpoint.ip().to_string());
            self.tell("upstream_address", endpoint.to_string());
        }
        self.gave_up(error.flags(), error.to_string());
    }

    fn tell(&self, key: &'static str, value: String) {
        if let Some(context) = &self.span {
            context.span().set_attribute(KeyValue::new(key, value));
        }
    }

    fn gave_up(&mut self, flags: &'static str, why: String) {
        if let Some(context) = self.span.take() {
            let span = context.span();
            span.set_attribute(KeyValue::new("response_flags", flags));
            failed(&span, why);
            span.end();
        }
    }
}

impl Drop for Tried {
    fn drop(&mut self) {
        // A limit of the call's time has passed, or its caller waits no longer.
        self.gave_up("DC", "nobody waited for the response".to_owned());
    }
}
