//! details: the facts about a book; v1 from memory, v2 from Google Books.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use http::{HeaderMap, StatusCode};
use mesh_tower::MeshClient;
use serde::Serialize;

use super::settings::{Settings, SettingsError};
use super::{backend, error, google_books, headers, json};

const TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Details {
    client: MeshClient,
    /// The URL of Google Books, if that is asked.
    external: Option<String>,
    demo_aids: bool,
}

/// A book.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Book {
    /// The number in the path.
    pub id: i64,
    /// Who wrote it.
    pub author: String,
    /// When it was published.
    pub year: i64,
    /// `paperback` or `unknown`.
    #[serde(rename = "type")]
    pub kind: String,
    /// How long it is.
    pub pages: i64,
    /// Who published it.
    pub publisher: String,
    /// `English` or `unknown`.
    pub language: String,
    /// The short number.
    #[serde(rename = "ISBN-10")]
    pub isbn10: String,
    /// The long number.
    #[serde(rename = "ISBN-13")]
    pub isbn13: String,
}

/// The router of details.
///
/// # Errors
/// For a version that is neither v1 nor v2, or a flag that is neither true nor false.
pub fn router(
    client: MeshClient,
    version: &str,
    settings: &Settings,
) -> Result<Router, SettingsError> {
    let external_by_default = match version {
        "v1" => false,
        "v2" => true,
        _ => {
            let version = version.to_owned();
            return Err(SettingsError::Version {
                service: "details",
                version,
                known: "v1, v2",
                note: "",
            });
        }
    };
    let external = settings.flag("ENABLE_EXTERNAL_BOOK_SERVICE", external_by_default)?;
    let plain = settings.flag("DO_NOT_ENCRYPT", false)?;
    let state = Arc::new(Details {
        client,
        external: external.then(|| google_books::url(plain)),
        demo_aids: settings.flag(super::demo::VARIABLE, false)?,
    });
    Ok(Router::new()
        .route(
            "/health",
            get(async || {
                json(
                    StatusCode::OK,
                    &serde_json::json!({"status": "Details is healthy"}),
                )
            }),
        )
        .route("/details", get(async || not_a_number()))
        .route("/details/{*rest}", get(details))
        .with_state(state))
}

async fn details(
    State(state): State<Arc<Details>>,
    Path(rest): Path<String>,
    incoming: HeaderMap,
) -> Response {
    // Any path below /details will do; its last element is the id.
    let Some(id) = rest.rsplit('/').next().and_then(|id| id.parse().ok()) else {
        return not_a_number();
    };
    let Some(url) = &state.external else {
        return json(StatusCode::OK, &from_memory(id));
    };
    let headers = headers::from_service(&incoming, state.demo_aids);
    let answer = match backend::get(&state.client, url, &headers, TIMEOUT).await {
        Ok(answer) => answer,
        Err(failure) => return error(failure.status(), &failure.to_string()),
    };
    if answer.status != StatusCode::OK {
        let status = answer.status.as_u16();
        return error(StatusCode::BAD_GATEWAY, &format!("{url} answered {status}"));
    }
    match google_books::read(id, &answer.body) {
        Ok(book) => json(StatusCode::OK, &book),
        Err(failure) => error(StatusCode::BAD_GATEWAY, &format!("{url}: {failure}")),
    }
}

fn not_a_number() -> Response {
    error(StatusCode::BAD_REQUEST, "please provide numeric product id")
}

fn from_memory(id: i64) -> Book {
    Book {
        id,
        author: "William Shakespeare".to_owned(),
        year: 1595,
        kind: "paperback".to_owned(),
        pages: 200,
        publisher: "PublisherA".to_owned(),
        language: "English".to_owned(),
        isbn10: "1234567890".to_owned(),
        isbn13: "123-1234567890".to_owned(),
    }
}
