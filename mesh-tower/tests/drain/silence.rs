//! Peers that open a connection and say nothing, or not all of a head, or nothing more: `Mesh::serve` closes it.

use std::net::SocketAddr;
use std::time::Duration;

use axum::routing::get;
use mesh_tower::Mesh;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::frozen::Frozen;
use crate::wire::Gate;

const QUICK: &str = "GET /quick HTTP/1.1\r\nhost: test\r\n\r\n";
const SLOW: &str = "GET /slow HTTP/1.1\r\nhost: test\r\n\r\n";

/// More than sockets hold.
const MUCH: usize = 32 << 20;

struct Scene {
    mesh: Mesh,
    address: SocketAddr,
    gate: Gate,
    clock: Frozen,
}

impl Scene {
    async fn start() -> Self {
        let mesh = Mesh::builder().build().unwrap();
        let gate = Gate::new();
        let app = gate.app();
        let app = app.route("/much", get(|| async { vec![b'm'; MUCH] }));
        let listener = mesh.listen("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr();
        tokio::spawn(listener.serve(app));
        Self {
            mesh,
            address,
            gate,
            clock: Frozen::start(),
        }
    }

    async fn connect(&self, says: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(says.as_bytes()).await.unwrap();
        stream
    }

    async fn pass(&self, seconds: usize) {
        for _ in 0..seconds {
            self.clock.advance(1000).await;
        }
    }
}

/// Reads the answer.
async fn answered(stream: &mut TcpStream, body: &str) {
    let mut text = Vec::new();
    while !text.ends_with(body.as_bytes()) {
        assert_ne!(stream.read_buf(&mut text).await.unwrap(), 0, "{text:?}");
    }
}

fn is_closed(stream: &TcpStream) -> bool {
    // Unread bytes make the end a reset.
    match stream.try_read(&mut [0; 512]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}

#[tokio::test]
async fn who_says_nothing_is_closed() {
    let scene = Scene::start().await;
    for says in [
        "",
        "G",
        "GET /quick HTTP/1.1\r\nhost: te",
        "PRI * HTTP/2.0\r\n",
    ] {
        let stream = scene.connect(says).await;
        scene.pass(29).await;
        assert!(!is_closed(&stream), "{says:?}");
        scene.pass(2).await;
        let closed = || is_closed(&stream);
        scene
            .clock
            .until("the connection to be closed", closed)
            .await;
    }
}

#[tokio::test]
async fn who_has_been_answered_and_says_nothing_more_is_closed() {
    let scene = Scene::start().await;
    for more in ["", "GET /quick HTTP/1.1\r\n"] {
        let mut stream = scene.connect(QUICK).await;
        answered(&mut stream, "quick").await;
        stream.write_all(more.as_bytes()).await.unwrap();
        scene.pass(29).await;
        assert!(!is_closed(&stream), "{more:?}");
        scene.pass(12).await;
        let closed = || is_closed(&stream);
        scene
            .clock
            .until("the connection to be closed", closed)
            .await;
    }
}

/// The control: somebody who asks, however seldom, is no silent peer.
#[tokio::test]
async fn who_asks_now_and_then_is_not_closed() {
    let scene = Scene::start().await;
    let mut stream = scene.connect(QUICK).await;
    for _ in 0..5 {
        answered(&mut stream, "quick").await;
        scene.pass(25).await;
        assert!(!is_closed(&stream));
        stream.write_all(QUICK.as_bytes()).await.unwrap();
    }
}

#[tokio::test]
async fn an_answer_may_take_its_time() {
    let scene = Scene::start().await;
    let mut stream = scene.connect(SLOW).await;
    scene.gate.entered().await;
    scene.pass(100).await;
    assert!(!is_closed(&stream));
    scene.gate.open.add_permits(1);
    answered(&mut stream, "done").await;
    scene.pass(29).await;
    assert!(!is_closed(&stream));
    scene.pass(12).await;
    let closed = || is_closed(&stream);
    scene
        .clock
        .until("the connection to be closed", closed)
        .await;
}

/// HTTP/2 has pings: its connections may be idle.
#[tokio::test]
async fn http2_may_be_idle() {
    let scene = Scene::start().await;
    let mut client =
        crate::wire::Client::connect(scene.address, crate::wire::Protocol::Http2).await;
    for _ in 0..2 {
        let response = client.get("/quick").await.unwrap();
        assert_eq!(crate::wire::text(response).await, "quick");
        scene.pass(60).await;
    }
    assert!(!client.ended.is_finished());
}

/// hyper lets go of a body that it has not written yet.
#[tokio::test]
async fn an_answer_may_be_read_slowly() {
    let scene = Scene::start().await;
    let mut stream = scene
        .connect("GET /much HTTP/1.1\r\nhost: test\r\n\r\n")
        .await;
    scene.pass(100).await;
    let mut read = 0;
    let mut some = vec![0; 1 << 20];
    while read < MUCH {
        let now = stream.read(&mut some).await.unwrap();
        assert_ne!(now, 0, "cut after {read} bytes");
        read += now;
    }
    scene.pass(12).await;
    assert!(!is_closed(&stream), "it was in use until now");
}

#[tokio::test]
async fn half_a_head_holds_no_drain_up() {
    let scene = Scene::start().await;
    let stream = scene.connect("GET /quick HTTP/1.1\r\n").await;
    // The server has it.
    scene.pass(1).await;
    let mesh = scene.mesh.clone();
    let hour = Duration::from_secs(3600);
    let drain = tokio::spawn(async move { mesh.shutdown_within(hour).await });
    scene.pass(15).await;
    assert!(!drain.is_finished() && !is_closed(&stream));
    scene.pass(20).await;
    scene.clock.done(drain).await;
}
