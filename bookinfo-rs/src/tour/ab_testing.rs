//! An A/B test by a header that every service passes on.

use http::header::USER_AGENT;
use http::{HeaderMap, HeaderValue};

use super::TourError;
use super::edits::AB;
use super::judge::{Check, Shares};
use super::load::api;
use super::stage::Stage;

/// Requests per group.
const N: u32 = 300;

/// Plays it.
///
/// # Errors
/// When the rule does not come into force.
pub(crate) async fn play(stage: &mut Stage) -> Result<Vec<Check>, TourError> {
    stage.apply(&AB).await?;
    let group = |name| HeaderMap::from_iter([(USER_AGENT, HeaderValue::from_static(name))]);
    let b = api(stage, &group("bookinfo-group-b"), N).await;
    let a = api(stage, &group("bookinfo-group-a"), N).await;
    Ok(vec![
        Check::shares("user-agent bookinfo-group-b sees v3", Shares::V3, b),
        Check::shares("any other user-agent sees v1", Shares::V1, a),
    ])
}
