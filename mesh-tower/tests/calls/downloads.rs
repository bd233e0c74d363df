//! Responses over HTTP/2 whose stream ends early.

use std::future::poll_fn;
use std::net::SocketAddr;

use bytes::Bytes;
use h2::Reason;
use h2::server::SendResponse;
use http::Response;
use mesh_tower::{Error, Sent};
use tokio::net::TcpListener;

use crate::support::{Folder, URL};

/// Answers one request.
async fn server(answer: fn(SendResponse<Bytes>)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(socket).await.unwrap();
        let (_request, respond) = connection.accept().await.unwrap().unwrap();
        answer(respond);
        poll_fn(|cx| connection.poll_closed(cx)).await
    });
    address
}

async fn read(address: SocketAddr) -> Result<Bytes, Error> {
    let folder = Folder::reviews("HTTP2", &[("v1", address)]);
    folder.split(&[("v1", 1)]);
    let mesh = folder.mesh(7);
    let response = mesh.client().get(URL).await?;
    response.into_body().bytes().await
}

fn half(mut respond: SendResponse<Bytes>, reason: Option<Reason>) {
    let head = Response::new(());
    let mut body = respond.send_response(head, false).unwrap();
    body.send_data("half".into(), reason.is_none()).unwrap();
    if let Some(reason) = reason {
        body.send_reset(reason);
    }
}

#[tokio::test]
async fn a_body_that_was_cut_off_is_no_body() {
    let whole = server(|respond| half(respond, None)).await;
    assert_eq!(read(whole).await.unwrap(), "half");
    // Not even if the peer calls it no error.
    for answer in [
        (|respond| half(respond, Some(Reason::NO_ERROR))) as fn(SendResponse<Bytes>),
        |respond| half(respond, Some(Reason::INTERNAL_ERROR)),
    ] {
        read(server(answer).await).await.unwrap_err();
    }
}

#[tokio::test]
async fn what_the_peer_refuses_was_not_processed() {
    let refusing = server(|mut respond| respond.send_reset(Reason::REFUSED_STREAM)).await;
    let error = read(refusing).await.unwrap_err();
    assert_eq!(error.sent(), Sent::Refused, "{error}");
    let failing = server(|mut respond| respond.send_reset(Reason::INTERNAL_ERROR)).await;
    let error = read(failing).await.unwrap_err();
    assert_eq!(error.sent(), Sent::MaybeProcessed, "{error}");
}
