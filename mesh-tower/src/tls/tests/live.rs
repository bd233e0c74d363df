//! Connections that are open while what they were judged by changes.

use std::sync::Arc;
use std::time::Duration;

use mesh_core::cluster::Protocol::Http1;
use mesh_core::identity::PeerRule;
use mesh_core::tls::ClientAuth;
use rcgen::{BasicConstraints, IsCa, date_time_ymd};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;

use super::pki::{Authority, Leaf, REVIEWS, changed, crypto};
use super::scene::{
    BOTH, Clock, client, hello, is_reviews, server, server_terms, sockets, store,
    their_anonymous_server, their_client,
};
use crate::tls::Settings;
use crate::tls::client::Client;
use crate::tls::registry::{GRACE, Kept, Side};
use crate::tls::server::Server;
use crate::tls::store::Store;

/// 2029-12-31, an hour before the year ends.
const NOW: u64 = 1_893_456_000 - 3600;

/// A connection to a server that shows this.
async fn to(client: &Arc<Client>, leaf: &Leaf) -> Kept {
    let (tcp, socket) = sockets().await;
    let acceptor = TlsAcceptor::from(Arc::new(their_anonymous_server(leaf)));
    let (called, answered) = tokio::join!(client.keep(tcp, Http1), acceptor.accept(socket));
    answered.unwrap();
    called.unwrap().1
}

/// A connection of a client that shows this.
async fn of(server: &Arc<Server>, leaf: Option<&Leaf>, store: &Arc<Store>) -> Kept {
    let (socket, tcp) = sockets().await;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(their_client(leaf, BOTH[0])));
    let name = rustls::pki_types::ServerName::try_from("reviews").unwrap();
    let accepting = async { server.accept(hello(tcp).await).await.unwrap().1 };
    let (called, proof) = tokio::join!(connector.connect(name, socket), accepting);
    called.unwrap();
    store.keep(Side::Server(Arc::clone(server)), proof)
}

fn at(clock: &Arc<Clock>, root: &Authority) -> Arc<Store> {
    let clock = Arc::clone(clock) as _;
    let store = Arc::new(Store::new(Ok(crypto()), clock, Settings::default()));
    store
        .offer(&root.workload(REVIEWS).material(&[root]))
        .unwrap();
    store
}

#[tokio::test]
async fn a_connection_ends_with_a_certificate_of_its_peer() {
    let root = Authority::new("the mesh");
    let clock = Clock::at(NOW);
    let store = at(&clock, &root);
    let client = Arc::new(client(&store, is_reviews()));
    let server = Arc::new(server(&store, is_reviews()));
    let short = root.issue(&changed(|params| {
        params.not_after = date_time_ymd(2030, 1, 1)
    }));
    let ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let between = root.below_until("between", ca, 2030);
    let under = between.workload(REVIEWS).with(&between);
    let long = root.workload(REVIEWS);
    let mut ending = Vec::new();
    for leaf in [&short, &under] {
        ending.push(to(&client, leaf).await);
        ending.push(of(&server, Some(leaf), &store).await);
    }
    let open = Server::new(&server_terms(ClientAuth::None).into(), &store).unwrap();
    let staying = [
        to(&client, &long).await,
        of(&server, Some(&long), &store).await,
        of(&Arc::new(open), None, &store).await,
    ];
    store.judge_again().await;
    assert!(!ending.iter().chain(&staying).any(Kept::is_withdrawn));
    clock.set(NOW + 3601);
    store.judge_again().await;
    assert!(ending.iter().all(Kept::is_withdrawn));
    assert!(!staying.iter().any(Kept::is_withdrawn));
    assert_eq!(store.connections(), 7);
    drop((ending, staying));
    assert_eq!(store.connections(), 0);
}

#[tokio::test]
async fn a_root_that_is_withdrawn_takes_its_connections_along_by_itself() {
    let [old, new] = ["old", "new"].map(Authority::new);
    let store = store(&old);
    let client = Arc::new(client(&store, PeerRule::InMesh));
    let server = Arc::new(server(&store, PeerRule::InMesh));
    let leaf = old.workload(REVIEWS);
    let kept = [
        to(&client, &leaf).await,
        of(&server, Some(&leaf), &store).await,
    ];
    store
        .offer(&new.workload(REVIEWS).material(&[&old, &new]))
        .unwrap();
    let of_new = to(&client, &new.workload(REVIEWS)).await;
    store
        .offer(&new.workload(REVIEWS).material(&[&new]))
        .unwrap();
    for kept in &kept {
        let withdrawn = timeout(Duration::from_secs(20), kept.withdrawn());
        withdrawn.await.expect("nobody looked");
        tokio::time::pause();
        let from = Instant::now();
        kept.over().await;
        assert_eq!((Instant::now() - from).as_secs(), GRACE.as_secs());
        tokio::time::resume();
    }
    assert!(!of_new.is_withdrawn());
}

/// It was judged by a root that has gone during the handshake, when the registry did not have it yet.
#[tokio::test]
async fn what_came_about_too_late_is_withdrawn_at_once() {
    let [old, new] = ["old", "new"].map(Authority::new);
    let store = store(&old);
    let client = Arc::new(client(&store, is_reviews()));
    for (roots, stays) in [(vec![&old, &new], true), (vec![&new], false)] {
        let (tcp, socket) = sockets().await;
        let acceptor = TlsAcceptor::from(Arc::new(their_anonymous_server(&old.workload(REVIEWS))));
        let (called, answered) = tokio::join!(client.connect(tcp, Http1), acceptor.accept(socket));
        answered.unwrap();
        let (_stream, proof) = called.unwrap();
        store
            .offer(&new.workload(REVIEWS).material(&[&new, &old]))
            .unwrap();
        store
            .offer(&new.workload(REVIEWS).material(&roots))
            .unwrap();
        let kept = store.keep(Side::Client(Arc::clone(&client)), proof);
        assert_eq!(!kept.is_withdrawn(), stays);
    }
}
