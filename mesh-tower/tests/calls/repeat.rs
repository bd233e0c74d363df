//! The one repeat: only of what was not sent, once, and in the cluster that was drawn.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use http::Request;
use mesh_tower::{Body, Sent};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use crate::support::{Backend, Closed, Folder, URL, within_five_sigma};

/// Reads a request and closes without an answer; counts the requests.
async fn swallows() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, arrived) = (
        listener.local_addr().unwrap(),
        Arc::new(AtomicUsize::new(0)),
    );
    let count = Arc::clone(&arrived);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 4096];
            if stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                count.fetch_add(1, SeqCst);
            }
        }
    });
    (address, arrived)
}

#[tokio::test]
async fn a_request_that_may_have_been_processed_is_not_repeated() {
    let ((one, in_one), (two, in_two)) = (swallows().await, swallows().await);
    let folder = Folder::reviews("HTTP", &[("v1", one), ("v1", two)]);
    let client = folder.mesh(3).client();
    for sent in 1..=20 {
        let request = Request::post(URL).body(Body::from("order")).unwrap();
        let error = client.send(request).await.unwrap_err();
        assert_eq!(error.sent(), Sent::MaybeProcessed, "{error}");
        assert_eq!(
            in_one.load(SeqCst) + in_two.load(SeqCst),
            sent,
            "each call arrives once"
        );
    }
}

#[tokio::test]
async fn there_is_one_repeat_and_not_more() {
    let gone = [(); 3].map(|()| Closed::new());
    let folder = Folder::reviews("HTTP", &gone.each_ref().map(|gone| ("v1", gone.address)));
    let mesh = folder.mesh(3);
    mesh.client().get(URL).await.unwrap_err();
    let stats = mesh.stats();
    let attempts = stats
        .edges
        .iter()
        .find(|edge| edge.endpoint.is_none() && edge.cluster.contains("9080||reviews"))
        .unwrap();
    assert_eq!(
        (attempts.requests, attempts.in_flight, attempts.failed),
        (2, 0, 2),
        "{stats:?}"
    );
}

#[tokio::test]
async fn the_repeat_stays_in_its_cluster() {
    const SEED: u64 = 0xbeef;
    let dead = Closed::new();
    let live = Backend::start("v2").await;
    let folder = Folder::reviews("HTTP", &[("v1", dead.address), ("v2", live.address)]);
    folder.split(&[("v1", 50), ("v2", 50)]);
    let client = folder.mesh(SEED).client();
    let mut answered = 0;
    for _ in 0..400 {
        match client.get(URL).await {
            Ok(response) => {
                assert!(response.into_body().text().await.unwrap().starts_with("v2"));
                answered += 1;
            }
            Err(error) => assert!(
                error.is_connect() && error.cluster().unwrap().contains("|v1|"),
                "{error}"
            ),
        }
    }
    println!("seed {SEED:#x}: {answered} of 400 answered");
    assert!(
        within_five_sigma(answered, 400, 0.5),
        "failures do not move to the other cluster"
    );
    assert!(
        !within_five_sigma(400, 400, 0.5),
        "a repeat that leaves its cluster would be seen"
    );
}
