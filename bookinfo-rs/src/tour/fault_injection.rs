//! Fault injection: jason's stars are late, or do not come at all.

use std::time::Duration;

use super::TourError;
use super::edits::{ABORT_30, DELAY_50, TEST_ABORT, TEST_DELAY, TEST_V2};
use super::judge::{Check, Shares};
use super::load::{CONCURRENCY, pages};
use super::page::{late, without_reviews, without_stars};
use super::sign_in::sign_in;
use super::stage::Stage;

/// Pages that wait for as long as productpage does.
const GIVEN_UP: u32 = 16;

/// Pages where each is the same.
const ALL: u32 = 100;

/// Pages where a share has the fault.
const SHARE: u32 = 400;

/// Requests where a share is late.
const LATE: u32 = 240;

/// The delay of half of them: far above a request's own time, far below the 3 s that productpage waits.
const DELAY: Duration = Duration::from_millis(1_500);

/// Plays the delay. The first rule shows what it was made for: a bug of Bookinfo's. Black stars wait for 10 s, the page
/// for 3 s; so it goes without reviews, and not only without stars.
///
/// # Errors
/// When a rule does not come into force, or jason cannot sign in.
pub(crate) async fn play_delay(stage: &mut Stage) -> Result<Vec<Check>, TourError> {
    let jason = sign_in(stage, "jason").await?;
    let ann = sign_in(stage, "ann").await?;
    stage.apply(&TEST_V2).await?;
    stage.apply(&TEST_DELAY).await?;
    let his = Check::share(
        "ratings 7 s late: no reviews for jason",
        1.0,
        without_reviews(stage, &jason, GIVEN_UP).await,
    );
    let hers = Check::shares(
        "ratings 7 s late: ann sees v1",
        Shares::V1,
        pages(stage, &ann, ALL).await,
    );
    stage.apply(&DELAY_50).await?;
    let half = Check::share(
        "half of jason's ratings 1.5 s late: his reviews are",
        0.5,
        late(stage, &jason, LATE, DELAY).await,
    );
    Ok(vec![his, hers, half])
}

/// Plays the abort.
///
/// # Errors
/// When a rule does not come into force, or jason cannot sign in.
pub(crate) async fn play_abort(stage: &mut Stage) -> Result<Vec<Check>, TourError> {
    let jason = sign_in(stage, "jason").await?;
    let ann = sign_in(stage, "ann").await?;
    stage.apply(&TEST_V2).await?;
    stage.apply(&TEST_ABORT).await?;
    let his = Check::share(
        "ratings fails with 500: no stars for jason",
        1.0,
        without_stars(stage, &jason, ALL, CONCURRENCY).await,
    );
    let hers = Check::shares(
        "ratings fails with 500: ann sees v1",
        Shares::V1,
        pages(stage, &ann, ALL).await,
    );
    stage.apply(&ABORT_30).await?;
    let share = Check::share(
        "ratings fails three times out of ten: no stars for jason",
        0.3,
        without_stars(stage, &jason, SHARE, CONCURRENCY).await,
    );
    Ok(vec![his, hers, share])
}
