use std::io::{Error as IoError, ErrorKind};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use mesh_tower::layer::{RepeatLayer, TimeoutLayer, UploadBody, not_sent};
use mesh_tower::{Body, BoxError, Error, Mesh};
use tokio::time::Instant;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

use crate::support::{Backend, Closed};

type Sentence = Full<Bytes>;

fn asking(uri: &str) -> Request<Sentence> {
    Request::post(uri).body("ask".into()).unwrap()
}

#[tokio::test]
async fn what_was_not_sent_is_repeated_as_often_as_allowed() {
    let (gone, tries) = (Closed::new(), &AtomicUsize::new(0));
    let mesh = Mesh::builder().direct().build().unwrap();
    let client = mesh.client();
    let service = |layer: RepeatLayer| {
        let client = client.clone();
        ServiceBuilder::new()
            .layer(layer)
            .map_request(move |request: Request<Sentence>| {
                tries.fetch_add(1, SeqCst);
                request.map(Body::new)
            })
            .service(client)
    };
    let uri = format!("http://{}/", gone.address);
    for (layer, tried) in [
        (RepeatLayer::new(), 2),
        (RepeatLayer::new().most(0), 1),
        (RepeatLayer::new().most(4), 5),
    ] {
        let error = service(layer).oneshot(asking(&uri)).await.unwrap_err();
        assert!(not_sent(&*error), "{error}");
        assert_eq!(tries.swap(0, SeqCst), tried, "{layer:?}");
    }
    // What would be the same next time is not: this request names no host.
    let error = service(RepeatLayer::new().most(4))
        .oneshot(asking("/"))
        .await
        .unwrap_err();
    assert!(!not_sent(&*error), "{error}");
    assert_eq!(tries.swap(0, SeqCst), 1);

    let live = Backend::start("v1").await;
    let uri = format!("http://{}/", live.address);
    let response = service(RepeatLayer::new())
        .oneshot(asking(&uri))
        .await
        .unwrap();
    assert_eq!((response.status(), tries.load(SeqCst)), (StatusCode::OK, 1));
}

#[tokio::test]
async fn the_caller_s_own_word_decides_and_the_body_is_replayed() {
    let tries = &AtomicUsize::new(0);
    let service = |fails: usize, kind: ErrorKind| {
        let inner = service_fn(move |request: Request<Sentence>| async move {
            if tries.fetch_add(1, SeqCst) < fails {
                return Err(IoError::from(kind));
            }
            let body = request.into_body().collect().await.unwrap().to_bytes();
            Ok(Response::new(body))
        });
        let refused = |error: &(dyn std::error::Error + 'static)| {
            let error = error.downcast_ref::<IoError>();
            error.is_some_and(|error| error.kind() == ErrorKind::ConnectionRefused)
        };
        ServiceBuilder::new()
            .layer(RepeatLayer::new().most(3).when(refused))
            .service(inner)
    };
    let refusing = service(3, ErrorKind::ConnectionRefused);
    let response = refusing.oneshot(asking("/")).await.unwrap();
    assert_eq!(
        (response.into_body(), tries.swap(0, SeqCst)),
        ("ask".into(), 4)
    );

    let refusing = service(4, ErrorKind::ConnectionRefused);
    refusing.oneshot(asking("/")).await.unwrap_err();
    assert_eq!(tries.swap(0, SeqCst), 4);

    // The control: what may have been processed goes once.
    let resetting = service(1, ErrorKind::ConnectionReset);
    let error = resetting.oneshot(asking("/")).await.unwrap_err();
    assert!(error.downcast_ref::<IoError>().is_some(), "{error}");
    assert_eq!(tries.swap(0, SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_limit_around_it_holds_over_all_tries_and_one_within_on_each() {
    let refused = |_: &(dyn std::error::Error + 'static)| true;
    let repeats = RepeatLayer::new().most(9).when(refused);
    let limit = TimeoutLayer::new().max_stream_duration(Duration::from_secs(5));
    let slow = async |_: Request<UploadBody<Sentence>>| {
        tokio::time::sleep(Duration::from_secs(2)).await;
        Err::<Response<Sentence>, BoxError>("refused".into())
    };
    let start = Instant::now();
    let outside = ServiceBuilder::new().layer(limit).layer(repeats);
    let call = outside.service_fn(slow).oneshot(asking("/"));
    assert!(call.await.unwrap_err().downcast_ref::<Error>().is_some());
    assert_eq!(start.elapsed().as_secs(), 5);

    let hanging = async |_: Request<UploadBody<Sentence>>| {
        std::future::pending::<Result<Response<Sentence>, BoxError>>().await
    };
    let start = Instant::now();
    let within = ServiceBuilder::new().layer(repeats).layer(limit);
    let call = within.service_fn(hanging).oneshot(asking("/"));
    assert!(call.await.unwrap_err().downcast_ref::<Error>().is_some());
    assert_eq!(start.elapsed().as_secs(), 50);
}

#[tokio::test]
async fn what_is_repeated_below_a_limit_is_the_whole_request() {
    let tries = &AtomicUsize::new(0);
    let service = move |request: Request<UploadBody<Sentence>>| async move {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        match tries.fetch_add(1, SeqCst) {
            0 => Err(BoxError::from("refused")),
            _ => Ok(Response::new(Sentence::new(body))),
        }
    };
    let call = ServiceBuilder::new()
        .layer(TimeoutLayer::new().timeout(Duration::from_secs(60)))
        .layer(RepeatLayer::new().when(|_| true))
        .service_fn(service)
        .oneshot(asking("/"));
    let body = call.await.unwrap().into_body().collect().await.unwrap();
    assert_eq!((body.to_bytes(), tries.load(SeqCst)), ("ask".into(), 2));
}

/// Panics when it is called before it has said that it is ready, as tower's services may.
#[derive(Clone)]
struct Strict {
    ready: bool,
}

impl<B> Service<Request<B>> for Strict {
    type Response = ();
    type Error = IoError;
    type Future = std::future::Ready<Result<(), IoError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), IoError>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        assert!(
            std::mem::take(&mut self.ready),
            "called before it was ready"
        );
        std::future::ready(Err(ErrorKind::ConnectionRefused.into()))
    }
}

#[tokio::test]
async fn the_service_is_asked_whether_it_is_ready_before_each_try() {
    let layer = RepeatLayer::new().most(3).when(|_| true);
    let mut service = ServiceBuilder::new()
        .layer(layer)
        .service(Strict { ready: false });
    for _ in 0..2 {
        let ready = ServiceExt::<Request<()>>::ready(&mut service)
            .await
            .unwrap();
        ready.call(Request::new(())).await.unwrap_err();
    }
}
