//! Every connection is a full handshake, also with a peer that would resume sessions.

use std::sync::Arc;

use mesh_core::cluster::Protocol::Http1;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::server::ServerSessionMemoryCache;
use rustls::{ClientConfig, HandshakeKind, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::pki::{Authority, REVIEWS, crypto};
use super::scene::{
    BOTH, calls, client, is_called, is_reviews, server, sockets, store, their_client, their_server,
};
use crate::tls::error::TlsError;
use crate::tls::proof::Proof;

fn is_full(kind: HandshakeKind) -> bool {
    matches!(
        kind,
        HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest
    )
}

/// Two ends that are both not ours: what both say of the handshake, and what we would make of it.
async fn plain(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
) -> (HandshakeKind, [Result<Proof, TlsError>; 2]) {
    let (ours, theirs) = sockets().await;
    let connecting = async {
        let connector = TlsConnector::from(Arc::clone(client));
        let name = ServerName::try_from("reviews").unwrap();
        let mut stream = connector.connect(name, ours).await.unwrap();
        // Tickets come before it.
        stream.read_u8().await.unwrap();
        stream
    };
    let accepting = async {
        let acceptor = TlsAcceptor::from(Arc::clone(server));
        let mut stream = acceptor.accept(theirs).await.unwrap();
        stream.write_u8(1).await.unwrap();
        stream
    };
    let (ours, theirs) = tokio::join!(connecting, accepting);
    let (client, server) = (ours.get_ref().1, theirs.get_ref().1);
    let who = "the test".into();
    let kind = client.handshake_kind().unwrap();
    assert_eq!(kind, server.handshake_kind().unwrap());
    let client = Proof::of(&who, client, &crypto(), Some(1));
    (kind, [client, Proof::of(&who, server, &crypto(), Some(1))])
}

#[tokio::test]
async fn a_session_that_was_resumed_proves_nobody() {
    let root = Authority::new("the mesh");
    let leaf = root.workload(REVIEWS);
    for version in BOTH {
        let server = Arc::new(their_server(&leaf, &root, version));
        let client = Arc::new(their_client(Some(&leaf), version));
        let (kind, proofs) = plain(&client, &server).await;
        assert!(is_full(kind));
        for proof in proofs {
            assert!(proof.unwrap().peer().certificate().is_some());
        }
        let (kind, proofs) = plain(&client, &server).await;
        assert_eq!(kind, HandshakeKind::Resumed);
        for proof in proofs {
            assert!(matches!(proof, Err(TlsError::Resumed(_))));
        }
    }
}

/// Each handshake of ours has a configuration of its own, which has nothing to resume. This is one that is kept: it would not
/// do so either.
#[tokio::test]
async fn our_client_resumes_nothing() {
    let root = Authority::new("the mesh");
    let leaf = root.workload(REVIEWS);
    let client = client(&store(&root), is_reviews());
    for version in BOTH {
        let ours = client.configured(Http1).await;
        let mut control = ClientConfig::clone(&ours);
        control.resumption = Resumption::in_memory_sessions(8);
        // It keeps sessions and gives tickets.
        let theirs = Arc::new(their_server(&leaf, &root, version));
        for (ours, second) in [
            (Arc::new(control), HandshakeKind::Resumed),
            (ours, HandshakeKind::Full),
        ] {
            assert!(is_full(plain(&ours, &theirs).await.0));
            assert_eq!(plain(&ours, &theirs).await.0, second, "{version:?}");
        }
    }
    let theirs = Arc::new(their_server(&leaf, &root, BOTH[0]));
    for _ in 0..2 {
        assert!(is_full(
            calls(&client, &theirs, Http1).await.unwrap().theirs
        ));
    }
}

#[tokio::test]
async fn our_server_lets_nobody_resume() {
    let root = Authority::new("the mesh");
    let leaf = root.workload(REVIEWS);
    let server = server(&store(&root), is_reviews());
    let ours = server.configured().await;
    let mut control = ServerConfig::clone(&ours);
    control.session_storage = ServerSessionMemoryCache::new(8);
    control.send_tls13_tickets = 2;
    for (ours, second) in [
        (Arc::new(control), HandshakeKind::Resumed),
        (ours, HandshakeKind::Full),
    ] {
        for version in BOTH {
            // It resumes where it can.
            let theirs = Arc::new(their_client(Some(&leaf), version));
            assert!(is_full(plain(&theirs, &ours).await.0));
            assert_eq!(plain(&theirs, &ours).await.0, second, "{version:?}");
        }
    }
    let theirs = Arc::new(their_client(Some(&leaf), BOTH[0]));
    for _ in 0..2 {
        assert!(is_full(is_called(&server, &theirs).await.unwrap().theirs));
    }
}

#[tokio::test]
async fn a_server_gives_neither_tickets_nor_early_data() {
    let root = Authority::new("the mesh");
    let server = server(&store(&root), is_reviews());
    let leaf = root.workload(REVIEWS);
    let theirs = Arc::new(their_client(Some(&leaf), &rustls::version::TLS13));
    let tickets = async |config: &Arc<ServerConfig>| {
        let (ours, socket) = sockets().await;
        let connector = TlsConnector::from(Arc::clone(&theirs));
        let calling = async {
            let name = ServerName::try_from("reviews").unwrap();
            let mut stream = connector.connect(name, ours).await.unwrap();
            stream.read_u8().await.unwrap();
            stream.get_ref().1.tls13_tickets_received()
        };
        let answering = async {
            let mut stream = TlsAcceptor::from(Arc::clone(config))
                .accept(socket)
                .await
                .unwrap();
            stream.write_u8(1).await.unwrap();
        };
        tokio::join!(calling, answering).0
    };
    let control = Arc::new(their_server(&leaf, &root, &rustls::version::TLS13));
    assert!(tickets(&control).await > 0);
    let config = server.configured().await;
    assert_eq!(tickets(&config).await, 0);
    assert_eq!(
        (config.send_tls13_tickets, config.max_early_data_size),
        (0, 0)
    );
    assert!(!config.send_half_rtt_data);
}
