//! What the application says of one call.

use std::time::Duration;

use http::{Request, Response, StatusCode};
use mesh_tower::{Body, CallOptions, Error, MeshClient, Sent};
use tokio::task::JoinHandle;

use crate::support::frozen::Frozen;
use crate::support::rules::{Ruled, action, millis};
use crate::support::stage::Stage;
use crate::support::{Folder, URL};

fn call(
    client: &MeshClient,
    uri: &str,
    options: CallOptions,
) -> JoinHandle<Result<Response<Body>, Error>> {
    let mut request = Request::get(uri).body(Body::empty()).unwrap();
    request.extensions_mut().insert(options);
    let client = client.clone();
    tokio::spawn(async move { client.send(request).await })
}

fn within(millis: u64) -> CallOptions {
    CallOptions::new().timeout(Duration::from_millis(millis))
}

#[tokio::test]
async fn the_smaller_of_the_caller_s_and_the_route_s_limit_ends_a_call() {
    let mut stage = Stage::start().await;
    let folder = Folder::reviews("HTTP", &[("v1", stage.backend.address)]);
    let ruled = Ruled::start(&folder, |rules| action(rules).timeout = millis(1000)).await;
    let client = ruled.mesh().client();
    let warm = call(&client, URL, CallOptions::new());
    stage.arrival().await.answer("warm");
    warm.await.unwrap().unwrap();

    let clock = Frozen::start();
    for (options, text) in [
        (within(300), "not done within 300ms"),
        (within(5000), "no whole response within 1s"),
        (CallOptions::new(), "no whole response within 1s"),
    ] {
        let running = call(&client, URL, options.clone());
        let _arrival = stage.arrival().await;
        if options.timeout == Some(Duration::from_millis(300)) {
            clock.advance(290).await;
            assert!(!running.is_finished());
            clock.advance(20).await;
        } else {
            clock.advance(900).await;
            assert!(!running.is_finished(), "{options:?}");
            clock.advance(110).await;
        }
        let error = clock.done(running).await.unwrap_err();
        assert_eq!(
            (error.status(), error.flags(), error.sent()),
            (StatusCode::GATEWAY_TIMEOUT, "UT", Sent::MaybeProcessed)
        );
        assert!(error.to_string().contains(text), "{error}");
    }
}

#[tokio::test]
async fn the_caller_s_limit_holds_while_configuration_is_awaited() {
    let stage = Stage::start().await;
    let folder = Folder::reviews("HTTP", &[("v1", stage.backend.address)]);
    let ruled = Ruled::start(&folder, |_| {}).await;
    let client = ruled.mesh().client();
    let clock = Frozen::start();
    // No route configuration has this name, and the control plane never says so.
    let running = call(&client, "http://reviews:1/", within(300));
    clock.advance(290).await;
    assert!(!running.is_finished());
    clock.advance(20).await;
    let error = clock.done(running).await.unwrap_err();
    assert!(
        error.is_timeout() && error.sent() == Sent::NotSent,
        "{error}"
    );
    assert!(
        error.to_string().contains("call to \"reviews:1\""),
        "{error}"
    );

    // Without it, that is another error, and later.
    let running = call(&client, "http://reviews:1/", CallOptions::new());
    clock.advance(14_990).await;
    assert!(!running.is_finished());
    clock.advance(20).await;
    let error = clock.done(running).await.unwrap_err();
    assert!(error.is_not_ready(), "{error}");
}

#[tokio::test]
async fn a_limit_beyond_the_end_of_time_is_none() {
    let mut stage = Stage::start().await;
    let folder = Folder::reviews("HTTP", &[("v1", stage.backend.address)]);
    let client = folder.mesh(1).client();
    let running = call(&client, URL, CallOptions::new().timeout(Duration::MAX));
    stage.arrival().await.answer("done");
    assert_eq!(running.await.unwrap().unwrap().status(), StatusCode::OK);
}
