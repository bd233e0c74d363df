//! Bodies of requests over HTTP/2, as a server sees them that takes them slowly.

use std::future::poll_fn;
use std::net::SocketAddr;

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::StreamBody;
use mesh_tower::{Body, Error};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::support::{Folder, URL};

/// Far less than is sent, and no divisor of it.
const WINDOW: u32 = 1_000;
const SIZE: usize = 100_001;

/// What a server saw of a request.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    length: usize,
    end: Result<Option<HeaderMap>, Option<Reason>>,
}

/// When the server answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answers {
    AtOnce,
    AtTheEnd,
}

/// Takes one request.
async fn server(answers: Answers) -> (SocketAddr, oneshot::Receiver<()>, oneshot::Receiver<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (begun, beginning) = oneshot::channel();
    let (tell, seen) = oneshot::channel();
    tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let mut builder = h2::server::Builder::new();
        builder.initial_window_size(WINDOW);
        let mut connection = builder.handshake::<_, Bytes>(socket).await.unwrap();
        let (request, mut respond) = connection.accept().await.unwrap().unwrap();
        tokio::spawn(async move {
            let answer = |respond: &mut h2::server::SendResponse<Bytes>| {
                let ended = Response::builder().status(StatusCode::OK).body(()).unwrap();
                drop(respond.send_response(ended, true));
            };
            if answers == Answers::AtOnce {
                answer(&mut respond);
            }
            let _ = begun.send(());
            let seen = read(request.into_body()).await;
            if answers == Answers::AtTheEnd {
                answer(&mut respond);
            }
            drop(tell.send(seen));
        });
        poll_fn(|cx| connection.poll_closed(cx)).await
    });
    (address, beginning, seen)
}

async fn read(mut body: RecvStream) -> Seen {
    let mut length = 0;
    while let Some(data) = body.data().await {
        match data {
            Ok(data) => {
                length += data.len();
                body.flow_control().release_capacity(data.len()).unwrap();
            }
            Err(error) => {
                let end = Err(error.reason());
                return Seen { length, end };
            }
        }
    }
    let end = body.trailers().await.map_err(|error| error.reason());
    Seen { length, end }
}

type Frames = mpsc::UnboundedSender<Result<Frame<Bytes>, std::io::Error>>;

fn streamed() -> (Frames, Body) {
    let (frames, body) = mpsc::unbounded_channel();
    let body = StreamBody::new(UnboundedReceiverStream::new(body));
    (frames, Body::new(body))
}

fn call(address: SocketAddr, body: impl Into<Body>) -> JoinHandle<Result<Response<Body>, Error>> {
    let folder = Folder::reviews("HTTP2", &[("v1", address)]);
    let request = Request::post(URL).body(body.into()).unwrap();
    tokio::spawn(async move {
        let mesh = folder.mesh(7);
        mesh.client().send(request).await
    })
}

fn data(size: usize) -> Frame<Bytes> {
    Frame::data(vec![b'x'; size].into())
}

#[tokio::test]
async fn what_is_larger_than_the_window_arrives_whole() {
    let whole = Seen {
        length: SIZE,
        end: Ok(None),
    };
    let (address, _, seen) = server(Answers::AtTheEnd).await;
    let response = call(address, vec![b'x'; SIZE]).await.unwrap().unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(seen.await.unwrap(), whole, "at hand");

    let (address, _, seen) = server(Answers::AtTheEnd).await;
    let (frames, body) = streamed();
    for size in [1, 0, SIZE - 2, 1] {
        frames.send(Ok(data(size))).unwrap();
    }
    drop(frames);
    let response = call(address, body).await.unwrap().unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(seen.await.unwrap(), whole, "bit by bit");
}

#[tokio::test]
async fn trailers_of_a_request_arrive() {
    let (address, _, seen) = server(Answers::AtTheEnd).await;
    let (frames, body) = streamed();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "1".parse().unwrap());
    frames.send(Ok(data(SIZE))).unwrap();
    frames.send(Ok(Frame::trailers(trailers.clone()))).unwrap();
    call(address, body).await.unwrap().unwrap();
    let end = Ok(Some(trailers));
    assert_eq!(seen.await.unwrap(), Seen { length: SIZE, end });
}

#[tokio::test]
async fn a_dropped_call_takes_its_upload_with_it() {
    let (address, begun, seen) = server(Answers::AtTheEnd).await;
    let (frames, body) = streamed();
    frames.send(Ok(data(1))).unwrap();
    let call = call(address, body);
    begun.await.unwrap();
    call.abort();
    let end = Err(Some(Reason::CANCEL));
    assert_eq!(seen.await.unwrap(), Seen { length: 1, end });
    frames.closed().await;
}

#[tokio::test]
async fn an_upload_goes_on_after_its_response() {
    let (address, begun, seen) = server(Answers::AtOnce).await;
    let (frames, body) = streamed();
    frames.send(Ok(data(1))).unwrap();
    let response = call(address, body).await.unwrap().unwrap();
    begun.await.unwrap();
    drop(response);
    frames.send(Ok(data(SIZE))).unwrap();
    drop(frames);
    let seen = seen.await.unwrap();
    assert_eq!((seen.length, seen.end), (1 + SIZE, Ok(None)));
}
