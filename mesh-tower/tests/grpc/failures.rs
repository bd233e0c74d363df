//! How calls of generated clients fail: which status, and what it says.

use std::time::Duration;

use bytes::Bytes;
use envoy_types::pb::envoy::extensions::filters::http::fault::v3::fault_abort::ErrorType;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use mesh_tower::{CallOptions, Mesh, Sent};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Request, Status};
use tower_service::Service;

use crate::support::faults::{abort, filters};
use crate::support::frozen::Frozen;
use crate::support::grpc::{EchoClient, Event, HANG, Server, cause, client, note, spoken};
use crate::support::rules::{Ruled, action, last, millis};
use crate::support::{Folder, node};

fn unavailable(status: &Status, flags: &str, words: &[&str]) {
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    for word in words {
        assert!(status.message().contains(word), "{word:?} in {status:?}");
    }
    // The message is the whole sentence, and the error itself is below.
    assert_eq!(status.message(), cause(status).to_string());
    assert_eq!(cause(status).flags(), flags, "{status:?}");
}

#[tokio::test]
async fn what_the_mesh_cannot_do_is_unavailable_and_says_why() {
    let folder = Folder::reviews("GRPC", &[]);
    folder.split(&[("v9", 1)]);
    let mesh = folder.mesh(7);
    let status = client(&mesh).unary(note("", 0)).await.unwrap_err();
    let names = ["503 NC", "\"reviews:9080\"", "v9", "configuration "];
    unavailable(&status, "NC", &names);

    let folder = Folder::reviews("GRPC", &[]);
    let mesh = folder.mesh(7);
    let status = client(&mesh).unary(note("", 0)).await.unwrap_err();
    let names = [
        "503 UH",
        "\"reviews:9080\"",
        "outbound|9080||reviews",
        "no endpoints",
    ];
    unavailable(&status, "UH", &names);

    // Streams fail alike.
    let (_say, words) = spoken();
    let status = client(&mesh).chat(words).await.unwrap_err();
    unavailable(&status, "UH", &names);

    let channel = mesh.channel("xds:///nowhere:9080").unwrap();
    let status = EchoClient::new(channel)
        .unary(note("", 0))
        .await
        .unwrap_err();
    unavailable(&status, "UF", &["\"nowhere:9080\""]);

    let mesh = Mesh::builder().build().unwrap();
    let status = client(&mesh).unary(note("", 0)).await.unwrap_err();
    unavailable(&status, "NFCF", &["no source of rules"]);
}

#[tokio::test]
async fn a_killed_connection_is_unavailable() {
    let mut server = Server::start("v1").await;
    let folder = Folder::reviews("GRPC", &[("v1", server.address)]);
    let mesh = folder.mesh(7);
    let mut client = client(&mesh);

    let mut other = client.clone();
    let call = tokio::spawn(async move { other.unary(note(HANG, 0)).await });
    assert_eq!(server.event().await, Event::Began("Unary"));
    server.kill();
    let status = call.await.unwrap().unwrap_err();
    unavailable(
        &status,
        "UC",
        &["\"reviews:9080\"", &server.address.to_string()],
    );
    assert_eq!(cause(&status).sent(), Sent::MaybeProcessed);

    let mut down = client.download(note(HANG, 2)).await.unwrap().into_inner();
    let (say, words) = spoken();
    say.send(note("word", 0)).unwrap();
    let mut heard = client.chat(words).await.unwrap().into_inner();
    for _ in 0..2 {
        down.message().await.unwrap().unwrap();
    }
    heard.message().await.unwrap().unwrap();
    server.kill();
    for status in [
        down.message().await.unwrap_err(),
        heard.message().await.unwrap_err(),
    ] {
        unavailable(&status, "UPE", &["outbound|9080||reviews"]);
        assert_eq!(cause(&status).sent(), Sent::Processed);
    }
    // The next call opens another connection.
    client.unary(note("", 0)).await.unwrap();
}

/// A mesh with one server, warm, whose one route has these limits.
async fn limited(route: i64) -> (Server, Ruled, Mesh, Folder) {
    let mut server = Server::start("v1").await;
    let folder = Folder::reviews("GRPC", &[("v1", server.address)]);
    let rule = |rules: &mut _| {
        let action = action(rules);
        action.timeout = millis(route);
        #[allow(
            deprecated,
            reason = "istiod sends it, and with it grpc-timeout is in the route timeout's place"
        )]
        {
            action.max_grpc_timeout = None;
        }
    };
    let ruled = Ruled::start(&folder, rule).await;
    let mesh = ruled.mesh();
    client(&mesh).unary(note("", 0)).await.unwrap();
    assert_eq!(server.event().await, Event::Began("Unary"));
    (server, ruled, mesh, folder)
}

#[tokio::test]
async fn the_nearest_limit_ends_a_call() {
    let (mut server, _ruled, mesh, _folder) = limited(1000).await;
    let clock = Frozen::start();
    for (timeout, options, allowed, words) in [
        (Some(300), None, 300, "300ms, its own grpc-timeout"),
        (Some(300), Some(5000), 300, "300ms, its own grpc-timeout"),
        (
            Some(5000),
            Some(200),
            200,
            "200ms, the timeout of its CallOptions",
        ),
        (Some(5000), None, 1000, "no whole response within 1s"),
        (None, None, 1000, "no whole response within 1s"),
    ] {
        let mut request = Request::new(note(HANG, 0));
        if let Some(timeout) = timeout {
            request.set_timeout(Duration::from_millis(timeout));
        }
        if let Some(timeout) = options {
            let options = CallOptions::new().timeout(Duration::from_millis(timeout));
            request.extensions_mut().insert(options);
        }
        let mut client = client(&mesh);
        let call = tokio::spawn(async move { client.unary(request).await });
        assert_eq!(server.event().await, Event::Began("Unary"));
        clock.advance(allowed - 10).await;
        assert!(!call.is_finished(), "{words}");
        assert_eq!(server.seen(), []);
        clock.advance(20).await;
        let status = clock.done(call).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
        assert!(status.message().contains(words), "{words:?} in {status:?}");
        assert_eq!(server.event().await, Event::Gone, "{words}");
        server.seen();
    }
}

#[tokio::test]
async fn a_deadline_ends_a_stream_and_tells_the_server() {
    let (mut server, _ruled, mesh, _folder) = limited(0).await;
    let clock = Frozen::start();
    let (say, words) = spoken();
    let mut request = Request::new(words);
    request.set_timeout(Duration::from_millis(500));
    let mut heard = client(&mesh).chat(request).await.unwrap().into_inner();
    assert_eq!(server.event().await, Event::Began("Chat"));
    say.send(note("word", 0)).unwrap();
    heard.message().await.unwrap().unwrap();
    clock.advance(400).await;
    say.send(note("word", 1)).unwrap();
    heard.message().await.unwrap().unwrap();
    assert!(!say.is_closed());
    let status = clock
        .while_advancing(150, || {}, heard.message())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    assert_eq!(server.event().await, Event::Reset(Some(h2::Reason::CANCEL)));
    clock
        .until("the caller's stream to end", || say.is_closed())
        .await;

    // Without a deadline, a stream outlasts that by far.
    let (say, words) = spoken();
    let mut heard = client(&mesh).chat(words).await.unwrap().into_inner();
    clock.advance(1_000_000).await;
    say.send(note("word", 0)).unwrap();
    heard.message().await.unwrap().unwrap();
}

#[tokio::test]
async fn a_deadline_holds_while_configuration_is_waited_for() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mesh = Mesh::builder()
        .xds(nobody.local_addr().unwrap().to_string())
        .node(node())
        .build()
        .unwrap();
    let clock = Frozen::start();
    let mut client = client(&mesh);
    let call = tokio::spawn(async move {
        let mut request = Request::new(note("", 0));
        request.set_timeout(Duration::from_secs(2));
        client.unary(request).await
    });
    clock.advance(1990).await;
    assert!(!call.is_finished());
    clock.advance(20).await;
    let status = clock.done(call).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    assert_eq!(cause(&status).sent(), Sent::NotSent);
}

#[tokio::test]
async fn a_failure_of_the_caller_s_own_stream_is_cancelled() {
    let mut server = Server::start("v1").await;
    let folder = Folder::reviews("GRPC", &[("v1", server.address)]);
    let mesh = folder.mesh(7);
    // Upload answers at the end alone, Chat at once: the stream fails before, and in, the response.
    for method in ["Upload", "Chat"] {
        let (frames, body) = mpsc::unbounded_channel();
        let body = StreamBody::new(UnboundedReceiverStream::new(body));
        let request = http::Request::post(format!("/test.Echo/{method}"))
            .version(http::Version::HTTP_2)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(tonic::body::Body::new(body))
            .unwrap();
        let call = mesh.channel("reviews:9080").unwrap().call(request);
        let call = tokio::spawn(async move {
            let response = call
                .await
                .map_err(|error| Status::from_error(error.into()))?;
            let read = response.into_body().collect().await;
            read.map(drop)
                .map_err(|error| Status::from_error(error.into()))
        });
        // An empty message.
        frames
            .send(Ok(Frame::data(Bytes::from_static(&[0; 5]))))
            .unwrap();
        // What became of the former call may be told first.
        while server.event().await != Event::Began(method) {}
        frames.send(Err(Status::internal("broken off"))).unwrap();
        let status = call.await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Cancelled, "{method}: {status:?}");
        assert_eq!(cause(&status).flags(), "DR", "{method}: {status:?}");
    }
}

#[tokio::test]
async fn what_the_configuration_answers_is_a_status() {
    let server = Server::start("v1").await;
    let folder = Folder::reviews("GRPC", &[("v1", server.address)]);
    let codes = [
        (400, Code::Internal),
        (401, Code::Unauthenticated),
        (403, Code::PermissionDenied),
        (404, Code::Unimplemented),
        (429, Code::Unavailable),
        (500, Code::Unknown),
        (502, Code::Unavailable),
        (503, Code::Unavailable),
        (504, Code::Unavailable),
    ];
    let mut routes = String::new();
    for (status, _) in codes {
        routes.push_str(&format!(
            "  - match: [{{ headers: {{ x-status: {{ exact: '{status}' }} }} }}]\n    directResponse: {{ status: {status}, body: {{ string: 'no – \"entry\" 100%' }} }}\n",
        ));
    }
    routes.push_str("  - match: [{ headers: { x-status: { exact: redirect } } }]\n    redirect: { uri: /elsewhere }\n");
    routes.push_str("  - route: [{ destination: { host: reviews } }]\n");
    folder.routes(&routes);
    let mesh = folder.mesh(7);
    let mut client = client(&mesh);
    let mut asking = async |status: &str| {
        let mut request = Request::new(note("", 0));
        request
            .metadata_mut()
            .insert("x-status", status.parse().unwrap());
        client.unary(request).await
    };
    for (status, code) in codes {
        let answer = asking(&status.to_string()).await.unwrap_err();
        assert_eq!(answer.code(), code, "{status}");
        assert_eq!(answer.message(), "no – \"entry\" 100%", "{status}");
    }
    assert_eq!(asking("redirect").await.unwrap_err().code(), Code::Unknown);
    assert_eq!(asking("other").await.unwrap().into_inner().text, "v1 ");
    // The mesh did what it was told.
    assert!(mesh.stats().errors.is_empty(), "{:?}", mesh.stats().errors);
}

#[tokio::test]
async fn a_fault_is_the_status_that_the_rules_say() {
    let server = Server::start("v1").await;
    let folder = Folder::reviews("GRPC", &[("v1", server.address)]);
    for (error, code) in [
        (ErrorType::GrpcStatus(8), Code::ResourceExhausted),
        (ErrorType::GrpcStatus(99), Code::Unknown),
        (ErrorType::HttpStatus(401), Code::Unauthenticated),
        (ErrorType::HttpStatus(503), Code::Unavailable),
        (ErrorType::HttpStatus(418), Code::Unknown),
    ] {
        let fault = |rules: &mut _| {
            last(rules).typed_per_filter_config = filters(abort(error, 100));
        };
        let ruled = Ruled::start(&folder, fault).await;
        let mesh = ruled.mesh();
        let status = client(&mesh).unary(note("", 0)).await.unwrap_err();
        let message = (status.code(), status.message());
        assert_eq!(message, (code, "fault filter abort"));
        let (_say, words) = spoken();
        let status = client(&mesh).chat(words).await.unwrap_err();
        assert_eq!(status.code(), code);
        assert_eq!(mesh.stats().faults.aborted, 2);
    }
    assert_eq!(server.connections(), 0, "nothing was sent");
}
