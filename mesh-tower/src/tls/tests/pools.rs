//! Calls over TLS, from the pool of an endpoint to an application behind our own server side.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mesh_core::cluster::{Cluster, Endpoint, Protocol, Transport};
use mesh_core::identity::PeerRule;
use mesh_core::lb::LbPolicy;
use mesh_core::tls::{Alpn, ClientAuth, ClientTls};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::pki::{Authority, REVIEWS};
use super::scene::{
    client_terms, empty_store, exactly, hello, is_reviews, server, server_terms, store, until,
};
use crate::body::Body;
use crate::error::{Error, Place, Sent};
use crate::pool::{Counted, EndpointPool, Pools};
use crate::security::{Permits, Security};
use crate::telemetry::{Cells, Edges, service_of};
use crate::tls::registry::GRACE;
use crate::tls::server::Server;
use crate::tls::store::Store;

/// What runs on a connection that is withdrawn has a while.
#[tokio::test]
async fn a_call_that_does_not_end_is_ended() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let [old, new] = ["old", "new"].map(Authority::new);
        let [ours, theirs] = [store(&old), store(&old)];
        let open = Server::new(&server_terms(ClientAuth::None).into(), &theirs).unwrap();
        let app = App::start(open).await;
        app.answers.forget_permits(1000);
        let mut pools = Pooled::new(&ours, Security::AsConfigured);
        let pool = pools.pool(app.address, protocol, tls(is_reviews()));
        let running = called(&pool, false);
        tokio::pin!(running);
        let begun = until("it has begun", || app.asked.load(SeqCst) > 0);
        tokio::select! { biased; _ = &mut running => panic!("it waits"), () = begun => {} }
        ours.offer(&new.workload(REVIEWS).material(&[&new, &old]))
            .unwrap();
        ours.offer(&new.workload(REVIEWS).material(&[&new]))
            .unwrap();
        ours.judge_again().await;
        tokio::time::pause();
        let from = tokio::time::Instant::now();
        let error = running.await.unwrap_err();
        // It may have begun a moment before the clock stood still.
        let took = tokio::time::Instant::now() - from;
        let moment = std::time::Duration::from_millis(500);
        assert!(took + moment >= GRACE && took <= GRACE + moment, "{took:?}");
        assert_eq!(
            (error.flags(), error.sent()),
            ("UC", Sent::MaybeProcessed),
            "{error}"
        );
        tokio::time::resume();
    }
}

/// An application that tells the version of HTTP and the protocol that was agreed.
struct App {
    address: SocketAddr,
    /// How many connections came about.
    accepted: Arc<AtomicUsize>,
    /// How many requests came.
    asked: Arc<AtomicUsize>,
    /// A response waits for one of these.
    answers: Arc<Semaphore>,
}

impl App {
    async fn start(server: Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let app = Self {
            address: listener.local_addr().unwrap(),
            accepted: Arc::default(),
            asked: Arc::default(),
            answers: Arc::new(Semaphore::new(1000)),
        };
        let (accepted, answers) = (Arc::clone(&app.accepted), Arc::clone(&app.answers));
        let (server, asked) = (Arc::new(server), Arc::clone(&app.asked));
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (accepted, answers) = (Arc::clone(&accepted), Arc::clone(&answers));
                let (server, asked) = (Arc::clone(&server), Arc::clone(&asked));
                tokio::spawn(async move {
                    let Ok((stream, proof)) = server.accept(hello(tcp).await).await else {
                        return;
                    };
                    accepted.fetch_add(1, SeqCst);
                    let agreed = proof.protocol();
                    let answer = service_fn(move |request: Request<Incoming>| {
                        let answers = Arc::clone(&answers);
                        asked.fetch_add(1, SeqCst);
                        async move {
                            answers.acquire().await.unwrap().forget();
                            let text = format!("{:?} {agreed:?}", request.version());
                            Ok::<_, Error>(Response::new(text))
                        }
                    });
                    let builder =
                        hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    drop(builder.serve_connection(TokioIo::new(stream), answer).await);
                });
            }
        });
        app
    }

    fn accepted(&self) -> usize {
        self.accepted.load(SeqCst)
    }
}

/// What makes pools of one mesh.
struct Pooled(Pools);

impl Pooled {
    fn new(store: &Arc<Store>, security: Security) -> Self {
        Self(Pools::new(Permits::new(security, Arc::clone(store))))
    }

    fn pool(
        &mut self,
        address: SocketAddr,
        protocol: Protocol,
        transport: Transport,
    ) -> EndpointPool {
        let endpoint = Endpoint {
            transport,
            ..Endpoint::new(address)
        };
        let cluster = Cluster::new(
            "outbound|9080||reviews".into(),
            protocol,
            Duration::from_secs(5),
            LbPolicy::RoundRobin,
            [endpoint.clone()],
        );
        let edges = Edges::new(Default::default());
        let edge = edges.to(&service_of(&cluster), None);
        EndpointPool::new(&endpoint, &cluster, &mut self.0, edge)
    }
}

fn tls(peer: PeerRule) -> Transport {
    Transport::Tls(Arc::new(ClientTls::from(client_terms(peer))))
}

async fn called(pool: &EndpointPool, grpc: bool) -> Result<String, Error> {
    let mut request = Request::get("http://reviews:9080/x")
        .body(Body::default())
        .unwrap();
    if grpc {
        let grpc = http::HeaderValue::from_static("application/grpc");
        request
            .headers_mut()
            .insert(http::header::CONTENT_TYPE, grpc);
    }
    let counted = Counted::start(Arc::new(Cells::default()), None, None);
    match pool.send(request, counted, Place::default()).await {
        Ok(answered) => answered.response.into_body().text().await,
        Err(failed) => Err(failed.error),
    }
}

#[tokio::test]
async fn each_pool_agrees_on_its_protocol_and_keeps_its_connections() {
    let root = Authority::new("the mesh");
    let store = store(&root);
    for (protocol, grpc, says) in [
        (Protocol::Http1, false, "HTTP/1.1 Some(Http1)"),
        (Protocol::Http2, false, "HTTP/2.0 Some(Http2)"),
        (Protocol::Http1, true, "HTTP/2.0 Some(Http2)"),
        (Protocol::Http2, true, "HTTP/2.0 Some(Http2)"),
    ] {
        let app = App::start(server(&store, PeerRule::InMesh)).await;
        let mut pools = Pooled::new(&store, Security::AsConfigured);
        let pool = pools.pool(app.address, protocol, tls(is_reviews()));
        for _ in 0..3 {
            assert_eq!(called(&pool, grpc).await.unwrap(), says);
        }
        assert_eq!(app.accepted(), 1);
        // A cluster of the same terms shares them, one of others does not.
        let subset = pools.pool(app.address, protocol, tls(is_reviews()));
        called(&subset, grpc).await.unwrap();
        let own = usize::from(grpc && protocol == Protocol::Http1);
        assert_eq!(app.accepted(), 1 + own);
        let other = pools.pool(app.address, protocol, tls(PeerRule::InMesh));
        called(&other, grpc).await.unwrap();
        assert_eq!(app.accepted(), 2 + own);
    }
}

#[tokio::test]
async fn a_list_of_protocols_and_none_are_spoken_as_they_were_meant() {
    let root = Authority::new("the mesh");
    let store = store(&root);
    let istiods: [&[u8]; 3] = [b"istio-peer-exchange", b"istio", b"h2"];
    for (alpn, version) in [
        (Alpn::Exactly([].into()), Protocol::Http1),
        (Alpn::Exactly([].into()), Protocol::Http2),
        (
            Alpn::Exactly(istiods.map(Into::into).into()),
            Protocol::Http1,
        ),
        (
            Alpn::Exactly(istiods.map(Into::into).into()),
            Protocol::Http2,
        ),
    ] {
        let app = App::start(server(&store, PeerRule::InMesh)).await;
        let mut terms = client_terms(is_reviews());
        terms.alpn = alpn;
        let mut pools = Pooled::new(&store, Security::Required);
        let transport = Transport::Tls(Arc::new(terms.into()));
        let pool = pools.pool(app.address, version, transport);
        let said = called(&pool, false).await.unwrap();
        let meant = match version {
            Protocol::Http1 => "HTTP/1.1",
            Protocol::Http2 => "HTTP/2.0",
        };
        assert!(said.starts_with(meant), "{said}");
    }
}

#[tokio::test]
async fn who_is_refused_is_told_by_names_and_nothing_was_sent() {
    let root = Authority::new("the mesh");
    let ours = store(&root);
    let app = App::start(server(&ours, PeerRule::InMesh)).await;
    let ratings = "spiffe://cluster.local/ns/default/sa/ratings";
    let mut pools = Pooled::new(&ours, Security::AsConfigured);
    let stranger = store(&Authority::new("another mesh"));
    let mut strangers = Pooled::new(&stranger, Security::AsConfigured);
    let mut nobodies = Pooled::new(&empty_store(), Security::AsConfigured);
    for protocol in [Protocol::Http1, Protocol::Http2] {
        for (pool, says) in [
            (
                pools.pool(app.address, protocol, tls(exactly(ratings))),
                [REVIEWS, ratings, "good by the roots of the test's files"],
            ),
            (
                strangers.pool(app.address, protocol, tls(is_reviews())),
                [REVIEWS, "leads to none", "roots of the test's files"],
            ),
            (
                nobodies.pool(app.address, protocol, tls(is_reviews())),
                [
                    "no TLS without a certificate",
                    "MESH_CERTIFICATES",
                    "cluster outbound|9080||reviews",
                ],
            ),
        ] {
            let error = called(&pool, false).await.unwrap_err();
            assert_eq!((error.flags(), error.sent()), ("UF", Sent::NotSent));
            assert_eq!(error.status(), 503);
            assert!(error.is_tls() && error.is_connect(), "{error}");
            for part in says {
                assert!(error.to_string().contains(part), "{part} is not in {error}");
            }
        }
    }
    assert_eq!(app.accepted(), 0);
}

/// In TLS 1.3 the client's handshake is over before the server has looked at its certificate.
#[tokio::test]
async fn that_the_peer_refused_us_is_said() {
    let root = Authority::new("the mesh");
    let store = store(&root);
    let app = App::start(server(
        &store,
        exactly("spiffe://cluster.local/ns/default/sa/other"),
    ))
    .await;
    let mut pools = Pooled::new(&store, Security::AsConfigured);
    for (protocol, sent) in [
        // The request had been written.
        (Protocol::Http1, Sent::MaybeProcessed),
        (Protocol::Http2, Sent::NotSent),
    ] {
        let pool = pools.pool(app.address, protocol, tls(is_reviews()));
        let error = called(&pool, false).await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("the peer refused us by the TLS alert AccessDenied"),
            "{text}"
        );
        assert_eq!(
            (error.sent(), error.is_tls()),
            (sent, sent == Sent::NotSent)
        );
    }
    assert_eq!(app.accepted(), 0);
}

#[tokio::test]
async fn what_speaks_no_tls_is_never_spoken_to_in_plaintext() {
    let root = Authority::new("the mesh");
    let store = store(&root);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut pools = Pooled::new(&store, Security::AsConfigured);
    let pool = pools.pool(
        listener.local_addr().unwrap(),
        Protocol::Http1,
        tls(is_reviews()),
    );
    let plain = async {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let mut first = [0];
        tokio::io::AsyncReadExt::read_exact(&mut tcp, &mut first)
            .await
            .unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut tcp, b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
        first
    };
    let (called, first) = tokio::join!(called(&pool, false), plain);
    assert_eq!(first, [0x16]);
    assert!(called.unwrap_err().is_tls());
}

#[tokio::test]
async fn a_peer_that_does_not_answer_costs_the_connect_timeout() {
    let root = Authority::new("the mesh");
    let store = store(&root);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut pools = Pooled::new(&store, Security::AsConfigured);
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let pool = pools.pool(listener.local_addr().unwrap(), protocol, tls(is_reviews()));
        let calling = called(&pool, false);
        tokio::pin!(calling);
        let silent = tokio::select! {
            silent = listener.accept() => silent.unwrap(),
            called = &mut calling => panic!("{called:?}"),
        };
        tokio::time::pause();
        let error = calling.await.unwrap_err();
        tokio::time::resume();
        assert!(
            error.is_connect() && error.to_string().contains("within 5s"),
            "{error}"
        );
        assert_eq!(error.sent(), Sent::NotSent);
        drop(silent);
    }
}

#[tokio::test]
async fn security_is_kept() {
    let root = Authority::new("the mesh");
    let store = store(&root);
    let app = App::start(server(&store, PeerRule::InMesh)).await;
    let refused = Transport::Refused("transport socket of a cluster".into());
    let demanded = [
        (
            Security::Required,
            Transport::Plaintext,
            "Security::Required",
        ),
        (Security::Disabled, tls(is_reviews()), "Security::Disabled"),
        (
            Security::AsConfigured,
            refused.clone(),
            "transport socket of a cluster",
        ),
        (Security::Disabled, refused, "transport socket of a cluster"),
    ];
    for (security, transport, says) in demanded {
        let mut pools = Pooled::new(&store, security);
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let pool = pools.pool(app.address, protocol, transport.clone());
            let error = called(&pool, false).await.unwrap_err();
            assert!(
                error.is_tls_demanded() && error.to_string().contains(says),
                "{error}"
            );
            assert_eq!((error.flags(), error.sent()), ("UF", Sent::NotSent));
            assert!(pool.no_foreign().unwrap().contains(says));
        }
    }
    let mut pools = Pooled::new(&store, Security::Required);
    let pool = pools.pool(app.address, Protocol::Http1, tls(is_reviews()));
    called(&pool, false).await.unwrap();
    assert!(pool.no_foreign().unwrap().contains("Mesh::client"));
}

#[tokio::test]
async fn connections_of_a_root_that_is_withdrawn_are_not_used_again() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let [old, new] = ["old", "new"].map(Authority::new);
        let ours = store(&old);
        // The server believes both.
        let theirs = empty_store();
        theirs
            .offer(&old.workload(REVIEWS).material(&[&old, &new]))
            .unwrap();
        let app =
            App::start(Server::new(&server_terms(ClientAuth::None).into(), &theirs).unwrap()).await;
        let mut pools = Pooled::new(&ours, Security::AsConfigured);
        let pool = pools.pool(app.address, protocol, tls(is_reviews()));
        called(&pool, false).await.unwrap();
        // A root more, and a new certificate: they stay.
        ours.offer(&old.workload(REVIEWS).material(&[&old, &new]))
            .unwrap();
        ours.judge_again().await;
        called(&pool, false).await.unwrap();
        assert_eq!(app.accepted(), 1);
        // One that runs may end.
        app.answers.forget_permits(app.answers.available_permits());
        let running = called(&pool, false);
        tokio::pin!(running);
        let begun = until("it has begun", || app.asked.load(SeqCst) >= 3);
        tokio::select! { biased; _ = &mut running => panic!("it waits"), () = begun => {} }
        ours.offer(&new.workload(REVIEWS).material(&[&new]))
            .unwrap();
        ours.judge_again().await;
        let error = called(&pool, false).await.unwrap_err();
        assert!(
            error.is_tls() && error.to_string().contains("leads to none"),
            "{error}"
        );
        app.answers.add_permits(10);
        running.await.unwrap();
        let error = called(&pool, false).await.unwrap_err();
        assert!(error.is_tls(), "{error}");
        // They come back with a certificate of the new one.
        theirs
            .offer(&new.workload(REVIEWS).material(&[&old, &new]))
            .unwrap();
        called(&pool, false).await.unwrap();
        assert_eq!(app.accepted(), 2);
    }
}
