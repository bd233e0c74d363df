//! ratings: how many stars each reviewer gave; v1, and the variants that fail on purpose.
//!
//! It answers by HTTP, as in Istio's sample, and on the same port by gRPC ([`grpc`]). ratings v2 reads a database and
//! is left out.

pub mod grpc;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Map, Value, json as value};
use tokio::time::Instant;

use super::dice::{Dice, random};
use super::settings::{Settings, SettingsError};
use super::{error, json};

const DELAY: Duration = Duration::from_secs(7);

/// Products that can be rated: what a client can make us remember has an end.
const MOST_PRODUCTS: usize = 1_024;

/// What reviewers gave, until told otherwise.
const GIVEN: [(&str, i64); 2] = [("Reviewer1", 5), ("Reviewer2", 4)];

/// What a variant says that is away, by HTTP (503) and by gRPC (UNAVAILABLE).
const UNAVAILABLE: &str = "Service unavailable";

/// This variant is away.
#[derive(Debug)]
struct Unavailable;

/// How this ratings misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variant {
    Good,
    Faulty,
    Delayed,
    Unavailable,
    Unhealthy,
}

impl Variant {
    fn of(version: &str) -> Result<Self, SettingsError> {
        let note = match version {
            "v1" => return Ok(Self::Good),
            "v-faulty" => return Ok(Self::Faulty),
            "v-delayed" => return Ok(Self::Delayed),
            "v-unavailable" => return Ok(Self::Unavailable),
            "v-unhealthy" => return Ok(Self::Unhealthy),
            "v2" => "; v2 needs a database and is left out",
            _ => "",
        };
        let known = "v1, v-faulty, v-delayed, v-unavailable, v-unhealthy";
        Err(SettingsError::Version {
            service: "ratings",
            version: version.to_owned(),
            known,
            note,
        })
    }

    /// How long it stays good before it turns bad, and bad before it turns good.
    const fn period(self) -> Option<Duration> {
        match self {
            Self::Unavailable => Some(Duration::from_secs(60)),
            Self::Unhealthy => Some(Duration::from_secs(15 * 60)),
            Self::Good | Self::Faulty | Self::Delayed => None,
        }
    }
}

#[derive(Debug)]
struct Ratings {
    variant: Variant,
    started: Instant,
    dice: Dice,
    stored: Mutex<HashMap<i64, Map<String, Value>>>,
}

/// The router of ratings.
///
/// # Errors
/// For an unknown version, v2 included.
pub fn router(version: &str, settings: &Settings) -> Result<Router, SettingsError> {
    let version = settings.get("SERVICE_VERSION").unwrap_or(version);
    let seed = settings.number("SEED", "a number", u64::from_ne_bytes(random()?))?;
    let state = Arc::new(Ratings {
        variant: Variant::of(version)?,
        started: Instant::now(),
        dice: Dice::new(seed),
        stored: Mutex::default(),
    });
    Ok(Router::new()
        .route("/health", get(health))
        .route("/ratings/{id}", get(read).post(write))
        .route_service(grpc::ROUTE, grpc::service(Arc::clone(&state)))
        .with_state(state))
}

async fn health(State(state): State<Arc<Ratings>>) -> Response {
    if state.variant == Variant::Unhealthy && state.is_down() {
        return json(
            StatusCode::INTERNAL_SERVER_ERROR,
            &value!({"status": "Ratings is not healthy"}),
        );
    }
    json(StatusCode::OK, &value!({"status": "Ratings is healthy"}))
}

async fn read(State(state): State<Arc<Ratings>>, Path(id): Path<String>) -> Response {
    let Ok(id) = id.parse::<i64>() else {
        return not_a_number();
    };
    match state.ratings(id).await {
        Ok(ratings) => json(StatusCode::OK, &value!({"id": id, "ratings": ratings})),
        Err(Unavailable) => error(StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE),
    }
}

async fn write(State(state): State<Arc<Ratings>>, Path(id): Path<String>, body: Bytes) -> Response {
    let Ok(id) = id.parse::<i64>() else {
        return not_a_number();
    };
    let Ok(ratings) = serde_json::from_slice::<Map<String, Value>>(&body) else {
        return error(StatusCode::BAD_REQUEST, "please provide valid ratings JSON");
    };
    let answer = value!({"id": id, "ratings": ratings});
    let mut stored = state.stored.lock().unwrap_or_else(PoisonError::into_inner);
    if stored.len() >= MOST_PRODUCTS && !stored.contains_key(&id) {
        return error(
            StatusCode::INSUFFICIENT_STORAGE,
            "too many products are rated already",
        );
    }
    stored.insert(id, ratings);
    json(StatusCode::OK, &answer)
}

fn not_a_number() -> Response {
    error(StatusCode::BAD_REQUEST, "please provide numeric product ID")
}

impl Ratings {
    /// The stars of a product by reviewer, as well as this variant can.
    async fn ratings(&self, id: i64) -> Result<Map<String, Value>, Unavailable> {
        match self.variant {
            Variant::Faulty if self.dice.heads() => return Err(Unavailable),
            Variant::Delayed if self.dice.heads() => tokio::time::sleep(DELAY).await,
            _ if self.is_down() => return Err(Unavailable),
            _ => {}
        }
        let stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        let given = || Map::from_iter(GIVEN.map(|(name, stars)| (name.to_owned(), stars.into())));
        Ok(stored.get(&id).cloned().unwrap_or_else(given))
    }

    /// Whether a variant that comes and goes is away.
    fn is_down(&self) -> bool {
        self.variant.period().is_some_and(|period| {
            let periods = self.started.elapsed().as_nanos() / period.as_nanos();
            periods % 2 == 1
        })
    }
}
