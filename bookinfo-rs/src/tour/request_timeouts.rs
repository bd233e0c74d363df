//! Request timeouts: jason's stars are two seconds late, and reviews may take half a second.

use super::TourError;
use super::edits::{DELAY_2S, TIMEOUT, V2};
use super::judge::{Check, Shares};
use super::load::api;
use super::page::timed_out;
use super::sign_in::sign_in;
use super::stage::Stage;

/// Requests per check.
const N: u32 = 24;

/// Plays it.
///
/// # Errors
/// When a rule does not come into force, or jason cannot sign in.
pub(crate) async fn play(stage: &mut Stage) -> Result<Vec<Check>, TourError> {
    let jason = sign_in(stage, "jason").await?;
    let ann = sign_in(stage, "ann").await?;
    stage.apply(&V2).await?;
    stage.apply(&DELAY_2S).await?;
    let patient = Check::shares(
        "ratings 2 s late, no timeout: jason sees v2 all the same",
        Shares::V2,
        api(stage, &jason, N).await,
    );
    stage.apply(&TIMEOUT).await?;
    let his = Check::share(
        "reviews in 0.5 s: none for jason, 504",
        1.0,
        timed_out(stage, &jason, N).await,
    );
    let hers = Check::shares(
        "reviews in 0.5 s: ann, whose stars are not late, sees v2",
        Shares::V2,
        api(stage, &ann, N).await,
    );
    Ok(vec![patient, his, hers])
}
