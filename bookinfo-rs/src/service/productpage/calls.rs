//! productpage's calls: 3 s each, two attempts for reviews and one for the others.
//!
//! The second attempt is Bookinfo's planted bug: together with ratings' delay it makes the page take 6 s.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use mesh_tower::MeshClient;
use serde_json::{Value, json};

use super::metrics::Metrics;
use crate::service::backend::{Backend, segment};
use crate::service::settings::{Settings, SettingsError};

const TIMEOUT: Duration = Duration::from_secs(3);

/// The three services behind the page.
#[derive(Debug)]
pub struct Calls {
    client: MeshClient,
    details: Backend,
    reviews: Backend,
    ratings: Backend,
    metrics: Metrics,
}

/// What a call brought: the service's JSON, or an apology with the status of what went wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct Fetched {
    /// The service's status, or the mesh's for a call that it refused, or 500.
    pub status: StatusCode,
    /// The service's answer, or `{"error": ...}`.
    pub body: Value,
    /// The rule that routed the call.
    pub route: Option<String>,
}

impl Fetched {
    /// The answer, or the apology's text.
    ///
    /// # Errors
    /// The apology's text.
    pub fn as_ref(&self) -> Result<&Value, &str> {
        if self.status == StatusCode::OK {
            return Ok(&self.body);
        }
        Err(self
            .body
            .get("error")
            .and_then(Value::as_str)
            .unwrap_or_default())
    }
}

impl Calls {
    /// The calls through this client.
    ///
    /// # Errors
    /// When a port is not one.
    pub fn new(client: MeshClient, settings: &Settings) -> Result<Self, SettingsError> {
        Ok(Self {
            client,
            details: settings.backend(
                "details",
                "DETAILS_HOSTNAME",
                "DETAILS_SERVICE_PORT",
                9080,
            )?,
            reviews: settings.backend(
                "reviews",
                "REVIEWS_HOSTNAME",
                "REVIEWS_SERVICE_PORT",
                9080,
            )?,
            ratings: settings.backend(
                "ratings",
                "RATINGS_HOSTNAME",
                "RATINGS_SERVICE_PORT",
                9080,
            )?,
            metrics: Metrics::default(),
        })
    }

    /// Where details, reviews and ratings are called.
    pub fn bases(&self) -> [&str; 3] {
        [
            self.details.base(),
            self.reviews.base(),
            self.ratings.base(),
        ]
    }

    /// How the calls ended.
    pub const fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The facts about a book.
    pub async fn details(&self, id: &str, headers: &HeaderMap) -> Fetched {
        self.fetch(&self.details, id, headers, 1).await
    }

    /// Its reviews.
    pub async fn reviews(&self, id: &str, headers: &HeaderMap) -> Fetched {
        self.fetch(&self.reviews, id, headers, 2).await
    }

    /// Its stars.
    pub async fn ratings(&self, id: &str, headers: &HeaderMap) -> Fetched {
        self.fetch(&self.ratings, id, headers, 1).await
    }

    async fn fetch(
        &self,
        backend: &Backend,
        id: &str,
        headers: &HeaderMap,
        attempts: u32,
    ) -> Fetched {
        let service = backend.service;
        let path = format!("{service}/{}", segment(id));
        let mut fetched = sorry(service, StatusCode::INTERNAL_SERVER_ERROR, None);
        for _ in 0..attempts {
            fetched = self.attempt(backend, &path, headers).await;
            self.metrics.count(service, fetched.status);
            if fetched.status == StatusCode::OK {
                break;
            }
        }
        fetched
    }

    async fn attempt(&self, backend: &Backend, path: &str, headers: &HeaderMap) -> Fetched {
        let service = backend.service;
        let answer = match backend.get(&self.client, path, headers, TIMEOUT).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::warn!(%error, service, "no answer");
                return sorry(service, error.status(), None);
            }
        };
        if answer.status != StatusCode::OK {
            tracing::warn!(status = answer.status.as_u16(), service, "refused");
            return sorry(service, answer.status, answer.route);
        }
        match serde_json::from_slice(&answer.body) {
            Ok(body) => Fetched {
                status: answer.status,
                body,
                route: answer.route,
            },
            Err(error) => {
                tracing::warn!(%error, service, "the answer is not JSON");
                sorry(service, StatusCode::INTERNAL_SERVER_ERROR, answer.route)
            }
        }
    }
}

fn sorry(service: &str, status: StatusCode, route: Option<String>) -> Fetched {
    let text = format!("Sorry, product {service} are currently unavailable for this book.");
    Fetched {
        status,
        body: json!({ "error": text }),
        route,
    }
}
