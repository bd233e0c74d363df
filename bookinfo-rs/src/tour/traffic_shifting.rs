//! Traffic shifting: v1 alone, a canary of 10 %, half and half, v3 alone.

use http::HeaderMap;

use super::TourError;
use super::edits::{Edit, V1, V1_50_V3_50, V1_90_V3_10, V3};
use super::judge::{Check, Shares};
use super::load::api;
use super::stage::Stage;

/// Requests per step.
const N: u32 = 1_000;

/// Plays it.
///
/// # Errors
/// When a rule does not come into force.
pub(crate) async fn play(stage: &mut Stage) -> Result<Vec<Check>, TourError> {
    let steps: [(&'static Edit, &str, Shares); 4] = [
        (&V1, "100/0", Shares::V1),
        (&V1_90_V3_10, "90/10", Shares([0.9, 0.0, 0.1])),
        (&V1_50_V3_50, "50/50", Shares([0.5, 0.0, 0.5])),
        (&V3, "0/100", Shares::V3),
    ];
    let mut checks = Vec::new();
    for (edit, name, shares) in steps {
        stage.apply(edit).await?;
        checks.push(Check::shares(
            name,
            shares,
            api(stage, &HeaderMap::new(), N).await,
        ));
    }
    Ok(checks)
}
