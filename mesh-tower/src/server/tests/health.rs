//! The port that kubelets ask.

use std::time::Duration;

use super::scene::{Scene, connect, permissive, strict};

#[tokio::test]
async fn nothing_but_ready_is_on_the_health_port() {
    let scene = Scene::ruled(&permissive([]));
    let health = scene.mesh.health("127.0.0.1:0").await.unwrap();
    let ask = |line: &'static str| async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut client = connect(health).await.0;
        let request = format!("{line} HTTP/1.1\r\nhost: x\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        drop(client.read_to_string(&mut answer).await);
        answer
    };
    for line in [
        "GET /healthz/ready",
        "HEAD /healthz/ready",
        "GET /healthz/ready?x=1",
    ] {
        let answer = ask(line).await;
        assert!(
            answer.starts_with("HTTP/1.1 200 OK\r\n"),
            "{line}: {answer}"
        );
    }
    for line in [
        "GET /",
        "GET /healthz",
        "GET /healthz/ready/",
        "POST /healthz/ready",
        "GET /stats",
    ] {
        let answer = ask(line).await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{line}: {answer}");
    }
}

#[tokio::test]
async fn it_tells_whether_anything_may_come() {
    let scene = Scene::waiting();
    let health = scene.mesh.health("127.0.0.1:0").await.unwrap();
    let ask = || async { connect(health).await.get("/healthz/ready").await };
    assert!(
        ask().await.starts_with("http/1.1 200"),
        "it listens for nothing"
    );
    let _address = scene.serve().await;
    assert!(
        ask().await.starts_with("http/1.1 503"),
        "its rules are not known"
    );
    // It is plaintext whatever the rules are.
    scene.publish(&strict());
    assert!(ask().await.starts_with("http/1.1 200"));
    scene.mesh.shutdown_within(Duration::ZERO).await;
    assert!(ask().await.starts_with("http/1.1 503"), "it drains");
    drop(scene.mesh);
    let closed = async {
        while tokio::net::TcpStream::connect(health).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    let closed = tokio::time::timeout(Duration::from_secs(30), closed).await;
    assert!(closed.is_ok(), "the port goes with the mesh");
}
