//! A caller that goes takes its call with it.

use crate::support::grpc::{Event, HANG, Server, client, note, spoken};
use crate::support::{Folder, until};

#[tokio::test]
async fn dropping_a_call_cancels_it_at_the_server() {
    for protocol in ["GRPC", "HTTP"] {
        let mut server = Server::start("v1").await;
        let folder = Folder::reviews(protocol, &[("v1", server.address)]);
        let mesh = folder.mesh(7);
        let mut client = client(&mesh);
        let mut other = client.clone();
        let call = tokio::spawn(async move { other.unary(note(HANG, 0)).await });
        assert_eq!(server.event().await, Event::Began("Unary"));
        // Another call on the same connection changes nothing.
        client.unary(note("", 0)).await.unwrap();
        assert_eq!(server.seen(), [Event::Began("Unary")], "{protocol}");
        call.abort();
        assert_eq!(server.event().await, Event::Gone, "{protocol}");
        assert_eq!(server.connections(), 1, "{protocol}: the connection stays");
        let idle = async || mesh.stats().in_flight == 0;
        until("the call to be counted out", idle).await;
        client.unary(note("", 0)).await.unwrap();
    }
}

#[tokio::test]
async fn dropping_the_responses_cancels_the_call_at_the_server() {
    let mut server = Server::start("v1").await;
    let folder = Folder::reviews("GRPC", &[("v1", server.address)]);
    let mesh = folder.mesh(7);
    let mut client = client(&mesh);
    let mut down = client.download(note(HANG, 3)).await.unwrap().into_inner();
    assert_eq!(server.event().await, Event::Began("Download"));
    for _ in 0..3 {
        down.message().await.unwrap().unwrap();
    }
    client.unary(note("", 0)).await.unwrap();
    assert_eq!(server.seen(), [Event::Began("Unary")]);
    drop(down);
    assert_eq!(server.event().await, Event::Gone);
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn the_caller_s_open_stream_does_not_keep_a_dropped_call() {
    let mut server = Server::start("v1").await;
    let folder = Folder::reviews("GRPC", &[("v1", server.address)]);
    let mesh = folder.mesh(7);
    let mut client = client(&mesh);

    // After the response began.
    let (say, words) = spoken();
    let mut heard = client.chat(words).await.unwrap().into_inner();
    assert_eq!(server.event().await, Event::Began("Chat"));
    say.send(note("word", 0)).unwrap();
    heard.message().await.unwrap().unwrap();
    client.unary(note("", 0)).await.unwrap();
    assert_eq!(server.seen(), [Event::Began("Unary")]);
    assert!(!say.is_closed());
    drop(heard);
    assert_eq!(server.event().await, Event::Reset(Some(h2::Reason::CANCEL)));
    until("the caller's stream to end", async || say.is_closed()).await;

    // Before it.
    let (say, words) = spoken();
    let mut other = client.clone();
    let call = tokio::spawn(async move { other.upload(words).await });
    assert_eq!(server.event().await, Event::Began("Upload"));
    say.send(note("word", 0)).unwrap();
    call.abort();
    assert_eq!(server.event().await, Event::Reset(Some(h2::Reason::CANCEL)));
    until("the caller's stream to end", async || say.is_closed()).await;
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_stream_that_ends_well_is_no_reset() {
    let mut server = Server::start("v1").await;
    let folder = Folder::reviews("GRPC", &[("v1", server.address)]);
    let mesh = folder.mesh(7);
    let mut client = client(&mesh);
    let (say, words) = spoken();
    let mut heard = client.chat(words).await.unwrap().into_inner();
    say.send(note("word", 0)).unwrap();
    heard.message().await.unwrap().unwrap();
    drop(say);
    assert_eq!(heard.message().await.unwrap(), None);
    drop(heard);
    client.unary(note("", 0)).await.unwrap();
    assert_eq!(server.seen(), [Event::Began("Chat"), Event::Began("Unary")]);
}
