//! details, v1 and v2.

use http::StatusCode;
use serde_json::json;

use crate::support::{entries, get, get_json, mesh, nobody, rules, serve, service};

#[tokio::test]
async fn v1_tells_what_it_knows_of_any_number() {
    let rules = mesh(&[]);
    let app = service(&rules, "details", "v1", &[]);
    let book = |id: i64| {
        json!({"id": id, "author": "William Shakespeare", "year": 1595, "type": "paperback", "pages": 200,
            "publisher": "PublisherA", "language": "English", "ISBN-10": "1234567890", "ISBN-13": "123-1234567890"})
    };
    assert_eq!(
        get_json(&app, "/details/0").await,
        (StatusCode::OK, book(0))
    );
    assert_eq!(
        get_json(&app, "/details/any/path/42").await,
        (StatusCode::OK, book(42))
    );
    let refused = (
        StatusCode::BAD_REQUEST,
        json!({"error": "please provide numeric product id"}),
    );
    for path in ["/details/x", "/details", "/details/1/x", "/details/1e3"] {
        assert_eq!(get_json(&app, path).await, refused, "{path}");
    }
    assert_eq!(
        get_json(&app, "/health").await,
        (StatusCode::OK, json!({"status": "Details is healthy"}))
    );
}

#[tokio::test]
async fn v2_asks_google_books_and_maps_the_answer() {
    let stand_in = serve(service(&mesh(&[]), "googleapis", "v1", &[])).await;
    let rules = rules(
        mesh_tower::Node::sidecar("details", "default"),
        &entries(&[("www.googleapis.com", 80, stand_in)]),
    );
    let app = service(&rules, "details", "v2", &[("DO_NOT_ENCRYPT", "true")]);
    let (status, book) = get_json(&app, "/details/0").await;
    assert_eq!(status, StatusCode::OK, "{book}");
    assert_eq!(book["ISBN-10"], "0486424618");
    assert_eq!(book["type"], "paperback");
    assert_eq!(book["language"], "English");
    assert_eq!(book["year"], 2002);
    assert_eq!(book["author"], "William Shakespeare");
}

#[tokio::test]
async fn v2_says_why_when_google_books_is_away() {
    let nobody = nobody().await;
    let rules = rules(
        mesh_tower::Node::sidecar("details", "default"),
        &entries(&[("www.googleapis.com", 80, nobody)]),
    );
    let app = service(&rules, "details", "v2", &[("DO_NOT_ENCRYPT", "true")]);
    let (status, body) = get(&app, "/details/0").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body.starts_with("{\"error\":\""), "{body}");
}
