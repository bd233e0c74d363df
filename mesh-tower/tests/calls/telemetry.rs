//! Istio's request metrics, read as Prometheus reads them.

mod ends;
#[cfg(feature = "metrics")]
mod facade;
mod text;

use std::net::SocketAddr;

use axum::Router;
use axum::routing::get;
use mesh_tower::{Mesh, Node};

use crate::support::{Closed, Folder, URL, answers, until};
use text::{Sample, parse};

pub(super) const LABELS: [&str; 25] = [
    "connection_security_policy",
    "destination_app",
    "destination_canonical_revision",
    "destination_canonical_service",
    "destination_cluster",
    "destination_principal",
    "destination_service",
    "destination_service_name",
    "destination_service_namespace",
    "destination_version",
    "destination_workload",
    "destination_workload_namespace",
    "grpc_response_status",
    "reporter",
    "request_protocol",
    "response_code",
    "response_flags",
    "source_app",
    "source_canonical_revision",
    "source_canonical_service",
    "source_cluster",
    "source_principal",
    "source_version",
    "source_workload",
    "source_workload_namespace",
];

pub(super) const REQUESTS: &str = "istio_requests_total";
pub(super) const DURATIONS: &str = "istio_request_duration_milliseconds_count";

/// The counter of calls, once every series was found to have all labels and as many durations as calls.
pub(in crate::telemetry) fn requests(mesh: &Mesh) -> Vec<Sample> {
    let samples = parse(&mesh.prometheus()).unwrap();
    let of = |name: &'static str| samples.iter().filter(move |one| one.name == name);
    for one in of(REQUESTS) {
        let labels: Vec<&str> = one.labels.keys().map(String::as_str).collect();
        assert_eq!(labels, LABELS);
        let durations = of(DURATIONS).find(|other| other.labels == one.labels);
        assert_eq!(durations.unwrap().value, one.value);
    }
    assert_eq!(of(DURATIONS).count(), of(REQUESTS).count());
    of(REQUESTS).cloned().collect()
}

/// How many calls there were with these labels.
pub(in crate::telemetry) fn count(samples: &[Sample], labels: &[(&str, &str)]) -> f64 {
    let fits = |one: &&Sample| {
        labels
            .iter()
            .all(|(name, value)| one.labels[*name] == *value)
    };
    samples.iter().filter(fits).map(|one| one.value).sum()
}

/// `reviews`, which says in its labels who it is.
pub(super) async fn reviews(app: Router) -> (SocketAddr, Mesh) {
    let node = Node::sidecar("reviews-v1-0", "default")
        .with_labels([("app", "reviews"), ("version", "v1")]);
    let mesh = Mesh::builder().node(node).build().unwrap();
    let listener = mesh.listen("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr();
    tokio::spawn(listener.serve(app));
    (address, mesh)
}

const ROUTES: &str = "  - match: [{ uri: { prefix: /old } }]\n    redirect: { uri: /new }\n  - match: [{ uri: { prefix: /direct } }]\n    directResponse: { status: 418, body: { string: short } }\n  - match: [{ uri: { prefix: /closed } }]\n    route: [{ destination: { host: reviews, subset: closed } }]\n  - match: [{ uri: { prefix: /reviews } }]\n    route: [{ destination: { host: reviews, subset: v1 } }]\n";

/// What both ends of a call to `reviews` say of it.
const KNOWN_TO_BOTH: [(&str, &str); 10] = [
    ("destination_workload", "reviews-v1-0"),
    ("destination_workload_namespace", "default"),
    ("destination_canonical_service", "reviews"),
    ("destination_canonical_revision", "v1"),
    ("destination_cluster", "Kubernetes"),
    ("destination_service_namespace", "default"),
    ("destination_principal", "unknown"),
    ("request_protocol", "http"),
    ("grpc_response_status", ""),
    ("response_flags", "-"),
];

#[tokio::test]
async fn both_ends_count_every_call_once_and_agree_on_what_both_know() {
    let app = Router::new()
        .route("/reviews/0", get(|| async { "ok" }))
        .route("/reviews/1", get(|| async { http::StatusCode::CREATED }));
    let (address, server) = reviews(app).await;
    let folder = Folder::reviews("HTTP", &[("v1", address)]);
    folder.routes(ROUTES);
    let mesh = folder.mesh(7);
    assert_eq!(requests(&mesh), [], "no call, no series");
    answers(&mesh.client(), 3).await;
    let other = mesh.client().get("http://reviews:9080/reviews/1").await;
    assert_eq!(other.unwrap().status(), 201);
    let missing = mesh.client().get("http://reviews:9080/reviews/2").await;
    let missing = missing.unwrap();
    assert_eq!(missing.status(), 404);
    missing.into_body().bytes().await.unwrap();

    let source = requests(&mesh);
    until("the server to have counted", || async {
        count(&requests(&server), &[]) == 5.0
    })
    .await;
    let destination = requests(&server);
    for (code, calls) in [("200", 3.0), ("201", 1.0), ("404", 1.0)] {
        let one = |all: &[Sample], reporter: &str| {
            let of = |one: &&Sample| one.labels["response_code"] == code;
            let all: Vec<&Sample> = all.iter().filter(of).collect();
            let [one] = all[..] else { panic!("{all:?}") };
            assert_eq!(one.labels["reporter"], reporter);
            assert_eq!(one.value, calls);
            one.labels.clone()
        };
        let (source, destination) = (one(&source, "source"), one(&destination, "destination"));
        for (name, expected) in KNOWN_TO_BOTH {
            assert_eq!(source[name], expected, "{name} at the source");
            assert_eq!(destination[name], expected, "{name} at the destination");
        }
        let host = "reviews.default.svc.cluster.local";
        for (name, at_source, at_destination) in [
            ("source_workload", "productpage-v1", "unknown"),
            ("source_workload_namespace", "default", "unknown"),
            ("source_canonical_service", "productpage", "unknown"),
            ("source_canonical_revision", "latest", "latest"),
            ("source_app", "productpage", "unknown"),
            ("destination_app", "unknown", "reviews"),
            ("destination_version", "unknown", "v1"),
            ("destination_service", host, "reviews"),
            ("connection_security_policy", "unknown", "none"),
        ] {
            assert_eq!(source[name], at_source, "{name}");
            assert_eq!(destination[name], at_destination, "{name}");
        }
    }
}

#[tokio::test]
async fn what_ends_inside_of_the_mesh_is_counted_as_a_sidecar_would_answer_it() {
    let (address, server) = reviews(Router::new()).await;
    let closed = Closed::new();
    let folder = Folder::reviews("HTTP", &[("v1", address), ("closed", closed.address)]);
    folder.routes(ROUTES);
    let mesh = folder.mesh(7);
    let mut calls = 0.0;
    for (path, expected) in [
        ("old", Ok(301)),
        ("direct", Ok(418)),
        ("closed", Err("UF")),
        ("none", Err("NR")),
    ] {
        for _ in 0..2 {
            let called = mesh
                .client()
                .get(&format!("http://reviews:9080/{path}"))
                .await;
            let ended = match called {
                Ok(response) => {
                    let status = response.status().as_u16();
                    response.into_body().bytes().await.unwrap();
                    Ok(status)
                }
                Err(error) => Err(error.flags()),
            };
            assert_eq!(ended, expected);
            calls += 1.0;
        }
    }
    assert!(mesh.client().get("http://unknown:9080/").await.is_err());
    assert!(mesh.client().get("no URI").await.is_err(), "never a call");
    calls += 1.0;
    let all = requests(&mesh);
    let host = ("destination_service", "reviews.default.svc.cluster.local");
    let nobody = ("destination_workload", "unknown");
    for (code, flags, workload) in [
        ("301", "-", nobody),
        ("418", "-", nobody),
        ("503", "UF", ("destination_workload", "reviews-closed-1")),
        ("404", "NR", nobody),
    ] {
        let labels = [
            ("response_code", code),
            ("response_flags", flags),
            host,
            workload,
        ];
        assert_eq!(count(&all, &labels), 2.0, "{labels:?}: {all:#?}");
    }
    assert_eq!(count(&all, &[]), calls, "{all:#?}");
    assert_eq!(requests(&server), [], "nothing came there");
}

/// A counter that falls when one of a workload's endpoints leaves would look like a restart.
#[tokio::test]
async fn a_workload_that_loses_an_endpoint_keeps_its_count() {
    let (one, _mesh) = reviews(Router::new()).await;
    let (other, _mesh) = reviews(Router::new()).await;
    let entry = |at: usize, address: SocketAddr| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{ name: reviews-{at}, namespace: default }}\nspec: {{ address: {}, ports: {{ http: {} }}, labels: {{ app: reviews, version: v1 }} }}\n",
            address.ip(),
            address.port()
        )
    };
    let folder = Folder::reviews("HTTP", &[("v1", one)]);
    folder.split(&[("v1", 1)]);
    folder.write(
        "workloads.yaml",
        &format!("{}{}", entry(0, one), entry(1, other)),
    );
    let mesh = folder.mesh(7);
    let client = mesh.client();
    for _ in 0..4 {
        drop(client.get(URL).await.unwrap().into_body().bytes().await);
    }
    assert_eq!(count(&requests(&mesh), &[]), 4.0);
    let generation = mesh.generation();
    folder.write("workloads.yaml", &entry(0, one));
    until("the endpoint to leave", || async {
        mesh.generation() > generation
    })
    .await;
    let after = requests(&mesh);
    assert_eq!(count(&after, &[]), 4.0, "{after:#?}");
    drop(client.get(URL).await.unwrap().into_body().bytes().await);
    assert_eq!(count(&requests(&mesh), &[]), 5.0);
}
