//! reqwest's client, whose calls the mesh routes as a middleware.

use std::collections::BTreeMap;
use std::time::Duration;

use envoy_types::pb::envoy::config::route::v3::route_action::HostRewriteSpecifier;
use mesh_tower::{CallInfo, CallOptions, Error, Mesh, OutboundLayer, Sent};
use reqwest::StatusCode;
use reqwest::redirect::Policy;
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};

use crate::scene::{SEED, demanding_tls, policy, telling, two};
use crate::support::frozen::Frozen;
use crate::support::outside::Server;
use crate::support::rules::{action, millis, ruled};
use crate::support::stage::Stage;
use crate::support::{Closed, Folder, URL, until, within_five_sigma};

fn client(layer: OutboundLayer) -> ClientWithMiddleware {
    let reqwest = reqwest::Client::builder().redirect(Policy::none());
    let reqwest = reqwest.no_proxy().build().unwrap();
    ClientBuilder::new(reqwest).with(layer).build()
}

/// Ours, inside of that of the middleware.
fn ours(error: reqwest_middleware::Error) -> Error {
    match error {
        reqwest_middleware::Error::Middleware(error) => error.downcast().unwrap(),
        other => panic!("not ours: {other}"),
    }
}

async fn text(client: &ClientWithMiddleware, uri: &str) -> String {
    client.get(uri).send().await.unwrap().text().await.unwrap()
}

fn in_flight(mesh: &Mesh) -> u64 {
    let edges = mesh.stats().edges;
    edges.iter().map(|edge| edge.in_flight).sum()
}

#[tokio::test]
async fn weights_split_as_told() {
    let (_v1, _v2, folder) = two().await;
    folder.split(&[("v1", 90), ("v2", 10)]);
    let mesh = folder.mesh(SEED);
    let client = client(mesh.outbound());
    let mut counts = BTreeMap::<String, usize>::new();
    for _ in 0..500 {
        let text = text(&client, URL).await;
        *counts.entry(text[..2].to_owned()).or_default() += 1;
    }
    println!("seed {SEED:#x}: {counts:?}");
    assert!(within_five_sigma(counts["v2"], 500, 0.1), "{counts:?}");
    assert!(
        !within_five_sigma(counts["v2"], 500, 0.25),
        "the check must be able to fail"
    );
    assert_eq!((mesh.stats().requests, in_flight(&mesh)), (500, 0));
}

#[tokio::test]
async fn a_header_routes_and_host_and_path_are_what_the_rules_say() {
    let (v1, v2, folder) = two().await;
    folder.routes(
        "  - match:\n    - headers: { end-user: { exact: maria } }\n    route:\n    - destination: { host: reviews, subset: v1 }\n\
         \x20 - route:\n    - destination: { host: reviews, subset: v2 }\n",
    );
    let (_ruled, mesh) = ruled(&folder, |rules| {
        let action = action(rules);
        action.prefix_rewrite = "/new/".to_owned();
        let host = HostRewriteSpecifier::HostRewriteLiteral("elsewhere.example".to_owned());
        action.host_rewrite_specifier = Some(host);
    })
    .await;
    let client = client(mesh.outbound().with_call_info());
    let request = client.get(URL).header("end-user", "maria");
    let response = request.send().await.unwrap();
    assert_eq!(response.url().as_str(), URL, "as it was asked for");
    let info = response.extensions().get::<CallInfo>().unwrap().clone();
    assert_eq!(info.endpoint, Some(v1.address));
    assert_eq!(
        response.text().await.unwrap(),
        "v1 reviews:9080 /reviews/0 "
    );
    let response = client.post(URL).body("text").send().await.unwrap();
    assert_eq!(response.url().as_str(), URL);
    let info = response.extensions().get::<CallInfo>().unwrap().clone();
    assert_eq!(info.endpoint, Some(v2.address));
    assert_eq!(
        response.text().await.unwrap(),
        "v2 elsewhere.example /new/reviews/0 "
    );
}

#[tokio::test]
async fn what_the_configuration_answers_itself_is_a_response_of_reqwest() {
    let (_v1, _v2, folder) = two().await;
    folder.routes("  - directResponse: { status: 418, body: { string: teapot } }\n");
    let response = client(folder.mesh(SEED).outbound()).get(URL).send().await;
    let response = response.unwrap();
    assert_eq!(response.url().as_str(), URL);
    assert_eq!(response.status(), StatusCode::IM_A_TEAPOT);
    assert_eq!(response.text().await.unwrap(), "teapot");
}

#[tokio::test]
async fn unknown_hosts_go_by_the_policy() {
    let (_v1, _v2, folder) = two().await;
    policy(&folder, "REGISTRY_ONLY");
    let mesh = folder.mesh(SEED);
    let client = client(mesh.outbound());
    let server = Server::plain().await;
    let uri = format!("http://{}/", server.address);
    let refused = client.get(&uri).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::BAD_GATEWAY);
    let error = client.get("https://secure.example.com/").send().await;
    assert!(ours(error.unwrap_err()).is_blocked());
    assert_eq!(server.requests(), 0);

    policy(&folder, "ALLOW_ANY");
    let seen = format!("HTTP/1.1 {}", server.address);
    until("the other policy", || async {
        text(&client, &uri).await == seen
    })
    .await;
}

#[tokio::test]
async fn without_a_mesh_calls_are_reqwest_s_own() {
    let server = Server::plain().await;
    let mesh = Mesh::builder().direct().build().unwrap();
    let uri = format!("http://{}/", server.address);
    let client = client(mesh.outbound());
    assert_eq!(
        text(&client, &uri).await,
        format!("HTTP/1.1 {}", server.address)
    );
    assert_eq!((mesh.stats().requests, in_flight(&mesh)), (1, 0));
}

#[tokio::test]
async fn an_endpoint_that_demands_tls_is_refused() {
    let mut stage = Stage::start().await;
    let folder = Folder::reviews("HTTP", &[("v1", stage.backend.address)]);
    let (_ads, mesh) = demanding_tls(&folder).await;
    let error = client(mesh.outbound()).get(URL).send().await.unwrap_err();
    let error = ours(error);
    assert!(error.is_tls_demanded(), "{error}");
    assert_eq!(stage.waiting(), 0);
    // The control.
    let client = client(folder.mesh(SEED).outbound());
    let call = tokio::spawn(async move { client.get(URL).send().await });
    stage.arrival().await.answer("plain");
    assert_eq!(call.await.unwrap().unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_call_counts_until_its_response_has_been_read_or_dropped() {
    let mut stage = Stage::start().await;
    let folder = Folder::reviews("HTTP", &[("v1", stage.backend.address)]);
    let mesh = folder.mesh(SEED);
    let client = client(mesh.outbound());
    for read in [true, false] {
        let request = client.get(URL);
        let call = tokio::spawn(request.send());
        let rest = stage.arrival().await.begin();
        rest.send(Ok("all".into())).unwrap();
        let response = call.await.unwrap().unwrap();
        assert_eq!(in_flight(&mesh), 2, "of the cluster and of its endpoint");
        drop(rest);
        if read {
            assert_eq!(response.text().await.unwrap(), "all");
        } else {
            drop(response);
        }
        assert_eq!(in_flight(&mesh), 0, "read: {read}");
    }
    let call = tokio::spawn(client.get(URL).send());
    let _arrival = stage.arrival().await;
    assert_eq!(in_flight(&mesh), 2);
    call.abort();
    assert!(call.await.is_err());
    assert_eq!(in_flight(&mesh), 0);
}

#[tokio::test]
async fn the_error_of_reqwest_is_the_cause_and_holds_no_query() {
    let gone = Closed::new();
    let folder = Folder::reviews("HTTP", &[("v1", gone.address)]);
    let client = client(folder.mesh(SEED).outbound());
    let error = client.get(format!("{URL}?token=secret")).send().await;
    let error = ours(error.unwrap_err());
    assert!(error.is_connect(), "{error}");
    assert_eq!((error.flags(), error.sent()), ("UF", Sent::NotSent));
    assert_eq!(error.endpoint(), Some(gone.address));
    let chain = std::iter::successors(std::error::Error::source(&error), |error| (*error).source());
    let chain: Vec<_> = chain.collect();
    let theirs = chain
        .iter()
        .find_map(|error| error.downcast_ref::<reqwest_middleware::Error>());
    assert!(theirs.unwrap().is_connect());
    for said in chain {
        assert!(!said.to_string().contains("secret"), "{said}");
    }
}

#[tokio::test]
async fn limits_of_the_route_and_of_the_call_hold() {
    for by_route in [true, false] {
        let mut stage = Stage::start().await;
        let folder = Folder::reviews("HTTP", &[("v1", stage.backend.address)]);
        let timeout = millis(if by_route { 1000 } else { 0 });
        let (_ruled, mesh) = ruled(&folder, |rules| action(rules).timeout = timeout).await;
        let client = client(mesh.outbound());
        let warm = tokio::spawn(client.get(URL).send());
        stage.arrival().await.answer("warm");
        warm.await.unwrap().unwrap().text().await.unwrap();
        let clock = Frozen::start();
        let mut request = client.get(URL);
        if !by_route {
            request = request.with_extension(CallOptions::new().timeout(Duration::from_secs(1)));
        }
        let call = tokio::spawn(request.send());
        let arrival = stage.arrival().await;
        clock.advance(990).await;
        assert!(!call.is_finished(), "by route: {by_route}");
        clock.advance(20).await;
        let error = ours(clock.done(call).await.unwrap_err());
        assert!(error.is_timeout(), "{error}");
        assert_eq!(error.sent(), Sent::MaybeProcessed);
        clock
            .until("the peer to be told", || arrival.answer.is_closed())
            .await;
        assert_eq!(in_flight(&mesh), 0);
    }
}

#[tokio::test]
async fn a_redirect_that_reqwest_follows_tells_its_url() {
    let server = telling("outside").await;
    let location = format!("http://{}/there", server.address);
    let to = location.clone();
    let app = axum::Router::new()
        .fallback(move || async move { (StatusCode::FOUND, [("location", to)]) });
    let v1 = crate::support::Backend::serve("v1", app).await;
    let folder = Folder::reviews("HTTP", &[("v1", v1.address)]);
    let following = reqwest::Client::builder().no_proxy().build().unwrap();
    let following = ClientBuilder::new(following).with(folder.mesh(SEED).outbound());
    let response = following.build().get(URL).send().await.unwrap();
    assert_eq!(response.url().as_str(), location);
}
