//! Migration to mutual TLS: who is not in the mesh is served while the mode is PERMISSIVE, and cut off once it is STRICT;
//! calls within the mesh are encrypted all the while.

use std::sync::atomic::{AtomicUsize, Ordering};

use http::{HeaderMap, StatusCode};

use super::TourError;
use super::edits::{STRICT, STRICT_RATINGS};
use super::judge::{Check, Version};
use super::load::{CONCURRENCY, times};
use super::stage::Stage;
use super::tally::{Outcome, Tally};
use crate::outside::OutsideError;

/// Requests per check.
const N: u32 = 50;

/// Plays it.
///
/// # Errors
/// When a rule does not come into force.
pub(crate) async fn play(stage: &mut Stage) -> Result<Vec<Check>, TourError> {
    let before = cut_off(stage, "ratings").await;
    stage.apply(&STRICT_RATINGS).await?;
    let mut one = cut_off(stage, "ratings").await;
    one.other += before.effect + before.other;
    let others = served(stage, "details", one).await;
    stage.apply(&STRICT).await?;
    let all = cut_off(stage, "details").await;
    let pages = pages(stage, all).await;
    Ok(vec![
        Check::share(
            "PERMISSIVE serves plaintext to ratings, STRICT cuts it off",
            1.0,
            one,
        ),
        Check::share("details, which is still PERMISSIVE, serves it", 1.0, others),
        Check::share("STRICT for the namespace cuts it off there, too", 1.0, all),
        Check::share("and the pages are whole", 1.0, pages),
    ])
}

/// How often a plaintext call from outside of the mesh is cut off without an answer: by the other end, which was there.
async fn cut_off(stage: &Stage, service: &str) -> Tally {
    direct(stage, service, |answered| match answered {
        Err(error) if error.is_cut_off() => Outcome::Effect,
        Ok(StatusCode::OK) => Outcome::Plain,
        Ok(_) | Err(_) => Outcome::Other,
    })
    .await
}

/// How often it is answered, now that others are cut off.
async fn served(stage: &Stage, service: &str, others: Tally) -> Tally {
    let others = others.fits(1.0);
    direct(stage, service, |answered| {
        let answered = matches!(answered, Ok(StatusCode::OK));
        Outcome::of(answered && others, answered && !others)
    })
    .await
}

async fn direct(
    stage: &Stage,
    service: &str,
    outcome: impl Fn(Result<StatusCode, OutsideError>) -> Outcome,
) -> Tally {
    let urls = stage.plaintext(service);
    let turn = AtomicUsize::new(0);
    let one = || async {
        let at = turn.fetch_add(1, Ordering::Relaxed) % urls.len().max(1);
        let Some(url) = urls.get(at) else {
            return Outcome::Other;
        };
        let reply = stage.client().get(url, &HeaderMap::new()).await;
        outcome(reply.map(|reply| reply.status))
    };
    times(N, CONCURRENCY, one).await
}

/// How often the page is whole, now that plaintext is cut off.
async fn pages(stage: &Stage, plaintext: Tally) -> Tally {
    let strict = plaintext.fits(1.0);
    let url = format!("{}/productpage", stage.url());
    let one = || async {
        let reply = stage.client().get(&url, &HeaderMap::new()).await.ok();
        let whole = reply.is_some_and(|reply| Version::of_page(&reply.text()).is_some());
        Outcome::of(whole && strict, whole && !strict)
    };
    times(N, CONCURRENCY, one).await
}
