//! Request routing: everything to v1; then jason, signed in, to v2.

use http::HeaderMap;

use super::TourError;
use super::edits::{ALL_V1, TEST_V2};
use super::judge::{Check, Shares};
use super::load::pages;
use super::sign_in::sign_in;
use super::stage::Stage;

/// Pages per check.
const N: u32 = 100;

/// Plays it.
///
/// # Errors
/// When a rule does not come into force, or jason cannot sign in.
pub(crate) async fn play(stage: &mut Stage) -> Result<Vec<Check>, TourError> {
    let nobody = HeaderMap::new();
    let jason = sign_in(stage, "jason").await?;
    let ann = sign_in(stage, "ann").await?;
    stage.apply(&ALL_V1).await?;
    let all = Check::shares(
        "all to v1, no stars on any page",
        Shares::V1,
        pages(stage, &nobody, N).await,
    );
    stage.apply(&TEST_V2).await?;
    let his = Check::shares(
        "jason sees v2, black stars",
        Shares::V2,
        pages(stage, &jason, N).await,
    );
    let hers = Check::shares(
        "ann sees v1, no stars",
        Shares::V1,
        pages(stage, &ann, N).await,
    );
    let others = Check::shares(
        "nobody signed in sees v1",
        Shares::V1,
        pages(stage, &nobody, N).await,
    );
    Ok(vec![all, his, hers, others])
}
