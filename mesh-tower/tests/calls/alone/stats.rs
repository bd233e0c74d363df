use axum::body::Body;
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use mesh_tower::layer::{CallStats, StatsLayer};
use tokio::sync::oneshot;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

use super::streamed;

fn seen(stats: &StatsLayer) -> (u64, u64, [u64; 5], u64) {
    let CallStats {
        requests,
        in_flight,
        classes,
        failed,
        ..
    } = stats.read();
    (requests, in_flight, classes, failed)
}

type Asked = oneshot::Receiver<Response<Body>>;

/// A service that takes any answer, or none, as a test has it.
async fn answer(asked: Asked) -> Result<Response<Body>, std::io::Error> {
    asked.await.map_err(std::io::Error::other)
}

fn with(status: u16, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

#[tokio::test]
async fn calls_count_by_how_they_end() {
    let stats = StatsLayer::new();
    let mut service = ServiceBuilder::new()
        .layer(stats.clone())
        .service(service_fn(answer));
    for (at, status) in (1..).zip([101, 200, 204, 302, 404, 503]) {
        let (tell, asked) = oneshot::channel();
        let call = service.ready().await.unwrap().call(asked);
        assert_eq!((stats.read().requests, stats.read().in_flight), (at, 1));
        tell.send(with(status, Body::empty())).unwrap();
        call.await.unwrap();
    }
    assert_eq!(seen(&stats), (6, 0, [1, 2, 1, 1, 1], 0));

    let (tell, asked) = oneshot::channel();
    drop(tell);
    service.call(asked).await.unwrap_err();
    assert_eq!(seen(&stats), (7, 0, [1, 2, 1, 1, 1], 1));

    let (_tell, asked) = oneshot::channel();
    drop(service.call(asked));
    assert_eq!(seen(&stats), (8, 0, [1, 2, 1, 1, 1], 2));

    let (tell, asked) = oneshot::channel();
    tell.send(with(700, Body::empty())).unwrap();
    service.call(asked).await.unwrap();
    assert_eq!(seen(&stats), (9, 0, [1, 2, 1, 1, 1], 3));
}

#[tokio::test]
async fn a_call_runs_until_its_response_has_been_read() {
    let stats = StatsLayer::new();
    let mut service = ServiceBuilder::new()
        .layer(stats.clone())
        .service(service_fn(answer));
    let mut begin = async |body| {
        let (tell, asked) = oneshot::channel();
        tell.send(with(200, body)).unwrap();
        service.call(asked).await.unwrap()
    };
    let (frames, body) = streamed();
    let response = begin(body).await;
    frames.send(Ok("part")).unwrap();
    assert_eq!(seen(&stats), (1, 1, [0; 5], 0));
    drop(frames);
    response.into_body().collect().await.unwrap();
    assert_eq!(seen(&stats), (1, 0, [0, 1, 0, 0, 0], 0));

    // One that breaks off has failed; one that its reader drops has not.
    let (frames, body) = streamed();
    let response = begin(body).await;
    frames.send(Err(std::io::Error::other("gone"))).unwrap();
    response.into_body().collect().await.unwrap_err();
    assert_eq!(seen(&stats), (2, 0, [0, 1, 0, 0, 0], 1));
    let (_frames, body) = streamed();
    drop(begin(body).await);
    assert_eq!(seen(&stats), (3, 0, [0, 2, 0, 0, 0], 1));
}

#[tokio::test]
async fn clones_count_together_and_others_apart() {
    let (one, other) = (StatsLayer::new(), StatsLayer::new());
    for layer in [&one, &one.clone(), &other] {
        let (tell, asked) = oneshot::channel();
        tell.send(with(200, Body::empty())).unwrap();
        let mut service = ServiceBuilder::new()
            .layer(layer)
            .service(service_fn(answer));
        service.clone().call(asked).await.unwrap();
        service.ready().await.unwrap();
    }
    assert_eq!((one.read().requests, other.read().requests), (2, 1));
}
