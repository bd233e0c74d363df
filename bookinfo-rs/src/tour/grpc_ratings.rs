//! gRPC: red stars are asked for by gRPC, black ones by HTTP. A rule for the method takes jason's red ones, and no others.

use super::TourError;
use super::edits::{GRPC_ABORT, V2, V3};
use super::judge::{Check, Shares};
use super::load::{CONCURRENCY, pages};
use super::page::without_stars;
use super::sign_in::sign_in;
use super::stage::Stage;

/// Pages per check.
const N: u32 = 100;

/// Plays it.
///
/// # Errors
/// When a rule does not come into force, or jason cannot sign in.
pub(crate) async fn play(stage: &mut Stage) -> Result<Vec<Check>, TourError> {
    let jason = sign_in(stage, "jason").await?;
    let ann = sign_in(stage, "ann").await?;
    stage.apply(&V3).await?;
    stage.apply(&GRPC_ABORT).await?;
    let red = Check::share(
        "the method fails for jason: no red stars",
        1.0,
        without_stars(stage, &jason, N, CONCURRENCY).await,
    );
    let hers = Check::shares(
        "ann sees v3, red stars by gRPC",
        Shares::V3,
        pages(stage, &ann, N).await,
    );
    stage.apply(&V2).await?;
    let black = Check::shares(
        "jason sees v2, black stars by HTTP",
        Shares::V2,
        pages(stage, &jason, N).await,
    );
    Ok(vec![red, hers, black])
}
