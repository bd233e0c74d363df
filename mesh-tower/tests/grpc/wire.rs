//! What a call looks like to a server that knows HTTP/2 and nothing more.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;

use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::support::Folder;
use crate::support::grpc::{client, note};

/// The frames of a request: the length of each that has data, and whether the last of them ended it.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    data: Vec<usize>,
    ended_by_data: bool,
    length_told: bool,
}

/// Looks at one request and answers nothing.
async fn looking() -> (SocketAddr, oneshot::Receiver<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, seen) = oneshot::channel();
    tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(socket).await.unwrap();
        let (request, _respond) = connection.accept().await.unwrap().unwrap();
        let length_told = request.headers().contains_key("content-length");
        let mut body = request.into_body();
        let looking = async move {
            let (mut data, mut ended_by_data) = (Vec::new(), false);
            while let Some(frame) = body.data().await {
                data.push(frame.unwrap().len());
                ended_by_data = body.is_end_stream();
            }
            let _ = sender.send(Seen {
                data,
                ended_by_data,
                length_told,
            });
        };
        let mut looking = pin!(looking);
        tokio::select! {
            () = &mut looking => {}
            _ = poll_fn(|cx| connection.poll_closed(cx)) => looking.await,
        }
    });
    (address, seen)
}

#[tokio::test]
async fn a_message_at_hand_ends_the_request_with_its_frame() {
    let (address, seen) = looking().await;
    let folder = Folder::reviews("GRPC", &[("v1", address)]);
    let mesh = folder.mesh(7);
    let mut client = client(&mesh);
    let call = tokio::spawn(async move { client.unary(note("hello", 0)).await });
    let seen = seen.await.unwrap();
    call.abort();
    // Five bytes before a message; a text of five bytes with its key and its length.
    let expected = Seen {
        data: vec![5 + 7],
        ended_by_data: true,
        length_told: false,
    };
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn messages_that_come_one_by_one_are_sent_as_they_come() {
    let (address, seen) = looking().await;
    let folder = Folder::reviews("GRPC", &[("v1", address)]);
    let mesh = folder.mesh(7);
    let mut client = client(&mesh);
    let (sender, notes) = tokio::sync::mpsc::channel(1);
    sender.send(note("one", 0)).await.unwrap();
    let notes = tokio_stream::wrappers::ReceiverStream::new(notes);
    let call = tokio::spawn(async move { client.upload(notes).await });
    sender.send(note("seven77", 0)).await.unwrap();
    // There is room again only when the first was taken.
    sender.send(note("three", 0)).await.unwrap();
    drop(sender);
    let seen = seen.await.unwrap();
    call.abort();
    assert_eq!(seen.data.iter().sum::<usize>(), 3 * (5 + 2) + 3 + 7 + 5);
    assert!(!seen.length_told);
}
