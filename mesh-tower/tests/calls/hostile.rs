//! Peers that break off, lie or talk nonsense: an error, no panic, and the process goes on.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use mesh_tower::{Mesh, Sent};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Backend, Folder, URL, until};

/// Answers every connection with these bytes after the first read, and closes.
async fn raw(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer).await;
            let _ = stream.write_all(answer).await;
        }
    });
    address
}

#[tokio::test]
async fn nonsense_from_a_backend_is_an_error_that_may_have_been_processed() {
    for (protocol, answer) in [
        ("HTTP", &b"\x16\x03\x01nonsense\r\n\r\n"[..]),
        ("HTTP", b"HTTP/1.1 999999 no\r\n\r\n"),
        ("HTTP", b""),
        ("GRPC", b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        ("GRPC", b"\0\0\0\0\0"),
    ] {
        let folder = Folder::reviews(protocol, &[("v1", raw(answer).await)]);
        let error = folder.mesh(1).client().get(URL).await.unwrap_err();
        assert_eq!(error.status(), 503, "{error}");
        assert!(
            error.to_string().contains("outbound|9080||reviews"),
            "{error}"
        );
        assert!(
            protocol == "GRPC" || error.sent() == Sent::MaybeProcessed,
            "{protocol} {answer:?}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_an_error_and_its_connection_is_not_used_again() {
    let address = raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort").await;
    let folder = Folder::reviews("HTTP", &[("v1", address)]);
    let mesh = folder.mesh(1);
    for _ in 0..3 {
        let response = mesh.client().get(URL).await.unwrap();
        let error = response.into_body().text().await.unwrap_err();
        assert_eq!(
            (error.flags(), error.sent(), error.endpoint()),
            ("UPE", Sent::Processed, Some(address)),
            "{error}"
        );
    }
    let edges = mesh.stats().edges;
    let edge = edges
        .iter()
        .find(|edge| edge.endpoint == Some(address))
        .unwrap();
    assert_eq!((edge.in_flight, edge.failed), (0, 3));
}

#[tokio::test]
async fn nonsense_from_a_client_harms_nobody_else() {
    let backend = Backend::start("v1").await;
    for nonsense in [
        &b"\x16\x03\x01\0\0"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\0",
    ] {
        let mut stream = TcpStream::connect(backend.address).await.unwrap();
        stream.write_all(nonsense).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer))
            .await
            .unwrap();
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{nonsense:?}");
    }
    let folder = Folder::reviews("HTTP", &[("v1", backend.address)]);
    assert_eq!(
        folder.mesh(1).client().get(URL).await.unwrap().status(),
        200
    );
}

#[tokio::test]
async fn shutdown_lets_what_runs_end_and_takes_nothing_new() {
    let (release, released) = tokio::sync::watch::channel(false);
    let (arrived, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let app = Router::new().fallback(get(move || {
        let mut released = released.clone();
        arrived.send(()).unwrap();
        async move {
            released.wait_for(|released| *released).await.unwrap();
            "done"
        }
    }));
    let backend = Backend::serve("v1", app).await;
    let folder = Folder::reviews("HTTP", &[("v1", backend.address)]);
    let mesh = folder.mesh(1);
    let running = tokio::spawn({
        let client = mesh.client();
        async move {
            client
                .get(URL)
                .await
                .unwrap()
                .into_body()
                .text()
                .await
                .unwrap()
        }
    });
    requests.recv().await.expect("the request arrives");

    let server = backend.mesh.clone();
    let draining = tokio::spawn(async move { server.shutdown().await });
    until("the listener to close", || async {
        TcpStream::connect(backend.address).await.is_err()
    })
    .await;
    assert!(!draining.is_finished(), "the request still runs");
    release.send(true).unwrap();
    assert_eq!(running.await.unwrap(), "done");
    draining.await.unwrap();
}

#[tokio::test]
async fn shutdown_ends_though_a_request_does_not() {
    let (arrived, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let app = Router::new().fallback(get(move || {
        arrived.send(()).unwrap();
        std::future::pending::<()>()
    }));
    let backend = Backend::serve("v1", app).await;
    let folder = Folder::reviews("HTTP", &[("v1", backend.address)]);
    let mesh = folder.mesh(1);
    let running = tokio::spawn({
        let client = mesh.client();
        async move { client.get(URL).await }
    });
    requests.recv().await.expect("the request arrives");
    backend
        .mesh
        .shutdown_within(Duration::from_millis(50))
        .await;
    let error = running.await.unwrap().unwrap_err();
    assert_eq!(
        (error.flags(), error.sent()),
        ("UC", Sent::MaybeProcessed),
        "{error}"
    );
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = Mesh::builder()
        .build()
        .unwrap()
        .listen(&address)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&address) && error.contains("port 0"),
        "{error}"
    );
}
