//! A call from a folder of YAML to a backend: routes, splits, versions, failures.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::routing::post;
use http::{Request, StatusCode};
use mesh_tower::{Body, CallInfo, Mesh, Sent};

use crate::support::outside::Server;
use crate::support::{
    Backend, Closed, Folder, URL, answers, get, node, text_of, until, within_five_sigma,
};

const SEED: u64 = 0x5eed;

#[tokio::test]
async fn weights_split_as_told_over_sockets() {
    let (v1, v2, v3) = (
        Backend::start("v1").await,
        Backend::start("v2").await,
        Backend::start("v3").await,
    );
    let folder = Folder::reviews(
        "HTTP",
        &[("v1", v1.address), ("v2", v2.address), ("v3", v3.address)],
    );
    // The weights do not add up to 100, and one of them is 0.
    folder.split(&[("v1", 45), ("v2", 5), ("v3", 0)]);
    let client = folder.mesh(SEED).client();
    let counts = answers(&client, 2000).await;
    println!("seed {SEED:#x}: {counts:?}");
    assert!(within_five_sigma(counts["v2"], 2000, 0.1), "{counts:?}");
    assert_eq!(counts.get("v3"), None, "weight 0 gets nothing");
    assert!(
        !within_five_sigma(counts["v2"], 2000, 0.2),
        "the check must be able to fail"
    );
}

#[tokio::test]
async fn without_a_virtual_service_all_endpoints_are_used() {
    let (v1, v2) = (Backend::start("v1").await, Backend::start("v2").await);
    let folder = Folder::reviews("HTTP", &[("v1", v1.address), ("v2", v2.address)]);
    let client = folder.mesh(SEED).client();
    let counts = answers(&client, 400).await;
    assert!(within_five_sigma(counts["v1"], 400, 0.5), "{counts:?}");
}

#[tokio::test]
async fn the_first_matching_route_wins() {
    let (v1, v2) = (Backend::start("v1").await, Backend::start("v2").await);
    let folder = Folder::reviews("HTTP", &[("v1", v1.address), ("v2", v2.address)]);
    folder.routes(
        "  - name: jason\n    match:\n    - headers: { end-user: { exact: jason } }\n    route:\n    - destination: { host: reviews, subset: v2 }\n\
         \x20 - name: api\n    match:\n    - uri: { prefix: /reviews }\n    route:\n    - destination: { host: reviews, subset: v1 }\n",
    );
    let client = folder.mesh(SEED).client().with_call_info();
    assert_eq!(get(&client, ("end-user", "jason")).await.1, "v2 HTTP/1.1");
    assert_eq!(get(&client, ("end-user", "maria")).await.1, "v1 HTTP/1.1");

    let response = client.get(URL).await.unwrap();
    let info = response.extensions().get::<CallInfo>().unwrap();
    assert_eq!(
        &*info.cluster,
        "outbound|9080|v1|reviews.default.svc.cluster.local"
    );
    assert_eq!((info.endpoint, info.attempts), (Some(v1.address), 1));
    assert!(info.route.contains("api"), "{info:?}");

    let error = client
        .get("http://reviews:9080/elsewhere")
        .await
        .unwrap_err();
    assert_eq!(
        (error.status(), error.flags()),
        (StatusCode::NOT_FOUND, "NR")
    );
    assert!(error.to_string().contains("/elsewhere"), "{error}");
}

#[tokio::test]
async fn a_missing_subset_and_a_missing_host_say_what_is_missing() {
    let v1 = Backend::start("v1").await;
    let folder = Folder::reviews("HTTP", &[("v1", v1.address)]);
    folder.split(&[("v9", 100)]);
    let client = folder.mesh(SEED).client();
    let error = client.get(URL).await.unwrap_err();
    assert_eq!(
        (error.status(), error.flags()),
        (StatusCode::SERVICE_UNAVAILABLE, "NC")
    );
    assert_eq!(
        error.cluster(),
        Some("outbound|9080|v9|reviews.default.svc.cluster.local")
    );
    assert!(
        error.to_string().contains("subset") && error.generation() > 0,
        "{error}"
    );

    // A host that the mesh does not know is passed through; this one is nowhere.
    let error = client.get("http://nobody:9099/").await.unwrap_err();
    assert_eq!(
        (error.status(), error.flags()),
        (StatusCode::SERVICE_UNAVAILABLE, "UF"),
        "{error}"
    );
}

#[tokio::test]
async fn a_grpc_port_is_called_over_http2() {
    for (protocol, version) in [
        ("HTTP", "HTTP/1.1"),
        ("HTTP2", "HTTP/2.0"),
        ("GRPC", "HTTP/2.0"),
    ] {
        let v1 = Backend::start("v1").await;
        let folder = Folder::reviews(protocol, &[("v1", v1.address)]);
        let client = folder.mesh(SEED).client();
        let (status, text) = text_of(client.get(URL).await.unwrap()).await;
        assert_eq!((status, text), (StatusCode::OK, format!("v1 {version}")));
    }
}

#[tokio::test]
async fn a_request_that_was_not_sent_is_repeated_on_another_endpoint() {
    let alive = Backend::serve(
        "v1",
        Router::new().fallback(post(|body: String| async move { body })),
    )
    .await;
    let gone = Closed::new();
    let folder = Folder::reviews("HTTP", &[("v1", alive.address), ("v1", gone.address)]);
    let client = folder.mesh(SEED).client();
    let mut attempts = 0;
    for at in 0..200 {
        let text = format!("order {at}");
        let request = Request::post(URL).body(Body::from(text.clone())).unwrap();
        let response = client.clone().with_call_info().send(request).await.unwrap();
        attempts += response.extensions().get::<CallInfo>().unwrap().attempts;
        assert_eq!(
            text_of(response).await.1,
            text,
            "the body of a POST survives the repeat"
        );
    }
    assert!(
        attempts > 250,
        "the dead endpoint was picked and left: {attempts} attempts for 200 requests"
    );

    // With nothing else to go to, the error says what was tried.
    let folder = Folder::reviews("HTTP", &[("v1", gone.address)]);
    let error = folder.mesh(SEED).client().get(URL).await.unwrap_err();
    assert!(
        error.is_connect() && error.sent() == Sent::NotSent,
        "{error}"
    );
    assert_eq!(
        (error.flags(), error.endpoint()),
        ("UF", Some(gone.address))
    );
}

#[tokio::test]
async fn what_the_configuration_answers_itself_is_ok() {
    let v1 = Backend::start("v1").await;
    let folder = Folder::reviews("HTTP", &[("v1", v1.address)]);
    folder.routes("  - directResponse: { status: 418, body: { string: teapot } }\n");
    let client = folder.mesh(SEED).client().with_call_info();
    let response = client.get(URL).await.unwrap();
    let info = response.extensions().get::<CallInfo>().unwrap().clone();
    assert_eq!((&*info.cluster, info.endpoint), ("", None));
    assert_eq!(
        text_of(response).await,
        (StatusCode::IM_A_TEAPOT, "teapot".to_owned())
    );
}

#[tokio::test]
async fn a_destination_that_does_not_exist_is_no_cluster() {
    let v1 = Backend::start("v1").await;
    let folder = Folder::reviews("HTTP", &[("v1", v1.address)]);
    folder.routes("  - route:\n    - destination: { host: nobody }\n");
    let error = folder.mesh(SEED).client().get(URL).await.unwrap_err();
    assert_eq!(
        (error.status(), error.flags()),
        (StatusCode::SERVICE_UNAVAILABLE, "NC"),
        "{error}"
    );
    assert!(error.cluster().unwrap().contains("nobody"), "{error}");
    assert!(error.is_no_cluster() && !error.is_no_endpoint(), "{error}");
}

#[tokio::test]
async fn no_endpoints_is_an_error_that_names_the_cluster() {
    let folder = Folder::reviews("HTTP", &[]);
    folder.write(
        "service.yaml",
        &std::fs::read_to_string(folder.path().join("service.yaml"))
            .unwrap()
            .replace("  subsets:\n", ""),
    );
    let error = folder.mesh(SEED).client().get(URL).await.unwrap_err();
    assert_eq!(
        (error.status(), error.flags()),
        (StatusCode::SERVICE_UNAVAILABLE, "UH"),
        "{error}"
    );
    let text = "503 UH: call to \"reviews:9080\", route \"default\", cluster \"outbound|9080||reviews.default.svc.cluster.local\" (configuration 1): the cluster has no endpoints";
    assert!(error.to_string().starts_with(text), "{error}");
    assert!(error.is_no_endpoint(), "{error}");
    assert!(!error.is_no_cluster() && !error.is_overloaded(), "{error}");

    let response = error.to_response();
    let kind = response.headers().get(http::header::CONTENT_TYPE);
    assert_eq!(kind.unwrap(), "text/plain; charset=utf-8");
    let (status, body) = text_of(response).await;
    assert_eq!(
        (status, body),
        (StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    );
}

#[tokio::test]
async fn requests_and_in_flight_are_counted_per_edge() {
    let v1 = Backend::start("v1").await;
    let folder = Folder::reviews("HTTP", &[("v1", v1.address)]);
    let mesh = folder.mesh(SEED);
    let client = mesh.client();
    answers(&client, 10).await;
    let unread = client.get(URL).await.unwrap();
    let cluster = "outbound|9080||reviews.default.svc.cluster.local";
    let edge = |endpoint| {
        let stats = mesh.stats();
        stats
            .edges
            .into_iter()
            .find(|edge| &*edge.cluster == cluster && edge.endpoint == endpoint)
            .unwrap()
    };
    assert_eq!(edge(None).requests, 11);
    assert_eq!(edge(Some(v1.address)).requests, 11);
    drop(unread);
    until("the dropped response to be counted", || async {
        edge(None).in_flight == 0
    })
    .await;
    assert_eq!(edge(None).classes, [0, 11, 0, 0, 0]);

    client.get("http://reviews:9080/").await.unwrap();
    client.get("http://nobody:9080/").await.unwrap_err();
    let stats = mesh.stats();
    assert_eq!(
        (stats.requests, stats.errors.get("UF")),
        (13, Some(&1)),
        "{stats:?}"
    );
}

#[tokio::test]
async fn subsets_with_an_endpoint_in_common_share_its_connections() {
    let server = Server::plain().await;
    let both = [("v1", server.address), ("v2", server.address)];
    let folder = Folder::reviews("HTTP", &both);
    folder.split(&[("v1", 50), ("v2", 50)]);
    let client = folder.mesh(SEED).client().with_call_info();
    let mut clusters = BTreeMap::<Arc<str>, usize>::new();
    for _ in 0..100 {
        let response = client.get(URL).await.unwrap();
        let info = response.extensions().get::<CallInfo>().unwrap().clone();
        *clusters.entry(info.cluster).or_default() += 1;
        response.into_body().bytes().await.unwrap();
    }
    assert_eq!(clusters.len(), 2, "{clusters:?}");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let v1 = Backend::serve(
        "v1",
        Router::new().fallback(|request: Request<axum::body::Body>| async move {
            request
                .extensions()
                .get::<mesh_tower::PeerIdentity>()
                .unwrap()
                .address
                .to_string()
        }),
    )
    .await;
    for protocol in ["HTTP", "GRPC"] {
        let folder = Folder::reviews(protocol, &[("v1", v1.address)]);
        let client = folder.mesh(SEED).client();
        let first = text_of(client.get(URL).await.unwrap()).await.1;
        for _ in 0..20 {
            assert_eq!(
                text_of(client.get(URL).await.unwrap()).await.1,
                first,
                "{protocol}: one connection for all"
            );
        }
    }
}

#[tokio::test]
async fn an_edit_moves_requests_and_fails_none() {
    let (v1, v2) = (Backend::start("v1").await, Backend::start("v2").await);
    let folder = Folder::reviews("HTTP", &[("v1", v1.address), ("v2", v2.address)]);
    folder.split(&[("v1", 1)]);
    let client = folder.mesh(SEED).client();
    assert_eq!(answers(&client, 20).await["v1"], 20);
    for (subset, other) in [("v2", "v1"), ("v1", "v2"), ("v2", "v1")] {
        folder.split(&[(subset, 1)]);
        until("the edit", || async {
            answers(&client, 1).await.contains_key(subset)
        })
        .await;
        assert_eq!(
            answers(&client, 50).await.get(other),
            None,
            "one apply moves every request"
        );
    }
    // A file that is no configuration changes nothing.
    folder.write("routes.yaml", "apiVersion: networking.istio.io/v1\nkind: VirtualService\nspec: { hosts: [reviews], htpp: [] }\n");
    assert_eq!(answers(&client, 50).await["v2"], 50);
}

#[tokio::test]
async fn a_mesh_without_rules_says_so_at_once() {
    let mesh = Mesh::builder().node(node()).build().unwrap();
    let asked = tokio::time::Instant::now();
    let error = mesh.client().get(URL).await.unwrap_err();
    assert!(
        error.is_not_ready() && error.to_string().contains("no source of rules"),
        "{error}"
    );
    assert!(
        asked.elapsed() < std::time::Duration::from_secs(15) / 2,
        "nothing to wait for"
    );
}

#[tokio::test]
async fn a_folder_makes_a_mesh_ready() {
    let v1 = Backend::start("v1").await;
    let folder = Folder::reviews("HTTP", &[("v1", v1.address)]);
    folder
        .mesh(SEED)
        .ready(std::time::Duration::from_secs(10))
        .await
        .unwrap();
}

/// URIs that no request can have, with what the error says of them.
const NO_URIS: [(&str, &str); 5] = [
    (
        "ftp://reviews:9080/",
        "its scheme is neither http nor https",
    ),
    ("/reviews/0", "names a host"),
    (
        "http://user:secret@reviews:9080/?token=secret",
        "user information",
    ),
    ("http://:9080:/", "is no URI"),
    ("reviews:9080", "write http:// in front"),
];

#[tokio::test]
async fn what_cannot_be_sent_is_refused_and_never_sent_in_plaintext() {
    let v1 = Backend::start("v1").await;
    let folder = Folder::reviews("HTTP", &[("v1", v1.address)]);
    let mesh = folder.mesh(SEED);
    for client in [mesh.client(), mesh.gateway(8080)] {
        for (uri, reason) in NO_URIS {
            let error = client.get(uri).await.unwrap_err();
            assert_eq!(
                (error.status(), error.flags()),
                (StatusCode::BAD_REQUEST, "DPE"),
                "{uri}"
            );
            assert!(
                error.is_invalid_request() && error.to_string().contains(reason),
                "{uri}: {error}"
            );
            assert!(!error.to_string().contains("secret"), "{error}");
            assert!(
                format!("{error:?}").starts_with(&error.to_string()),
                "a main that returns it prints the sentence"
            );
        }
    }
    let upgrade = Request::get(URL)
        .header("connection", "upgrade")
        .header("upgrade", "websocket");
    assert!(
        mesh.client()
            .send(upgrade.body(Body::empty()).unwrap())
            .await
            .unwrap_err()
            .is_invalid_request()
    );
    let two = Request::get("/")
        .header("host", "reviews:9080")
        .header("host", "details:9080");
    assert!(
        mesh.client()
            .send(two.body(Body::empty()).unwrap())
            .await
            .unwrap_err()
            .is_invalid_request()
    );
    assert_eq!(
        mesh.stats()
            .edges
            .iter()
            .map(|edge| edge.requests)
            .sum::<u64>(),
        0
    );
}

#[tokio::test]
async fn the_host_that_was_routed_by_is_the_host_that_is_sent() {
    let app = Router::new().fallback(|request: Request<axum::body::Body>| async move {
        let header = request
            .headers()
            .get("host")
            .map(|host| host.to_str().unwrap().to_owned());
        header
            .or_else(|| request.uri().authority().map(ToString::to_string))
            .unwrap()
    });
    let v1 = Backend::serve("v1", app).await;
    for protocol in ["HTTP", "GRPC"] {
        let folder = Folder::reviews(protocol, &[("v1", v1.address)]);
        let client = folder.mesh(SEED).client();
        for (uri, host) in [
            (URL, None),
            (URL, Some("elsewhere")),
            ("/reviews/0", Some("reviews:9080")),
        ] {
            let mut request = Request::get(uri);
            if let Some(host) = host {
                request = request.header("host", host);
            }
            let response = client
                .send(request.body(Body::empty()).unwrap())
                .await
                .unwrap();
            assert_eq!(
                text_of(response).await.1,
                "reviews:9080",
                "{protocol} {uri} {host:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_body_that_fails_on_our_side_is_not_blamed_on_the_peer() {
    let v1 = Backend::serve(
        "v1",
        Router::new().fallback(post(|body: String| async move { body })),
    )
    .await;
    let folder = Folder::reviews("HTTP", &[("v1", v1.address)]);
    let broken = http_body_util::StreamBody::new(futures_util::stream::iter([
        Ok(http_body::Frame::data(bytes::Bytes::from_static(b"half"))),
        Err(std::io::Error::other("disk on fire")),
    ]));
    let request = Request::post(URL).body(broken).unwrap();
    let error = folder.mesh(SEED).client().send(request).await.unwrap_err();
    assert_eq!(
        (error.flags(), error.sent()),
        ("DR", Sent::MaybeProcessed),
        "{error}"
    );
    assert!(
        error.to_string().contains("the request's own body failed"),
        "{error}"
    );
}

#[test]
fn the_public_types_go_where_services_go() {
    fn shared<T: Send + Sync + Clone + 'static>() {}
    fn sent<T: Send + 'static>() {}
    shared::<Mesh>();
    shared::<mesh_tower::MeshClient>();
    sent::<Body>();
    sent::<mesh_tower::client::ResponseFuture>();
    fn error<T: std::error::Error + Send + Sync + 'static>() {}
    error::<mesh_tower::Error>();
    error::<mesh_tower::StartError>();
}
