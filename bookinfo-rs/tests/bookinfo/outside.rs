//! The tour's client outside of the mesh: which errors mean that the other end cut a call off.

use std::net::SocketAddr;
use std::time::Duration;

use bookinfo_rs::outside::{Outside, OutsideError};
use http::HeaderMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What a server does with one connection whose request it has read.
#[derive(Clone, Copy, Debug)]
enum Way {
    Closes,
    Resets,
    /// At once, whatever comes.
    Leaves,
    Says(&'static [u8]),
}

async fn server(way: Way) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(one(stream, way));
        }
    });
    address
}

async fn one(mut stream: TcpStream, way: Way) {
    if matches!(way, Way::Leaves) {
        return;
    }
    if matches!(way, Way::Resets) {
        // What is closed with bytes that nobody has read is reset.
        stream.readable().await.unwrap();
        return;
    }
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    if let Way::Says(answer) = way {
        stream.write_all(answer).await.unwrap();
    }
}

async fn error(address: SocketAddr) -> OutsideError {
    let url = format!("http://{address}/");
    let reply = Outside::default().get(&url, &HeaderMap::new()).await;
    reply.unwrap_err()
}

#[tokio::test]
async fn who_closes_or_resets_cuts_off() {
    for way in [Way::Closes, Way::Resets, Way::Leaves] {
        // Several times: which of its halves a client notices first is chance.
        for _ in 0..20 {
            let error = error(server(way).await).await;
            assert!(error.is_cut_off(), "{way:?}: {error:?}");
        }
    }
}

#[tokio::test]
async fn what_else_fails_does_not() {
    // Nobody is there.
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    let refused = error(address).await;
    assert!(!refused.is_cut_off(), "{refused:?}");
    // An answer that is none, and one that breaks off.
    for answer in [
        &b"\x15\x03\x03\x00\x02\x02\x28"[..],
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
    ] {
        let error = error(server(Way::Says(answer)).await).await;
        assert!(!error.is_cut_off(), "{error:?}");
    }
    assert!(!OutsideError::Timeout(Duration::ZERO).is_cut_off());
}
