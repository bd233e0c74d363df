//! Requests that the mesh has no endpoint for: passed on as they came, or refused.

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use envoy_types::pb::envoy::config::route::v3::route_action::HostRewriteSpecifier;
use http::{Request, StatusCode};
use mesh_tower::{CallInfo, Mesh, Outbound, Security};
use tower_layer::Layer;
use tower_service::Service;

use crate::scene::{Notes, SEED, edges, get, outbound, policy, scripted, two};
use crate::support::outside::Server;
use crate::support::rules::action;
use crate::support::{URL, text_of, until};

const PASSTHROUGH: &str = "PassthroughCluster";

/// What our own client would make another URI of: a path that is not normal, a host in capitals.
const ODD: &str = "http://API.example.com:9080/a/../b?c";

async fn send(client: &mut Outbound<Notes>, uri: &str) -> StatusCode {
    client.call(get(uri)).await.unwrap().status()
}

#[tokio::test]
async fn an_unknown_host_is_passed_on_as_it_came() {
    let (_v1, _v2, folder) = two().await;
    let mesh = folder.mesh(SEED);
    let notes = Notes::default();
    let mut client = mesh.outbound().with_call_info().layer(notes.clone());
    for uri in [
        ODD,
        "http://other.example.com:4711/",
        "https://secure.example.com/x",
    ] {
        let response = client.call(get(uri)).await.unwrap();
        let info = response.extensions().get::<CallInfo>().unwrap();
        assert_eq!((&*info.cluster, info.endpoint), (PASSTHROUGH, None));
    }
    let mut nameless = get("/path");
    let host = "named.example.com".parse().unwrap();
    nameless.headers_mut().insert("host", host);
    client.call(nameless).await.unwrap();
    let as_it_came = [
        "GET http://API.example.com:9080/a/../b?c -",
        "GET http://other.example.com:4711/ -",
        "GET https://secure.example.com/x -",
        "GET /path named.example.com",
    ];
    assert_eq!(notes.seen(), as_it_came);
    let edges = edges(&mesh, PASSTHROUGH);
    let counted = |edge: &mesh_tower::EdgeStats| (edge.requests, edge.in_flight, edge.classes[1]);
    assert_eq!(edges.iter().map(counted).collect::<Vec<_>>(), [(4, 0, 4)]);

    // With a client that really sends.
    let server = Server::plain().await;
    let response = outbound(&mesh).call(get(&format!("http://{}/", server.address)));
    let text = text_of(response.await.unwrap()).await.1;
    assert_eq!(text, format!("HTTP/1.1 {}", server.address));
}

#[tokio::test]
async fn a_headless_service_is_found_by_the_name_that_was_asked_for() {
    let (_v1, _v2, folder) = two().await;
    let headless = |cluster: &mut Cluster| {
        let by_caller = DiscoveryType::OriginalDst.into();
        cluster.cluster_discovery_type = Some(ClusterDiscoveryType::Type(by_caller));
        cluster.eds_cluster_config = None;
    };
    let (_ads, mesh) = scripted(&folder, headless, |_| {}).await;
    let notes = Notes::default();
    let mut client = mesh.outbound().layer(notes.clone());
    let uri = "http://reviews:9080/a/../b";
    assert_eq!(send(&mut client, uri).await, StatusCode::OK);

    // A rewritten host is what the server is told, not where the request goes.
    let (_ads, mesh) = scripted(&folder, headless, |rules| {
        let host = HostRewriteSpecifier::HostRewriteLiteral("elsewhere.example".to_owned());
        action(rules).host_rewrite_specifier = Some(host);
    })
    .await;
    let mut client = mesh.outbound().layer(notes.clone());
    assert_eq!(send(&mut client, uri).await, StatusCode::OK);
    let seen = [
        "GET http://reviews:9080/a/../b -",
        "GET http://reviews:9080/b elsewhere.example",
    ];
    assert_eq!(notes.seen(), seen);
}

#[tokio::test]
async fn registry_only_lets_none_out() {
    let (_v1, _v2, folder) = two().await;
    policy(&folder, "REGISTRY_ONLY");
    let mesh = folder.mesh(SEED);
    let notes = Notes::default();
    let mut client = mesh.outbound().layer(notes.clone());
    // What the configuration answers is no error.
    assert_eq!(send(&mut client, ODD).await, StatusCode::BAD_GATEWAY);
    let error = client.call(get("https://secure.example.com/")).await;
    let error = error.unwrap_err();
    assert!(error.is_blocked(), "{error}");
    assert_eq!(error.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(notes.seen(), [""; 0]);
    assert_eq!(send(&mut client, URL).await, StatusCode::OK);
    assert_eq!(notes.seen().len(), 1);

    policy(&folder, "ALLOW_ANY");
    until("the other policy", || {
        let mut client = client.clone();
        async move { send(&mut client, ODD).await == StatusCode::OK }
    })
    .await;
}

/// Its connections are its own: what they carry, the mesh cannot see, and by `http` it is plaintext.
#[tokio::test]
async fn where_tls_is_required_a_foreign_client_sends_no_plaintext() {
    let (_v1, _v2, folder) = two().await;
    let builder = || [folder.builder(SEED), Mesh::builder().direct()];
    for (required, builder) in builder()
        .into_iter()
        .map(|builder| (false, builder))
        .chain(builder().map(|it| (true, it.security(Security::Required))))
    {
        let mesh = builder.build().unwrap();
        let notes = Notes::default();
        let mut client = mesh.outbound().layer(notes.clone());
        let mut nameless = get("/path");
        let host = "named.example.com".parse().unwrap();
        nameless.headers_mut().insert("host", host);
        for request in [get("http://other.example.com:4711/"), nameless] {
            let sent = client.call(request).await;
            let refused = sent.as_ref().is_err_and(|error| {
                error.is_tls_demanded() && error.to_string().contains("Security::Required")
            });
            assert_eq!((sent.is_ok(), refused), (!required, required), "{sent:?}");
        }
        let own = client.call(get("https://secure.example.com/x")).await;
        assert_eq!(own.unwrap().status(), StatusCode::OK);
        assert_eq!(notes.seen().len(), if required { 1 } else { 3 });
    }
}

#[tokio::test]
async fn without_a_mesh_everything_is_passed_on() {
    let mesh = Mesh::builder().direct().build().unwrap();
    let notes = Notes::default();
    let mut client = mesh.outbound().layer(notes.clone());
    let requests = [
        get(ODD),
        get("https://secure.example.com/"),
        get("/no/host"),
        get("ws://socket.example.com/"),
        Request::connect("proxied.example.com:443")
            .header("host", "whoever")
            .body(http_body_util::Full::default())
            .unwrap(),
    ];
    let as_they_came = requests.each_ref().map(|request| {
        let host = request.headers().get("host");
        let host = host.map_or("-", |host| host.to_str().unwrap());
        format!("{} {} {host}", request.method(), request.uri())
    });
    for request in requests {
        client.call(request).await.unwrap();
    }
    assert_eq!(notes.seen(), as_they_came);
    let edge = &edges(&mesh, PASSTHROUGH)[0];
    assert_eq!((edge.requests, edge.in_flight), (5, 0));

    let server = Server::plain().await;
    let response = outbound(&mesh).call(get(&format!("http://{}/", server.address)));
    assert_eq!(response.await.unwrap().status(), StatusCode::OK);
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn what_no_route_can_be_for_is_refused() {
    let (_v1, _v2, folder) = two().await;
    let notes = Notes::default();
    let mut client = folder.mesh(SEED).outbound().layer(notes.clone());
    for uri in ["ftp://a/", "http://user@reviews:9080/", "/no/host"] {
        let error = client.call(get(uri)).await.unwrap_err();
        assert!(error.is_invalid_request(), "{uri}: {error}");
    }
    assert_eq!(notes.seen(), [""; 0]);
}
