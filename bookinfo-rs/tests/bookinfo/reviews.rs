//! reviews, v1 to v3.

use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::Request as Incoming;
use axum::middleware::{Next, from_fn};
use bookinfo_rs::service::settings::Settings;
use bookinfo_rs::service::{ratings, reviews};
use http::{Request, StatusCode};
use serde_json::{Value, json};

use crate::support::{
    FORWARDED, get, get_json, mesh, mesh_on, nobody, recorder, send, serve, service,
};

const RATINGS: &str = r#"{"id":0,"ratings":{"Reviewer1":5,"Reviewer2":4}}"#;

fn ratings_of(page: &Value) -> Vec<&Value> {
    page["reviews"]
        .as_array()
        .unwrap()
        .iter()
        .map(|review| &review["rating"])
        .collect()
}

#[tokio::test]
async fn v1_has_no_ratings_and_asks_for_none() {
    let (address, seen) = recorder(StatusCode::OK, RATINGS).await;
    let rules = mesh(&[("ratings", address)]);
    let app = service(&rules, "reviews", "v1", &[("HOSTNAME", "reviews-v1-abc")]);
    let expected = json!({"id": "7", "podname": "reviews-v1-abc", "clustername": "null", "reviews": [
        {"reviewer": "Reviewer1",
         "text": "An extremely entertaining play by Shakespeare. The slapstick humour is refreshing!"},
        {"reviewer": "Reviewer2", "text": "Absolutely fun and entertaining. The play lacks thematic depth when \
            compared to other plays by Shakespeare."},
    ]});
    assert_eq!(
        get_json(&app, "/reviews/7").await,
        (StatusCode::OK, expected)
    );
    assert!(seen.all().is_empty());
    assert_eq!(get(&app, "/reviews/x").await.0, StatusCode::NOT_FOUND);
    assert_eq!(
        get_json(&app, "/health").await.1,
        json!({"status": "Reviews is healthy"})
    );
}

#[tokio::test]
async fn v2_has_black_stars_and_v3_red_ones() {
    let (address, seen) = recorder(StatusCode::OK, RATINGS).await;
    let rules = mesh(&[("ratings", address)]);
    for (version, color) in [("v2", "black"), ("v3", "red")] {
        let app = service(&rules, "reviews", version, &[]);
        let (status, page) = get_json(&app, "/reviews/0").await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(page["podname"], "null");
        assert_eq!(
            ratings_of(&page),
            [
                &json!({"stars": 5, "color": color}),
                &json!({"stars": 4, "color": color})
            ]
        );
    }
    assert_eq!(seen.paths(), ["/ratings/0", "/ratings/0"]);
}

#[tokio::test]
async fn a_page_without_ratings_is_still_a_page() {
    let unavailable = json!({"error": "Ratings service is currently unavailable"});
    let (faulty, _) = recorder(
        StatusCode::SERVICE_UNAVAILABLE,
        r#"{"error":"Service unavailable"}"#,
    )
    .await;
    let (partial, _) = recorder(StatusCode::OK, r#"{"id":0,"ratings":{"Reviewer1":1}}"#).await;
    let (garbage, _) = recorder(StatusCode::OK, "<html>").await;
    for (address, first) in [
        (faulty, unavailable.clone()),
        (garbage, unavailable.clone()),
        (nobody().await, unavailable.clone()),
        (partial, json!({"stars": 1, "color": "black"})),
    ] {
        let rules = mesh(&[("ratings", address)]);
        let (status, page) = get_json(&service(&rules, "reviews", "v2", &[]), "/reviews/0").await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(ratings_of(&page), [&first, &unavailable]);
    }
}

#[tokio::test]
async fn red_stars_give_up_before_the_page_does() {
    let app = Router::new().fallback(async || std::future::pending::<()>().await);
    let rules = mesh(&[("ratings", serve(app).await)]);
    let started = Instant::now();
    let (status, page) = get_json(&service(&rules, "reviews", "v3", &[]), "/reviews/0").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        page["reviews"][0]["rating"]["error"],
        "Ratings service is currently unavailable"
    );
    let took = started.elapsed();
    assert!(
        took >= Duration::from_millis(2_500) && took < Duration::from_secs(10),
        "{took:?}"
    );
}

#[tokio::test]
async fn headers_travel_on() {
    let (address, seen) = recorder(StatusCode::OK, RATINGS).await;
    let rules = mesh(&[("ratings", address)]);
    let app = service(&rules, "reviews", "v2", &[]);
    let names = FORWARDED.into_iter().chain(["end-user"]);
    let mut request = Request::get("/reviews/0").header("x-mine", "1");
    for name in names.clone() {
        request = request.header(name, format!("{name}-value"));
    }
    send(&app, request.body(Body::empty()).unwrap()).await;
    let headers = seen.last();
    for name in names {
        let value = headers.get(name).map(|v| v.to_str().unwrap());
        assert_eq!(value, Some(&*format!("{name}-value")), "{name}");
    }
    assert!(!headers.contains_key("x-mine"));
}

#[tokio::test]
async fn no_delay_and_no_count_without_the_variable_of_the_demo_aids() {
    let rules = mesh(&[]);
    for (variables, on) in [
        (&[][..], false),
        (&[("BOOKINFO_DEMO_AIDS", "true")][..], true),
    ] {
        let app = service(&rules, "reviews", "v1", variables);
        let request = Request::get("/reviews/0").header("x-bookinfo-delay-ms", "2000");
        let started = Instant::now();
        let (status, headers, _) = send(&app, request.body(Body::empty()).unwrap()).await;
        assert_eq!(status, StatusCode::OK);
        assert!(!headers.contains_key("x-bookinfo-route"));
        assert_eq!(started.elapsed() >= Duration::from_secs(2), on);
        let asked = get(&app, "/asked").await;
        if on {
            assert_eq!(asked, (StatusCode::OK, "1".to_owned()));
        } else {
            assert_eq!(asked.0, StatusCode::NOT_FOUND);
        }
    }
}

const BY_GRPC: [(&str, &str); 1] = [("RATINGS_PROTOCOL", "grpc")];

#[tokio::test]
async fn stars_by_grpc_are_those_by_http() {
    let app = ratings::router("v1", &Settings::default()).unwrap();
    let (seen, kept) = std::sync::mpsc::channel();
    let app = app.layer(from_fn(move |request: Incoming, next: Next| {
        let call = (request.uri().path().to_owned(), request.headers().clone());
        seen.send(call).unwrap();
        next.run(request)
    }));
    let rules = mesh_on(9090, &[("ratings", serve(app).await)]);
    for (version, color) in [("v2", "black"), ("v3", "red")] {
        let app = service(&rules, "reviews", version, &BY_GRPC);
        let names = FORWARDED.into_iter().chain(["end-user"]);
        let mut request = Request::get("/reviews/0").header("x-mine", "1");
        for name in names.clone() {
            request = request.header(name, format!("{name}-value"));
        }
        let (status, _, page) = send(&app, request.body(Body::empty()).unwrap()).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(
            ratings_of(&serde_json::from_str(&page).unwrap()),
            [
                &json!({"stars": 5, "color": color}),
                &json!({"stars": 4, "color": color})
            ]
        );
        let (path, headers) = kept.recv().unwrap();
        assert_eq!(path, ratings::grpc::METHOD);
        for name in names {
            let value = headers.get(name).map(|v| v.to_str().unwrap());
            assert_eq!(value, Some(&*format!("{name}-value")), "{name}");
        }
        assert!(!headers.contains_key("x-mine"));
    }
}

#[tokio::test]
async fn a_page_without_ratings_by_grpc_is_still_a_page() {
    let unavailable = json!({"error": "Ratings service is currently unavailable"});
    let (no_grpc, _) = recorder(StatusCode::OK, RATINGS).await;
    let (refusing, _) = recorder(StatusCode::SERVICE_UNAVAILABLE, "").await;
    let silent = Router::new().fallback(async || std::future::pending::<()>().await);
    for address in [no_grpc, refusing, nobody().await, serve(silent).await] {
        let rules = mesh_on(9090, &[("ratings", address)]);
        let app = service(&rules, "reviews", "v3", &BY_GRPC);
        let (status, page) = get_json(&app, "/reviews/0").await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(ratings_of(&page), [&unavailable, &unavailable]);
    }
}

#[tokio::test]
async fn another_protocol_is_refused_by_its_variable() {
    let rules = mesh(&[]);
    for (variable, value) in [("RATINGS_PROTOCOL", "thrift"), ("RATINGS_GRPC_PORT", "x")] {
        let variables = [BY_GRPC[0], (variable, value)];
        let error = reviews::router(&rules.mesh, "v3", &Settings::from_pairs(variables));
        let error = error.unwrap_err().to_string();
        assert!(error.contains(variable) && error.contains(value), "{error}");
    }
}
