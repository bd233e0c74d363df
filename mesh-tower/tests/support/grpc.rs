//! An echo service by tonic, and its client in the shape of a generated one.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mesh_tower::{Mesh, MeshChannel};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::client::GrpcService;
use tonic::metadata::MetadataMap;
use tonic::server::{
    ClientStreamingService, ServerStreamingService, StreamingService, UnaryService,
};
use tonic::{Code, IntoRequest, IntoStreamingRequest, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

/// The one message of the service.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Note {
    #[prost(string, tag = "1")]
    pub(crate) text: String,
    #[prost(uint32, tag = "2")]
    pub(crate) count: u32,
}

pub(crate) fn note(text: impl Into<String>, count: u32) -> Note {
    let text = text.into();
    Note { text, count }
}

/// Said to a method that shall never end.
pub(crate) const HANG: &str = "hang";

type Future<T> = Pin<Box<dyn std::future::Future<Output = Result<Response<T>, Status>> + Send>>;
type Notes = Pin<Box<dyn Stream<Item = Result<Note, Status>> + Send>>;

/// What a server saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// A call began.
    Began(&'static str),
    /// A call that hung was dropped.
    Gone,
    /// The stream of requests was reset, for this reason.
    Reset(Option<h2::Reason>),
}

type Events = mpsc::UnboundedSender<Event>;

/// The service: each answer begins with its name.
#[derive(Debug, Clone)]
struct Echo {
    name: &'static str,
    events: Events,
}

/// Tells of its end.
struct Guard(Events);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.send(Event::Gone);
    }
}

impl UnaryService<Note> for Echo {
    type Response = Note;
    type Future = Future<Note>;

    /// Answers with the metadata that it got; `count` is the code of a failure.
    fn call(&mut self, request: Request<Note>) -> Self::Future {
        let Self { name, events } = self.clone();
        Box::pin(async move {
            let (metadata, _, Note { text, count }) = request.into_parts();
            if text == HANG {
                let _guard = Guard(events);
                std::future::pending::<()>().await;
            }
            let metadata = echoed(&metadata);
            if count != 0 {
                let (code, details) = (Code::from_i32(count as i32), Bytes::from_static(b"\0\xff"));
                return Err(Status::with_details_and_metadata(
                    code, text, details, metadata,
                ));
            }
            let mut response = Response::new(note(format!("{name} {text}"), 0));
            *response.metadata_mut() = metadata;
            Ok(response)
        })
    }
}

/// What a server shows of what it got.
fn echoed(metadata: &MetadataMap) -> MetadataMap {
    let mut shown = MetadataMap::new();
    if let Some(value) = metadata.get("x-word") {
        shown.insert("x-word", value.clone());
    }
    if let Some(value) = metadata.get_bin("x-bytes-bin") {
        shown.insert_bin("x-bytes-bin", value.clone());
    }
    if let Some(value) = metadata.get("te") {
        shown.insert("x-te", value.clone());
    }
    shown
}

impl ClientStreamingService<Note> for Echo {
    type Response = Note;
    type Future = Future<Note>;

    /// Counts messages.
    fn call(&mut self, request: Request<Streaming<Note>>) -> Self::Future {
        let name = self.name;
        Box::pin(async move {
            let mut notes = request.into_inner();
            let mut count = 0;
            while let Some(_note) = notes.message().await? {
                count += 1;
            }
            Ok(Response::new(note(name, count)))
        })
    }
}

impl ServerStreamingService<Note> for Echo {
    type Response = Note;
    type ResponseStream = Notes;
    type Future = Future<Notes>;

    /// So many messages.
    fn call(&mut self, request: Request<Note>) -> Self::Future {
        let Self { name, events } = self.clone();
        let Note { text, count } = request.into_inner();
        let (sender, notes) = mpsc::unbounded_channel();
        for at in 0..count {
            sender.send(Ok(note(name, at))).unwrap();
        }
        if text == HANG {
            tokio::spawn(async move {
                let _guard = Guard(events);
                sender.closed().await;
            });
        }
        let notes: Notes = Box::pin(UnboundedReceiverStream::new(notes));
        Box::pin(async { Ok(Response::new(notes)) })
    }
}

impl StreamingService<Note> for Echo {
    type Response = Note;
    type ResponseStream = Notes;
    type Future = Future<Notes>;

    /// Each message back.
    fn call(&mut self, request: Request<Streaming<Note>>) -> Self::Future {
        let name = self.name;
        let (sender, notes) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut asked = request.into_inner();
            while let Ok(Some(Note { text, count })) = asked.message().await {
                let _ = sender.send(Ok(note(format!("{name} {text}"), count)));
            }
        });
        let notes: Notes = Box::pin(UnboundedReceiverStream::new(notes));
        Box::pin(async { Ok(Response::new(notes)) })
    }
}

/// A running server of HTTP/2 and nothing else.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    events: mpsc::UnboundedReceiver<Event>,
    connections: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Server {
    pub(crate) async fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, events) = mpsc::unbounded_channel();
        let connections = Arc::<Mutex<Vec<JoinHandle<()>>>>::default();
        let echo = Echo {
            name,
            events: sender,
        };
        let kept = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let running = tokio::spawn(connection(socket, echo.clone()));
                kept.lock().unwrap().push(running);
            }
        });
        Self {
            address,
            events,
            connections,
        }
    }

    /// Breaks all connections.
    pub(crate) fn kill(&self) {
        for connection in self.connections.lock().unwrap().drain(..) {
            connection.abort();
        }
    }

    /// How many connections were opened since the last kill.
    pub(crate) fn connections(&self) -> usize {
        self.connections.lock().unwrap().len()
    }

    pub(crate) async fn event(&mut self) -> Event {
        let next = tokio::time::timeout(std::time::Duration::from_secs(20), self.events.recv());
        next.await.expect("an event at the server").unwrap()
    }

    /// What has happened that nobody has looked at.
    pub(crate) fn seen(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.events.try_recv().ok()).collect()
    }
}

async fn connection(socket: TcpStream, echo: Echo) {
    let service = hyper::service::service_fn(move |request: http::Request<Incoming>| {
        let echo = echo.clone();
        let request = request.map(|body| watched(echo.events.clone(), body));
        async move { Ok::<_, Infallible>(answered(echo, request).await) }
    });
    let http = http2::Builder::new(TokioExecutor::new());
    let _ = http.serve_connection(TokioIo::new(socket), service).await;
}

/// Tells of resets.
fn watched(events: Events, body: Incoming) -> tonic::body::Body {
    tonic::body::Body::new(body.map_err(move |error: hyper::Error| {
        let source = std::error::Error::source(&error);
        let reason = source.and_then(|it| it.downcast_ref::<h2::Error>()?.reason());
        let _ = events.send(Event::Reset(reason));
        error
    }))
}

/// The service in the shape of a generated one, for servers that take such.
#[derive(Debug, Clone)]
pub(crate) struct EchoServer(Echo);

impl EchoServer {
    /// Each answer begins with the name.
    pub(crate) fn new(name: &'static str) -> Self {
        let (events, _) = mpsc::unbounded_channel();
        Self(Echo { name, events })
    }
}

impl tonic::server::NamedService for EchoServer {
    const NAME: &'static str = "test.Echo";
}

impl<B> tower_service::Service<http::Request<B>> for EchoServer
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<mesh_tower::BoxError>,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future =
        Pin<Box<dyn std::future::Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let (echo, request) = (self.0.clone(), request.map(tonic::body::Body::new));
        Box::pin(async { Ok(answered(echo, request).await) })
    }
}

async fn answered(
    echo: Echo,
    request: http::Request<tonic::body::Body>,
) -> http::Response<tonic::body::Body> {
    let mut grpc = tonic::server::Grpc::new(ProstCodec::<Note, Note>::default());
    let began = |method| {
        let _ = echo.events.send(Event::Began(method));
    };
    match request.uri().path() {
        "/test.Echo/Unary" => {
            began("Unary");
            grpc.unary(echo, request).await
        }
        "/test.Echo/Upload" => {
            began("Upload");
            grpc.client_streaming(echo, request).await
        }
        "/test.Echo/Download" => {
            began("Download");
            grpc.server_streaming(echo, request).await
        }
        "/test.Echo/Chat" => {
            began("Chat");
            grpc.streaming(echo, request).await
        }
        _ => Status::unimplemented("no such method").into_http(),
    }
}

/// What `tonic-prost-build` would make of the service.
#[derive(Debug, Clone)]
pub(crate) struct EchoClient<T> {
    inner: tonic::client::Grpc<T>,
}

impl<T> EchoClient<T>
where
    T: GrpcService<tonic::body::Body>,
    T::Error: Into<mesh_tower::BoxError>,
    T::ResponseBody: http_body::Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<mesh_tower::BoxError> + Send,
{
    pub(crate) fn new(inner: T) -> Self {
        let inner = tonic::client::Grpc::new(inner);
        Self { inner }
    }

    pub(crate) fn with_origin(inner: T, origin: http::Uri) -> Self {
        let inner = tonic::client::Grpc::with_origin(inner, origin);
        Self { inner }
    }

    async fn ready(&mut self) -> Result<ProstCodec<Note, Note>, Status> {
        let ready = self.inner.ready().await;
        ready.map_err(|error| Status::from_error(error.into()))?;
        Ok(ProstCodec::default())
    }

    pub(crate) async fn unary(
        &mut self,
        request: impl IntoRequest<Note>,
    ) -> Result<Response<Note>, Status> {
        let (codec, path) = (self.ready().await?, path("/test.Echo/Unary"));
        self.inner.unary(request.into_request(), path, codec).await
    }

    pub(crate) async fn upload(
        &mut self,
        request: impl IntoStreamingRequest<Message = Note>,
    ) -> Result<Response<Note>, Status> {
        let (codec, path) = (self.ready().await?, path("/test.Echo/Upload"));
        let request = request.into_streaming_request();
        self.inner.client_streaming(request, path, codec).await
    }

    pub(crate) async fn download(
        &mut self,
        request: impl IntoRequest<Note>,
    ) -> Result<Response<Streaming<Note>>, Status> {
        let (codec, path) = (self.ready().await?, path("/test.Echo/Download"));
        let request = request.into_request();
        self.inner.server_streaming(request, path, codec).await
    }

    pub(crate) async fn chat(
        &mut self,
        request: impl IntoStreamingRequest<Message = Note>,
    ) -> Result<Response<Streaming<Note>>, Status> {
        let (codec, path) = (self.ready().await?, path("/test.Echo/Chat"));
        let request = request.into_streaming_request();
        self.inner.streaming(request, path, codec).await
    }
}

fn path(path: &'static str) -> http::uri::PathAndQuery {
    http::uri::PathAndQuery::from_static(path)
}

/// A client of `reviews:9080`.
pub(crate) fn client(mesh: &Mesh) -> EchoClient<MeshChannel> {
    EchoClient::new(mesh.channel("xds:///reviews:9080").unwrap())
}

/// A stream of messages that a test sends.
pub(crate) fn spoken() -> (mpsc::UnboundedSender<Note>, UnboundedReceiverStream<Note>) {
    let (sender, notes) = mpsc::unbounded_channel();
    (sender, UnboundedReceiverStream::new(notes))
}

/// The mesh's error under a status.
pub(crate) fn cause(status: &Status) -> &mesh_tower::Error {
    let source = std::error::Error::source(status).unwrap();
    source.downcast_ref().unwrap()
}
