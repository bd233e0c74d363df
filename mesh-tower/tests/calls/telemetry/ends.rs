//! How calls end: gRPC, callers that go away, responses that break off.

use axum::Router;
use axum::body::Body as AxumBody;
use axum::routing::any;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full, StreamBody};
use mesh_tower::Body;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::{count, requests, reviews};
use crate::support::{Closed, Folder, URL, until};

fn grpc(path: &str) -> Request<Body> {
    Request::post(format!("http://reviews:9080/{path}"))
        .header("content-type", "application/grpc")
        .body(Body::empty())
        .unwrap()
}

fn status(code: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(
        http::HeaderName::from_static("grpc-status"),
        HeaderValue::from_static(code),
    )])
}

#[tokio::test]
async fn grpc_is_counted_by_its_status_wherever_it_stands() {
    let trailers = |code| {
        move || async move {
            let body = Full::new(bytes::Bytes::from_static(b"\0\0\0\0\0"));
            let body = body.with_trailers(async move { Some(Ok(status(code))) });
            Response::new(AxumBody::new(body))
        }
    };
    let app = Router::new()
        .route("/fine", any(trailers("0")))
        .route("/denied", any(trailers("7")))
        .route("/strange", any(trailers("many")))
        .route("/none", any(|| async { "" }))
        .route("/headers", any(|| async { (status("5"), "") }));
    let (address, server) = reviews(app).await;
    let closed = Closed::new();
    let folder = Folder::reviews("GRPC", &[("v1", address), ("closed", closed.address)]);
    folder.routes("  - match: [{ uri: { prefix: /closed } }]\n    route: [{ destination: { host: reviews, subset: closed } }]\n  - route: [{ destination: { host: reviews, subset: v1 } }]\n");
    let mesh = folder.mesh(7);
    for path in ["fine", "fine", "denied", "strange", "none", "headers"] {
        let response = mesh.client().send(grpc(path)).await.unwrap();
        response.into_body().collect().await.unwrap();
    }
    let refused = mesh.client().send(grpc("closed")).await.unwrap_err();
    assert_eq!(refused.flags(), "UF");
    let of = |status: &'static str, flags: &'static str| {
        [
            ("request_protocol", "grpc"),
            ("response_code", "200"),
            ("grpc_response_status", status),
            ("response_flags", flags),
        ]
    };
    let known = [("0", 2.0), ("7", 1.0), ("2", 1.0), ("", 1.0), ("5", 1.0)];
    for reporter in [&mesh, &server] {
        for (status, calls) in known {
            let all = requests(reporter);
            assert_eq!(count(&all, &of(status, "-")), calls, "{status}: {all:#?}");
        }
    }
    let all = requests(&mesh);
    assert_eq!(count(&all, &of("14", "UF")), 1.0, "{all:#?}");
    assert_eq!(count(&all, &[]), 7.0);
    assert_eq!(count(&requests(&server), &[]), 6.0);
}

#[tokio::test]
async fn callers_that_go_away_are_told_apart_from_responses_that_break_off() {
    let endless = || async {
        let first = futures_util::stream::iter([Ok::<_, std::io::Error>(http_body::Frame::data(
            bytes::Bytes::from_static(b"first"),
        ))]);
        let never = futures_util::stream::pending();
        AxumBody::new(StreamBody::new(futures_util::StreamExt::chain(
            first, never,
        )))
    };
    let app = Router::new()
        .route("/endless", any(endless))
        .route("/silent", any(std::future::pending::<()>));
    let (address, server) = reviews(app).await;
    let breaking = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let broken = breaking.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = breaking.accept().await.unwrap();
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf";
        stream.write_all(head).await.unwrap();
    });
    let folder = Folder::reviews("HTTP", &[("v1", address), ("broken", broken)]);
    folder.routes("  - match: [{ uri: { prefix: /broken } }]\n    route: [{ destination: { host: reviews, subset: broken } }]\n  - route: [{ destination: { host: reviews, subset: v1 } }]\n");
    let mesh = folder.mesh(7);
    let client = mesh.client();
    let response = client.get("http://reviews:9080/endless").await.unwrap();
    assert_eq!(count(&requests(&mesh), &[]), 0.0, "it has not ended");
    drop(response);
    let silent = tokio::spawn({
        let client = client.clone();
        async move { client.get("http://reviews:9080/silent").await.map(drop) }
    });
    until("the silent call", || async { mesh.stats().in_flight == 1 }).await;
    silent.abort();
    assert!(silent.await.unwrap_err().is_cancelled());
    let response = client.get("http://reviews:9080/broken").await.unwrap();
    assert!(response.into_body().bytes().await.is_err());
    let all = requests(&mesh);
    for (code, flags) in [("200", "DC"), ("0", "DC"), ("200", "UPE")] {
        let labels = [("response_code", code), ("response_flags", flags)];
        assert_eq!(count(&all, &labels), 1.0, "{labels:?}: {all:#?}");
    }
    assert_eq!(count(&all, &[]), 3.0);
    until("the server to notice", || async {
        let all = requests(&server);
        let gone = |code| count(&all, &[("response_code", code), ("response_flags", "DC")]);
        gone("200") == 1.0
    })
    .await;
}

/// A server of HTTP/1 asks for no more than it writes, whether the body says that it has ended or not.
#[tokio::test]
async fn a_response_of_known_length_has_ended_when_it_is_written() {
    let known = || async {
        let whole = http_body::Frame::data(bytes::Bytes::from_static(b"whole"));
        let whole = futures_util::stream::iter([Ok::<_, std::io::Error>(whole)]);
        let never = futures_util::stream::pending();
        let body = StreamBody::new(futures_util::StreamExt::chain(whole, never));
        Response::builder()
            .header("content-length", "5")
            .body(AxumBody::new(body))
            .unwrap()
    };
    let app = Router::new().route("/known", any(known));
    let (address, server) = reviews(app).await;
    let folder = Folder::reviews("HTTP", &[("v1", address)]);
    folder.split(&[("v1", 1)]);
    let client = folder.mesh(7).client();
    for (method, text) in [("GET", "whole"), ("HEAD", "")] {
        let request = Request::builder().method(method);
        let request = request.uri("http://reviews:9080/known");
        let response = client
            .send(request.body(Body::empty()).unwrap())
            .await
            .unwrap();
        assert_eq!(response.into_body().text().await.unwrap(), text, "{method}");
    }
    until("both to be counted", || async {
        count(&requests(&server), &[]) == 2.0
    })
    .await;
    let all = requests(&server);
    let whole = [("response_code", "200"), ("response_flags", "-")];
    assert_eq!(count(&all, &whole), 2.0, "{all:#?}");
}

/// A caller that gives up before the first configuration was waiting for nobody.
#[tokio::test]
async fn a_call_that_waits_for_its_configuration_is_counted_when_it_is_dropped() {
    let closed = Closed::new();
    let mesh = mesh_tower::Mesh::builder()
        .xds(format!("http://{}", closed.address))
        .node(crate::support::node())
        .build()
        .unwrap();
    let client = mesh.client();
    let call = tokio::spawn(async move { client.get(URL).await.map(drop) });
    until("the call to wait", || async { mesh.stats().in_flight == 1 }).await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    let all = requests(&mesh);
    let labels = [("response_code", "0"), ("response_flags", "DC")];
    assert_eq!(count(&all, &labels), 1.0, "{all:#?}");
    assert_eq!(all.len(), 1);
}
