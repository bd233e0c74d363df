//! An egress gateway: calls to a host outside of the mesh leave it through a process of their own, which marks the answers.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::TourError;
use super::edits::{BOOKS, By, WAY_OUT};
use super::egress::is_book;
use super::judge::Check;
use super::load::{CONCURRENCY, times};
use super::stage::Stage;
use super::tally::{Outcome, Tally};

/// Requests per check.
const N: u32 = 100;
/// By which the gateway marks what has passed it.
const MARK: &str = "x-egress-gateway";
/// How long both nodes may take to hear of the rule.
const IN_FORCE: Duration = Duration::from_secs(15);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Plays it.
///
/// # Errors
/// When a rule does not come into force.
pub(crate) async fn play(stage: &mut Stage) -> Result<Vec<Check>, TourError> {
    let known = stage.apply(&BOOKS).await?;
    // The host is known, and reached without a gateway: what passes one later must not have done so before.
    let before: Tally = times(N, CONCURRENCY, || one(stage, known)).await;
    let played = stage.apply(&WAY_OUT).await?;
    let until = Instant::now() + IN_FORCE;
    while played && Instant::now() < until && one(stage, true).await != Outcome::Effect {
        sleep(PAUSE).await;
    }
    let mut after: Tally = times(N, CONCURRENCY, || one(stage, known)).await;
    after.other += before.effect + before.other;
    let of = "a VirtualService leads calls to the book service through the egress gateway";
    Ok(vec![Check::share(of, 1.0, after)])
}

/// Whether a call comes back with the mark. Without the ServiceEntry nobody, or somebody else, is at that port.
async fn one(stage: &Stage, known: bool) -> Outcome {
    let url = stage.inside().url(By::Books);
    let (status, headers, body) = stage.inside().answer(&url).await;
    let (marked, answered) = (headers.contains_key(MARK), is_book(status, &body));
    Outcome::of(marked && answered, !marked && (answered || !known))
}
