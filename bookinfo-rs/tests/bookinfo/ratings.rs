//! ratings v1 and its faulty variants.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bookinfo_rs::service::ratings;
use bookinfo_rs::service::ratings::grpc::{Product, RatingsClient, Stars};
use bookinfo_rs::service::settings::Settings;
use http::{Request, StatusCode};
use mesh_tower::MeshChannel;
use serde_json::json;
use tokio::time::{Instant, advance};
use tonic::{Code, Status};

use crate::support::{Rules, get_json, mesh_on, send, serve};

fn variant(version: &str) -> Router {
    ratings::router(version, &Settings::from_pairs([("SEED", "7")])).unwrap()
}

async fn post(app: &Router, path: &str, body: &str) -> (StatusCode, String) {
    let (status, _, body) = send(
        app,
        Request::post(path)
            .body(Body::from(body.to_owned()))
            .unwrap(),
    )
    .await;
    (status, body)
}

#[tokio::test]
async fn v1_gives_five_and_four_until_told_otherwise() {
    let app = variant("v1");
    let given = json!({"id": 0, "ratings": {"Reviewer1": 5, "Reviewer2": 4}});
    assert_eq!(
        get_json(&app, "/ratings/0").await,
        (StatusCode::OK, given.clone())
    );
    let (status, body) = post(&app, "/ratings/1", r#"{"Reviewer1": 1}"#).await;
    assert_eq!(
        (status, body.as_str()),
        (StatusCode::OK, r#"{"id":1,"ratings":{"Reviewer1":1}}"#)
    );
    assert_eq!(
        get_json(&app, "/ratings/1").await.1,
        json!({"id": 1, "ratings": {"Reviewer1": 1}})
    );
    assert_eq!(get_json(&app, "/ratings/0").await.1, given);
    assert_eq!(
        get_json(&app, "/health").await,
        (StatusCode::OK, json!({"status": "Ratings is healthy"}))
    );
}

#[tokio::test]
async fn wrong_input_is_answered_not_believed() {
    let app = variant("v1");
    let (status, body) = get_json(&app, "/ratings/x").await;
    assert_eq!(
        (status, body),
        (
            StatusCode::BAD_REQUEST,
            json!({"error": "please provide numeric product ID"})
        )
    );
    assert_eq!(
        post(&app, "/ratings/x", "{}").await.0,
        StatusCode::BAD_REQUEST
    );
    for garbage in ["", "{", "[]", "5"] {
        let (status, body) = post(&app, "/ratings/0", garbage).await;
        let expected = r#"{"error":"please provide valid ratings JSON"}"#;
        assert_eq!(
            (status, body.as_str()),
            (StatusCode::BAD_REQUEST, expected),
            "{garbage:?}"
        );
    }
}

#[tokio::test]
async fn memory_has_an_end() {
    let app = variant("v1");
    for id in 0..1_024 {
        assert_eq!(
            post(&app, &format!("/ratings/{id}"), "{}").await.0,
            StatusCode::OK
        );
    }
    assert_eq!(
        post(&app, "/ratings/5000", "{}").await.0,
        StatusCode::INSUFFICIENT_STORAGE
    );
    assert_eq!(post(&app, "/ratings/7", "{}").await.0, StatusCode::OK);
}

#[tokio::test]
async fn faulty_fails_half_of_the_time() {
    let app = variant("v-faulty");
    let mut failed = 0;
    for _ in 0..1_000 {
        failed +=
            u32::from(get_json(&app, "/ratings/0").await.0 == StatusCode::SERVICE_UNAVAILABLE);
    }
    assert!(
        (421..=579).contains(&failed),
        "{failed} of 1000 is not half, within 5 sigma"
    );
}

#[tokio::test(start_paused = true)]
async fn delayed_waits_seven_seconds_half_of_the_time() {
    let app = variant("v-delayed");
    let mut delayed = 0;
    for _ in 0..1_000 {
        let started = Instant::now();
        assert_eq!(get_json(&app, "/ratings/0").await.0, StatusCode::OK);
        match started.elapsed().as_millis() {
            0 => {}
            7_000..=7_001 => delayed += 1,
            other => panic!("{other} ms"),
        }
    }
    assert!(
        (421..=579).contains(&delayed),
        "{delayed} of 1000 is not half, within 5 sigma"
    );
}

#[tokio::test(start_paused = true)]
async fn unavailable_comes_and_goes_every_minute() {
    let app = variant("v-unavailable");
    for expected in [200, 503, 200, 503] {
        assert_eq!(get_json(&app, "/ratings/0").await.0.as_u16(), expected);
        assert_eq!(get_json(&app, "/health").await.0, StatusCode::OK);
        advance(Duration::from_secs(60)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn unhealthy_also_says_so() {
    let app = variant("v-unhealthy");
    for (expected, text) in [
        (200, "Ratings is healthy"),
        (503, "Ratings is not healthy"),
        (200, "Ratings is healthy"),
    ] {
        assert_eq!(get_json(&app, "/ratings/0").await.0.as_u16(), expected);
        let (status, body) = get_json(&app, "/health").await;
        assert_eq!(body, json!({"status": text}));
        assert_eq!(status.is_success(), expected == 200);
        advance(Duration::from_secs(15 * 60)).await;
    }
}

#[test]
fn the_database_version_is_left_out_with_a_reason() {
    let error = ratings::router("v2", &Settings::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("needs a database") && error.contains("v-faulty"),
        "{error}"
    );
}

/// The same ratings by HTTP and by gRPC, and the mesh between.
async fn by_grpc(app: &Router) -> (RatingsClient<MeshChannel>, Rules) {
    let rules = mesh_on(9090, &[("ratings", serve(app.clone()).await)]);
    let channel = rules.mesh.channel("xds:///ratings:9090").unwrap();
    (RatingsClient::new(channel), rules)
}

async fn ask(client: &mut RatingsClient<MeshChannel>, id: i64) -> Result<Stars, Status> {
    let answer = client.get(Product { id }).await?;
    Ok(answer.into_inner())
}

#[tokio::test]
async fn grpc_gives_what_http_gives() {
    let app = variant("v1");
    let (mut client, _rules) = by_grpc(&app).await;
    for (id, change) in [(0, None), (1, Some(r#"{"Reviewer1": 1}"#)), (-7, None)] {
        if let Some(body) = change {
            post(&app, &format!("/ratings/{id}"), body).await;
        }
        let stars = ask(&mut client, id).await.unwrap();
        let (_, by_http) = get_json(&app, &format!("/ratings/{id}")).await;
        assert_eq!(by_http, json!({"id": stars.id, "ratings": stars.ratings}));
    }
    // HTTP takes any JSON; what is no star has no place in the message.
    post(&app, "/ratings/2", r#"{"Reviewer1": "many"}"#).await;
    let status = ask(&mut client, 2).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
}

#[tokio::test]
async fn faulty_is_unavailable_by_grpc_half_of_the_time() {
    let (mut client, _rules) = by_grpc(&variant("v-faulty")).await;
    let mut failed = 0;
    for _ in 0..1_000 {
        match ask(&mut client, 0).await {
            Ok(stars) => assert_eq!(stars.ratings["Reviewer1"], 5),
            Err(status) => {
                assert_eq!(
                    (status.code(), status.message()),
                    (Code::Unavailable, "Service unavailable")
                );
                failed += 1;
            }
        }
    }
    assert!(
        (421..=579).contains(&failed),
        "{failed} of 1000 is not half, within 5 sigma"
    );
}
