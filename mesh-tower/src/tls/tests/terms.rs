//! What the terms of a connection say is what is on the wire.

use std::sync::Arc;

use mesh_core::cluster::Protocol;
use mesh_core::identity::PeerRule;
use mesh_core::tls::Alpn;

use super::pki::{Authority, REVIEWS, changed, dns};
use super::scene::{
    BOTH, calls, client, client_terms, hello, server, sockets, store, their_server,
};
use crate::tls::client::Client;
use crate::tls::error::TlsError;

#[tokio::test]
async fn peers_of_the_mesh_offer_istios_names_and_agree_on_the_common_one() {
    let root = Authority::new("the mesh");
    let store = store(&root);
    let client = client(&store, PeerRule::InMesh);
    let server = server(&store, PeerRule::InMesh);
    for (protocol, offered, agreed) in [
        (
            Protocol::Http1,
            ["istio-http/1.1", "istio", "http/1.1"],
            "http/1.1",
        ),
        (Protocol::Http2, ["istio-h2", "istio", "h2"], "h2"),
    ] {
        let (ours, theirs) = sockets().await;
        let accepting = async {
            let hello = hello(theirs).await;
            let names: Vec<_> = hello
                .offered()
                .alpn
                .iter()
                .map(|name| name.to_vec())
                .collect();
            assert_eq!(names, offered.map(|name| name.as_bytes().to_vec()));
            assert_eq!(
                hello.offered().sni.as_deref(),
                Some("outbound_.9080_._.reviews.default.svc.cluster.local")
            );
            server.accept(hello).await.unwrap()
        };
        let (called, (accepted, _)) = tokio::join!(client.connect(ours, protocol), accepting);
        let (stream, _) = called.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(agreed.as_bytes()));
        assert_eq!(
            accepted.get_ref().1.alpn_protocol(),
            Some(agreed.as_bytes())
        );
    }
}

#[tokio::test]
async fn without_a_server_name_none_is_sent() {
    let root = Authority::new("the mesh");
    let store = store(&root);
    let mut terms = client_terms(PeerRule::InMesh);
    terms.sni = None;
    terms.alpn = Alpn::OfProtocol;
    let client = Client::new(&terms.clone().into(), &store).unwrap();
    let server = server(&store, PeerRule::InMesh);
    let (ours, theirs) = sockets().await;
    let accepting = async {
        let hello = hello(theirs).await;
        assert_eq!(hello.offered().sni.as_deref(), None);
        assert_eq!(*hello.offered().alpn, [b"h2"[..].into()]);
        server.accept(hello).await.unwrap()
    };
    let (called, _) = tokio::join!(client.connect(ours, Protocol::Http2), accepting);
    called.unwrap();
    for bad in ["10.0.0.1", "a b", ""] {
        terms.sni = Some(bad.into());
        let refused = Client::new(&terms.clone().into(), &store).unwrap_err();
        assert!(matches!(refused, TlsError::ServerName(..)), "{refused}");
    }
}

#[tokio::test]
async fn a_host_is_judged_by_its_name() {
    let root = Authority::new("the mesh");
    let called = |host: &str| client(&store(&root), PeerRule::Host(host.into()));
    let good = called("api.example.com");
    let params = changed(|params| params.subject_alt_names = vec![dns("api.example.com")]);
    let leaf = root.issue(&params);
    for version in BOTH {
        let theirs = Arc::new(their_server(&leaf, &root, version));
        let met = calls(&good, &theirs, Protocol::Http1).await.unwrap();
        good.still_takes(&met.proof).unwrap();
        for bad in ["other.example.com", "example.com"] {
            let bad = called(bad);
            bad.still_takes(&met.proof).unwrap_err();
            let refused = calls(&bad, &theirs, Protocol::Http1).await.unwrap_err();
            let text = refused.to_string();
            assert!(
                text.contains("none of the names") && text.contains("DNS:api.example.com"),
                "{text}"
            );
        }
    }
    // A rule of names asks for names, whatever the host is.
    let other = client(&store(&root), super::scene::exactly(REVIEWS));
    let theirs = Arc::new(their_server(&leaf, &root, BOTH[0]));
    calls(&other, &theirs, Protocol::Http1).await.unwrap_err();
}

#[tokio::test]
async fn a_protocol_that_nobody_speaks_is_not_agreed_on() {
    let root = Authority::new("the mesh");
    let store = store(&root);
    let mut terms = client_terms(PeerRule::InMesh);
    terms.alpn = Alpn::Exactly([b"h2"[..].into(), b"spdy"[..].into()].into());
    let client = Client::new(&terms.into(), &store).unwrap();
    for (chosen, protocol, met) in [
        ("h2", Protocol::Http2, true),
        ("spdy", Protocol::Http2, false),
        // Left out of what is offered: a server that chose it would be right.
        ("h2", Protocol::Http1, false),
    ] {
        let mut theirs = their_server(&root.workload(REVIEWS), &root, BOTH[0]);
        theirs.alpn_protocols = vec![chosen.into()];
        let called = calls_over(&client, &Arc::new(theirs), protocol).await;
        assert_eq!(called.is_ok(), met, "{called:?}");
    }
}

/// Without a word over it.
async fn calls_over(
    client: &Client,
    theirs: &Arc<rustls::ServerConfig>,
    protocol: Protocol,
) -> Result<Option<Protocol>, TlsError> {
    let (tcp, socket) = sockets().await;
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(theirs));
    let (called, _answered) = tokio::join!(client.connect(tcp, protocol), acceptor.accept(socket));
    called.map(|(_, proof)| proof.protocol())
}
