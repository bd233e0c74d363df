//! productpage: the page, its API, sessions, headers.

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Request, StatusCode};

use crate::support::{
    FORWARDED, Rules, Seen, get, get_json, mesh, nobody, recorder, send, service,
};

const DETAILS: &str =
    r#"{"id":0,"publisher":"PublisherA","pages":200,"type":"paperback","ISBN-10":"1234567890"}"#;
const REVIEWS: &str = r#"{"id":"0","podname":"reviews-v3-1","clustername":"null","reviews":[
    {"reviewer":"Reviewer1","text":"Good","rating":{"stars":4,"color":"red"}}]}"#;
const RATINGS: &str = r#"{"id":0,"ratings":{"Reviewer1":5}}"#;

struct Page {
    app: Router,
    details: Seen,
    reviews: Seen,
    ratings: Seen,
    _rules: Rules,
}

async fn page(variables: &[(&str, &str)]) -> Page {
    let (details_at, details) = recorder(StatusCode::OK, DETAILS).await;
    let (reviews_at, reviews) = recorder(StatusCode::OK, REVIEWS).await;
    let (ratings_at, ratings) = recorder(StatusCode::OK, RATINGS).await;
    let rules = mesh(&[
        ("details", details_at),
        ("reviews", reviews_at),
        ("ratings", ratings_at),
    ]);
    let app = service(&rules, "productpage", "v1", variables);
    Page {
        app,
        details,
        reviews,
        ratings,
        _rules: rules,
    }
}

async fn get_with(
    app: &Router,
    path: &str,
    headers: &[(&str, &str)],
) -> (StatusCode, HeaderMap, String) {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(app, request.body(Body::empty()).unwrap()).await
}

async fn login(app: &Router, form: &str, referer: Option<&str>) -> (StatusCode, HeaderMap, String) {
    let mut request =
        Request::post("/login").header("content-type", "application/x-www-form-urlencoded");
    if let Some(referer) = referer {
        request = request.header("referer", referer);
    }
    send(app, request.body(Body::from(form.to_owned())).unwrap()).await
}

fn cookie(headers: &HeaderMap) -> String {
    headers["set-cookie"]
        .to_str()
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn every_header_of_the_list_reaches_every_service() {
    let page = page(&[]).await;
    let values = FORWARDED.map(|name| format!("{name}-value"));
    let headers: Vec<_> = FORWARDED
        .into_iter()
        .zip(values.iter().map(String::as_str))
        .collect();
    for what in ["", "/reviews", "/ratings"] {
        let path = format!("/api/v1/products/0{what}");
        get_with(&page.app, &path, &headers).await;
    }
    assert_eq!(page.details.paths(), ["/details/0"]);
    assert_eq!(page.reviews.paths(), ["/reviews/0"]);
    assert_eq!(page.ratings.paths(), ["/ratings/0"]);
    for seen in [page.details, page.reviews, page.ratings] {
        let seen = seen.last();
        for (name, value) in &headers {
            assert_eq!(
                seen.get(*name).map(|v| v.to_str().unwrap()),
                Some(*value),
                "{name}"
            );
        }
    }
}

#[tokio::test]
async fn the_page_asks_nobody_else_for_anything() {
    let page = page(&[]).await;
    for path in ["/", "/productpage"] {
        let (_, html) = get(&page.app, path).await;
        assert!(html.contains("</html>"), "{html}");
        for asset in ["src=", "<link", "@import", "url("] {
            assert!(!html.contains(asset), "{asset} in {path}");
        }
    }
}

#[tokio::test]
async fn without_their_variable_the_demo_aids_do_nothing() {
    for (variables, on) in [
        (&[][..], false),
        (&[("BOOKINFO_DEMO_AIDS", "true")][..], true),
    ] {
        let page = page(variables).await;
        let asked = [("x-bookinfo-delay-ms", "1")];
        let path = "/api/v1/products/0/reviews";
        let (status, headers, _) = get_with(&page.app, path, &asked).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(headers.contains_key("x-bookinfo-route"), on);
        let sent = page.reviews.last();
        assert_eq!(sent.contains_key("x-bookinfo-delay-ms"), on);
    }
}

#[tokio::test]
async fn the_page_shows_details_and_reviews() {
    let page = page(&[]).await;
    let (status, html) = get(&page.app, "/productpage?u=normal").await;
    assert_eq!(status, StatusCode::OK);
    for text in [
        "<title>Simple Bookstore App</title>",
        "BookInfo Sample",
        "The Comedy of Errors",
        "<b>William Shakespeare's</b>",
        "PublisherA",
        "1234567890",
        "Reviews served by:",
        "reviews-v3-1",
        "text-red-500",
        "Sign in",
    ] {
        assert!(html.contains(text), "{text:?} is missing in {html}");
    }
    assert!(!html.contains("text-black-500") && !html.contains("Error fetching"));
    assert!(
        page.ratings.all().is_empty(),
        "the page asks for ratings through reviews alone"
    );
}

#[tokio::test]
async fn a_page_without_stars_names_no_star_class() {
    let (details, _) = recorder(StatusCode::OK, DETAILS).await;
    let body =
        r#"{"podname":"reviews-v1","clustername":"c1","reviews":[{"reviewer":"a","text":"b"}]}"#;
    let (reviews, _) = recorder(StatusCode::OK, body).await;
    let rules = mesh(&[("details", details), ("reviews", reviews)]);
    let (_, html) = get(&service(&rules, "productpage", "v1", &[]), "/productpage").await;
    assert!(
        !html.contains("text-red-500") && !html.contains("text-black-500"),
        "{html}"
    );
    assert!(html.contains("on cluster"));
}

#[tokio::test]
async fn failures_have_their_texts_and_counts() {
    let (details, asked_details) = recorder(StatusCode::NOT_FOUND, "no").await;
    let (reviews, asked_reviews) = recorder(StatusCode::INTERNAL_SERVER_ERROR, "no").await;
    let rules = mesh(&[("details", details), ("reviews", reviews)]);
    let app = service(&rules, "productpage", "v1", &[]);
    let (status, html) = get(&app, "/productpage").await;
    assert_eq!(status, StatusCode::OK);
    for text in [
        "Error fetching product details",
        "Sorry, product details are currently unavailable for this book.",
        "Error fetching product reviews",
        "Sorry, product reviews are currently unavailable for this book.",
    ] {
        assert!(html.contains(text), "{text}");
    }
    assert_eq!(asked_details.all().len(), 1, "details are asked for once");
    assert_eq!(asked_reviews.all().len(), 2, "reviews twice");
    let sorry = |what| serde_json::json!({"error": format!("Sorry, product {what} are currently unavailable for this book.")});
    assert_eq!(
        get_json(&app, "/api/v1/products/0").await,
        (StatusCode::NOT_FOUND, sorry("details"))
    );
    let expected = (StatusCode::INTERNAL_SERVER_ERROR, sorry("reviews"));
    assert_eq!(get_json(&app, "/api/v1/products/0/reviews").await, expected);
    let (_, metrics) = get(&app, "/metrics").await;
    assert!(metrics.contains("# TYPE request_result_total counter"));
    assert!(
        metrics.contains(
            "request_result_total{destination_app=\"details\",response_code=\"404\"} 2\n"
        ),
        "{metrics}"
    );
    assert!(
        metrics.contains(
            "request_result_total{destination_app=\"reviews\",response_code=\"500\"} 4\n"
        ),
        "{metrics}"
    );
}

#[tokio::test]
async fn what_the_mesh_refuses_has_the_meshs_status() {
    let rules = mesh(&[("details", nobody().await)]);
    let app = service(&rules, "productpage", "v1", &[]);
    let (status, _) = get_json(&app, "/api/v1/products/0").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_user_signs_in_is_passed_on_and_signs_out() {
    let page = page(&[]).await;
    let (status, headers, _) = login(
        &page.app,
        "username=jason&passwd=x",
        Some("/productpage?u=test"),
    )
    .await;
    assert_eq!(status, StatusCode::FOUND);
    assert_eq!(headers["location"], "/productpage?u=test");
    let cookie = cookie(&headers);
    let (_, _, html) = get_with(&page.app, "/productpage", &[("cookie", &cookie)]).await;
    assert!(html.contains("jason") && html.contains("Sign out"));
    assert_eq!(page.details.last()["end-user"], "jason");
    assert_eq!(page.reviews.last()["end-user"], "jason");
    let (status, headers, _) = get_with(&page.app, "/logout", &[("cookie", &cookie)]).await;
    assert_eq!(
        (status, &headers["location"]),
        (StatusCode::FOUND, &"/productpage".parse().unwrap())
    );
    assert!(
        headers["set-cookie"]
            .to_str()
            .unwrap()
            .contains("Max-Age=0")
    );
}

#[tokio::test]
async fn nobody_becomes_jason_by_a_header_or_an_edited_cookie() {
    let page = page(&[]).await;
    let (_, headers, _) = login(&page.app, "username=mallory", None).await;
    let cookie = cookie(&headers);
    let (_, signature) = cookie.split_once('.').unwrap();
    // "jason" in base64url.
    let forged = format!("session=amFzb24.{signature}");
    for header in [("end-user", "jason"), ("cookie", forged.as_str())] {
        get_with(&page.app, "/productpage", &[header]).await;
        assert!(!page.reviews.last().contains_key("end-user"), "{header:?}");
    }
    let (status, _, _) = login(&page.app, "username=a%0d%0ax-evil:1", None).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn flooding_asks_for_reviews_so_many_times_more() {
    let page = page(&[("FLOOD_FACTOR", "5")]).await;
    get(&page.app, "/productpage").await;
    assert_eq!(page.reviews.all().len(), 6);
    assert_eq!(page.details.all().len(), 1);
}

#[tokio::test]
async fn the_rest_of_the_api() {
    let page = page(&[]).await;
    assert_eq!(
        get(&page.app, "/health").await,
        (StatusCode::OK, "Product page is healthy".to_owned())
    );
    let (_, products) = get_json(&page.app, "/api/v1/products").await;
    assert_eq!(products[0]["title"], "The Comedy of Errors");
    assert_eq!(products[0]["id"], 0);
    let (status, details) = get_json(&page.app, "/api/v1/products/0").await;
    assert_eq!(
        (status, &details["publisher"]),
        (StatusCode::OK, &"PublisherA".into())
    );
    get(&page.app, "/api/v1/products/..%2F..%2Fx/reviews").await;
    assert_eq!(page.reviews.paths(), ["/reviews/..%2F..%2Fx"]);
    let (_, landing) = get(&page.app, "/").await;
    assert!(landing.contains(
        "Hello! This is a simple bookstore application consisting of three services as shown below"
    ));
    assert!(landing.contains("http://details:9080") && landing.contains("/productpage?u=test"));
}
