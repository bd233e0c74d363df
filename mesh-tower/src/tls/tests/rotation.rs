//! The same client and server, while the store changes under them.

use std::sync::Arc;

use mesh_core::cluster::Protocol::Http1;
use mesh_core::identity::PeerRule;
use mesh_core::tls::ClientAuth;

use super::pki::{Authority, REVIEWS, crypto};
use super::scene::{
    BOTH, Clock, calls, client, client_terms, empty_store, hello, is_called, is_reviews, server,
    server_terms, sockets, store, their_client, their_server,
};
use crate::tls::client::Client;
use crate::tls::server::Server;
use crate::tls::store::Store;

/// Between our two ends, of one store each: the fingerprints that each saw of the other.
async fn fingerprints(client: &Client, server: &Server) -> ([u8; 32], [u8; 32]) {
    let (ours, theirs) = sockets().await;
    let accepting = async { server.accept(hello(theirs).await).await };
    let (called, accepted) = tokio::join!(client.connect(ours, Http1), accepting);
    let ((_kept, server), (_held, client)) = (called.unwrap(), accepted.unwrap());
    let fingerprint = |peer: &mesh_core::identity::Peer| peer.certificate().unwrap().sha256;
    (fingerprint(server.peer()), fingerprint(client.peer()))
}

#[tokio::test]
async fn the_next_handshake_shows_the_new_certificate() {
    let root = Authority::new("the mesh");
    let store = store(&root);
    let client = client(&store, PeerRule::InMesh);
    let server = server(&store, PeerRule::InMesh);
    let first = store.own().unwrap().certificate.sha256;
    assert_eq!(fingerprints(&client, &server).await, (first, first));
    assert_eq!(fingerprints(&client, &server).await, (first, first));
    store
        .offer(&root.workload(REVIEWS).material(&[&root]))
        .unwrap();
    let second = store.own().unwrap().certificate.sha256;
    assert_ne!(first, second);
    assert_eq!(fingerprints(&client, &server).await, (second, second));
}

#[tokio::test]
async fn a_root_that_is_withdrawn_is_believed_no_longer() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let store = store(&old);
    let client = client(&store, is_reviews());
    let server = server(&store, is_reviews());
    for version in BOTH {
        let leaf = old.workload(REVIEWS);
        let theirs = Arc::new(their_server(&leaf, &old, version));
        let caller = Arc::new(their_client(Some(&leaf), version));
        store
            .offer(&old.workload(REVIEWS).material(&[&old, &new]))
            .unwrap();
        let called = calls(&client, &theirs, Http1).await.unwrap();
        let caught = is_called(&server, &caller).await.unwrap();
        client.still_takes(&called.proof).unwrap();
        server.still_takes(&caught.proof).unwrap();
        // Both are believed: the certificate of the new one is judged by both.
        store
            .offer(&new.workload(REVIEWS).material(&[&old, &new]))
            .unwrap();
        server.still_takes(&caught.proof).unwrap();
        is_called(&server, &caller).await.unwrap();

        store
            .offer(&new.workload(REVIEWS).material(&[&new]))
            .unwrap();
        let refused = calls(&client, &theirs, Http1).await.unwrap_err();
        assert!(refused.to_string().contains("leads to none"), "{refused}");
        let (refused, _) = is_called(&server, &caller).await.unwrap_err();
        assert!(refused.to_string().contains("leads to none"), "{refused}");
        client.still_takes(&called.proof).unwrap_err();
        server.still_takes(&caught.proof).unwrap_err();
    }
}

#[tokio::test]
async fn without_a_certificate_of_our_own_nothing_is_tried() {
    let root = Authority::new("the mesh");
    let store = empty_store();
    let client = client(&store, is_reviews());
    let server = server(&store, is_reviews());
    let leaf = root.workload(REVIEWS);
    let theirs = Arc::new(their_server(&leaf, &root, BOTH[0]));
    let caller = Arc::new(their_client(Some(&leaf), BOTH[0]));
    let none = calls(&client, &theirs, Http1).await.unwrap_err();
    assert!(
        none.to_string().contains("no provider has given one yet"),
        "{none}"
    );
    store.failed(&"the folder is empty");
    let (none, _) = is_called(&server, &caller).await.unwrap_err();
    assert!(none.to_string().contains("the folder is empty"), "{none}");
    store
        .offer(&root.workload(REVIEWS).material(&[&root]))
        .unwrap();
    calls(&client, &theirs, Http1).await.unwrap();
    is_called(&server, &caller).await.unwrap();
}

#[tokio::test]
async fn a_certificate_of_our_own_that_expired_is_not_shown() {
    const NOW: u64 = 1_800_000_000;
    let root = Authority::new("the mesh");
    let clock = Clock::at(NOW);
    let store = Arc::new(Store::new(Ok(crypto()), Arc::clone(&clock) as _, [].into()));
    let mut params = super::pki::named(&[REVIEWS]);
    params.not_after = rcgen::date_time_ymd(2030, 1, 1);
    store
        .offer(&root.issue(&params).material(&[&root]))
        .unwrap();
    let end = store.own().unwrap().certificate.not_after;
    let client = client(&store, is_reviews());
    let server = server(&store, is_reviews());
    let peer = root.workload(REVIEWS);
    let theirs = Arc::new(their_server(&peer, &root, BOTH[0]));
    let caller = Arc::new(their_client(Some(&peer), BOTH[0]));
    clock.set(end);
    calls(&client, &theirs, Http1).await.unwrap();
    is_called(&server, &caller).await.unwrap();
    clock.set(end + 5);
    let late = calls(&client, &theirs, Http1)
        .await
        .unwrap_err()
        .to_string();
    assert!(late.contains("expired 5 s ago"), "{late}");
    let (late, _) = is_called(&server, &caller).await.unwrap_err();
    assert!(late.to_string().contains("expired 5 s ago"), "{late}");
}

#[tokio::test]
async fn a_client_hears_that_its_certificate_was_refused() {
    use tokio::io::AsyncReadExt;

    let root = Authority::new("the mesh");
    let store = store(&root);
    let mut terms = client_terms(PeerRule::InMesh);
    let anonymous = {
        terms.identity = None;
        Client::new(&terms.clone().into(), &store).unwrap()
    };
    terms.identity = Some(mesh_core::tls::CertName::Workload);
    let known = Client::new(&terms.into(), &store).unwrap();
    let server = server(&store, PeerRule::InMesh);
    for (client, heard) in [(&anonymous, Some("CertificateRequired")), (&known, None)] {
        let (ours, theirs) = sockets().await;
        let accepting = async { server.accept(hello(theirs).await).await.map(drop) };
        let calling = async {
            let (mut stream, _) = client.connect(ours, Http1).await.unwrap();
            stream.read(&mut [0]).await.unwrap_err()
        };
        let (accepted, error) = tokio::join!(accepting, calling);
        let alert = crate::tls::error::alert(&error).map(|alert| format!("{alert:?}"));
        assert_eq!(alert.as_deref(), heard, "{error}");
        assert_eq!(accepted.is_err(), heard.is_some());
    }
    // One that shows none is taken where none is asked for, and is nobody.
    let open = Server::new(&server_terms(ClientAuth::None).into(), &store).unwrap();
    let caller = Arc::new(their_client(None, BOTH[0]));
    let met = is_called(&open, &caller).await.unwrap();
    assert!(matches!(
        met.proof.peer(),
        mesh_core::identity::Peer::Anonymous
    ));
}
