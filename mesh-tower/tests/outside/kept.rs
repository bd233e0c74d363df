//! What is kept of hosts outside of the mesh: idle connections, and those on which nobody answers any more.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Request, Version};
use mesh_tower::{Body, Mesh, MeshClient};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};

use crate::support::outside::{Leads, Names, Server};
use crate::support::{text_of, until};

fn direct(names: &Names) -> MeshClient {
    let builder = Mesh::builder().direct().resolver(names.clone());
    builder.build().unwrap().client()
}

async fn text(client: &MeshClient, uri: &str) -> String {
    text_of(client.get(uri).await.unwrap()).await.1
}

#[tokio::test]
async fn a_host_keeps_32_idle_connections() {
    let server = Server::plain().await;
    let client = direct(&Names::to("api.example.com", &server));
    let calls = (0..40).map(|_| text(&client, "http://api.example.com/"));
    futures_util::future::join_all(calls).await;
    assert_eq!(server.connections(), 40);
    until("the coldest to be closed", || async {
        server.closed() == 8
    })
    .await;
    // The warm ones are used again.
    text(&client, "http://api.example.com/").await;
    assert_eq!((server.connections(), server.closed()), (40, 8));
}

#[tokio::test(start_paused = true)]
async fn a_new_host_closes_what_others_have_left_idle() {
    let (server, other) = (Server::plain().await, Server::plain().await);
    let names = Names::to("old.example.com", &server);
    names.lead("young.example.com", Leads::To(vec![server.address]));
    names.lead("new.example.com", Leads::To(vec![other.address]));
    let client = direct(&names);
    text(&client, "http://old.example.com/").await;
    tokio::time::advance(Duration::from_secs(20)).await;
    text(&client, "http://young.example.com/").await;
    tokio::time::advance(Duration::from_secs(6)).await;
    assert_eq!((server.connections(), server.closed()), (2, 0));
    text(&client, "http://new.example.com/").await;
    until("the old one to be closed", || async {
        server.closed() == 1
    })
    .await;
    text(&client, "http://young.example.com/").await;
    assert_eq!((server.connections(), server.closed()), (2, 1));
}

/// Speaks enough HTTP/2 to be taken for a server, and answers nothing.
async fn silent() -> Names {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let names = Names::of(
        "api.example.com",
        Leads::To(vec![listener.local_addr().unwrap()]),
    );
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        // Its settings, which are the defaults.
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        stream.write_all(&settings).await.unwrap();
        let mut heard = [0; 1024];
        while stream.read(&mut heard).await.is_ok_and(|read| read > 0) {}
    });
    names
}

#[tokio::test(start_paused = true)]
async fn a_call_on_a_connection_that_is_dead_ends() {
    let client = direct(&silent().await);
    let start = Instant::now();
    let request = Request::get("http://api.example.com/").version(Version::HTTP_2);
    let call = client.send(request.body(Body::empty()).unwrap());
    let error = timeout(Duration::from_secs(3600), call).await.unwrap();
    let (error, after) = (error.unwrap_err(), start.elapsed().as_secs());
    // The ping after five minutes, and 20 s for its answer.
    assert!((320..=325).contains(&after), "{after} s: {error}");
}

#[tokio::test]
async fn a_request_without_room_for_its_host_is_refused() {
    let server = Server::plain().await;
    let client = direct(&Names::to("api.example.com", &server));
    let mut headers = HeaderMap::new();
    for at in 0_u32.. {
        let name = HeaderName::try_from(format!("x-{at}")).unwrap();
        if headers.try_insert(name, HeaderValue::from(at)).is_err() {
            break;
        }
    }
    let mut request = Request::get("http://api.example.com/");
    *request.headers_mut().unwrap() = headers;
    let error = client.send(request.body(Body::empty()).unwrap()).await;
    let error = error.unwrap_err();
    assert!(error.is_invalid_request(), "{error}");
    assert!(error.to_string().contains("Host"), "{error}");
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn patience_without_end_is_no_fault() {
    let mesh = Mesh::builder().direct().build().unwrap();
    mesh.ready(Duration::MAX).await.unwrap();
}
