//! What the application says of one call.

use std::time::Duration;

use http::{Request, Response, StatusCode};
use mesh_tower::{Body, CallInfo, CallOptions, Error, Mesh, MeshClient, Sent};
use tokio::task::JoinHandle;

use crate::support::frozen::Frozen;
use crate::support::rules::{Ruled, action, millis};
use crate::support::stage::Stage;
use crate::support::{Backend, Closed, Folder, URL};

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

const RULES: &str = "  - name: canary
    match:
    - uri: { prefix: /reviews }
    route:
    - destination: { host: reviews, subset: v1 }
      weight: 99
    - destination: { host: reviews, subset: v2 }
      weight: 1
  - name: whole
    route:
    - destination: { host: reviews }
";

async fn two() -> ([Backend; 2], Folder) {
    let backends = [Backend::start("v1").await, Backend::start("v2").await];
    let addresses = backends.each_ref().map(|it| (it.name, it.address));
    let folder = Folder::reviews("HTTP", &addresses);
    folder.routes(RULES);
    (backends, folder)
}

async fn text(client: &MeshClient, options: CallOptions) -> String {
    let response = call(client, URL, options).await.unwrap().unwrap();
    response.into_body().text().await.unwrap()
}

#[tokio::test]
async fn a_subset_counts_and_the_weights_do_not() {
    let (_backends, folder) = two().await;
    let mesh = folder.mesh(7);
    let client = mesh.client();
    for subset in ["v1", "v2"] {
        for _ in 0..30 {
            let answer = text(&client, CallOptions::new().subset(subset)).await;
            assert!(answer.starts_with(subset), "{subset}: {answer}");
        }
    }
    // Without it, the second gets one in a hundred.
    let mut second = 0;
    for _ in 0..30 {
        second += usize::from(text(&client, CallOptions::new()).await.starts_with("v2"));
    }
    assert!(second < 15, "{second} of 30");
}

#[tokio::test]
async fn a_subset_that_the_route_does_not_lead_to_is_an_error_with_names() {
    let (_backends, folder) = two().await;
    let client = folder.mesh(7).client();
    for (uri, words) in [
        (
            URL,
            "the CallOptions ask for subset \"v3\", and route \"canary\" of virtual host \"reviews.default.svc.cluster.local:9080\" leads to \"v1\", \"v2\" only",
        ),
        ("http://reviews:9080/other", "leads to no subset"),
        ("https://reviews:9080/", "https goes through no route"),
    ] {
        let options = CallOptions::new().subset("v3");
        let error = call(&client, uri, options).await.unwrap().unwrap_err();
        assert_eq!(
            (error.status(), error.flags(), error.sent()),
            (StatusCode::SERVICE_UNAVAILABLE, "NC", Sent::NotSent),
            "{error}"
        );
        assert!(error.is_no_cluster(), "{error}");
        assert!(error.to_string().contains(words), "{words:?} in {error}");
    }
}

#[tokio::test]
async fn calls_that_wait_for_configuration_keep_their_wishes() {
    let (_backends, folder) = two().await;
    for _ in 0..5 {
        // A mesh of a control plane has nothing yet when its first call begins.
        let ruled = Ruled::start(&folder, |_| {}).await;
        let (mesh, other) = (ruled.mesh(), ruled.mesh());
        assert!(
            text(&mesh.client(), CallOptions::new().subset("v2"))
                .await
                .starts_with("v2")
        );
        let options = CallOptions::new().subset("v3");
        let error = call(&other.client(), URL, options).await.unwrap();
        assert_eq!(error.unwrap_err().flags(), "NC");
    }
    let gone = [(); 3].map(|()| Closed::new());
    let folder = Folder::reviews("HTTP", &gone.each_ref().map(|gone| ("v1", gone.address)));
    let ruled = Ruled::start(&folder, |_| {}).await;
    assert_eq!(
        attempts(&ruled.mesh(), CallOptions::new().retries(4)).await,
        5
    );
}

/// How often a call is tried that never succeeds.
async fn attempts(mesh: &Mesh, options: CallOptions) -> u64 {
    let client = mesh.client();
    let error = call(&client, URL, options).await.unwrap().unwrap_err();
    assert!(error.is_connect(), "{error}");
    let stats = mesh.stats();
    let edges = stats.edges.iter();
    let mut wholes =
        edges.filter(|edge| edge.endpoint.is_none() && edge.cluster.contains("9080||"));
    wholes.next().unwrap().requests
}

#[tokio::test]
async fn a_caller_says_how_often_a_request_is_repeated() {
    let gone = [(); 3].map(|()| Closed::new());
    let addresses = gone.each_ref().map(|gone| ("v1", gone.address));
    let folder = Folder::reviews("HTTP", &addresses);
    for (options, tried) in [
        (CallOptions::new(), 2),
        (CallOptions::new().retries(0), 1),
        (CallOptions::new().retries(1), 2),
        (CallOptions::new().retries(7), 8),
    ] {
        let mesh = folder.mesh(7);
        assert_eq!(attempts(&mesh, options.clone()).await, tried, "{options:?}");
    }
    // The only endpoint of a cluster is asked once, whatever the caller says.
    let folder = Folder::reviews("HTTP", &addresses[..1]);
    let options = CallOptions::new().retries(7);
    assert_eq!(attempts(&folder.mesh(7), options).await, 1);
}

#[tokio::test]
async fn more_repeats_find_the_one_endpoint_that_lives() {
    let live = Backend::start("v1").await;
    let gone = [(); 4].map(|()| Closed::new());
    let mut addresses = vec![("v1", live.address)];
    addresses.extend(gone.iter().map(|gone| ("v1", gone.address)));
    let folder = Folder::reviews("HTTP", &addresses);
    let client = folder.mesh(7).client().with_call_info();
    let mut most = 0;
    for _ in 0..10 {
        // Each try is a draw in which only the endpoint that failed last is avoided: of 200, one in five draws misses
        // the living one with a chance of 1e-19.
        let options = CallOptions::new().retries(200);
        let response = call(&client, URL, options).await.unwrap().unwrap();
        most = most.max(response.extensions().get::<CallInfo>().unwrap().attempts);
    }
    assert!(most > 2, "no call needed more than {most} attempts");
    // The control: with one repeat, not all of them find it.
    let mut failed = 0;
    for _ in 0..10 {
        let answer = call(&client, URL, CallOptions::new()).await.unwrap();
        failed += usize::from(answer.is_err());
    }
    assert!(failed > 0);
}

#[tokio::test]
async fn a_mesh_that_is_switched_off_has_no_subsets() {
    let backend = Backend::start("v1").await;
    let mesh = Mesh::builder().direct().build().unwrap();
    let uri = format!("http://{}/", backend.address);
    let options = CallOptions::new().subset("v3");
    let response = call(&mesh.client(), &uri, options).await.unwrap().unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}
