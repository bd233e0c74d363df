//! How many streams a server gets over HTTP/2 that bounds them, and what becomes of uploads that it does not take.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use mesh_tower::{Body, MeshClient};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::support::frozen::Frozen;
use crate::support::{Folder, URL, until};

/// Far less than is sent.
const WINDOW: u32 = 1_000;
const SIZE: usize = 100_001;
/// A test that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A request that a server got, and on which of its connections.
struct Got {
    connection: usize,
    body: RecvStream,
    respond: h2::server::SendResponse<Bytes>,
}

impl Got {
    fn answer(&mut self) {
        let whole = self.respond.send_response(Response::new(()), true);
        drop(whole.unwrap());
    }
}

/// A server that hands its requests to the test.
struct Server {
    address: SocketAddr,
    requests: mpsc::UnboundedReceiver<Got>,
    connections: Arc<Mutex<usize>>,
}

impl Server {
    /// `limit` tells how many streams the connection of this number takes.
    async fn start(limit: impl Fn(usize) -> u32 + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, requests) = mpsc::unbounded_channel();
        let connections = Arc::<Mutex<usize>>::default();
        let count = Arc::clone(&connections);
        tokio::spawn(async move {
            for connection in 0.. {
                let (socket, _) = listener.accept().await.unwrap();
                *count.lock().unwrap() += 1;
                tokio::spawn(serve(socket, connection, limit(connection), tell.clone()));
            }
        });
        Self {
            address,
            requests,
            connections,
        }
    }

    fn client(&self) -> (Folder, MeshClient) {
        let folder = Folder::reviews("HTTP2", &[("v1", self.address)]);
        let client = folder.mesh(7).client();
        (folder, client)
    }

    async fn got(&mut self) -> Got {
        let next = timeout(PATIENCE, self.requests.recv());
        next.await.expect("a request at the server").unwrap()
    }

    fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }
}

async fn serve(socket: TcpStream, connection: usize, limit: u32, tell: mpsc::UnboundedSender<Got>) {
    let mut builder = h2::server::Builder::new();
    builder.initial_window_size(WINDOW);
    builder.max_concurrent_streams(limit);
    let mut http = builder.handshake::<_, Bytes>(socket).await.unwrap();
    while let Some(Ok((request, respond))) = http.accept().await {
        let _ = tell.send(Got {
            connection,
            body: request.into_body(),
            respond,
        });
    }
}

fn request(body: impl Into<Body>, grpc: bool) -> Request<Body> {
    let mut request = Request::post(URL);
    if grpc {
        request = request.header("content-type", "application/grpc");
    }
    request.body(body.into()).unwrap()
}

/// Sends it beside the test.
fn sent(client: &MeshClient, request: Request<Body>) -> oneshot::Receiver<Response<Body>> {
    let (tell, answer) = oneshot::channel();
    let client = client.clone();
    tokio::spawn(async move {
        let response = client.send(request).await.unwrap();
        let _ = tell.send(response);
    });
    answer
}

async fn answered(answer: oneshot::Receiver<Response<Body>>) -> Response<Body> {
    timeout(PATIENCE, answer).await.expect("an answer").unwrap()
}

/// What a server gets that lets nothing more come: how many bytes, and why they end.
async fn taken(mut body: RecvStream) -> (usize, Option<Reason>) {
    let mut length = 0;
    let taking = async {
        while let Some(data) = body.data().await {
            match data {
                Ok(data) => length += data.len(),
                Err(error) => return error.reason(),
            }
        }
        None
    };
    let end = timeout(PATIENCE, taking).await;
    let end = end.expect("the upload to end");
    (length, end)
}

fn streamed() -> (
    mpsc::UnboundedSender<Result<Frame<Bytes>, Infallible>>,
    Body,
) {
    let (frames, body) = mpsc::unbounded_channel();
    let body = Body::new(StreamBody::new(UnboundedReceiverStream::new(body)));
    (frames, body)
}

fn data(size: usize) -> Result<Frame<Bytes>, Infallible> {
    Ok(Frame::data(vec![b'x'; size].into()))
}

#[tokio::test]
async fn what_is_left_of_an_upload_at_hand_ends_with_its_response() {
    for (grpc, read) in [(false, true), (false, false), (true, true), (true, false)] {
        let mut server = Server::start(|_| 1).await;
        let (_folder, client) = server.client();
        let answer = sent(&client, request(vec![b'x'; SIZE], grpc));
        let mut got = server.got().await;
        got.answer();
        let response = answered(answer).await;
        if read {
            assert_eq!(response.into_body().bytes().await.unwrap(), "");
        } else {
            drop(response);
        }
        let (length, end) = taken(got.body).await;
        assert_eq!(end, Some(Reason::CANCEL), "grpc {grpc}, read {read}");
        assert!(length <= WINDOW as usize);
        // The one stream of the connection is free again.
        let answer = sent(&client, request((), grpc));
        server.got().await.answer();
        answered(answer).await;
        assert_eq!(server.connections(), 1, "grpc {grpc}, read {read}");
    }
}

#[tokio::test]
async fn what_is_left_of_the_last_frame_of_a_stream_ends_with_the_call() {
    let mut server = Server::start(|_| 1).await;
    let (_folder, client) = server.client();
    let (frames, body) = streamed();
    frames.send(data(SIZE)).unwrap();
    drop(frames);
    let answer = sent(&client, request(body, true));
    let mut got = server.got().await;
    // The client has come to the last of what it may send.
    let mut length = 0;
    while length < WINDOW as usize {
        length += got.body.data().await.unwrap().unwrap().len();
    }
    got.answer();
    drop(answered(answer).await);
    assert_eq!(taken(got.body).await, (0, Some(Reason::CANCEL)));
    let answer = sent(&client, request((), true));
    server.got().await.answer();
    answered(answer).await;
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn an_upload_that_goes_on_after_its_response_keeps_its_place() {
    let mut server = Server::start(|_| 1).await;
    let (_folder, client) = server.client();
    let (frames, body) = streamed();
    frames.send(data(1)).unwrap();
    let answer = sent(&client, request(body, false));
    let mut first = server.got().await;
    first.answer();
    drop(answered(answer).await);

    let answer = sent(&client, request((), false));
    let mut second = server.got().await;
    assert_eq!((first.connection, second.connection), (0, 1));
    second.answer();
    answered(answer).await;

    // Its end gives the place back.
    frames.send(data(1)).unwrap();
    drop(frames);
    assert_eq!(taken(first.body).await, (2, None));
    let answers = [(); 2].map(|()| sent(&client, request((), false)));
    for _ in 0..2 {
        server.got().await.answer();
    }
    for answer in answers {
        answered(answer).await;
    }
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_call_waits_for_room_on_any_connection() {
    // The first two connections take none, the third takes two.
    let mut server = Server::start(|connection| 2 * u32::from(connection > 1)).await;
    let (_folder, client) = server.client();
    let opened = async |count| {
        let enough = async || server.connections() == count;
        until("the connection", enough).await;
    };
    let other = client.clone();
    let given_up = tokio::spawn(async move { other.send(request((), false)).await });
    opened(1).await;
    let waiting = sent(&client, request((), false));
    opened(2).await;
    // Whoever goes leaves his turn to the next.
    given_up.abort();
    assert!(given_up.await.unwrap_err().is_cancelled());
    let third = sent(&client, request((), false));
    let mut both = [server.got().await, server.got().await];
    assert_eq!(both.each_ref().map(|got| got.connection), [2, 2]);
    both.iter_mut().for_each(Got::answer);
    answered(waiting).await;
    answered(third).await;
    assert_eq!(server.connections(), 3);
}

#[tokio::test]
async fn with_as_many_connections_as_there_may_be_a_call_waits_for_the_first_place() {
    let mut server = Server::start(|_| 1).await;
    let (_folder, client) = server.client();
    let (mut answers, mut running) = (Vec::new(), Vec::new());
    for at in 0..100 {
        answers.push(sent(&client, request((), false)));
        running.push(server.got().await);
        assert_eq!(running[at].connection, at);
    }
    let waiting = [(); 3].map(|()| sent(&client, request((), false)));
    let mut late = Vec::new();
    for at in [70, 30, 99] {
        running[at].answer();
        late.push(server.got().await);
        assert_eq!(late.last().map(|got| got.connection), Some(at));
    }
    late.iter_mut().for_each(Got::answer);
    for answer in waiting {
        answered(answer).await;
    }
    assert_eq!(server.connections(), 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_call_is_forgotten_among_many_that_wait() {
    let mut server = Server::start(|_| 1).await;
    let (_folder, client) = server.client();
    let callers: Vec<_> = (0..200)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move {
                for _ in 0..10 {
                    drop(client.send(request("x", false)).await.unwrap());
                }
            })
        })
        .collect();
    // Nothing is answered before there is no place left.
    let mut held = Vec::new();
    while held.len() < 100 {
        held.push(server.got().await);
    }
    held.iter_mut().for_each(Got::answer);
    for _ in 100..2_000 {
        server.got().await.answer();
    }
    for caller in callers {
        let ended = timeout(PATIENCE, caller).await;
        ended.expect("the last answers").unwrap();
    }
    assert_eq!(server.connections(), 100);
}

/// A frame of settings with one of them: `SETTINGS_MAX_CONCURRENT_STREAMS`.
fn at_most(streams: u8) -> [u8; 15] {
    [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, streams]
}

/// A server that says what the test says, and a client of it.
async fn raw() -> (TcpListener, Folder, MeshClient) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let folder = Folder::reviews("HTTP2", &[("v1", listener.local_addr().unwrap())]);
    let client = folder.mesh(7).client();
    (listener, folder, client)
}

/// Takes a connection, and no streams on it.
async fn accept_none(listener: &TcpListener) -> TcpStream {
    let (mut socket, _) = listener.accept().await.unwrap();
    socket.write_all(&at_most(0)).await.unwrap();
    socket.read_exact(&mut [0; 24]).await.unwrap();
    socket
}

/// Reads frames up to one of this type that has this flag.
async fn read_to(socket: &mut TcpStream, kind: u8, flag: u8) {
    loop {
        let mut head = [0; 9];
        let read = timeout(PATIENCE, socket.read_exact(&mut head));
        read.await.expect("a frame").unwrap();
        let [a, b, c, its_kind, flags, ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        socket.read_exact(&mut payload).await.unwrap();
        if its_kind == kind && flags & flag == flag {
            return;
        }
    }
}

const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const ACK: u8 = 1;

#[tokio::test]
async fn a_call_that_waits_goes_when_the_limit_is_raised() {
    let (listener, _folder, client) = raw().await;
    let call = tokio::spawn(async move { client.send(request((), false)).await });
    let mut socket = accept_none(&listener).await;
    read_to(&mut socket, SETTINGS, ACK).await;
    socket.write_all(&at_most(1)).await.unwrap();
    read_to(&mut socket, HEADERS, 0).await;
    call.abort();
}

#[tokio::test]
async fn a_call_does_not_wait_for_room_on_a_connection_that_has_ended() {
    let (listener, _folder, client) = raw().await;
    let call = tokio::spawn(async move { client.send(request((), false)).await });
    let mut socket = accept_none(&listener).await;
    read_to(&mut socket, SETTINGS, ACK).await;
    drop(socket);
    let ended = timeout(PATIENCE, call).await.expect("an end").unwrap();
    let error = ended.unwrap_err();
    assert!(error.is_connect(), "{error}");
}

#[tokio::test]
async fn a_server_that_tells_no_settings_is_none() {
    let (listener, _folder, client) = raw().await;
    let call = tokio::spawn(async move { client.send(request((), false)).await });
    let _silent = listener.accept().await.unwrap();
    let frozen = Frozen::start();
    // Istio's `connectTimeout`, which is 10 s where none is set.
    frozen.advance(10_001).await;
    let error = frozen.done(call).await.unwrap_err();
    assert!(error.is_connect(), "{error}");
}
