//! Egress: a host that the registry does not know, under ALLOW_ANY and under REGISTRY_ONLY; and the same host when a
//! ServiceEntry makes it known.

use http::StatusCode;

use super::TourError;
use super::edits::{BOOKS, By, REGISTRY_ONLY};
use super::judge::Check;
use super::load::{CONCURRENCY, times};
use super::stage::Stage;
use super::tally::{Outcome, Tally};

/// Requests per check.
const N: u32 = 100;

/// Plays it.
///
/// # Errors
/// When a rule does not come into force.
pub(crate) async fn play(stage: &mut Stage) -> Result<Vec<Check>, TourError> {
    // The default of MeshConfig: what is refused later must have been let through before.
    let before = refused(stage).await;
    stage.apply(&REGISTRY_ONLY).await?;
    let mut after = refused(stage).await;
    after.other += before.effect + before.other;
    let unknown = Check::share(
        "ALLOW_ANY lets all pass, REGISTRY_ONLY none (502)",
        1.0,
        after,
    );
    stage.apply(&BOOKS).await?;
    let known = Check::share("with a ServiceEntry it answers", 1.0, answered(stage).await);
    Ok(vec![unknown, known])
}

/// How often a host that the registry does not know is refused.
async fn refused(stage: &Stage) -> Tally {
    let url = stage.inside().url(By::UnknownHost);
    let one = || async {
        let (status, body) = stage.inside().get(&url).await;
        Outcome::of(status == StatusCode::BAD_GATEWAY, is_book(status, &body))
    };
    times(N, CONCURRENCY, one).await
}

/// How often the book service is reached by its name, at the port of its ServiceEntry.
async fn answered(stage: &Stage) -> Tally {
    let url = stage.inside().url(By::Books);
    let one = || async {
        let (status, body) = stage.inside().get(&url).await;
        // Without the ServiceEntry nobody, or somebody else, is at that port.
        let answered = is_book(status, &body);
        Outcome::of(answered, !answered)
    };
    times(N, CONCURRENCY, one).await
}

pub(super) fn is_book(status: StatusCode, body: &[u8]) -> bool {
    status == StatusCode::OK && String::from_utf8_lossy(body).contains("books#volumes")
}
