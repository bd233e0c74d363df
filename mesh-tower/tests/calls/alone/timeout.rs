use std::time::Duration;

use axum::body::{Body, to_bytes};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use mesh_tower::layer::{TimedBody, TimeoutLayer, UploadBody};
use mesh_tower::{BoxError, Error, Sent};
use tokio::time::{Instant, sleep};
use tower::{ServiceBuilder, ServiceExt, service_fn};

use super::{Drops, streamed};

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

type Answer = Result<Response<TimedBody<Body>>, BoxError>;

/// Calls a service below the layer that reads the request and then answers after `think`.
async fn after(layer: TimeoutLayer, request: Body, think: Duration, answer: Body) -> Answer {
    let mut answer = Some(answer);
    let service = service_fn(move |request: Request<UploadBody<Body>>| {
        let answer = answer.take().unwrap();
        async move {
            request.into_body().collect().await?;
            sleep(think).await;
            Ok::<_, BoxError>(Response::new(answer))
        }
    });
    let service = ServiceBuilder::new().layer(layer).service(service);
    service.oneshot(Request::new(request)).await
}

fn ours(error: &BoxError) -> &Error {
    // axum boxes what its body meets.
    let mut error: &(dyn std::error::Error + 'static) = &**error;
    loop {
        match error.downcast_ref() {
            Some(ours) => return ours,
            None => error = error.source().unwrap(),
        }
    }
}

fn told(error: &Error) -> (StatusCode, &str, Sent) {
    (error.status(), error.flags(), error.sent())
}

#[tokio::test(start_paused = true)]
async fn the_timeout_runs_from_the_end_of_the_request() {
    let layer = TimeoutLayer::new().timeout(seconds(2));
    let (frames, body) = streamed();
    let start = Instant::now();
    tokio::spawn(async move {
        for _ in 0..5 {
            sleep(seconds(1)).await;
            frames.send(Ok("part")).unwrap();
        }
    });
    let error = after(layer, body, seconds(60), Body::empty())
        .await
        .unwrap_err();
    assert_eq!(start.elapsed().as_secs(), 7);
    let error = ours(&error);
    assert_eq!(
        told(error),
        (StatusCode::GATEWAY_TIMEOUT, "UT", Sent::MaybeProcessed)
    );
    let words = "no whole response within 2s of the whole request, the timeout of the TimeoutLayer";
    assert!(error.to_string().contains(words), "{error}");
    assert!(error.is_timeout());
}

#[tokio::test(start_paused = true)]
async fn a_body_at_hand_is_whole_whether_or_not_it_is_read() {
    for body in [Body::empty(), Body::from("bytes")] {
        let start = Instant::now();
        let never = service_fn(async |_: Request<UploadBody<Body>>| {
            std::future::pending::<Result<Response<Body>, BoxError>>().await
        });
        let layer = TimeoutLayer::new().timeout(seconds(2));
        let service = ServiceBuilder::new().layer(layer).service(never);
        let error = service.oneshot(Request::new(body)).await.unwrap_err();
        assert_eq!((start.elapsed().as_secs(), ours(&error).flags()), (2, "UT"));
    }
}

#[tokio::test(start_paused = true)]
async fn the_other_limits_hold_beside_it() {
    let idle = TimeoutLayer::new()
        .timeout(seconds(9))
        .idle_timeout(seconds(3));
    let whole = TimeoutLayer::new()
        .timeout(seconds(9))
        .max_stream_duration(seconds(4));
    for (layer, end, flags, status) in [
        (idle, 5, "SI", StatusCode::GATEWAY_TIMEOUT),
        (whole, 4, "DT", StatusCode::GATEWAY_TIMEOUT),
    ] {
        let (frames, body) = streamed();
        tokio::spawn(async move {
            for _ in 0..2 {
                sleep(seconds(1)).await;
                frames.send(Ok("part")).unwrap();
            }
        });
        let start = Instant::now();
        let error = after(layer, body, seconds(60), Body::empty())
            .await
            .unwrap_err();
        let error = ours(&error);
        assert_eq!(start.elapsed().as_secs(), end, "{error}");
        assert_eq!(told(error), (status, flags, Sent::MaybeProcessed));
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_may_pass_while_the_response_is_read() {
    let layer = TimeoutLayer::new()
        .timeout(seconds(9))
        .idle_timeout(seconds(3));
    let (frames, body) = streamed();
    let start = Instant::now();
    let response = after(layer, Body::from("ask"), seconds(1), body)
        .await
        .unwrap();
    let mut body = response.into_body();
    for at in 0..2 {
        sleep(seconds(1)).await;
        frames.send(Ok("part")).unwrap();
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "part", "{at}");
    }
    let error = body.frame().await.unwrap().unwrap_err();
    assert_eq!(start.elapsed().as_secs(), 6);
    assert_eq!(
        told(ours(&error)),
        (StatusCode::GATEWAY_TIMEOUT, "SI", Sent::Processed)
    );
    // It ends there, and what was behind it is gone.
    assert!(body.frame().await.is_none());
    assert!(frames.is_closed());
}

#[tokio::test(start_paused = true)]
async fn what_is_in_time_passes_unchanged() {
    let none = TimeoutLayer::new();
    let zero = none
        .timeout(seconds(0))
        .idle_timeout(seconds(0))
        .max_stream_duration(seconds(0));
    let enough = none
        .timeout(seconds(61))
        .idle_timeout(seconds(61))
        .max_stream_duration(seconds(61));
    let most = none
        .timeout(Duration::MAX)
        .max_stream_duration(Duration::MAX);
    for layer in [none, zero, enough, most] {
        let answer = after(layer, Body::from("ask"), seconds(60), Body::from("told")).await;
        let body = Body::new(answer.unwrap().into_body());
        assert_eq!(to_bytes(body, 100).await.unwrap(), "told", "{layer:?}");
    }
    // So do the service's own errors.
    let failing = service_fn(async |_: Request<UploadBody<Body>>| {
        Err::<Response<Body>, _>(std::io::Error::other("its own"))
    });
    let service = ServiceBuilder::new()
        .layer(none.timeout(seconds(1)))
        .service(failing);
    let error = service
        .oneshot(Request::new(Body::empty()))
        .await
        .unwrap_err();
    assert!(error.downcast_ref::<std::io::Error>().is_some(), "{error}");
}

#[tokio::test(start_paused = true)]
async fn the_request_arrives_as_it_was() {
    let echo = service_fn(async |request: Request<UploadBody<Body>>| {
        let exact = http_body::Body::size_hint(request.body()).exact();
        let whole = to_bytes(Body::new(request.into_body()), 100).await?;
        Ok::<_, BoxError>(Response::new(Body::from(format!("{exact:?} {whole:?}"))))
    });
    let (frames, streamed) = streamed();
    for frame in ["1", "2", "3", "4"] {
        frames.send(Ok(frame)).unwrap();
    }
    drop(frames);
    for (body, seen) in [
        (Body::empty(), "Some(0) b\"\""),
        (Body::from("bytes"), "Some(5) b\"bytes\""),
        (streamed, "None b\"1234\""),
    ] {
        let layer = TimeoutLayer::new().timeout(seconds(1));
        let service = ServiceBuilder::new().layer(layer).service(echo);
        let response = service.oneshot(Request::new(body)).await.unwrap();
        let body = Body::new(response.into_body());
        assert_eq!(to_bytes(body, 100).await.unwrap(), seen);
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_ends_the_call_within_and_its_upload() {
    let dropped = Drops::default();
    let (uploads, mut uploaded) = tokio::sync::mpsc::unbounded_channel();
    let guards = dropped.clone();
    let service = service_fn(move |request: Request<UploadBody<Body>>| {
        let guard = guards.guard();
        // As a connection does, the upload goes on beside the call.
        let body = request.into_body();
        let uploads = uploads.clone();
        tokio::spawn(async move {
            let ended = body.collect().await.err().map(|error| error.to_string());
            uploads.send(ended).unwrap();
        });
        async move {
            let _guard = guard;
            std::future::pending::<Result<Response<Body>, BoxError>>().await
        }
    });
    let layer = TimeoutLayer::new().max_stream_duration(seconds(2));
    let service = ServiceBuilder::new().layer(layer).service(service);
    let (frames, body) = streamed();
    let mut call = Box::pin(service.oneshot(Request::new(body)));
    let error = call.as_mut().await.unwrap_err();
    assert_eq!(ours(&error).status(), StatusCode::REQUEST_TIMEOUT);
    let ended = uploaded.recv().await.unwrap().unwrap();
    assert!(
        ended.contains("the call ended before its request was whole"),
        "{ended}"
    );
    assert_eq!(dropped.count(), 1);
    assert!(frames.is_closed());
    drop(call);
}
