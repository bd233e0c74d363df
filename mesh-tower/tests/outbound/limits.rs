//! Limits of a call's time around a client that knows of none.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use mesh_tower::{Body, CallOptions, Error, Mesh, Outbound, Sent};
use tokio::task::JoinHandle;
use tower_layer::Layer;
use tower_service::Service;

use crate::scene::{Plain, get, outbound};
use crate::support::frozen::Frozen;
use crate::support::rules::{Ruled, action, millis, ruled};
use crate::support::stage::Stage;
use crate::support::{Folder, URL};

/// A mesh whose one route has a timeout of a second, warm, with the clock stopped.
struct Scene {
    stage: Stage,
    clock: Frozen,
    mesh: Mesh,
    client: Outbound<Plain>,
    _ruled: Ruled,
}

type Call = JoinHandle<Result<Response<Body>, Error>>;

impl Scene {
    async fn open() -> Self {
        let mut stage = Stage::start().await;
        let folder = Folder::reviews("HTTP", &[("v1", stage.backend.address)]);
        let (ruled, mesh) = ruled(&folder, |rules| action(rules).timeout = millis(1000)).await;
        let client = outbound(&mesh);
        let warm = call(&client, get(URL));
        stage.arrival().await.answer("warm");
        let warm = warm.await.unwrap().unwrap();
        warm.into_body().text().await.unwrap();
        Self {
            stage,
            clock: Frozen::start(),
            mesh,
            client,
            _ruled: ruled,
        }
    }

    fn in_flight(&self) -> u64 {
        let edges = self.mesh.stats().edges;
        edges.iter().map(|edge| edge.in_flight).sum()
    }
}

fn call<S, B>(client: &S, request: Request<B>) -> Call
where
    S: Service<Request<B>, Response = Response<Body>, Error = Error> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
{
    let mut client = client.clone();
    tokio::spawn(async move { client.call(request).await })
}

#[tokio::test]
async fn the_route_s_timeout_ends_a_call_that_is_not_answered() {
    let mut scene = Scene::open().await;
    let call = call(&scene.client, get(URL));
    let arrival = scene.stage.arrival().await;
    scene.clock.advance(990).await;
    assert!(!call.is_finished(), "it has until one second");
    scene.clock.advance(20).await;
    let error = scene.clock.done(call).await.unwrap_err();
    assert_eq!(
        (error.status(), error.flags(), error.sent()),
        (StatusCode::GATEWAY_TIMEOUT, "UT", Sent::MaybeProcessed),
        "{error}"
    );
    assert_eq!(error.endpoint(), Some(scene.stage.backend.address));
    // The client's future was dropped: its connection is closed, and nothing counts any more.
    let gone = || arrival.answer.is_closed();
    scene.clock.until("the peer to be told", gone).await;
    assert_eq!(scene.in_flight(), 0);
}

#[tokio::test]
async fn a_limit_goes_on_with_the_response_s_body() {
    let mut scene = Scene::open().await;
    let mut request = get(URL);
    let options = CallOptions::new().timeout(Duration::from_millis(300));
    request.extensions_mut().insert(options);
    let call = call(&scene.client, request);
    let rest = scene.stage.arrival().await.begin();
    rest.send(Ok("half".into())).unwrap();
    let response = scene.clock.done(call).await.unwrap();
    assert_eq!(scene.in_flight(), 2);
    let reading = tokio::spawn(response.into_body().text());
    scene.clock.advance(290).await;
    assert!(!reading.is_finished());
    scene.clock.advance(20).await;
    let error = scene.clock.done(reading).await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert_eq!((error.flags(), error.sent()), ("UT", Sent::Processed));
    assert_eq!(scene.in_flight(), 0);
}

/// A body that does not end.
fn endless() -> http_body_util::StreamBody<
    tokio_stream::Pending<Result<http_body::Frame<Bytes>, std::io::Error>>,
> {
    http_body_util::StreamBody::new(tokio_stream::pending())
}

#[tokio::test]
async fn the_timeout_waits_for_the_upload_of_a_body_of_ours_alone() {
    let mut scene = Scene::open().await;
    let theirs = Client::builder(TokioExecutor::new()).build_http();
    let theirs = scene.mesh.outbound().layer(theirs);
    let request = Request::post(URL).body(endless()).unwrap();
    let theirs = call(&theirs, request);
    let ours = Client::builder(TokioExecutor::new()).build_http();
    let ours = scene.mesh.outbound().layer(ours);
    let request = Request::post(URL).body(Body::new(endless())).unwrap();
    let ours = call(&ours, request);
    let _arrivals = (scene.stage.arrival().await, scene.stage.arrival().await);
    scene.clock.advance(1010).await;
    assert!(scene.clock.done(theirs).await.unwrap_err().is_timeout());
    assert!(!ours.is_finished());
    ours.abort();
}
