//! The admin port: its pages, and visitors that mean no good.

use std::net::SocketAddr;

use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::util::pack_any;
use mesh_tower::{Mesh, StartError};
use mesh_xds::ResourceType;
use prost::Message;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::ads::Scripted;
use crate::support::{Backend, Closed, Folder, answers, node, outside, until};

/// What comes back for these bytes until the connection ends; it may end with a reset.
async fn raw(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // Who is refused early may not be read from to the end.
    let _ = stream.write_all(request).await;
    let (mut answer, mut part) = (Vec::new(), [0; 4096]);
    while let Ok(read @ 1..) = stream.read(&mut part).await {
        answer.extend_from_slice(&part[..read]);
    }
    String::from_utf8(answer).unwrap()
}

/// Status and body of a page.
async fn page(mesh: &Mesh, path: &str) -> (u16, String) {
    let address = mesh.admin_addr().unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n");
    let answer = raw(address, request.as_bytes()).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.to_ascii_lowercase().contains("nosniff"), "{head}");
    (status(&answer), body.to_owned())
}

fn status(answer: &str) -> u16 {
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    status.unwrap_or_else(|| panic!("no response: {answer:?}"))
}

fn opened(folder: &Folder) -> Mesh {
    Mesh::builder()
        .yaml(folder.path())
        .node(node())
        .seed(7)
        .resolver(outside::Names::default())
        .declare(9080)
        .admin("0")
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_mesh_that_only_serves_is_ready() {
    let mesh = Mesh::builder().admin("0").build().unwrap();
    assert_eq!(page(&mesh, "/ready").await, (200, "LIVE\n".to_owned()));
    // One that was told what it will call has to have rules.
    let mesh = Mesh::builder().admin("0").declare(9080).build().unwrap();
    assert_eq!(page(&mesh, "/ready").await.0, 503);
}

#[tokio::test]
async fn the_pages_tell_what_the_mesh_does() {
    let v1 = Backend::start("v1").await;
    let folder = Folder::reviews("HTTP", &[("v1", v1.address)]);
    folder.split(&[("v1", 1)]);
    let mesh = opened(&folder);
    assert!(mesh.admin_addr().unwrap().ip().is_loopback());
    answers(&mesh.client(), 3).await;
    assert_eq!(page(&mesh, "/ready").await, (200, "LIVE\n".to_owned()));

    let (code, metrics) = page(&mesh, "/stats/prometheus").await;
    assert_eq!((code, &metrics), (200, &mesh.prometheus()));
    assert_eq!(page(&mesh, "/metrics").await.1, metrics);
    let calls = metrics
        .lines()
        .find(|line| line.starts_with("istio_requests_total{"));
    assert!(calls.unwrap().ends_with(" 3"), "{metrics}");

    let cluster = "outbound|9080|v1|reviews.default.svc.cluster.local";
    let (_, clusters) = page(&mesh, "/clusters").await;
    for line in [
        "rq_total::3",
        "rq_active::0",
        "rq_error::0",
        "health_flags::healthy",
    ] {
        let line = format!("{cluster}::{}::{line}", v1.address);
        assert!(
            clusters.lines().any(|one| one == line),
            "{line}: {clusters}"
        );
    }
    let (_, json) = page(&mesh, "/clusters?format=json").await;
    let json: Value = serde_json::from_str(&json).unwrap();
    let all = json["cluster_statuses"].as_array().unwrap();
    let one = all.iter().find(|one| one["name"] == cluster).unwrap();
    assert_eq!(one["host_statuses"][0]["stats"][3]["value"], "3");

    let (_, dump) = page(&mesh, "/config_dump").await;
    let dump: Value = serde_json::from_str(&dump).unwrap();
    assert_eq!(dump["node"], node().id());
    assert_eq!(dump["generation"], mesh.generation());
    let resources = dump["resources"].as_array().unwrap();
    let one = resources.iter().find(|one| one["name"] == cluster).unwrap();
    assert_eq!(
        (&one["state"], &one["last_error"]),
        (&"ACKED".into(), &Value::Null)
    );
    assert_ne!(one["version"], "");

    let (code, index) = page(&mesh, "/").await;
    assert_eq!(code, 200);
    let (code, missing) = page(&mesh, "/quitquitquit").await;
    assert_eq!(code, 404);
    assert!(missing.ends_with(&index) && index.contains("/config_dump"));
    mesh.shutdown().await;
    assert_eq!(page(&mesh, "/ready").await.0, 503);
}

#[tokio::test]
async fn ready_says_what_is_missing_until_it_is_there() {
    let v1 = Backend::start("v1").await;
    let folder = Folder::reviews("HTTP", &[("v1", v1.address)]);
    folder.split(&[("v1", 1)]);
    let closed = Closed::new();
    let address = closed.address;
    let mesh = Mesh::builder()
        .xds(format!("http://{address}"))
        .node(node())
        .declare(9080)
        .admin("127.0.0.1:0")
        .build()
        .unwrap();
    until("the first failed connection", || async {
        mesh.status().last_error.is_some()
    })
    .await;
    let (code, reasons) = page(&mesh, "/ready").await;
    assert_eq!(code, 503);
    assert!(
        reasons.contains("route configuration \"9080\""),
        "{reasons}"
    );
    assert!(reasons.contains(&address.to_string()), "{reasons}");
    drop(closed);
    let _control_plane = mesh_control_plane::ControlPlane::start(folder.path(), address)
        .await
        .unwrap();
    until("the mesh to be ready", || async {
        page(&mesh, "/ready").await.0 == 200
    })
    .await;
}

#[tokio::test]
async fn a_refused_update_is_told_beside_the_version_in_force() {
    let v1 = Backend::start("v1").await;
    let folder = Folder::reviews("HTTP", &[("v1", v1.address)]);
    folder.split(&[("v1", 1)]);
    let loaded = mesh_istio::Config::load(folder.path()).unwrap();
    let resources = loaded.config.resources(&node());
    let (server, address) = Scripted::start(resources).await;
    let mesh = Mesh::builder()
        .xds(address.to_string())
        .node(node())
        .admin("0")
        .build()
        .unwrap();
    answers(&mesh.client(), 1).await;
    let state = || async {
        let dump: Value = serde_json::from_str(&page(&mesh, "/config_dump").await.1).unwrap();
        let of = |one: &&Value| {
            let is_eds = one["type_url"] == ResourceType::Endpoints.type_url();
            is_eds && one["name"] == V1
        };
        let resources = dump["resources"].as_array().unwrap();
        resources.iter().find(of).unwrap().clone()
    };
    let good = state().await;
    assert_eq!(
        (&good["state"], &good["last_error"]),
        (&"ACKED".into(), &Value::Null)
    );
    server.push(ResourceType::Endpoints, |held| {
        let any = held.endpoints.get_mut(V1).unwrap();
        let mut bad = ClusterLoadAssignment::decode(&*any.value).unwrap();
        // Envoy's bound is 128.
        bad.endpoints[0].priority = 129;
        *any = pack_any(bad);
    });
    until("the refusal", || async {
        state().await["state"] == "NACKED"
    })
    .await;
    let bad = state().await;
    assert_eq!(bad["version"], good["version"]);
    let details = bad["last_error"]["details"].as_str().unwrap();
    assert!(details.contains("129"), "{details}");
    assert_ne!(bad["last_error"]["version"], good["version"]);
}

const V1: &str = "outbound|9080|v1|reviews.default.svc.cluster.local";

#[tokio::test]
async fn visitors_that_mean_no_good_are_turned_away() {
    let folder = Folder::reviews("HTTP", &[]);
    let mesh = opened(&folder);
    let address = mesh.admin_addr().unwrap();
    let of = |request: String| async move { raw(address, request.as_bytes()).await };
    let long = "a".repeat(64 * 1024);
    let many: String = (0..100).map(|at| format!("x-{at}: 1\r\n")).collect();
    for (request, expected) in [
        (
            format!("POST /ready HTTP/1.1\r\nhost: {address}\r\ncontent-length: 0\r\n\r\n"),
            405,
        ),
        (format!("DELETE / HTTP/1.1\r\nhost: {address}\r\n\r\n"), 405),
        (
            format!("GET / HTTP/1.1\r\nhost: {address}\r\ncontent-length: 3\r\n\r\nabc"),
            413,
        ),
        (
            format!(
                "GET / HTTP/1.1\r\nhost: {address}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
            413,
        ),
        (
            format!("GET / HTTP/1.1\r\nhost: {address}\r\nx: {long}\r\n\r\n"),
            431,
        ),
        (
            format!("GET / HTTP/1.1\r\nhost: {address}\r\n{many}\r\n"),
            431,
        ),
        (
            "GET / HTTP/1.1\r\nhost: rebound.example.com\r\n\r\n".to_owned(),
            403,
        ),
        (
            "GET / HTTP/1.1\r\nhost: 127.0.0.1.example.com\r\n\r\n".to_owned(),
            403,
        ),
        (
            "GET / HTTP/1.1\r\nhost: localhost:1\r\n\r\n".to_owned(),
            200,
        ),
        ("GET / HTTP/1.1\r\nhost: [::1]:1\r\n\r\n".to_owned(), 200),
        ("\u{0}\u{1}garbage\r\n\r\n".to_owned(), 400),
    ] {
        let shown = request.get(..60).unwrap_or(&request).to_owned();
        let answer = of(request).await;
        assert_eq!(status(&answer), expected, "{shown:?}: {answer}");
    }
    let head = of(format!("HEAD / HTTP/1.1\r\nhost: {address}\r\n\r\n")).await;
    assert!(head.ends_with("\r\n\r\n") && status(&head) == 200, "{head}");
    // Who says nothing keeps nobody else from being answered.
    let silent: Vec<_> = [(); 20].map(|()| TcpStream::connect(address)).into();
    let silent = futures_util::future::join_all(silent).await;
    assert_eq!(page(&mesh, "/").await.0, 200);
    drop(silent);
}

#[tokio::test]
async fn the_port_is_off_unless_asked_for_and_goes_with_the_mesh() {
    let folder = Folder::reviews("HTTP", &[]);
    assert_eq!(folder.mesh(7).admin_addr(), None);
    let mesh = opened(&folder);
    let address = mesh.admin_addr().unwrap();
    let taken = Mesh::builder().admin(address.to_string()).build();
    let Err(error @ StartError::Admin { .. }) = taken else {
        panic!("{taken:?}")
    };
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    drop(mesh);
    until("the port to close", || async {
        TcpStream::connect(address).await.is_err()
    })
    .await;
}
