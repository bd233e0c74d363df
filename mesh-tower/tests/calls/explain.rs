//! What is told of a request is what its calls show, and telling sends nothing.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use axum::Router;
use axum::routing::any;
use http::{Request, StatusCode};
use mesh_tower::explain::{ActionSeen, Explanation, Refusal, Verdict, Way};
use mesh_tower::{Body, CallInfo, Mesh};

use crate::support::stage::Stage;
use crate::support::{Backend, Closed, Folder, URL, node};

const SEED: u64 = 0xe71;

/// A route with the cluster and an endpoint that its calls can get.
type Place = (String, String, SocketAddr);

fn request(uri: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut builder = Request::get(uri);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(()).unwrap()
}

/// All places that an explanation names as possible.
fn told(explanation: &Explanation) -> BTreeSet<Place> {
    let mut places = BTreeSet::new();
    let Way::Routes(_, routes) = &explanation.way else {
        return places;
    };
    for route in routes.iter().filter(|route| route.probability() > 0.0) {
        let Verdict::Takes { action, .. } = &route.verdict else {
            continue;
        };
        let ActionSeen::Forward(forward) = &**action else {
            continue;
        };
        let possible = forward.choices.iter().filter(|it| it.probability > 0.0);
        for cluster in possible.map(|choice| &choice.cluster) {
            let used = cluster
                .endpoints
                .iter()
                .filter(|it| it.passed_over.is_none());
            places.extend(used.map(|endpoint| {
                let (route, cluster) = (route.name.to_string(), cluster.name.to_string());
                (route, cluster, endpoint.address)
            }));
        }
    }
    places
}

/// How an explanation says that the request fails, if that is all that it can do.
fn refusal(explanation: &Explanation) -> Option<Refusal> {
    match &explanation.way {
        Way::Refused(refusal) => return Some(refusal.clone()),
        Way::Outside(_) => return None,
        Way::Routes(..) => {}
    }
    if let Some((_, refusal)) = explanation.unrouted() {
        return Some(refusal);
    }
    let Way::Routes(_, routes) = &explanation.way else {
        return None;
    };
    let taken = routes.iter().find(|route| route.probability() > 0.0)?;
    match &taken.verdict {
        Verdict::Takes { action, .. } => match &**action {
            ActionSeen::Refused(refusal) => Some(refusal.clone()),
            ActionSeen::Forward(forward) => forward.choices.first()?.cluster.refusal.clone(),
            ActionSeen::Answer { .. } => None,
        },
        _ => None,
    }
}

async fn called(mesh: &Mesh, request: &Request<()>, count: usize) -> BTreeSet<Place> {
    let client = mesh.client().with_call_info();
    let mut places = BTreeSet::new();
    for _ in 0..count {
        let mut call = Request::get(request.uri()).body(Body::empty()).unwrap();
        call.headers_mut().clone_from(request.headers());
        let response = client.send(call).await.unwrap();
        let info = response.extensions().get::<CallInfo>().unwrap();
        let endpoint = info.endpoint.unwrap();
        places.insert((info.route.to_string(), info.cluster.to_string(), endpoint));
    }
    places
}

#[tokio::test]
async fn calls_go_to_all_that_is_told_and_to_nothing_else() {
    let one = Backend::start("v1").await;
    let also = Backend::start("v1").await;
    let two = Backend::start("v2").await;
    let workloads = [
        ("v1", one.address),
        ("v1", also.address),
        ("v2", two.address),
    ];
    let folder = Folder::reviews("HTTP", &workloads);
    folder.routes(
        "  - name: jason\n    match:\n    - headers: { end-user: { exact: jason } }\n    route:\n    - destination: { host: reviews, subset: v2 }\n\
         \x20 - name: rest\n    route:\n    - destination: { host: reviews, subset: v1 }\n      weight: 70\n    - destination: { host: reviews, subset: v2 }\n      weight: 30\n",
    );
    let mesh = folder.mesh(SEED);
    let mut all = Vec::new();
    for (headers, count) in [(&[("end-user", "jason")][..], 1), (&[][..], 3)] {
        let request = request(URL, headers);
        let explanation = mesh.explain(&request).await;
        let places = told(&explanation);
        println!("seed {SEED:#x}\n{explanation}");
        assert_eq!(places.len(), count, "{explanation}");
        assert_eq!(explanation.generation, mesh.generation());
        assert!((explanation.reaches() - 1.0).abs() < 1e-9);
        assert_eq!(called(&mesh, &request, 200).await, places);
        all.push(places);
    }
    assert_ne!(all[0], all[1], "the check must be able to fail");
}

#[tokio::test]
async fn nothing_is_sent_and_nothing_is_counted() {
    let mut stage = Stage::start().await;
    let folder = Folder::reviews("HTTP", &[("v1", stage.backend.address)]);
    let mesh = folder.mesh(SEED);
    for _ in 0..20 {
        assert!(mesh.explain(&request(URL, &[])).await.reaches() > 0.0);
    }
    let stats = mesh.stats();
    assert_eq!((stats.requests, stats.in_flight), (0, 0));
    assert!(stats.edges.iter().all(|edge| edge.requests == 0));
    // The first that arrives is the call's.
    let client = mesh.client();
    let call = tokio::spawn(async move { client.get("http://reviews:9080/call").await });
    let arrival = stage.arrival().await;
    assert_eq!(arrival.request.uri().path(), "/call");
    arrival.answer("ok");
    call.await.unwrap().unwrap();
    assert_eq!((stage.waiting(), mesh.stats().requests), (0, 1));
}

#[tokio::test]
async fn what_fails_is_told_as_the_call_fails() {
    let v1 = Backend::start("v1").await;
    let folder = Folder::reviews("HTTP", &[("v1", v1.address)]);
    folder.routes(
        "  - match: [{ uri: { exact: /gone } }]\n    route: [{ destination: { host: reviews, subset: v9 } }]\n\
         \x20 - match: [{ uri: { exact: /there } }]\n    route: [{ destination: { host: reviews, subset: v1 } }]\n",
    );
    // A service that no workload is of.
    folder.write(
        "empty.yaml",
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: { name: empty, namespace: default }\nspec:\n  hosts: [empty.default.svc.cluster.local]\n  location: MESH_INTERNAL\n  resolution: STATIC\n  ports: [{ number: 9080, name: http, protocol: HTTP }]\n  workloadSelector: { labels: { app: empty } }\n",
    );
    let mesh = folder.mesh(SEED);
    let alone = Mesh::builder().build().unwrap();
    let mut flags = BTreeSet::new();
    for (mesh, uri) in [
        (&mesh, "http://reviews:9080/elsewhere"),
        (&mesh, "http://reviews:9080/gone"),
        (&mesh, "http://empty:9080/"),
        (&mesh, "http://jason@reviews:9080/there"),
        (&alone, URL),
    ] {
        let explanation = mesh.explain(&request(uri, &[])).await;
        let refusal = refusal(&explanation).unwrap();
        let error = mesh.client().get(uri).await.unwrap_err();
        assert_eq!(
            (refusal.status, refusal.flags),
            (error.status(), error.flags()),
            "{explanation}{error}"
        );
        assert!(explanation.reaches() == 0.0, "{explanation}");
        flags.insert(refusal.flags);
    }
    assert_eq!(flags, BTreeSet::from(["NR", "NC", "UH", "DPE", "NFCF"]));

    let there = mesh
        .explain(&request("http://reviews:9080/there", &[]))
        .await;
    assert_eq!(refusal(&there), None, "{there}");
}

#[tokio::test]
async fn the_policy_for_what_leaves_the_mesh_is_told() {
    let v1 = Backend::start("v1").await;
    for (mode, reaches) in [("ALLOW_ANY", 1.0), ("REGISTRY_ONLY", 0.0)] {
        let folder = Folder::reviews("HTTP", &[("v1", v1.address)]);
        folder.write("mesh.yaml", &format!(
            "apiVersion: mesh.istio.io/v1alpha1\nkind: MeshConfig\nmetadata: {{ name: mesh }}\nspec: {{ outboundTrafficPolicy: {{ mode: {mode} }} }}\n"
        ));
        let mesh = folder.mesh(SEED);
        // A port that has virtual hosts, and one that has none.
        for uri in [
            "http://api.example.com:9080/",
            "http://api.example.com:4711/",
        ] {
            let explanation = mesh.explain(&request(uri, &[])).await;
            let Way::Routes(candidates, _) = &explanation.way else {
                panic!("{explanation}");
            };
            assert_eq!(candidates.policy(), Some(mode), "{explanation}");
            assert!((explanation.reaches() - reaches).abs() < 1e-9);
        }
        let blocked = mesh.client().get("http://api.example.com:4711/").await;
        let status = blocked.map_or_else(|error| error.status(), |answer| answer.status());
        let expected = match mode {
            "ALLOW_ANY" => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_GATEWAY,
        };
        assert_eq!(status, expected, "the resolver of this mesh knows no name");
    }
}

#[tokio::test]
async fn what_is_told_is_sent() {
    let echo = Router::new().fallback(any(|request: axum::extract::Request| async move {
        let header = request.headers().get("x-asked").cloned();
        let header = header.map(|value| value.to_str().unwrap().to_owned());
        format!("{} {}", request.uri().path(), header.unwrap_or_default())
    }));
    let v1 = Backend::serve("v1", echo).await;
    // Refuses connections; told like any other, since nothing asks it.
    let closed = Closed::new();
    let folder = Folder::reviews("HTTP", &[("v1", v1.address), ("v2", closed.address)]);
    folder.routes(
        "  - match: [{ uri: { prefix: /old/ } }]\n    rewrite: { uri: /new/ }\n    headers: { request: { set: { x-asked: \"yes\" } } }\n    route: [{ destination: { host: reviews, subset: v1 } }]\n",
    );
    let mesh = Mesh::builder()
        .yaml(folder.path())
        .node(node())
        .build()
        .unwrap();
    let uri = "http://reviews:9080/old/0";
    let explanation = mesh.explain(&request(uri, &[])).await;
    let text = explanation.to_string();
    assert!(
        text.contains("sent as http://reviews:9080/new/0")
            && text.contains("header x-asked: yes")
            && text.contains("virtual-service/reviews"),
        "{text}"
    );
    let answer = mesh.client().get(uri).await.unwrap();
    assert_eq!(answer.into_body().text().await.unwrap(), "/new/0 yes");
}
