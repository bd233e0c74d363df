//! Spans of calls and requests, by the application's own tracer.

mod attempt;
mod headers;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, Request};
use mesh_xds::Node;
use opentelemetry::trace::{
    SpanBuilder, SpanKind, Status, TraceContextExt, Tracer as Api, TracerProvider,
};
use opentelemetry::{Context, InstrumentationScope, KeyValue};

use super::propagation::Propagation;
use super::record::{Record, lossy};
pub(crate) use attempt::Tried;

/// The longest path that a span tells, as Envoy's `max_path_tag_length` is by default.
const LONGEST_PATH: usize = 256;

/// A tracer of any SDK.
#[derive(Clone)]
pub(crate) struct Tracer(Arc<dyn Start>);

/// Begins a span, and makes a context of it.
trait Start: Send + Sync {
    fn start(&self, span: SpanBuilder, parent: &Context) -> Context;
}

impl<T: Api + Send + Sync> Start for T
where
    T::Span: Send + Sync + 'static,
{
    fn start(&self, span: SpanBuilder, parent: &Context) -> Context {
        parent.with_span(self.build_with_context(span, parent))
    }
}

impl Tracer {
    pub(crate) fn of<P>(provider: &P) -> Self
    where
        P: TracerProvider,
        P::Tracer: Send + Sync + 'static,
        <P::Tracer as Api>::Span: Send + Sync + 'static,
    {
        let scope = InstrumentationScope::builder("mesh-tower")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build();
        Self(Arc::new(provider.tracer_with_scope(scope)))
    }
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tracer")
    }
}

/// Makes the spans of one mesh.
#[derive(Debug, Clone)]
pub(super) struct Spans {
    tracer: Tracer,
    propagation: Propagation,
    /// What every span says of this process.
    own: Arc<[KeyValue]>,
}

impl Spans {
    pub(super) fn new(tracer: Tracer, node: &Node, propagation: Propagation) -> Self {
        let workload = node.workload();
        let mut own = vec![
            KeyValue::new("component", "proxy"),
            KeyValue::new("node_id", node.id()),
        ];
        let mut known = |key: &'static str, value: &Arc<str>| {
            if !value.is_empty() {
                own.push(KeyValue::new(key, Arc::clone(value)));
            }
        };
        known("istio.canonical_service", &workload.canonical_service);
        known("istio.canonical_revision", &workload.canonical_revision);
        known("istio.namespace", &workload.namespace);
        known("istio.cluster_id", &workload.cluster);
        if let Some(mesh) = node.mesh_id() {
            own.push(KeyValue::new("istio.mesh_id", mesh.to_owned()));
        }
        Self {
            tracer,
            propagation,
            own: own.into(),
        }
    }

    /// Of a call. It is under the span that the application is in, else under what the request carries.
    pub(super) fn client<B>(&self, request: &mut Request<B>, record: &Record) -> Span {
        let parent = self.parent(request.headers());
        let span = self.span(SpanKind::Client, &parent, record);
        // Also a copy for a mirror carries it, which has no attempts of its own.
        self.propagation.inject(&span.0, request.headers_mut());
        request.extensions_mut().insert(attempt::Tracked {
            spans: self.clone(),
            call: span.0.clone(),
        });
        span
    }

    /// Of a request that has come.
    pub(super) fn server(&self, headers: &HeaderMap, record: &Record) -> Span {
        let parent = self.parent(headers);
        self.span(SpanKind::Server, &parent, record)
    }

    fn parent(&self, headers: &HeaderMap) -> Context {
        let current = Context::current();
        if current.span().span_context().is_valid() {
            return current;
        }
        match self.propagation.extract(headers) {
            Some(remote) => current.with_remote_span_context(remote),
            None => current,
        }
    }

    /// The name is what istiod gives to the routes of a service, which Envoy names spans by.
    fn span(&self, kind: SpanKind, parent: &Context, record: &Record) -> Span {
        let authority = record.authority.as_deref().unwrap_or_default();
        let secure = record.uri.scheme_str() == Some("https");
        let name = match mesh_core::request::split_port(authority) {
            (_, Some(_)) => format!("{authority}/*"),
            (host, None) => format!("{host}:{}/*", if secure { 443 } else { 80 }),
        };
        let scheme = if secure { "https" } else { "http" };
        let path = record
            .uri
            .path_and_query()
            .map_or("/", |path| path.as_str());
        let path: String = path.chars().take(LONGEST_PATH).collect();
        let mut about = self.own.to_vec();
        about.extend([
            KeyValue::new("http.url", format!("{scheme}://{authority}{path}")),
            KeyValue::new("http.method", record.method.to_string()),
            KeyValue::new("http.protocol", record.protocol()),
        ]);
        let headers = [
            ("user_agent", &record.user_agent),
            ("guid:x-request-id", &record.request_id),
        ];
        about.extend(
            headers
                .into_iter()
                .filter_map(|(key, value)| Some(KeyValue::new(key, lossy(value.as_ref()?)))),
        );
        if let Some(peer) = record.peer {
            about.push(KeyValue::new("peer.address", peer.ip().to_string()));
        }
        Span(self.start(name, kind, about, parent))
    }

    fn start(
        &self,
        name: impl Into<Cow<'static, str>>,
        kind: SpanKind,
        about: Vec<KeyValue>,
        parent: &Context,
    ) -> Context {
        let span = SpanBuilder::from_name(name)
            .with_kind(kind)
            .with_attributes(about);
        self.tracer.0.start(span, parent)
    }
}

/// The span of a call or of a request.
pub(super) struct Span(Context);

impl Span {
    pub(super) fn context(&self) -> Context {
        self.0.clone()
    }

    pub(super) fn end(self, record: &Record) {
        let span = self.0.span();
        span.set_attribute(KeyValue::new(
            "http.status_code",
            i64::from(record.ended.code),
        ));
        span.set_attribute(KeyValue::new(
            "response_flags",
            record.ended.flags.to_string(),
        ));
        let size = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        if let Some(received) = record.received {
            span.set_attribute(KeyValue::new("request_size", size(received)));
        }
        span.set_attribute(KeyValue::new("response_size", size(record.sent)));
        if let Some(cluster) = &record.cluster {
            span.set_attribute(KeyValue::new("upstream_cluster", Arc::clone(cluster)));
        }
        if let Some(endpoint) = record.endpoint {
            span.set_attribute(KeyValue::new("peer.address", endpoint.ip().to_string()));
        }
        let grpc = record.grpc_status();
        if let Some(status) = grpc {
            span.set_attribute(KeyValue::new("grpc.status_code", i64::from(status)));
        }
        if record.is_error() || grpc.is_some_and(|status| status != 0) {
            failed(&span, record.ended.flags.to_string());
        }
        span.end();
    }
}

/// Marks a span as Envoy does and as OpenTelemetry does.
fn failed(span: &opentelemetry::trace::SpanRef<'_>, why: String) {
    span.set_attribute(KeyValue::new("error", true));
    span.set_status(Status::error(why));
}
