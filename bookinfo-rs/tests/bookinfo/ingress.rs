//! The ingress, over real sockets and with raw bytes.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use bookinfo_rs::ingress::{Gateway, Limits, serve_within};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use mesh_tower::{Mesh, Node};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::support::{Rules, entries, rules, serve};

#[path = "ingress/gateway.rs"]
mod gateway;
#[path = "ingress/hostile.rs"]
mod hostile;

const GATEWAY_PORT: u16 = 8080;

const GATEWAY: &str = "
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: g, namespace: default }
spec:
  selector: { istio: ingressgateway }
  servers: [ { port: { number: 8080, name: http, protocol: HTTP }, hosts: ['*'] } ]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: v, namespace: default }
spec:
  hosts: ['*']
  gateways: [g]
  http:
  - match: [ { uri: { prefix: /app } } ]
    route: [ { destination: { host: echo.default.svc.cluster.local, port: { number: 9080 } } } ]
  - match: [ { uri: { prefix: /missing } } ]
    route: [ { destination: { host: echo.default.svc.cluster.local, port: { number: 9080 }, subset: nowhere } } ]
";

/// An ingress in front of a backend that answers with what it saw.
async fn ingress() -> (SocketAddr, Rules) {
    ingress_within(Limits::default()).await
}

/// The same, with these limits.
async fn ingress_within(limits: Limits) -> (SocketAddr, Rules) {
    let echo = Router::new().fallback(async |request: Request| {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        let mut lines = vec![format!("{} {}", parts.method, parts.uri)];
        lines.extend(
            parts
                .headers
                .iter()
                .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())),
        );
        lines.push(format!("body: {}", String::from_utf8_lossy(&body)));
        let mut headers = HeaderMap::new();
        headers.insert("connection", "x-secret".parse().unwrap());
        headers.insert("x-secret", "1".parse().unwrap());
        headers.insert("x-open", "1".parse().unwrap());
        (headers, lines.join("\n"))
    });
    let echo = echo.route(
        "/app/stream",
        axum::routing::post(async |request: Request| request.into_body()),
    );
    ingress_before(serve(echo).await, limits).await
}

/// An ingress in front of this backend.
async fn ingress_before(backend: SocketAddr, limits: Limits) -> (SocketAddr, Rules) {
    let node = Node::router("ingress", "default", [("istio", "ingressgateway")]);
    let rules = rules(
        node,
        &format!("{}{GATEWAY}", entries(&[("echo", 9080, backend)])),
    );
    let address = listen(limits, &rules, GATEWAY_PORT).await;
    (address, rules)
}

/// An ingress that serves this port of the gateways of these rules.
async fn listen(limits: Limits, rules: &Rules, port: u16) -> SocketAddr {
    serving(limits, rules.mesh.clone(), port).await
}

/// The same of any mesh.
async fn serving(limits: Limits, mesh: Mesh, port: u16) -> SocketAddr {
    let gateway = Gateway { mesh, port };
    let (found, address) = oneshot::channel();
    let listening = |address| {
        found
            .send(address)
            .map_err(|_| std::io::ErrorKind::Other.into())
    };
    tokio::spawn(async move {
        let address = ([127, 0, 0, 1], 0).into();
        let never = std::future::pending();
        serve_within(limits, &gateway, address, listening, never).await
    });
    address.await.unwrap()
}

/// Writes bytes, and reads all that comes until the other side closes.
async fn exchange(address: SocketAddr, bytes: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read =
        tokio::time::timeout(Duration::from_secs(10), stream.read_to_string(&mut answer)).await;
    assert!(read.is_ok(), "still open after {answer:?}");
    answer
}

#[tokio::test]
async fn headers_of_the_connection_stay_on_it() {
    let (address, _rules) = ingress().await;
    let answer = exchange(
        address,
        "POST /app/x?y=1 HTTP/1.1\r\nHost: books.example\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n\
         TE: trailers\r\nUpgrade: websocket\r\nX-Forwarded-For: 10.1.1.1\r\nTransfer-Encoding: chunked\r\n\r\n\
         3\r\nabc\r\n0\r\n\r\n",
    )
    .await;
    let (head, seen) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(
        head.contains("x-open: 1") && !head.contains("x-secret"),
        "{head}"
    );
    assert!(seen.contains("POST /app/x?y=1"), "{seen}");
    for present in [
        "host: books.example",
        "x-forwarded-for: 10.1.1.1, 127.0.0.1",
        "x-forwarded-proto: http",
        "te: trailers",
        "body: abc",
        "x-request-id: ",
    ] {
        assert!(seen.contains(present), "{present:?} is missing in {seen}");
    }
    for absent in ["x-hop", "keep-alive", "upgrade"] {
        assert!(!seen.contains(absent), "{absent:?} went through in {seen}");
    }
}

#[tokio::test]
async fn ambiguous_framing_is_refused_and_the_connection_closed() {
    let (address, _rules) = ingress().await;
    for framing in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5, 6",
        "Content-Length: -5",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: gzip, chunked",
    ] {
        let smuggled = "0\r\n\r\nGET /app/smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
        let request = format!("POST /app HTTP/1.1\r\nHost: h\r\n{framing}\r\n\r\n{smuggled}");
        let answer = exchange(address, &request).await;
        assert!(
            answer.starts_with("HTTP/1.1 400 Bad Request"),
            "{framing}: {answer:?}"
        );
        assert!(!answer.contains("smuggled"), "{framing}: {answer:?}");
    }
}

#[tokio::test]
async fn hosts_must_be_one_host() {
    let (address, _rules) = ingress().await;
    for head in [
        "GET /app HTTP/1.1\r\n",
        "GET /app HTTP/1.1\r\nHost: a\r\nHost: b\r\n",
        "GET /app HTTP/1.1\r\nHost: a b\r\n",
    ] {
        let answer = exchange(address, &format!("{head}Connection: close\r\n\r\n")).await;
        assert!(
            answer.starts_with("HTTP/1.1 400 Bad Request"),
            "{head:?}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn what_no_route_takes_is_not_found_and_says_why() {
    let (address, _rules) = ingress().await;
    let answer = exchange(
        address,
        "GET /other HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 404 Not Found"), "{answer:?}");
    assert!(answer.contains("text/plain"), "{answer:?}");
}

#[tokio::test]
async fn a_subset_that_is_not_there_is_unavailable_and_named() {
    let (address, _rules) = ingress().await;
    let answer = exchange(
        address,
        "GET /missing HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(
        answer.starts_with("HTTP/1.1 503 Service Unavailable"),
        "{answer:?}"
    );
    assert!(answer.contains("nowhere"), "{answer:?}");
}

#[tokio::test]
async fn garbage_is_answered_and_the_next_request_served() {
    let (address, _rules) = ingress().await;
    for garbage in [
        "\0\0\0\0\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nnonsense nonsense nonsense",
        "GET\r\n\r\n",
    ] {
        exchange(address, garbage).await;
    }
    let answer = exchange(
        address,
        "GET /app HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer:?}");
}

#[tokio::test]
async fn bodies_are_streamed_both_ways() {
    let (address, _rules) = ingress().await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"POST /app/stream HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await
        .unwrap();
    // Each piece must come back before the next one is sent.
    let mut answer = String::new();
    for piece in ["one", "two", "three"] {
        stream
            .write_all(format!("{:x}\r\n{piece}\r\n", piece.len()).as_bytes())
            .await
            .unwrap();
        while !answer.contains(piece) {
            let mut bytes = [0; 1024];
            let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut bytes)).await;
            let n = read
                .unwrap_or_else(|_| panic!("{piece:?} does not come back: {answer:?}"))
                .unwrap();
            assert_ne!(n, 0, "closed after {answer:?}");
            answer.push_str(std::str::from_utf8(&bytes[..n]).unwrap());
        }
    }
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer:?}");
}

#[tokio::test]
async fn http2_passes_the_guard() {
    let (address, _rules) = ingress().await;
    let client = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http::<Full<Bytes>>();
    for n in 0..3 {
        let request = http::Request::post(format!("http://{address}/app/{n}"))
            .body(Full::from("abc"))
            .unwrap();
        let response = client.request(request).await.unwrap();
        assert_eq!(
            (response.status(), response.version()),
            (StatusCode::OK, http::Version::HTTP_2)
        );
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let seen = std::str::from_utf8(&body).unwrap();
        assert!(
            seen.contains(&format!("POST /app/{n}")) && seen.contains("body: abc"),
            "{seen}"
        );
        assert!(seen.contains(&format!("host: {address}")), "{seen}");
    }
}
