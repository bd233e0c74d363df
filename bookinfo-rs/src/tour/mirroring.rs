//! Mirroring: v1 answers, and v2 gets a copy of half of the requests.

use std::time::Duration;

use http::HeaderMap;

use super::TourError;
use super::edits::MIRROR;
use super::judge::{Check, Shares};
use super::load::api;
use super::stage::Stage;
use super::tally::Tally;

/// Requests.
const N: u32 = 500;

/// Nobody waits for a copy: v2's count stands when it did not change for so long.
const SETTLED: Duration = Duration::from_millis(300);

/// Plays it.
///
/// # Errors
/// When the rule does not come into force.
pub(crate) async fn play(stage: &mut Stage) -> Result<Vec<Check>, TourError> {
    stage.apply(&MIRROR).await?;
    let before = settled(stage).await;
    let sample = api(stage, &HeaderMap::new(), N).await;
    let asked = settled(stage)
        .await
        .zip(before)
        .map(|(now, then)| now - then);
    Ok(vec![
        Check::shares("v1 answers everything", Shares::V1, sample),
        Check::share("v2 gets copies", 0.5, copies(asked, sample.versions[1])),
    ])
}

/// Of what v2 was asked, what it did not answer to us was a copy.
fn copies(asked: Option<u32>, answered: u32) -> Tally {
    match asked.and_then(|asked| asked.checked_sub(answered)) {
        Some(copies) if copies <= N => Tally {
            effect: copies,
            plain: N - copies,
            other: 0,
        },
        _ => Tally {
            other: N,
            ..Tally::default()
        },
    }
}

/// How many requests v2 had, once no more come.
async fn settled(stage: &Stage) -> Option<u32> {
    let mut last = stage.asked_of_v2().await?;
    loop {
        tokio::time::sleep(SETTLED).await;
        let now = stage.asked_of_v2().await?;
        if now == last {
            return Some(now);
        }
        last = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_v2_answered_itself_was_no_copy() {
        assert!(copies(Some(250), 0).fits(0.5));
        // Without the rule it has a third of the requests, and no copy of any.
        assert!(copies(Some(167), 167).fits(0.0));
        for (asked, answered) in [(None, 0), (Some(3), 4), (Some(N + 1), 0)] {
            let tally = copies(asked, answered);
            assert!(!tally.fits(0.0) && !tally.fits(0.5), "{tally}");
        }
    }
}
