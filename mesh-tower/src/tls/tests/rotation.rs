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
use crate::tls::Settings;
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
    assert!(none.to_string().contains("Builder::certificates"), "{none}");
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
    let store = Arc::new(Store::new(
        Ok(crypto()),
        Arc::clone(&clock) as _,
        Settings::default(),
    ));
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
        let refusal = crate::tls::PeerRefused::of(&error).map(|it| it.to_string());
        assert_eq!(refusal.is_some(), heard.is_some(), "{error}");
        assert!(
            heard.is_none_or(|heard| refusal.unwrap().contains(heard)),
            "{error}"
        );
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

/// Alerts by which operators of other meshes find out what is wrong.
#[tokio::test]
async fn a_peer_that_is_refused_hears_why() {
    let root = Authority::new("the mesh");
    let store = store(&root);
    let server = server(&store, is_reviews());
    let expired = super::pki::changed(|params| params.not_after = rcgen::date_time_ymd(2001, 1, 1));
    let stranger = "spiffe://cluster.local/ns/default/sa/ratings";
    let none = empty_store();
    let waiting = super::scene::server(&none, is_reviews());
    let good = root.workload(REVIEWS);
    for (server, leaf, heard) in [
        (&server, root.issue(&expired), "CertificateExpired"),
        (
            &server,
            Authority::new("another").workload(REVIEWS),
            "UnknownCA",
        ),
        (&server, root.workload(stranger), "AccessDenied"),
        (&waiting, good, "InternalError"),
    ] {
        for version in BOTH {
            let caller = Arc::new(their_client(Some(&leaf), version));
            let (error, alert) = is_called(server, &caller).await.unwrap_err();
            assert!(alert.contains(heard), "{heard} is not in {alert}: {error}");
        }
    }
}

/// Whose certificate it is that has to be mended.
#[tokio::test]
async fn a_servers_own_trouble_is_not_taken_for_ours() {
    use tokio::io::AsyncReadExt;

    let root = Authority::new("the mesh");
    let store = store(&root);
    let mut terms = client_terms(PeerRule::InMesh);
    terms.identity = Some(mesh_core::tls::CertName::Workload);
    let client = Client::new(&terms.into(), &store).unwrap();
    let another = super::scene::exactly("spiffe://cluster.local/ns/default/sa/other");
    for (servers, heard, of_ours) in [
        (
            &empty_store(),
            "InternalError: it has a trouble of its own",
            false,
        ),
        // The control: whom it wants we are not.
        (
            &store,
            "AccessDenied: its log says why; our certificate",
            true,
        ),
    ] {
        let server = super::scene::server(servers, another.clone());
        let (ours, theirs) = sockets().await;
        let accepting = async { server.accept(hello(theirs).await).await.map(drop) };
        let calling = async {
            match client.connect(ours, Http1).await {
                Err(error) => error.to_string(),
                Ok((mut stream, _)) => {
                    let error = stream.read(&mut [0]).await.unwrap_err();
                    crate::tls::PeerRefused::of(&error).unwrap().to_string()
                }
            }
        };
        let (accepted, told) = tokio::join!(accepting, calling);
        accepted.unwrap_err();
        assert!(told.contains(heard), "{told}");
        assert_eq!(told.contains("our certificate"), of_ours, "{told}");
    }
}

/// The terms may ask for more than those by which a connection came about.
#[tokio::test]
async fn who_showed_nothing_is_not_taken_where_something_is_asked_for() {
    let root = Authority::new("the mesh");
    let store = store(&root);
    let open = Server::new(&server_terms(ClientAuth::None).into(), &store).unwrap();
    let strict = server(&store, is_reviews());
    for shown in [None, Some(root.workload(REVIEWS))] {
        let caller = Arc::new(their_client(shown.as_ref(), BOTH[0]));
        let met = is_called(&open, &caller).await.unwrap();
        open.still_takes(&met.proof).unwrap();
        strict.still_takes(&met.proof).unwrap_err();
    }
    let caller = Arc::new(their_client(Some(&root.workload(REVIEWS)), BOTH[0]));
    let met = is_called(&strict, &caller).await.unwrap();
    strict.still_takes(&met.proof).unwrap();
    open.still_takes(&met.proof).unwrap();
}

/// A handshake goes by one moment, and whoever is believed since then judges it again.
#[tokio::test]
async fn a_handshake_that_straddles_a_rotation_is_known_as_old() {
    let [old, new] = ["old", "new"].map(Authority::new);
    let store = store(&old);
    let server = Arc::new(server(&store, is_reviews()));
    let leaf = old.workload(REVIEWS);
    let caller = Arc::new(their_client(Some(&leaf), BOTH[0]));
    for rotates in [false, true] {
        let (socket, tcp) = sockets().await;
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(&caller));
        let name = rustls::pki_types::ServerName::try_from("reviews").unwrap();
        // The client holds its second flight back.
        let mut connecting = Box::pin(connector.connect(name, socket));
        let hello = tokio::select! {
            hello = hello(tcp) => hello,
            _ = &mut connecting => panic!("nobody answered"),
        };
        let accepting = Arc::clone(&server);
        let accepting = tokio::spawn(async move { accepting.accept(hello).await });
        tokio::task::yield_now().await;
        if rotates {
            // Its moment was taken when the handshake began.
            let leaf = new.workload(REVIEWS);
            store.offer(&leaf.material(&[&new])).unwrap();
        }
        let (_kept, accepted) = tokio::join!(connecting, accepting);
        let (_stream, proof) = accepted.unwrap().unwrap();
        assert_eq!(proof.generation() != store.believed(), rotates);
        assert_eq!(server.still_takes(&proof).is_err(), rotates);
    }
}
