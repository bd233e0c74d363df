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
    their_anonymous_server, their_client, until,
};
use crate::tls::Settings;
use crate::tls::client::Client;
use crate::tls::provider::{CertificateProvider, Certificates, Feeding};
use crate::tls::registry::{GRACE, Kept, Revocation, Side};
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
    at_with(clock, root, Settings::default())
}

fn at_with(clock: &Arc<Clock>, root: &Authority, settings: Settings) -> Arc<Store> {
    let clock = Arc::clone(clock) as _;
    let store = Arc::new(Store::new(Ok(crypto()), clock, settings));
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

/// Each row is the control of the other: the time is what was asked for, and not more than it by default.
#[tokio::test]
async fn an_expired_peer_is_gone_within_the_time_that_was_asked_for() {
    let default = Settings::default().revocation;
    assert_eq!(default, Revocation::within(Duration::from_secs(60)));
    let shortest = Revocation::within(Duration::ZERO);
    assert_eq!(shortest, Revocation::within(Duration::from_secs(2)));
    let root = Authority::new("the mesh");
    let short = root.issue(&changed(|params| {
        params.not_after = date_time_ymd(2030, 1, 1)
    }));
    for (within, at_least, revocation) in [
        (60, 30, default),
        (8, 2, Revocation::within(Duration::from_secs(8))),
    ] {
        let clock = Clock::at(NOW);
        let mut settings = Settings::default();
        settings.revocation = revocation;
        let store = at_with(&clock, &root, settings);
        store.looks_by_itself();
        let server = Arc::new(server(&store, is_reviews()));
        let kept = of(&server, Some(&short), &store).await;
        tokio::time::pause();
        let looking = tokio::spawn(store.looking());
        // The first look finds it well.
        tokio::time::sleep(Duration::from_millis(1000 * within + 100)).await;
        assert!(!kept.is_withdrawn());
        clock.set(NOW + 3601);
        let from = Instant::now();
        kept.over().await;
        let took = Instant::now() - from;
        assert!(
            took <= Duration::from_secs(within) && took >= Duration::from_secs(at_least),
            "{took:?} of {within} s"
        );
        looking.abort();
        tokio::time::resume();
    }
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

#[tokio::test]
async fn a_certificate_is_late_in_the_last_quarter_of_its_life() {
    let root = Authority::new("the mesh");
    let store = super::scene::empty_store();
    let params = changed(|params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2100, 1, 1);
    });
    store
        .offer(&root.issue(&params).material(&[&root]))
        .unwrap();
    let own = store.own().unwrap();
    let quarter = 20 * 365 * 24 * 3600;
    let end = own.certificate.not_after;
    assert!(!own.is_late(end - quarter - 10 * 24 * 3600));
    assert!(own.is_late(end - quarter + 10 * 24 * 3600) && own.is_late(end + 1));
}

#[test]
fn the_life_of_our_certificate_is_counted_down() {
    let root = Authority::new("the mesh");
    let clock = Clock::at(NOW);
    let settings = Settings::default();
    let store = Store::new(Ok(crypto()), Arc::clone(&clock) as _, settings);
    assert_eq!(store.seconds_left(), None);
    let until_then = changed(|params| params.not_after = date_time_ymd(2030, 1, 1));
    store
        .offer(&root.issue(&until_then).material(&[&root]))
        .unwrap();
    for (now, left) in [(NOW, 3600), (NOW + 3599, 1), (NOW + 3660, -60)] {
        clock.set(now);
        assert_eq!(store.seconds_left(), Some(left));
    }
}

/// What a provider runs ends with the mesh that it feeds.
#[tokio::test]
async fn a_provider_goes_with_its_store() {
    struct Endless(std::sync::Mutex<Option<tokio::sync::oneshot::Sender<()>>>);
    impl CertificateProvider for Endless {
        fn feed(self: Arc<Self>, to: Certificates) -> Feeding {
            Box::pin(async move {
                let held = self.0.lock().unwrap().take();
                to.failed(&"there is none");
                std::future::pending::<()>().await;
                drop(held);
            })
        }
    }
    let store = super::scene::empty_store();
    let (held, mut gone) = tokio::sync::oneshot::channel();
    store.feed(Arc::new(Endless(Some(held).into()))).unwrap();
    until("it has begun", || store.refusal().is_some()).await;
    gone.try_recv().unwrap_err();
    drop(store);
    let gone = timeout(Duration::from_secs(20), gone);
    gone.await.expect("it goes on").unwrap_err();
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
