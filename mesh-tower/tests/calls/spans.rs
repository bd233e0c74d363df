//! OpenTelemetry spans of calls and requests.

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::any;
use http::{Request, StatusCode};
use mesh_tower::{Body, Builder, Mesh, MeshClient, Node, Propagation};
use opentelemetry::Context;
use opentelemetry::trace::{
    FutureExt, SpanId, SpanKind, Status, TraceContextExt, Tracer, TracerProvider,
};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};

use crate::support::outside::Names;
use crate::support::stage::Stage;
use crate::support::{Backend, Closed, Folder, URL, node, until};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

/// A tracer whose spans are kept.
struct Traced {
    provider: SdkTracerProvider,
    kept: InMemorySpanExporter,
}

impl Traced {
    fn new() -> Self {
        let kept = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder()
            .with_simple_exporter(kept.clone())
            .build();
        Self { provider, kept }
    }

    fn ended(&self) -> Vec<SpanData> {
        self.kept.get_finished_spans().unwrap()
    }

    async fn wait(&self, count: usize) -> Vec<SpanData> {
        until("the spans", async || self.ended().len() >= count).await;
        let ended = self.ended();
        assert_eq!(ended.len(), count, "{:?}", names(&ended));
        ended
    }

    fn mesh(&self, folder: &Folder, change: impl FnOnce(Builder) -> Builder) -> Mesh {
        let builder = Mesh::builder()
            .yaml(folder.path())
            .node(node())
            .resolver(Names::default())
            .tracer_provider(&self.provider);
        change(builder).build().unwrap()
    }
}

fn names(spans: &[SpanData]) -> Vec<String> {
    spans.iter().map(|span| span.name.to_string()).collect()
}

fn about<'a>(span: &'a SpanData, key: &str) -> Option<std::borrow::Cow<'a, str>> {
    let found = span.attributes.iter().find(|one| one.key.as_str() == key)?;
    Some(found.value.as_str())
}

fn is_failed(span: &SpanData) -> bool {
    let status = matches!(span.status, Status::Error { .. });
    assert_eq!(about(span, "error").as_deref() == Some("true"), status);
    status
}

async fn call(client: &MeshClient, headers: &[(&str, &str)]) -> String {
    let mut request = Request::get(URL);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).unwrap();
    let response = client.send(request).await.unwrap();
    response.into_body().text().await.unwrap()
}

/// `reviews` answers the headers of a trace that it was told.
async fn echo() -> (Backend, Folder) {
    let app = Router::new().fallback(any(|headers: HeaderMap| async move {
        let mut told: Vec<String> = headers
            .iter()
            .filter(|(name, _)| {
                let name = name.as_str();
                name.starts_with("trace") || name.starts_with("x-b3") || name == "b3"
            })
            .map(|(name, value)| format!("{name}={}", value.to_str().unwrap()))
            .collect();
        told.sort();
        told.join(" ")
    }));
    let backend = Backend::serve("v1", app).await;
    let folder = Folder::reviews("HTTP", &[("v1", backend.address)]);
    (backend, folder)
}

#[tokio::test]
async fn a_chain_of_services_is_one_trace() {
    let traced = Traced::new();
    let reviews = Mesh::builder()
        .node(Node::sidecar("reviews-v1", "default").with_labels([("app", "reviews")]))
        .tracer_provider(&traced.provider)
        .build()
        .unwrap();
    let listener = reviews.listen("127.0.0.1:0").await.unwrap();
    let folder = Folder::reviews("HTTP", &[("v1", listener.local_addr())]);
    let endpoint = listener.local_addr();
    tokio::spawn(listener.serve(Router::new().fallback(any(|| async { "reviewed" }))));
    let front = traced.mesh(&folder, |it| it);
    let handler = |State(client): State<MeshClient>| async move { call(&client, &[]).await };
    let app = Router::new()
        .fallback(any(handler))
        .with_state(front.client());
    let listener = front.listen("127.0.0.1:0").await.unwrap();
    let authority = listener.local_addr().to_string();
    tokio::spawn(listener.serve(app));
    let caller = Mesh::builder()
        .direct()
        .tracer_provider(&traced.provider)
        .build()
        .unwrap();
    let url = format!("http://{authority}/page?id=1");
    let response = caller.client().get(&url).await.unwrap();
    assert_eq!(response.into_body().text().await.unwrap(), "reviewed");

    let spans = traced.wait(6).await;
    let (cluster, front) = (
        "outbound|9080||reviews.default.svc.cluster.local",
        format!("{authority}/*"),
    );
    let egress = format!("router {cluster} egress");
    let mut parent = SpanId::INVALID;
    let mut chain = Vec::new();
    for _ in 0..6 {
        let below = spans.iter().find(|span| span.parent_span_id == parent);
        let span = below.unwrap();
        assert_eq!(
            span.span_context.trace_id(),
            spans[0].span_context.trace_id()
        );
        assert!(!is_failed(span));
        parent = span.span_context.span_id();
        chain.push(span);
    }
    let told: Vec<_> = chain
        .iter()
        .map(|span| (span.name.as_ref(), span.span_kind.clone()))
        .collect();
    let first = told[1].0;
    assert!(
        first.starts_with("router ") && first.ends_with(" egress"),
        "{first}"
    );
    assert_eq!(
        told,
        [
            (front.as_str(), SpanKind::Client),
            (first, SpanKind::Client),
            (front.as_str(), SpanKind::Server),
            ("reviews:9080/*", SpanKind::Client),
            (egress.as_str(), SpanKind::Client),
            ("reviews:9080/*", SpanKind::Server),
        ]
    );
    // One id over all of them.
    let id = about(chain[0], "guid:x-request-id").unwrap();
    let asked = [0, 2, 3, 5].map(|at| about(chain[at], "guid:x-request-id"));
    assert!(
        asked.iter().all(|one| one.as_ref() == Some(&id)),
        "{asked:?}"
    );
    let expected = [
        ("http.url", "http://reviews:9080/reviews/0"),
        ("http.method", "GET"),
        ("http.protocol", "HTTP/1.1"),
        ("http.status_code", "200"),
        ("response_flags", "-"),
        ("response_size", "8"),
        ("upstream_cluster", cluster),
        ("peer.address", "127.0.0.1"),
        ("component", "proxy"),
        ("istio.canonical_service", "productpage"),
        ("istio.canonical_revision", "latest"),
        ("istio.namespace", "default"),
        ("istio.cluster_id", "Kubernetes"),
    ];
    for (key, value) in expected {
        assert_eq!(about(chain[3], key).as_deref(), Some(value), "{key}");
    }
    let tried = about(chain[4], "upstream_address");
    assert_eq!(tried.as_deref(), Some(endpoint.to_string().as_str()));
    let service = about(chain[5], "istio.canonical_service");
    assert_eq!(service.as_deref(), Some("reviews"));
}

#[tokio::test]
async fn attempts_are_below_their_call_and_failures_are_marked() {
    let (closed, backend) = (Closed::new(), Backend::start("v1").await);
    let addresses = [("v1", closed.address), ("v1", backend.address)];
    let folder = Folder::reviews("HTTP", &addresses);
    let traced = Traced::new();
    let client = traced.mesh(&folder, |it| it).client();
    let mut repeated = None;
    for _ in 0..64 {
        call(&client, &[]).await;
        let spans = traced.ended();
        traced.kept.reset();
        if spans.len() > 2 {
            repeated = Some(spans);
            break;
        }
    }
    let spans = repeated.unwrap();
    let [first, second, whole] = &spans[..] else {
        panic!("{:?}", names(&spans));
    };
    let call_id = whole.span_context.span_id();
    assert_eq!([first.parent_span_id, second.parent_span_id], [call_id; 2]);
    assert!(is_failed(first) && !is_failed(second) && !is_failed(whole));
    assert_eq!(about(first, "response_flags").as_deref(), Some("UF"));
}

#[tokio::test]
async fn a_call_that_fails_is_an_error_with_its_flags() {
    let closed = Closed::new();
    let folder = Folder::reviews("HTTP", &[("v1", closed.address)]);
    let traced = Traced::new();
    let client = traced.mesh(&folder, |it| it).client();
    client.get(URL).await.unwrap_err();
    let spans = traced.wait(2).await;
    assert!(spans.iter().all(is_failed));
    assert_eq!(about(&spans[1], "response_flags").as_deref(), Some("UF"));
    assert_eq!(about(&spans[1], "http.status_code").as_deref(), Some("503"));
}

#[tokio::test]
async fn a_status_of_the_server_is_an_error_from_500_on() {
    for (status, failed) in [(404, false), (499, false), (500, true), (503, true)] {
        let status = StatusCode::from_u16(status).unwrap();
        let backend = Backend::serve(
            "v1",
            Router::new().fallback(any(move || async move { status })),
        );
        let folder = Folder::reviews("HTTP", &[("v1", backend.await.address)]);
        let traced = Traced::new();
        call(&traced.mesh(&folder, |it| it).client(), &[]).await;
        let spans = traced.wait(2).await;
        assert!(
            spans.iter().all(|span| is_failed(span) == failed),
            "{status}"
        );
    }
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_is_an_error() {
    let mut stage = Stage::start().await;
    let folder = Folder::reviews("HTTP", &[("v1", stage.backend.address)]);
    let traced = Traced::new();
    let client = traced.mesh(&folder, |it| it).client();
    let calling = tokio::spawn(async move { client.get(URL).await.map(drop) });
    let _arrival = stage.arrival().await;
    assert!(traced.ended().is_empty());
    calling.abort();
    let spans = traced.wait(2).await;
    assert!(spans.iter().all(is_failed));
    let flags = spans.iter().map(|span| about(span, "response_flags"));
    assert!(
        flags
            .into_iter()
            .all(|flags| flags.as_deref() == Some("DC"))
    );
}

#[tokio::test]
async fn a_call_is_below_the_applications_own_span() {
    let (_backend, folder) = echo().await;
    let traced = Traced::new();
    let client = traced.mesh(&folder, |it| it).client();
    let own = traced.provider.tracer("application").start("own");
    let own = Context::new().with_span(own);
    let id = own.span().span_context().span_id();
    let parent = format!("00-{TRACE}-{SPAN}-01");
    // It wins over what a header says.
    let headers = [("traceparent", parent.as_str())];
    let told = call(&client, &headers).with_context(own).await;
    assert!(!told.contains(TRACE), "{told}");
    assert!(traced.ended().iter().any(|span| span.parent_span_id == id));
}

/// What comes in by headers is the parent, and its trace is what goes out.
#[tokio::test]
async fn headers_of_a_trace_are_read_and_written() {
    let (_backend, folder) = echo().await;
    let w3c = format!("00-{TRACE}-{SPAN}-01");
    let (single, long) = (
        format!("{TRACE}-{SPAN}-1"),
        format!("{TRACE}-{SPAN}-d-{SPAN}"),
    );
    let later = format!("01-{TRACE}-{SPAN}-01-more");
    let upper = TRACE.to_uppercase();
    let all = Propagation::All;
    let good: [(Propagation, &[(&str, &str)]); 8] = [
        (all, &[("traceparent", &w3c), ("tracestate", "a=1,b=2")]),
        (all, &[("traceparent", &later)]),
        (all, &[("b3", &single)]),
        (all, &[("b3", &long)]),
        (
            all,
            &[
                ("x-b3-traceid", TRACE),
                ("x-b3-spanid", SPAN),
                ("x-b3-sampled", "1"),
            ],
        ),
        (
            Propagation::B3,
            &[
                ("x-b3-traceid", &upper),
                ("x-b3-spanid", SPAN),
                ("x-b3-flags", "1"),
            ],
        ),
        (
            Propagation::B3Single,
            &[("b3", &single), ("traceparent", "00-1-2-3")],
        ),
        (Propagation::W3c, &[("traceparent", &w3c), ("b3", &single)]),
    ];
    for (propagation, headers) in good {
        let traced = Traced::new();
        let mesh = traced.mesh(&folder, |it| it.propagation(propagation));
        let told = call(&mesh.client(), headers).await;
        let spans = traced.wait(2).await;
        let [attempt, whole] = &spans[..] else {
            panic!("{:?}", names(&spans));
        };
        assert_eq!(whole.parent_span_id.to_string(), SPAN, "{headers:?}");
        assert_eq!(whole.span_context.trace_id().to_string(), TRACE);
        let id = attempt.span_context.span_id();
        let b3 = format!("x-b3-sampled=1 x-b3-spanid={id} x-b3-traceid={TRACE}");
        let state = match headers.iter().any(|(name, _)| *name == "tracestate") {
            true => "tracestate=a=1,b=2 ",
            false => "",
        };
        let expected = match propagation {
            Propagation::W3c => format!("traceparent=00-{TRACE}-{id}-01"),
            Propagation::B3 => b3,
            Propagation::B3Single => format!("b3={TRACE}-{id}-1"),
            _ => format!("traceparent=00-{TRACE}-{id}-01 {state}{b3}"),
        };
        assert_eq!(told, expected, "{headers:?}");
    }
}

#[tokio::test]
async fn ids_of_64_bits_are_padded_and_what_is_not_sampled_makes_no_span() {
    let (_backend, folder) = echo().await;
    let traced = Traced::new();
    let client = traced
        .mesh(&folder, |it| it.propagation(Propagation::B3))
        .client();
    let headers = [
        ("x-b3-traceid", SPAN),
        ("x-b3-spanid", SPAN),
        ("x-b3-sampled", "0"),
    ];
    let told = call(&client, &headers).await;
    assert!(told.starts_with("x-b3-sampled=0 "), "{told}");
    assert!(
        told.ends_with(&format!(" x-b3-traceid={SPAN:0>32}")),
        "{told}"
    );
    assert!(traced.ended().is_empty(), "its parent is not sampled");
}

/// A trace of one's own begins, and what was malformed does not go on.
#[tokio::test]
async fn malformed_headers_are_as_none() {
    let (_backend, folder) = echo().await;
    let traced = Traced::new();
    let client = traced.mesh(&folder, |it| it).client();
    let zero = "0".repeat(32);
    let parents = [
        String::new(),
        "00".to_owned(),
        format!("ff-{TRACE}-{SPAN}-01"),
        format!("0-{TRACE}-{SPAN}-01"),
        format!("00-{TRACE}-{SPAN}"),
        format!("00-{TRACE}-{SPAN}-1"),
        format!("00-{TRACE}-{SPAN}-0g"),
        format!("00-{TRACE}-{SPAN}-01-more"),
        format!("00-{zero}-{SPAN}-01"),
        format!("00-{TRACE}-{}-01", &zero[..16]),
        format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
        format!("00-+{}-{SPAN}-01", &TRACE[1..]),
    ];
    let single = [
        "0".to_owned(),
        "-".to_owned(),
        format!("{TRACE}-"),
        format!("{TRACE}-{SPAN}-x"),
        format!("{TRACE}-{SPAN}-1-short"),
        format!("{TRACE}-{SPAN}-1-{SPAN}-more"),
        format!("{zero}-{SPAN}-1"),
        format!("{}-{SPAN}-1", &TRACE[1..]),
    ];
    let parents = parents.map(|value| ("traceparent", value));
    let single = single.map(|value| ("b3", value));
    let ids = [
        ("x-b3-traceid", TRACE.to_owned()),
        ("x-b3-spanid", SPAN.to_owned()),
    ];
    for (name, value) in parents.into_iter().chain(single).chain(ids) {
        let told = call(&client, &[(name, &value)]).await;
        let spans = traced.wait(2).await;
        traced.kept.reset();
        assert_eq!(
            spans[1].parent_span_id,
            SpanId::INVALID,
            "{name}: {value:?}"
        );
        assert!(
            !told.contains(TRACE) && !told.contains("b3="),
            "{value:?}: {told}"
        );
    }
    // Negative control: the one that is well formed is not among them.
    let told = call(
        &client,
        &[("traceparent", &format!("00-{TRACE}-{SPAN}-01"))],
    )
    .await;
    assert!(told.contains(TRACE), "{told}");
}

/// Two values are none: which is meant cannot be known. A broken `tracestate` costs the state, not the trace.
#[tokio::test]
async fn two_parents_are_none() {
    let (_backend, folder) = echo().await;
    let traced = Traced::new();
    let client = traced.mesh(&folder, |it| it).client();
    let parent = format!("00-{TRACE}-{SPAN}-01");
    let told = call(
        &client,
        &[("traceparent", &parent), ("traceparent", &parent)],
    )
    .await;
    assert!(!told.contains(TRACE), "{told}");
    let told = call(
        &client,
        &[("traceparent", &parent), ("tracestate", "no state")],
    )
    .await;
    assert!(
        told.contains(TRACE) && !told.contains("tracestate"),
        "{told}"
    );
}

/// Negative control: the same call without a tracer makes no span and adds no header.
#[tokio::test]
async fn without_a_tracer_there_is_nothing() {
    let (_backend, folder) = echo().await;
    let client = folder.mesh(1).client();
    let traced = Traced::new();
    let own = traced.provider.tracer("application").start("own");
    let own = Context::new().with_span(own);
    assert_eq!(call(&client, &[]).with_context(own).await, "");
    let others: Vec<_> = names(&traced.ended());
    assert_eq!(others, ["own"]);
}
