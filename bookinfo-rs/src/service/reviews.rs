//! reviews: two reviews of the book; v2 and v3 add the stars that ratings knows, asked for by HTTP or by gRPC.

pub mod asking;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, StatusCode};
use mesh_tower::Mesh;
use serde::{Deserialize, Serialize};

use self::asking::{Asked, Asking};
use super::settings::{Settings, SettingsError};
use super::{demo, headers, json};

/// Reviewers and what they wrote.
const REVIEWS: [(&str, &str); 2] = [
    (
        "Reviewer1",
        "An extremely entertaining play by Shakespeare. The slapstick humour is refreshing!",
    ),
    (
        "Reviewer2",
        "Absolutely fun and entertaining. The play lacks thematic depth when compared to other plays by Shakespeare.",
    ),
];

#[derive(Debug)]
struct Reviews {
    ratings: Asking,
    /// `None` in v1.
    stars: Option<Stars>,
    pod: String,
    cluster: String,
    demo_aids: bool,
    /// How many requests there were.
    asked: AtomicU32,
}

#[derive(Debug)]
struct Stars {
    color: String,
    timeout: Duration,
}

/// The answer of reviews.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// The product, as text.
    pub id: String,
    /// `HOSTNAME` of the workload that answered, or the text `null`.
    pub podname: String,
    /// `CLUSTER_NAME`, or the text `null`.
    pub clustername: String,
    /// The reviews.
    pub reviews: Vec<Review>,
}

/// One review.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    /// Who wrote it.
    pub reviewer: String,
    /// What.
    pub text: String,
    /// The stars, in versions that have them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rating: Option<Rating>,
}

/// Stars, or why there are none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Rating {
    /// Stars in a colour.
    Stars {
        /// How many of five.
        stars: i64,
        /// `black` or `red`.
        color: String,
    },
    /// No stars.
    Error {
        /// Why.
        error: String,
    },
}

/// The router of reviews.
///
/// # Errors
/// For an unknown version or a variable that cannot be read.
pub fn router(mesh: &Mesh, version: &str, settings: &Settings) -> Result<Router, SettingsError> {
    let (enabled, color) = match version {
        "v1" => (false, "black"),
        "v2" => (true, "black"),
        "v3" => (true, "red"),
        _ => {
            let version = version.to_owned();
            return Err(SettingsError::Version {
                service: "reviews",
                version,
                known: "v1, v2, v3",
                note: "",
            });
        }
    };
    let text = |name: &str, default: &str| settings.get(name).unwrap_or(default).to_owned();
    let color = text("STAR_COLOR", color);
    // The difference between black and red is Bookinfo's planted bug: productpage waits 3 s, black stars wait 10 s.
    let timeout = if color == "black" {
        Duration::from_secs(10)
    } else {
        Duration::from_millis(2_500)
    };
    let state = Arc::new(Reviews {
        ratings: Asking::new(mesh, settings)?,
        stars: settings
            .flag("ENABLE_RATINGS", enabled)?
            .then_some(Stars { color, timeout }),
        pod: text("HOSTNAME", "null"),
        cluster: text("CLUSTER_NAME", "null"),
        demo_aids: settings.flag(demo::VARIABLE, false)?,
        asked: AtomicU32::new(0),
    });
    let mut router = Router::new();
    if state.demo_aids {
        router = router.route(demo::ASKED, get(asked));
    }
    Ok(router
        .route(
            "/health",
            get(async || {
                json(
                    StatusCode::OK,
                    &serde_json::json!({"status": "Reviews is healthy"}),
                )
            }),
        )
        .route("/reviews/{id}", get(reviews))
        .with_state(state))
}

async fn asked(State(state): State<Arc<Reviews>>) -> String {
    state.asked.load(Ordering::Relaxed).to_string()
}

async fn reviews(
    State(state): State<Arc<Reviews>>,
    Path(id): Path<String>,
    incoming: HeaderMap,
) -> Response {
    let Ok(id) = id.parse::<i32>() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    state.asked.fetch_add(1, Ordering::Relaxed);
    if let Some(delay) = demo::delay(&incoming).filter(|_| state.demo_aids) {
        tokio::time::sleep(delay).await;
    }
    let mut asked = Asked::default();
    if let Some(stars) = &state.stars {
        let headers = headers::from_service(&incoming, state.demo_aids);
        asked = state.ratings.ask(id, stars.timeout, headers).await;
    }
    let review = |(reviewer, text): (&str, &str)| Review {
        reviewer: reviewer.to_owned(),
        text: text.to_owned(),
        rating: state
            .stars
            .as_ref()
            .map(|stars| stars.rating(asked.ratings.get(reviewer).copied())),
    };
    let page = Page {
        id: id.to_string(),
        podname: state.pod.clone(),
        clustername: state.cluster.clone(),
        reviews: REVIEWS.into_iter().map(review).collect(),
    };
    let mut response = json(StatusCode::OK, &page);
    if state.demo_aids {
        demo::mark(&mut response, asked.route.as_deref());
    }
    response
}

impl Stars {
    fn rating(&self, stars: Option<i64>) -> Rating {
        match stars {
            Some(stars) => Rating::Stars {
                stars,
                color: self.color.clone(),
            },
            None => Rating::Error {
                error: "Ratings service is currently unavailable".to_owned(),
            },
        }
    }
}
