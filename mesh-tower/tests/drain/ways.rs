//! Draining, for each way to serve: what runs ends well, nothing new begins, and there is a bound.

use std::net::SocketAddr;
use std::time::Duration;

use mesh_tower::Mesh;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::wire::{Client, Gate, PROTOCOLS, Protocol, goes_away, refused, text};

/// Long enough that a test that needs it has failed.
const NEVER: Duration = Duration::from_secs(3600);
/// The time for draining of what does not end.
const SHORT: Duration = Duration::from_millis(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// `mesh.serve`.
    Mesh,
    /// `axum::serve` with `mesh.draining()`, and without.
    #[cfg(feature = "axum")]
    Axum { told: bool },
    /// tonic's server with `mesh.draining()`, and without.
    #[cfg(feature = "tonic-server")]
    Tonic { told: bool },
}

/// Those that learn of a drain.
const TOLD: &[Way] = &[
    Way::Mesh,
    #[cfg(feature = "axum")]
    Way::Axum { told: true },
    #[cfg(feature = "tonic-server")]
    Way::Tonic { told: true },
];

const UNTOLD: &[Way] = &[
    #[cfg(feature = "axum")]
    Way::Axum { told: false },
    #[cfg(feature = "tonic-server")]
    Way::Tonic { told: false },
];

struct Server {
    mesh: Mesh,
    gate: Gate,
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Server {
    async fn start(way: Way) -> Self {
        let mesh = Mesh::builder().build().unwrap();
        let gate = Gate::new();
        let app = gate.app();
        let listener = mesh.listen("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr();
        let serving = match way {
            Way::Mesh => tokio::spawn(async move { listener.serve(app).await.unwrap() }),
            #[cfg(feature = "axum")]
            Way::Axum { told } => {
                let app = app
                    .layer(mesh.inbound())
                    .into_make_service_with_connect_info::<mesh_tower::PeerIdentity>();
                let serving = axum::serve(listener, app);
                match told {
                    true => {
                        let serving = serving.with_graceful_shutdown(mesh.draining());
                        tokio::spawn(async move { serving.await.unwrap() })
                    }
                    false => tokio::spawn(async move { serving.await.unwrap() }),
                }
            }
            #[cfg(feature = "tonic-server")]
            Way::Tonic { told } => {
                let server = tonic::transport::Server::builder()
                    .accept_http1(true)
                    .layer(mesh.inbound());
                let draining = mesh.draining();
                let incoming = listener.incoming();
                tokio::spawn(async move {
                    match told {
                        true => {
                            server
                                .serve_with_incoming_shutdown(app, incoming, draining)
                                .await
                        }
                        false => server.serve_with_incoming(app, incoming).await,
                    }
                    .unwrap();
                })
            }
        };
        Self {
            mesh,
            gate,
            address,
            serving,
        }
    }

    fn shutdown_within(&self, timeout: Duration) -> JoinHandle<()> {
        let mesh = self.mesh.clone();
        tokio::spawn(async move { mesh.shutdown_within(timeout).await })
    }
}

#[tokio::test]
async fn what_runs_ends_well_and_nothing_new_begins() {
    for (way, protocol) in pairs(TOLD) {
        let server = Server::start(way).await;
        let mut client = Client::connect(server.address, protocol).await;
        let second = client.second_stream();
        let slow = tokio::spawn(async move { (client.get("/slow").await.unwrap(), client) });
        server.gate.entered().await;

        let shutdown = server.shutdown_within(NEVER);
        server.mesh.draining().await;
        refused(server.address).await;
        if let Some(second) = second {
            goes_away(second).await;
        }
        assert!(
            !shutdown.is_finished() && !server.serving.is_finished(),
            "{way:?} {protocol:?}: the request that runs is waited for"
        );

        server.gate.open.add_permits(1);
        let (response, client) = slow.await.unwrap();
        assert_eq!(response.status(), 200, "{way:?} {protocol:?}");
        let close = response.headers().get("connection").cloned();
        match protocol {
            Protocol::Http1 => assert_eq!(close.unwrap(), "close", "{way:?}"),
            Protocol::Http2 => assert_eq!(close, None, "{way:?}: no such header in HTTP/2"),
        }
        assert_eq!(text(response).await, "done");
        client.ended.await.unwrap().unwrap();
        shutdown.await.unwrap();
        server.serving.await.unwrap();
    }
}

/// The control of the test above.
#[tokio::test]
async fn without_a_drain_a_connection_is_kept() {
    for (way, protocol) in pairs(TOLD).chain(pairs(UNTOLD)) {
        let server = Server::start(way).await;
        server.gate.open.add_permits(3);
        let mut client = Client::connect(server.address, protocol).await;
        for _ in 0..3 {
            let response = client.get("/slow").await.unwrap();
            assert_eq!(response.headers().get("connection"), None, "{way:?}");
            assert_eq!(text(response).await, "done");
        }
        Client::connect(server.address, protocol).await;
        assert!(!client.ended.is_finished() && !server.serving.is_finished());
    }
}

#[tokio::test]
async fn an_idle_connection_ends_at_once() {
    for (way, protocol) in pairs(TOLD) {
        let server = Server::start(way).await;
        let mut client = Client::connect(server.address, protocol).await;
        assert_eq!(text(client.get("/quick").await.unwrap()).await, "quick");
        server.mesh.shutdown_within(NEVER).await;
        client.ended.await.unwrap().unwrap();
        server.serving.await.unwrap();
    }
}

#[tokio::test]
async fn what_does_not_end_is_cut() {
    for (way, protocol) in pairs(TOLD).chain(pairs(UNTOLD)) {
        let server = Server::start(way).await;
        let mut client = Client::connect(server.address, protocol).await;
        let endless = tokio::spawn(async move { client.get("/endless").await });
        server.gate.entered().await;
        server.mesh.shutdown_within(SHORT).await;
        endless.await.unwrap().unwrap_err();
        refused(server.address).await;
    }
}

/// hyper does not read a connection on which another request waits, so only its writes can fail.
#[tokio::test]
async fn a_pipelining_client_is_cut() {
    for way in TOLD.iter().chain(UNTOLD) {
        let server = Server::start(*way).await;
        let mut client = TcpStream::connect(server.address).await.unwrap();
        let twice = "GET /endless HTTP/1.1\r\nhost: test\r\n\r\n".repeat(2);
        client.write_all(twice.as_bytes()).await.unwrap();
        server.gate.entered().await;
        server.mesh.shutdown_within(SHORT).await;
        let mut answer = Vec::new();
        // An unread request makes the end a reset.
        drop(client.read_to_end(&mut answer).await);
        assert!(answer.is_empty(), "{way:?}");
    }
}

/// A server that is not told still accepts nothing, says `close`, and is bounded.
#[tokio::test]
async fn a_server_that_is_not_told_drains_by_its_stream() {
    for way in UNTOLD {
        let server = Server::start(*way).await;
        let mut client = Client::connect(server.address, Protocol::Http1).await;
        let slow = tokio::spawn(async move { (client.get("/slow").await.unwrap(), client) });
        server.gate.entered().await;
        let shutdown = server.shutdown_within(NEVER);
        server.mesh.draining().await;
        refused(server.address).await;
        server.gate.open.add_permits(1);
        let (response, client) = slow.await.unwrap();
        assert_eq!(response.headers()["connection"], "close", "{way:?}");
        assert_eq!(text(response).await, "done");
        client.ended.await.unwrap().unwrap();
        shutdown.await.unwrap();
    }
}

#[tokio::test]
async fn a_second_drain_shortens_the_first() {
    let server = Server::start(Way::Mesh).await;
    let mut client = Client::connect(server.address, Protocol::Http1).await;
    let endless = tokio::spawn(async move { client.get("/endless").await });
    server.gate.entered().await;
    let long = server.shutdown_within(NEVER);
    server.mesh.draining().await;
    server.mesh.shutdown_within(SHORT).await;
    endless.await.unwrap().unwrap_err();
    long.await.unwrap();
    server.serving.await.unwrap();
    // A later one has nothing to do, and takes nothing back.
    server.mesh.shutdown_within(NEVER).await;
}

#[tokio::test]
async fn a_listener_that_nobody_asks_holds_no_drain_up() {
    let mesh = Mesh::builder().build().unwrap();
    let listener = mesh.listen("127.0.0.1:0").await.unwrap();
    mesh.shutdown_within(NEVER).await;
    listener.serve(Gate::new().app()).await.unwrap();
}

#[tokio::test]
async fn each_request_knows_its_peer() {
    for (way, protocol) in pairs(TOLD) {
        let server = Server::start(way).await;
        let mut client = Client::connect(server.address, protocol).await;
        let told = text(client.get("/peer").await.unwrap()).await;
        assert_eq!(told, client.address.to_string(), "{way:?} {protocol:?}");
    }
}

/// The control of the test above: without the mesh's part nobody knows.
#[tokio::test]
async fn without_a_mesh_nobody_knows_the_peer() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(axum::serve(listener, Gate::new().app()).into_future());
    let mut client = Client::connect(address, Protocol::Http1).await;
    assert_eq!(text(client.get("/peer").await.unwrap()).await, "nobody");
    serving.abort();
}

fn pairs(ways: &[Way]) -> impl Iterator<Item = (Way, Protocol)> {
    ways.iter()
        .flat_map(|way| PROTOCOLS.map(|protocol| (*way, protocol)))
}
