//! Limits of a call's time: which one ends it, when it counts from, and what becomes of the connection.

use bytes::Bytes;
use envoy_types::pb::envoy::config::route::v3::RouteAction;
use envoy_types::pb::envoy::config::route::v3::route_action::MaxStreamDuration;
use http::{Request, Response, StatusCode};
use mesh_tower::{Body, Error, Mesh, MeshClient, Sent};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tower_service::Service;

use crate::support::frozen::Frozen;
use crate::support::rules::{Ruled, action, millis, ruled};
use crate::support::stage::Stage;
use crate::support::{Folder, URL};

/// A mesh whose one route has these limits, warm, with the clock stopped.
struct Scene {
    stage: Stage,
    clock: Frozen,
    mesh: Mesh,
    client: MeshClient,
    _ruled: Ruled,
    _folder: Folder,
}

type Call = JoinHandle<Result<Response<Body>, Error>>;

impl Scene {
    async fn open(protocol: &str, limits: impl FnOnce(&mut RouteAction)) -> Self {
        let mut stage = Stage::start().await;
        let folder = Folder::reviews(protocol, &[("v1", stage.backend.address)]);
        let (ruled, mesh) = ruled(&folder, |rules| {
            let action = action(rules);
            action.timeout = millis(0);
            limits(action);
        })
        .await;
        let client = mesh.client();
        let warm = call(&client, Request::get(URL).body(Body::empty()).unwrap());
        stage.arrival().await.answer("warm");
        warm.await
            .unwrap()
            .unwrap()
            .into_body()
            .text()
            .await
            .unwrap();
        Self {
            stage,
            clock: Frozen::start(),
            mesh,
            client,
            _ruled: ruled,
            _folder: folder,
        }
    }

    fn get(&self) -> Call {
        call(&self.client, Request::get(URL).body(Body::empty()).unwrap())
    }

    /// A POST whose body comes as the test sends it.
    fn post(&self) -> (mpsc::UnboundedSender<Bytes>, Call) {
        let (upload, frames) = mpsc::unbounded_channel();
        let frames = UnboundedReceiverStream::new(frames);
        let body = http_body_util::StreamBody::new(
            frames.map(|bytes| Ok::<_, std::io::Error>(http_body::Frame::data(bytes))),
        );
        let request = Request::post(URL).body(Body::new(body)).unwrap();
        (upload, call(&self.client, request))
    }
}

fn call(client: &MeshClient, request: Request<Body>) -> Call {
    let client = client.clone();
    tokio::spawn(async move { client.send(request).await })
}

fn code(error: &Error) -> tonic::Code {
    let source = std::error::Error::source(error).unwrap();
    source.downcast_ref::<tonic::Status>().unwrap().code()
}

#[tokio::test]
async fn the_route_s_timeout_ends_a_call_that_is_not_answered() {
    for protocol in ["HTTP", "HTTP2"] {
        let mut scene = Scene::open(protocol, |action| action.timeout = millis(1000)).await;
        let call = scene.get();
        let arrival = scene.stage.arrival().await;
        let told = &arrival.request.headers()["x-envoy-expected-rq-timeout-ms"];
        assert_eq!(told, "1000", "{protocol}: the next hop knows");
        scene.clock.advance(990).await;
        assert!(!call.is_finished(), "{protocol}: it has until one second");
        scene.clock.advance(20).await;
        let error = scene.clock.done(call).await.unwrap_err();
        assert_eq!(
            (error.status(), error.flags(), error.sent()),
            (StatusCode::GATEWAY_TIMEOUT, "UT", Sent::MaybeProcessed),
            "{error}"
        );
        assert!(error.is_timeout() && !error.is_reset() && !error.is_connect());
        assert_eq!(error.endpoint(), Some(scene.stage.backend.address));
        assert_eq!(code(&error), tonic::Code::DeadlineExceeded);
        assert_eq!(
            tonic::Status::from(error).code(),
            tonic::Code::DeadlineExceeded
        );
        // The peer learns of it: an HTTP/2 stream is reset, an HTTP/1.1 connection closed.
        scene
            .clock
            .until("the peer to be told", || arrival.answer.is_closed())
            .await;
        assert_eq!(scene.mesh.stats().errors.get("UT"), Some(&1));
    }
}

#[tokio::test]
async fn a_call_that_a_limit_ended_holds_nothing_though_its_future_is_kept() {
    let mut scene = Scene::open("HTTP", |action| action.timeout = millis(1000)).await;
    let request = Request::get(URL).body(Body::empty()).unwrap();
    let mut call = std::pin::pin!(scene.client.call(request));
    let early =
        std::future::poll_fn(|cx| std::task::Poll::Ready(call.as_mut().poll(cx).is_pending()));
    assert!(early.await);
    let arrival = scene.stage.arrival().await;
    let waited = scene.clock.while_advancing(1010, || {}, call.as_mut());
    assert!(waited.await.is_err());
    let gone = || arrival.answer.is_closed();
    scene.clock.until("the connection to close", gone).await;
    let _kept = call;
}

#[tokio::test]
async fn without_a_limit_a_call_waits_on() {
    let mut scene = Scene::open("HTTP", |_| {}).await;
    let call = scene.get();
    let arrival = scene.stage.arrival().await;
    scene.clock.advance(3_600_000).await;
    assert!(!call.is_finished());
    arrival.answer("late");
    assert_eq!(
        scene.clock.done(call).await.unwrap().status(),
        StatusCode::OK
    );
}

#[tokio::test]
async fn the_route_s_timeout_ends_a_body_that_stalls() {
    for protocol in ["HTTP", "HTTP2"] {
        let mut scene = Scene::open(protocol, |action| action.timeout = millis(1000)).await;
        let call = scene.get();
        let rest = scene.stage.arrival().await.begin();
        let mut body = scene.clock.done(call).await.unwrap().into_body();
        let mut frame = async || http_body_util::BodyExt::frame(&mut body).await.unwrap();
        for at in 0..3 {
            rest.send(Ok(Bytes::from_static(b"part"))).unwrap();
            frame().await.unwrap();
            scene.clock.advance(300).await;
            assert!(!rest.is_closed(), "{protocol}: frame {at} is in time");
        }
        let error = scene
            .clock
            .while_advancing(150, || {}, frame())
            .await
            .unwrap_err();
        assert_eq!(
            (error.flags(), error.sent()),
            ("UT", Sent::Processed),
            "{error}"
        );
        assert!(
            error.to_string().contains("\"outbound|9080||reviews"),
            "{error}"
        );
        // The connection is not used again.
        scene
            .clock
            .until("the peer to be told", || rest.is_closed())
            .await;
        let edges = scene.mesh.stats().edges;
        let edge = edges.iter().find(|edge| edge.endpoint.is_some()).unwrap();
        assert_eq!((edge.in_flight, edge.failed), (0, 1), "{edge:?}");
        assert_eq!(scene.mesh.stats().errors.get("UT"), Some(&1));
        let next = scene.get();
        scene.stage.arrival().await.answer("next");
        assert_eq!(
            scene
                .clock
                .done(next)
                .await
                .unwrap()
                .into_body()
                .text()
                .await
                .unwrap(),
            "next"
        );
    }
}

#[tokio::test]
async fn a_slow_upload_does_not_count_for_the_route_s_timeout() {
    for protocol in ["HTTP", "HTTP2"] {
        let mut scene = Scene::open(protocol, |action| action.timeout = millis(1000)).await;
        let (upload, call) = scene.post();
        let mut arrival = scene.stage.arrival().await;
        arrival.read();
        for _ in 0..5 {
            upload.send(Bytes::from_static(b"part")).unwrap();
            scene.clock.advance(900).await;
        }
        assert!(
            !call.is_finished(),
            "{protocol}: the request is not whole yet"
        );
        drop(upload);
        scene.clock.advance(0).await;
        scene.clock.advance(990).await;
        assert!(
            !call.is_finished(),
            "{protocol}: it counts from the end of the request"
        );
        scene.clock.advance(20).await;
        let error = scene.clock.done(call).await.unwrap_err();
        assert_eq!(
            (error.flags(), error.status()),
            ("UT", StatusCode::GATEWAY_TIMEOUT)
        );
        scene
            .clock
            .until("the peer to be told", || arrival.answer.is_closed())
            .await;
    }
}

#[tokio::test]
async fn max_stream_duration_counts_from_the_beginning() {
    let limit = |action: &mut RouteAction| {
        action.max_stream_duration = Some(MaxStreamDuration {
            max_stream_duration: millis(1000),
            ..MaxStreamDuration::default()
        });
    };
    for protocol in ["HTTP", "HTTP2"] {
        let mut scene = Scene::open(protocol, limit).await;
        let (upload, call) = scene.post();
        let mut arrival = scene.stage.arrival().await;
        let reading = arrival.read();
        upload.send(Bytes::from_static(b"part")).unwrap();
        scene.clock.advance(990).await;
        assert!(!call.is_finished());
        scene.clock.advance(20).await;
        let error = scene.clock.done(call).await.unwrap_err();
        // The caller was slow, so the status is his.
        assert_eq!(
            (error.status(), error.flags(), error.sent()),
            (StatusCode::REQUEST_TIMEOUT, "DT", Sent::MaybeProcessed),
            "{error}"
        );
        assert!(error.is_timeout());
        assert_eq!(code(&error), tonic::Code::DeadlineExceeded);
        // The upload ends as well, although its owner still holds it: the stream is reset.
        assert!(!scene.clock.done(reading).await, "{protocol}: not whole");
        scene
            .clock
            .until("the upload to end", || upload.is_closed())
            .await;

        let call = scene.get();
        let _arrival = scene.stage.arrival().await;
        scene.clock.advance(1010).await;
        let error = scene.clock.done(call).await.unwrap_err();
        assert_eq!(error.status(), StatusCode::GATEWAY_TIMEOUT, "{error}");
    }
}

#[tokio::test]
async fn a_grpc_timeout_counts_where_the_route_admits_it() {
    #[allow(deprecated, reason = "what Istio emits")]
    fn never(action: &mut RouteAction) {
        action.max_grpc_timeout = None;
    }
    let admits = |action: &mut RouteAction| {
        action.max_stream_duration = Some(MaxStreamDuration {
            grpc_timeout_header_max: millis(0),
            ..MaxStreamDuration::default()
        });
    };
    let flags = async |limits: fn(&mut RouteAction)| {
        let mut scene = Scene::open("GRPC", limits).await;
        let request = Request::post(URL)
            .header("content-type", "application/grpc")
            .header("grpc-timeout", "300m");
        let call = call(&scene.client, request.body(Body::empty()).unwrap());
        let arrival = scene.stage.arrival().await;
        scene.clock.advance(290).await;
        assert!(!call.is_finished());
        scene.clock.advance(20).await;
        if !call.is_finished() {
            arrival.answer("late");
        }
        scene
            .clock
            .done(call)
            .await
            .err()
            .map(|error| error.flags())
    };
    assert_eq!(flags(admits).await, Some("DT"));
    assert_eq!(flags(|_| {}).await, Some("UT"), "Istio's routes admit it");
    assert_eq!(flags(never).await, None);
}

#[tokio::test]
async fn an_idle_call_ends_and_frames_of_either_side_keep_it_alive() {
    for protocol in ["HTTP", "HTTP2"] {
        let mut scene = Scene::open(protocol, |action| action.idle_timeout = millis(1000)).await;
        let (upload, call) = scene.post();
        let mut arrival = scene.stage.arrival().await;
        for _ in 0..3 {
            upload.send(Bytes::from_static(b"part")).unwrap();
            scene.clock.advance(900).await;
        }
        assert!(!call.is_finished(), "{protocol}: the upload keeps it alive");
        let reading = arrival.read();
        let rest = arrival.begin();
        let mut body = scene.clock.done(call).await.unwrap().into_body();
        let mut frame = async || http_body_util::BodyExt::frame(&mut body).await.unwrap();
        for _ in 0..3 {
            let part = || rest.send(Ok(Bytes::from_static(b"part"))).unwrap();
            let got = scene.clock.while_advancing(900, part, frame()).await;
            assert!(
                got.is_ok(),
                "{protocol}: the download keeps it alive: {got:?}"
            );
        }
        let error = scene
            .clock
            .while_advancing(1010, || {}, frame())
            .await
            .unwrap_err();
        assert_eq!(
            (error.flags(), error.sent(), error.is_timeout()),
            ("SI", Sent::Processed, true),
            "{error}"
        );
        assert!(!scene.clock.done(reading).await, "{protocol}: not whole");
        scene
            .clock
            .until("the upload to end", || upload.is_closed())
            .await;
    }
}

#[tokio::test]
async fn an_idle_call_s_status_tells_whose_turn_it_was() {
    let mut scene = Scene::open("HTTP", |action| action.idle_timeout = millis(1000)).await;
    let whole = scene.get();
    let _arrival = scene.stage.arrival().await;
    let (_upload, half) = scene.post();
    let _other = scene.stage.arrival().await;
    scene.clock.advance(1010).await;
    let (whole, half) = (
        scene.clock.done(whole).await.unwrap_err(),
        scene.clock.done(half).await.unwrap_err(),
    );
    assert_eq!(
        (whole.status(), whole.flags()),
        (StatusCode::GATEWAY_TIMEOUT, "SI"),
        "{whole}"
    );
    assert_eq!(
        (half.status(), half.flags()),
        (StatusCode::REQUEST_TIMEOUT, "SI"),
        "{half}"
    );
}

#[tokio::test]
async fn what_arrived_in_time_may_be_read_late() {
    let mut scene = Scene::open("HTTP", |action| action.timeout = millis(1000)).await;
    let call = scene.get();
    let rest = scene.stage.arrival().await.begin();
    rest.send(Ok(Bytes::from_static(b"all"))).unwrap();
    drop(rest);
    let response = scene.clock.done(call).await.unwrap();
    scene.clock.advance(500).await;
    scene.clock.advance(5000).await;
    assert_eq!(response.into_body().text().await.unwrap(), "all");
}

#[tokio::test]
async fn a_caller_that_leaves_cancels_the_call() {
    for protocol in ["HTTP", "HTTP2"] {
        let mut scene = Scene::open(protocol, |action| action.timeout = millis(1000)).await;
        let call = scene.get();
        let arrival = scene.stage.arrival().await;
        call.abort();
        scene
            .clock
            .until("the peer to be told", || arrival.answer.is_closed())
            .await;
        assert_eq!(scene.mesh.stats().errors.get("UT"), None);
        assert_eq!(scene.stage.waiting(), 0);
    }
}
