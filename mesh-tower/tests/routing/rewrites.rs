//! Paths and hosts that the rules rewrite: the peer sees the new ones, errors name the old ones.

use axum::Router;
use axum::extract::Request;
use envoy_types::pb::envoy::config::route::v3::route_action::HostRewriteSpecifier;
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::{RouteConfiguration, RouteMatch};
use mesh_tower::{Body, MeshClient};

use crate::support::rules::{Ruled, action, entry, last, ruled};
use crate::support::{Backend, Folder, until};

/// A backend that answers the host and the path that it was asked for.
async fn backend() -> Backend {
    let app = Router::new().fallback(|request: Request| async move {
        let host = request
            .headers()
            .get("host")
            .map(|host| host.to_str().unwrap().to_owned());
        let authority = || request.uri().authority().unwrap().to_string();
        format!(
            "{} {}",
            host.unwrap_or_else(authority),
            request.uri().path_and_query().unwrap()
        )
    });
    Backend::serve("v1", app).await
}

async fn scene(
    protocol: &str,
    change: impl FnOnce(&mut RouteConfiguration),
) -> (Ruled, MeshClient) {
    let v1 = backend().await;
    let folder = Folder::reviews(protocol, &[("v1", v1.address)]);
    let (ruled, mesh) = ruled(&folder, |rules| {
        last(rules).r#match = Some(RouteMatch {
            path_specifier: Some(PathSpecifier::Prefix("/api/".to_owned())),
            ..RouteMatch::default()
        });
        change(rules);
    })
    .await;
    (ruled, mesh.client())
}

async fn seen(client: &MeshClient) -> String {
    let response = client
        .get("http://reviews:9080/api/reviews/0?full=1")
        .await
        .unwrap();
    response.into_body().text().await.unwrap()
}

#[tokio::test]
async fn a_prefix_and_a_host_are_rewritten_in_either_protocol() {
    for protocol in ["HTTP", "GRPC"] {
        let (ruled, client) = scene(protocol, |_| {}).await;
        assert_eq!(seen(&client).await, "reviews:9080 /api/reviews/0?full=1");

        ruled.push(|rules| action(rules).prefix_rewrite = "/".to_owned());
        until("the path", || async {
            seen(&client).await == "reviews:9080 /reviews/0?full=1"
        })
        .await;

        ruled.push(|rules| {
            let rewrite = HostRewriteSpecifier::HostRewriteLiteral("elsewhere.example".to_owned());
            action(rules).host_rewrite_specifier = Some(rewrite);
        });
        until("the host", || async {
            seen(&client).await == "elsewhere.example /reviews/0?full=1"
        })
        .await;
        assert_eq!(ruled.nacks(), [""; 0]);
    }
}

#[tokio::test]
async fn a_host_may_come_from_a_header_or_from_the_entry_of_a_split() {
    let (_ruled, client) = scene("HTTP", |rules| {
        let rewrite = HostRewriteSpecifier::HostRewriteHeader("x-host".to_owned());
        action(rules).host_rewrite_specifier = Some(rewrite);
    })
    .await;
    assert_eq!(seen(&client).await, "reviews:9080 /api/reviews/0?full=1");
    let request = http::Request::get("http://reviews:9080/api/").header("x-host", "other.example");
    let response = client
        .send(request.body(Body::empty()).unwrap())
        .await
        .unwrap();
    assert_eq!(
        response.into_body().text().await.unwrap(),
        "other.example /api/"
    );

    let (_ruled, client) = scene("HTTP", |rules| {
        use envoy_types::pb::envoy::config::route::v3::weighted_cluster::cluster_weight::HostRewriteSpecifier::HostRewriteLiteral;
        entry(action(rules)).host_rewrite_specifier =
            Some(HostRewriteLiteral("split.example".to_owned()));
    })
    .await;
    assert_eq!(seen(&client).await, "split.example /api/reviews/0?full=1");
}

#[tokio::test]
async fn an_error_names_the_host_that_was_asked_for() {
    let folder = Folder::reviews("HTTP", &[]);
    let service = std::fs::read_to_string(folder.path().join("service.yaml")).unwrap();
    folder.write("service.yaml", &service.replace("  subsets:\n", ""));
    let (_ruled, mesh) = ruled(&folder, |rules| {
        let rewrite = HostRewriteSpecifier::HostRewriteLiteral("elsewhere.example".to_owned());
        action(rules).host_rewrite_specifier = Some(rewrite);
    })
    .await;
    let error = mesh.client().get("http://reviews:9080/").await.unwrap_err();
    assert_eq!(error.flags(), "UH");
    assert!(
        error.to_string().contains("call to \"reviews:9080\""),
        "{error}"
    );
}

#[tokio::test]
async fn a_host_that_is_none_is_an_error() {
    let (_ruled, client) = scene("HTTP", |rules| {
        let rewrite = HostRewriteSpecifier::HostRewriteHeader("x-host".to_owned());
        action(rules).host_rewrite_specifier = Some(rewrite);
    })
    .await;
    let request = http::Request::get("http://reviews:9080/api/").header("x-host", "no host/at all");
    let error = client
        .send(request.body(Body::empty()).unwrap())
        .await
        .unwrap_err();
    assert!(error.is_invalid_request(), "{error}");
    assert!(
        error.to_string().contains("call to \"reviews:9080\""),
        "{error}"
    );
}
