//! One path for matching and for sending, normalised as the mesh says.

use axum::Router;
use axum::extract::Request;
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::{RouteConfiguration, RouteMatch};
use mesh_tower::{MeshClient, PathNormalization};

use crate::support::rules::{Ruled, host, last};
use crate::support::{Backend, Folder};

/// A route `secret` for `/secret`, before the one that takes everything.
fn secret(rules: &mut RouteConfiguration) {
    let mut route = last(rules).clone();
    route.name = "secret".to_owned();
    route.r#match = Some(RouteMatch {
        path_specifier: Some(PathSpecifier::Prefix("/secret".to_owned())),
        ..RouteMatch::default()
    });
    last(rules).name = "rest".to_owned();
    host(rules).routes.insert(0, route);
}

/// The route that a path takes, and the path and query that the backend sees.
async fn taken(client: &MeshClient, path: &str) -> (String, String) {
    let response = client
        .get(&format!("http://reviews:9080{path}"))
        .await
        .unwrap();
    let route = response
        .extensions()
        .get::<mesh_tower::CallInfo>()
        .unwrap()
        .route
        .to_string();
    (route, response.into_body().text().await.unwrap())
}

async fn scene() -> (Ruled, Backend) {
    let app = Router::new().fallback(|request: Request| async move {
        request.uri().path_and_query().unwrap().to_string()
    });
    let v1 = Backend::serve("v1", app).await;
    let folder = Folder::reviews("HTTP", &[("v1", v1.address)]);
    (Ruled::start(&folder, secret).await, v1)
}

#[tokio::test]
async fn dots_are_resolved_by_default_and_the_query_is_left_alone() {
    let (ruled, _v1) = scene().await;
    let client = ruled.mesh().client().with_call_info();
    for (path, route, sent) in [
        ("/public/../secret?a=/../b", "secret", "/secret?a=/../b"),
        ("/public/%2e%2e/secret", "secret", "/secret"),
        ("/./secret/x", "secret", "/secret/x"),
        ("/public/x?../secret", "rest", "/public/x?../secret"),
        ("//secret", "rest", "//secret"),
        ("/public/%2fsecret", "rest", "/public/%2fsecret"),
    ] {
        assert_eq!(
            taken(&client, path).await,
            (route.to_owned(), sent.to_owned()),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_mesh_can_normalise_less_or_more() {
    let (ruled, _v1) = scene().await;
    for (how, path, route, sent) in [
        (
            PathNormalization::None,
            "/public/../secret",
            "rest",
            "/public/../secret",
        ),
        (
            PathNormalization::Base,
            "/public/../secret",
            "secret",
            "/secret",
        ),
        (
            PathNormalization::MergeSlashes,
            "//secret",
            "secret",
            "/secret",
        ),
        (
            PathNormalization::MergeSlashes,
            "/%2fsecret",
            "rest",
            "/%2fsecret",
        ),
        (
            PathNormalization::DecodeAndMergeSlashes,
            "/%2fsecret",
            "secret",
            "/secret",
        ),
    ] {
        let mesh = ruled.mesh_with(|builder| builder.path_normalization(how));
        let client = mesh.client().with_call_info();
        assert_eq!(
            taken(&client, path).await,
            (route.to_owned(), sent.to_owned()),
            "{how:?} {path}"
        );
    }
}
