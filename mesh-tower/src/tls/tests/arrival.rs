//! How a connection begins: plaintext or TLS by one byte, within ten seconds.

use std::sync::Arc;

use mesh_core::identity::PeerRule;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::pki::{Authority, REVIEWS};
use super::scene::{BOTH, hello, server, sockets, store, their_client};
use crate::tls::error::TlsError;
use crate::tls::server::{Arrived, OPENING, arrival};

/// A client's first flight.
fn first_flight(alpn: &[&[u8]]) -> Vec<u8> {
    let mut config = their_client(None, BOTH[0]);
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let name = ServerName::try_from("reviews.default").unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

#[tokio::test]
async fn plaintext_is_told_and_not_touched() {
    // What is no record of TLS: methods of both HTTPs, both PROXY protocols, anything.
    for bytes in [
        &b"GET / HTTP/1.1"[..],
        b"PRI * HTTP/2.0",
        b"PROXY TCP4",
        b"\r\n\r\n\0\r\nQUIT",
        b"\x15",
        b"\x17",
    ] {
        let (mut theirs, ours) = sockets().await;
        theirs.write_all(bytes).await.unwrap();
        theirs.shutdown().await.unwrap();
        let Arrived::Plaintext(mut tcp) = arrival(ours).await.unwrap() else {
            panic!("{bytes:?} is no TLS");
        };
        let mut read = Vec::new();
        tcp.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, bytes);
    }
}

#[tokio::test]
async fn what_begins_like_tls_is_never_plaintext() {
    let flight = first_flight(&[]);
    let cut = &flight[..flight.len() / 2];
    for bytes in [
        &b"\x16"[..],
        b"\x16GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x00\x05\x02\0\0\0\0",
        cut,
    ] {
        let (mut theirs, ours) = sockets().await;
        theirs.write_all(bytes).await.unwrap();
        theirs.shutdown().await.unwrap();
        let error = arrival(ours).await.unwrap_err();
        assert!(matches!(error, TlsError::NoHello(_)), "{bytes:?}: {error}");
    }
    let (mut theirs, ours) = sockets().await;
    theirs.write_all(&flight).await.unwrap();
    hello(ours).await;
}

#[tokio::test]
async fn what_is_offered_is_seen_before_it_is_accepted() {
    let (mut theirs, ours) = sockets().await;
    theirs
        .write_all(&first_flight(&[b"istio-h2", b"istio", b"h2"]))
        .await
        .unwrap();
    let seen = hello(ours).await;
    let names: Vec<&[u8]> = seen.offered().alpn.iter().map(|name| &**name).collect();
    assert_eq!(names, [&b"istio-h2"[..], b"istio", b"h2"]);
    assert_eq!(seen.offered().sni.as_deref(), Some("reviews.default"));
    let (mut theirs, ours) = sockets().await;
    theirs.write_all(&first_flight(&[])).await.unwrap();
    assert!(hello(ours).await.offered().alpn.is_empty());
}

#[tokio::test]
async fn one_that_goes_without_a_byte_is_nobody() {
    let (theirs, ours) = sockets().await;
    drop(theirs);
    assert!(matches!(arrival(ours).await, Err(TlsError::Silent)));
}

#[tokio::test(start_paused = true)]
async fn the_whole_opening_has_ten_seconds() {
    let root = Authority::new("the mesh");
    let server = server(&store(&root), PeerRule::InMesh);
    let flight = first_flight(&[b"h2"]);
    for sent in [&[][..], &flight[..1], &flight[..flight.len() - 1]] {
        let (mut theirs, ours) = sockets().await;
        theirs.write_all(sent).await.unwrap();
        let from = Instant::now();
        assert!(matches!(arrival(ours).await, Err(TlsError::Late(OPENING))));
        assert_eq!((Instant::now() - from).as_secs(), OPENING.as_secs());
    }
    // The hello took nine of them; the client does not answer what the server shows it.
    let (mut theirs, ours) = sockets().await;
    let from = Instant::now();
    let sending = async {
        theirs.write_all(&flight[..9]).await.unwrap();
        tokio::time::sleep(OPENING * 9 / 10).await;
        theirs.write_all(&flight[9..]).await.unwrap();
    };
    let (hello, ()) = tokio::join!(hello(ours), sending);
    assert!(matches!(
        server.accept(hello).await,
        Err(TlsError::Late(OPENING))
    ));
    assert_eq!((Instant::now() - from).as_secs(), OPENING.as_secs());
}

#[tokio::test]
async fn a_protocol_that_is_not_accepted_is_named() {
    let root = Authority::new("the mesh");
    let server = server(&store(&root), PeerRule::InMesh);
    let leaf = root.workload(REVIEWS);
    let mut theirs = their_client(Some(&leaf), BOTH[0]);
    theirs.alpn_protocols = vec![b"istio-peer-exchange".to_vec()];
    let foreign = super::scene::is_called(&server, &Arc::new(theirs.clone())).await;
    let (error, heard) = foreign.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("[istio-peer-exchange]") && text.contains("[h2, http/1.1, istio]"),
        "{text}"
    );
    assert!(heard.contains("NoApplicationProtocol"), "{heard}");
    theirs.alpn_protocols.push(b"istio".to_vec());
    let met = super::scene::is_called(&server, &Arc::new(theirs))
        .await
        .unwrap();
    assert_eq!(met.alpn.as_deref(), Some(&b"istio"[..]));
}
