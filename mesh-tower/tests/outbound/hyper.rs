//! hyper-util's client, whose calls the mesh routes.

use std::collections::BTreeMap;
use std::error::Error as _;

use bytes::Bytes;
use envoy_types::pb::envoy::config::route::v3::route_action::HostRewriteSpecifier;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper_util::client::legacy;
use mesh_tower::{Body, CallInfo, Error, Mesh, Outbound, Sent};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tower_layer::Layer;
use tower_service::Service;

use crate::scene::{Notes, Plain, SEED, demanding_tls, edges, get, outbound, plain, telling, two};
use crate::support::rules::{action, append, entry, ruled, set};
use crate::support::stage::Stage;
use crate::support::{Backend, Closed, Folder, URL, text_of, until, within_five_sigma};

const V1: &str = "outbound|9080|v1|reviews.default.svc.cluster.local";
const REVIEWS: &str = "outbound|9080||reviews.default.svc.cluster.local";

async fn text(client: &mut Outbound<Plain>, request: Request<Full<Bytes>>) -> (StatusCode, String) {
    text_of(client.call(request).await.unwrap()).await
}

#[tokio::test]
async fn weights_split_as_told() {
    let (v1, v2, folder) = two().await;
    folder.split(&[("v1", 90), ("v2", 10)]);
    let mesh = folder.mesh(SEED);
    let mut client = outbound(&mesh);
    let mut counts = BTreeMap::<String, usize>::new();
    for _ in 0..1000 {
        let (_, text) = text(&mut client, get(URL)).await;
        *counts.entry(text[..2].to_owned()).or_default() += 1;
    }
    println!("seed {SEED:#x}: {counts:?}");
    assert!(within_five_sigma(counts["v2"], 1000, 0.1), "{counts:?}");
    assert!(
        !within_five_sigma(counts["v2"], 1000, 0.2),
        "the check must be able to fail"
    );
    // What is counted is what the backends answered.
    let edges = edges(&mesh, V1);
    assert_eq!(edges[1].endpoint, Some(v1.address));
    for edge in &edges {
        let answered = (edge.requests as usize, edge.classes[1] as usize);
        assert_eq!(answered, (counts["v1"], counts["v1"]), "{edge:?}");
        assert_eq!((edge.in_flight, edge.failed), (0, 0));
    }
    assert_ne!(v1.address, v2.address);
    assert_eq!((mesh.stats().requests, mesh.stats().in_flight), (1000, 0));
}

#[tokio::test]
async fn a_header_routes_and_the_backend_sees_the_host_that_was_asked_for() {
    let (v1, v2, folder) = two().await;
    folder.routes(
        "  - name: jason\n    match:\n    - headers: { end-user: { exact: jason } }\n    route:\n    - destination: { host: reviews, subset: v2 }\n\
         \x20 - route:\n    - destination: { host: reviews, subset: v1 }\n",
    );
    let mut client = folder.mesh(SEED).outbound().with_call_info().layer(plain());
    // A header of the caller's own does not say where a call goes.
    let mut request = get("http://reviews:9080/reviews/0?full=1");
    request
        .headers_mut()
        .insert("host", "elsewhere".parse().unwrap());
    let (_, text_v1) = text(&mut client, request).await;
    assert_eq!(text_v1, "v1 reviews:9080 /reviews/0?full=1 ");
    let mut request = get(URL);
    request
        .headers_mut()
        .insert("end-user", "jason".parse().unwrap());
    let response = client.call(request).await.unwrap();
    let info = response.extensions().get::<CallInfo>().unwrap().clone();
    assert!(info.route.contains("jason"), "{info:?}");
    assert_eq!((info.endpoint, info.attempts), (Some(v2.address), 1));
    assert!(text_of(response).await.1.starts_with("v2 reviews:9080 "));
    assert_ne!(v1.address, v2.address);

    let mut nameless = get("/reviews/0");
    nameless
        .headers_mut()
        .insert("host", "reviews:9080".parse().unwrap());
    let (_, of_a_path) = text(&mut client, nameless).await;
    assert_eq!(of_a_path, "v1 reviews:9080 /reviews/0 ");
}

#[tokio::test]
async fn paths_hosts_and_headers_change_as_told() {
    let v1 = telling("v1").await;
    let folder = Folder::reviews("HTTP", &[("v1", v1.address)]);
    let (_ruled, mesh) = ruled(&folder, |rules| {
        let action = action(rules);
        action.prefix_rewrite = "/v1".to_owned();
        let host = HostRewriteSpecifier::HostRewriteLiteral("elsewhere.example".to_owned());
        action.host_rewrite_specifier = Some(host);
        let entry = entry(action);
        entry.request_headers_to_add.push(append("x-by", "mesh"));
        entry.response_headers_to_add.push(set("x-answered", "yes"));
    })
    .await;
    let mut client = outbound(&mesh);
    let mut request = get("http://reviews:9080/?full=1");
    request
        .headers_mut()
        .insert("x-by", "caller".parse().unwrap());
    let response = client.call(request).await.unwrap();
    assert_eq!(response.headers()["x-answered"], "yes");
    assert_eq!(
        text_of(response).await.1,
        "v1 elsewhere.example /v1?full=1 caller+mesh"
    );
}

#[tokio::test]
async fn what_the_configuration_answers_itself_does_not_reach_the_client() {
    let (_v1, _v2, folder) = two().await;
    folder.routes(
        "  - match:\n    - uri: { prefix: /old }\n    redirect: { uri: /new }\n\
         \x20 - directResponse: { status: 418, body: { string: teapot } }\n",
    );
    let mesh = folder.mesh(SEED);
    let notes = Notes::default();
    let mut client = mesh.outbound().with_call_info().layer(notes.clone());
    let response = client.call(get(URL)).await.unwrap();
    let info = response.extensions().get::<CallInfo>().unwrap();
    assert_eq!(
        (&*info.cluster, info.endpoint, info.attempts),
        ("", None, 0)
    );
    let answered = (StatusCode::IM_A_TEAPOT, "teapot".to_owned());
    assert_eq!(text_of(response).await, answered);
    let response = client.call(get("http://reviews:9080/old")).await.unwrap();
    assert_eq!(response.status(), StatusCode::MOVED_PERMANENTLY);
    assert_eq!(response.headers()["location"], "http://reviews:9080/new");
    assert_eq!(notes.seen(), [""; 0]);
}

#[tokio::test]
async fn an_endpoint_that_demands_tls_is_never_called_in_plaintext() {
    let v1 = telling("v1").await;
    let folder = Folder::reviews("HTTP", &[("v1", v1.address)]);
    // The control: without the demand the client is pointed at the endpoint.
    let notes = Notes::default();
    let mut client = folder.mesh(SEED).outbound().layer(notes.clone());
    client.call(get(URL)).await.unwrap();
    let pointed = format!("GET http://{}/reviews/0 reviews:9080", v1.address);
    assert_eq!(notes.seen(), [pointed]);

    let (_ads, mesh) = demanding_tls(&folder).await;
    let mut client = mesh.outbound().layer(notes.clone());
    let error = client.call(get(URL)).await.unwrap_err();
    assert!(error.is_tls_demanded(), "{error}");
    assert_eq!((error.flags(), error.sent()), ("UF", Sent::NotSent));
    assert_eq!(error.endpoint(), Some(v1.address));
    assert_eq!(notes.seen().len(), 1);
    assert_eq!(edges(&mesh, REVIEWS)[0].in_flight, 0);
}

#[tokio::test]
async fn a_call_counts_until_its_response_has_been_read_or_dropped() {
    let mut stage = Stage::start().await;
    let folder = Folder::reviews("HTTP", &[("v1", stage.backend.address)]);
    let mesh = folder.mesh(SEED);
    let in_flight = || {
        edges(&mesh, REVIEWS)
            .iter()
            .map(|edge| edge.in_flight)
            .sum::<u64>()
    };
    for read in [true, false] {
        let mut client = outbound(&mesh);
        let call = tokio::spawn(async move { client.call(get(URL)).await });
        let arrival = stage.arrival().await;
        assert_eq!(in_flight(), 2, "of the cluster and of its endpoint");
        let rest = arrival.begin();
        let response = call.await.unwrap().unwrap();
        assert_eq!(in_flight(), 2);
        if read {
            rest.send(Ok("all".into())).unwrap();
            drop(rest);
            assert_eq!(text_of(response).await.1, "all");
        } else {
            drop(response);
        }
        assert_eq!(in_flight(), 0, "read: {read}");
    }
    // A call that its caller drops counts no more either.
    let mut client = outbound(&mesh);
    let call = tokio::spawn(async move { client.call(get(URL)).await });
    let _arrival = stage.arrival().await;
    assert_eq!(in_flight(), 2);
    call.abort();
    assert!(call.await.is_err());
    assert_eq!(in_flight(), 0);
    let edge = &edges(&mesh, REVIEWS)[0];
    assert_eq!((edge.requests, edge.classes[1], edge.failed), (3, 2, 1));
}

/// The first error of hyper-util's below one of ours.
fn cause(error: &Error) -> &legacy::Error {
    let chain = std::iter::successors(error.source(), |error| (*error).source());
    let mut found = chain.filter_map(|error| error.downcast_ref());
    found.next().unwrap()
}

#[tokio::test]
async fn the_client_s_own_error_is_the_cause_and_tells_what_was_sent() {
    let gone = Closed::new();
    let folder = Folder::reviews("HTTP", &[("v1", gone.address)]);
    let mesh = folder.mesh(SEED);
    let error = outbound(&mesh).call(get(URL)).await.unwrap_err();
    assert!(error.is_connect() && cause(&error).is_connect(), "{error}");
    assert_eq!((error.flags(), error.sent()), ("UF", Sent::NotSent));
    assert_eq!(error.endpoint(), Some(gone.address));
    assert!(error.to_string().contains("\"reviews:9080\""), "{error}");
    let refused = std::io::Error::from_raw_os_error(111).to_string();
    assert!(error.to_string().contains(&refused), "{error}");

    // A server that hangs up once it has read the request.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
    });
    let folder = Folder::reviews("HTTP", &[("v1", address)]);
    let mesh = folder.mesh(SEED);
    let error = outbound(&mesh).call(get(URL)).await.unwrap_err();
    server.await.unwrap();
    assert!(error.is_reset() && !cause(&error).is_connect(), "{error}");
    assert_eq!((error.flags(), error.sent()), ("UC", Sent::MaybeProcessed));
    assert_eq!(mesh.stats().errors, BTreeMap::from([("UC", 1)]));
    let edge = &edges(&mesh, REVIEWS)[0];
    assert_eq!((edge.in_flight, edge.failed), (0, 1));
}

#[tokio::test]
async fn a_response_that_breaks_off_is_told_and_counted() {
    let mut stage = Stage::start().await;
    let folder = Folder::reviews("HTTP", &[("v1", stage.backend.address)]);
    let mesh = folder.mesh(SEED);
    let mut client = outbound(&mesh);
    let call = tokio::spawn(async move { client.call(get(URL)).await });
    let rest = stage.arrival().await.begin();
    rest.send(Ok("half".into())).unwrap();
    let response = call.await.unwrap().unwrap();
    rest.send(Err(std::io::Error::other("broken"))).unwrap();
    let error = response.into_body().text().await.unwrap_err();
    assert!(error.is_reset(), "{error}");
    assert_eq!((error.flags(), error.sent()), ("UPE", Sent::Processed));
    assert_eq!(mesh.stats().errors, BTreeMap::from([("UPE", 1)]));
    assert_eq!(edges(&mesh, REVIEWS)[0].in_flight, 0);
}

#[tokio::test]
async fn our_own_body_and_our_own_client_fit_as_well() {
    let (_v1, _v2, folder) = two().await;
    let mesh = folder.mesh(SEED);
    let request = || Request::get(URL).body(Body::empty()).unwrap();
    let hyper = legacy::Client::builder(hyper_util::rt::TokioExecutor::new());
    let response = mesh.outbound().layer(hyper.build_http()).call(request());
    assert_eq!(response.await.unwrap().status(), StatusCode::OK);

    // A body that already counts with another mesh counts with both.
    let other = Mesh::builder().direct().build().unwrap();
    let response = mesh.outbound().layer(other.client()).call(request());
    let response: Response<Body> = response.await.unwrap();
    let running = || other.stats().edges[0].in_flight + edges(&mesh, REVIEWS)[0].in_flight;
    assert_eq!(running(), 2);
    text_of(response).await;
    until("both to end", || async { running() == 0 }).await;
}

#[tokio::test]
async fn a_missing_subset_and_a_missing_route_say_so() {
    let v1: Backend = telling("v1").await;
    let folder = Folder::reviews("HTTP", &[("v1", v1.address)]);
    folder.split(&[("v9", 1)]);
    let mesh = folder.mesh(SEED);
    let error = outbound(&mesh).call(get(URL)).await.unwrap_err();
    assert_eq!((error.status().as_u16(), error.flags()), (503, "NC"));
    folder.routes("  - match:\n    - uri: { prefix: /api }\n    route:\n    - destination: { host: reviews }\n");
    let mesh = folder.mesh(SEED);
    let error = outbound(&mesh).call(get(URL)).await.unwrap_err();
    assert_eq!((error.status().as_u16(), error.flags()), (404, "NR"));
}
