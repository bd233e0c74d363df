//! What one load of the page, or of the API, shows of a fault.

use std::time::{Duration, Instant};

use http::{HeaderMap, StatusCode};

use super::judge::Version;
use super::load::times;
use super::stage::{Stage, version};
use super::tally::{Outcome, Tally};
use crate::outside::Reply;

/// The apology that stands in place of the reviews.
pub(crate) const NO_REVIEWS: &str =
    "Sorry, product reviews are currently unavailable for this book.";

/// Loads the page `n` times, so many at once: how often it has no stars where stars should be.
pub(crate) async fn without_stars(
    stage: &Stage,
    headers: &HeaderMap,
    n: u32,
    at_once: usize,
) -> Tally {
    pages(stage, headers, n, at_once, |page| {
        page.contains("Ratings service is currently unavailable")
            && !page.contains("Error fetching product")
    })
    .await
}

/// Loads the page `n` times, all at once: how often it has no reviews at all.
pub(crate) async fn without_reviews(stage: &Stage, headers: &HeaderMap, n: u32) -> Tally {
    let all = usize::try_from(n).unwrap_or(usize::MAX);
    pages(stage, headers, n, all, |page| {
        page.contains("Error fetching product reviews") && page.contains(NO_REVIEWS)
    })
    .await
}

async fn pages(
    stage: &Stage,
    headers: &HeaderMap,
    n: u32,
    at_once: usize,
    effect: impl Fn(&str) -> bool,
) -> Tally {
    let url = format!("{}/productpage", stage.url());
    let one = || async {
        match stage.client().get(&url, headers).await {
            Ok(reply) if reply.status == StatusCode::OK => {
                let page = reply.text();
                Outcome::of(effect(&page), Version::of_page(&page).is_some())
            }
            _ => Outcome::Other,
        }
    };
    times(n, at_once, one).await
}

/// Calls the API `n` times: how often it says that reviews did not answer in time.
pub(crate) async fn timed_out(stage: &Stage, headers: &HeaderMap, n: u32) -> Tally {
    let effect = |reply: &Reply| {
        reply.status == StatusCode::GATEWAY_TIMEOUT && reply.text().contains(NO_REVIEWS)
    };
    api(stage, headers, n, |reply, _| {
        Outcome::of(effect(reply), version(reply).is_some())
    })
    .await
}

/// Calls the API `n` times: how often the reviews come, and only after more than half of `delay`.
pub(crate) async fn late(stage: &Stage, headers: &HeaderMap, n: u32, delay: Duration) -> Tally {
    api(stage, headers, n, |reply, took| {
        let (answered, late) = (version(reply).is_some(), took > delay / 2);
        Outcome::of(answered && late, answered && !late)
    })
    .await
}

/// As many at once as a delay makes wait without work.
const WAITING: usize = 24;

async fn api(
    stage: &Stage,
    headers: &HeaderMap,
    n: u32,
    outcome: impl Fn(&Reply, Duration) -> Outcome,
) -> Tally {
    let url = stage.api();
    let one = || async {
        let began = Instant::now();
        match stage.client().get(&url, headers).await {
            Ok(reply) => outcome(&reply, began.elapsed()),
            Err(_) => Outcome::Other,
        }
    };
    times(n, WAITING, one).await
}
