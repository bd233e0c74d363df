//! Bookinfo's services, each an axum router over a [`Mesh`].
//!
//! Endpoints, JSON shapes, environment variables and error texts are those of Istio's sample; only the client that
//! makes the calls is ours.

pub mod backend;
pub mod demo;
pub mod details;
pub mod dice;
pub mod google_books;
pub mod headers;
pub mod productpage;
pub mod ratings;
pub mod reviews;
pub mod settings;

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use mesh_tower::Mesh;
use serde::Serialize;

use settings::{Settings, SettingsError};

/// Builds the router of one service.
///
/// # Errors
/// When there is no such service or version, or a variable of it cannot be read.
pub fn router(
    name: &str,
    version: &str,
    mesh: &Mesh,
    settings: &Settings,
) -> Result<Router, SettingsError> {
    match name {
        "productpage" => productpage::router(mesh.client(), settings),
        "details" => details::router(mesh.client(), version, settings),
        "reviews" => reviews::router(mesh, version, settings),
        "ratings" => ratings::router(version, settings),
        "googleapis" => Ok(google_books::stand_in()),
        _ => Err(SettingsError::Service {
            name: name.to_owned(),
        }),
    }
}

/// A JSON answer with this status.
fn json(status: StatusCode, body: &impl Serialize) -> Response {
    (status, axum::Json(body)).into_response()
}

/// `{"error": "..."}` with this status.
fn error(status: StatusCode, message: &str) -> Response {
    json(status, &serde_json::json!({ "error": message }))
}
