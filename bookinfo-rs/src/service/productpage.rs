//! productpage: the page itself, its JSON API, and the session. It asks details and reviews, never ratings directly
//! (but for its API).

pub mod calls;
pub mod metrics;
pub mod session;

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::FormRejection;
use axum::extract::{DefaultBodyLimit, Form, Path, Query, State};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use http::header::{CONTENT_TYPE, LOCATION, REFERER, SET_COOKIE};
use http::{HeaderMap, HeaderValue, StatusCode};
use mesh_tower::MeshClient;
use serde::Deserialize;
use serde_json::json as value;

use self::calls::{Calls, Fetched};
use self::session::Sessions;
use super::settings::{Settings, SettingsError};
use super::{demo, error, headers, json};
use crate::page;

/// The one book.
pub const TITLE: &str = "The Comedy of Errors";

/// Its description, as HTML; the page shows it unescaped.
pub const DESCRIPTION: &str = "<a href=\"https://en.wikipedia.org/wiki/The_Comedy_of_Errors\">Wikipedia Summary</a>: \
    The Comedy of Errors is one of <b>William Shakespeare's</b> early plays. \
    Two pairs of twins, parted as children, spend a day in the same town, and everybody takes them for each other.";

/// A login form is small.
const LONGEST_FORM: usize = 16 * 1024;

#[derive(Debug)]
struct ProductPage {
    calls: Calls,
    sessions: Sessions,
    flood: u32,
    demo_aids: bool,
}

type Shared = State<Arc<ProductPage>>;

/// The router of productpage.
///
/// # Errors
/// When a variable cannot be read.
pub fn router(client: MeshClient, settings: &Settings) -> Result<Router, SettingsError> {
    let state = Arc::new(ProductPage {
        calls: Calls::new(client.with_call_info(), settings)?,
        sessions: Sessions::new(settings.get("SESSION_KEY"))?,
        flood: settings.number("FLOOD_FACTOR", "a whole number", 0)?,
        demo_aids: settings.flag(demo::VARIABLE, false)?,
    });
    Ok(Router::new()
        .route("/", get(landing))
        .route("/index.html", get(landing))
        .route("/health", get(async || "Product page is healthy"))
        .route("/login", post(login))
        .route("/logout", get(logout))
        .route("/productpage", get(product_page))
        .route("/api/v1/products", get(products))
        .route("/api/v1/products/{id}", get(product))
        .route("/api/v1/products/{id}/reviews", get(product_reviews))
        .route("/api/v1/products/{id}/ratings", get(product_ratings))
        .route("/metrics", get(scrape))
        .route("/static/{file}", get(asset))
        .layer(DefaultBodyLimit::max(LONGEST_FORM))
        .with_state(state))
}

#[derive(Debug, Default, Deserialize)]
struct Login {
    username: Option<String>,
}

async fn landing(State(state): Shared) -> Html<String> {
    let [details, reviews, ratings] = state.calls.bases();
    Html(page::landing(details, reviews, ratings))
}

/// Any password will do: this is a demonstration of routing by user, not of security.
async fn login(
    State(state): Shared,
    Query(query): Query<Login>,
    incoming: HeaderMap,
    form: Result<Form<Login>, FormRejection>,
) -> Response {
    let user = form
        .ok()
        .and_then(|Form(form)| form.username)
        .or(query.username)
        .unwrap_or_default();
    // The name travels in the `end-user` header.
    if HeaderValue::from_str(&user).is_err() || user.chars().any(char::is_control) {
        return error(
            StatusCode::BAD_REQUEST,
            "please provide a user name without control characters",
        );
    }
    back(
        &incoming,
        if user.is_empty() {
            session::forget()
        } else {
            state.sessions.cookie(&user)
        },
    )
}

async fn logout(incoming: HeaderMap) -> Response {
    back(&incoming, session::forget())
}

/// Redirects to where the browser came from.
fn back(incoming: &HeaderMap, cookie: String) -> Response {
    let to = incoming
        .get(REFERER)
        .cloned()
        .unwrap_or_else(|| HeaderValue::from_static("/productpage"));
    let mut response = StatusCode::FOUND.into_response();
    response.headers_mut().insert(LOCATION, to);
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

async fn product_page(State(state): Shared, incoming: HeaderMap) -> Html<String> {
    let user = state.sessions.user(&incoming);
    let headers = state.outgoing(&incoming);
    let details = state.calls.details("0", &headers).await;
    for _ in 0..state.flood {
        // The flooding variant: the answers are thrown away, the load on reviews is the point.
        state.calls.reviews("0", &headers).await;
    }
    let reviews = state.calls.reviews("0", &headers).await;
    Html(page::product(&page::ProductView {
        title: TITLE,
        description_html: DESCRIPTION,
        user: user.as_deref(),
        details: details.as_ref(),
        reviews: reviews.as_ref(),
    }))
}

async fn products() -> Response {
    json(
        StatusCode::OK,
        &value!([{"id": 0, "title": TITLE, "descriptionHtml": DESCRIPTION}]),
    )
}

async fn product(State(state): Shared, Path(id): Path<String>, incoming: HeaderMap) -> Response {
    let fetched = state.calls.details(&id, &state.outgoing(&incoming)).await;
    state.answer(&fetched)
}

async fn product_reviews(
    State(state): Shared,
    Path(id): Path<String>,
    incoming: HeaderMap,
) -> Response {
    let fetched = state.calls.reviews(&id, &state.outgoing(&incoming)).await;
    state.answer(&fetched)
}

async fn product_ratings(
    State(state): Shared,
    Path(id): Path<String>,
    incoming: HeaderMap,
) -> Response {
    let fetched = state.calls.ratings(&id, &state.outgoing(&incoming)).await;
    state.answer(&fetched)
}

async fn scrape(State(state): Shared) -> Response {
    let text = state.calls.metrics().render();
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        text,
    )
        .into_response()
}

async fn asset(Path(file): Path<String>) -> Response {
    match file.as_str() {
        "style.css" => ([(CONTENT_TYPE, "text/css; charset=utf-8")], page::STYLE).into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

impl ProductPage {
    fn outgoing(&self, incoming: &HeaderMap) -> HeaderMap {
        let user = self
            .sessions
            .user(incoming)
            .and_then(|user| HeaderValue::from_str(&user).ok());
        headers::from_browser(incoming, user.as_ref(), self.demo_aids)
    }

    fn answer(&self, fetched: &Fetched) -> Response {
        let mut response = json(fetched.status, &fetched.body);
        if self.demo_aids {
            demo::mark(&mut response, fetched.route.as_deref());
        }
        response
    }
}
