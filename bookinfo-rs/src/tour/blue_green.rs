//! Blue-green: under load, one apply moves every request to green and one apply moves them back. Requests that are
//! in flight end where they began, and none fails.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::TourError;
use super::edits::{BLUE, GREEN};
use super::judge::{Check, Sample, Shares};
use super::load::{OpenLoop, Record, one};
use super::stage::Stage;
use crate::service::demo;

/// Requests a second.
const RATE: u32 = 500;

/// How long the load lasts before, between and after the two edits.
const PHASE: Duration = Duration::from_secs(2);

/// Slow requests that are in flight at the edit.
const SLOW: usize = 30;

/// How slow: longer than an edit takes, shorter than productpage waits.
const SLOWNESS_MS: u16 = 2_000;

/// Plays it.
///
/// # Errors
/// When a rule does not come into force.
pub(crate) async fn play(stage: &mut Stage) -> Result<Vec<Check>, TourError> {
    stage.apply(&BLUE).await?;
    let began = Instant::now();
    let load = OpenLoop::start(stage.client().clone(), stage.api(), RATE);
    sleep(PHASE / 2).await;
    let slow = in_flight(stage);
    // Long enough for each to have been routed, a fraction of the time that it takes.
    sleep(PHASE / 4).await;
    stage.apply(&GREEN).await?;
    let green = Instant::now();
    sleep(PHASE).await;
    let back = Instant::now();
    stage.apply(&BLUE).await?;
    let blue = Instant::now();
    sleep(PHASE).await;
    let records = load.stop().await;
    let over = Phase {
        whole: (began, back),
        settled: (green, back),
    };
    let end = blue + PHASE;
    let return_ = Phase {
        whole: (back, end),
        settled: (blue, end),
    };
    Ok(vec![
        check_slow(&slow.join_all().await, green),
        check_phase(
            "one apply: every request on green (v3)",
            Shares::V3,
            &records,
            over,
        ),
        check_phase(
            "one apply: every request back on blue (v1)",
            Shares::V1,
            &records,
            return_,
        ),
    ])
}

/// A part of the load: all of it, for failures; and what began and ended while the rule was in force, for versions.
#[derive(Debug, Clone, Copy)]
struct Phase {
    whole: (Instant, Instant),
    settled: (Instant, Instant),
}

fn in_flight(stage: &Stage) -> JoinSet<Record> {
    let headers = HeaderMap::from_iter([(demo::DELAY, HeaderValue::from(SLOWNESS_MS))]);
    (0..SLOW)
        .map(|_| one(stage.client().clone(), stage.api(), headers.clone()))
        .collect()
}

fn check_slow(records: &[Record], green: Instant) -> Check {
    let sample: Sample = records.iter().map(|record| record.version).collect();
    let after = records.iter().filter(|record| record.ended > green).count();
    Check {
        expected: format!("{SLOW} requests in flight at the edit end on blue (v1)"),
        observed: format!("{sample}; {after} ended after the edit was in force"),
        // Those that had ended by then would prove nothing.
        pass: Shares::V1.fit(&sample) && after == SLOW,
        is_baseline: Shares::BASELINE.fit(&sample),
    }
}

fn check_phase(expected: &str, shares: Shares, records: &[Record], phase: Phase) -> Check {
    let within = |(from, to): (Instant, Instant)| {
        records
            .iter()
            .filter(move |record| record.started >= from && record.started < to)
    };
    let all: Vec<&Record> = within(phase.whole).collect();
    let failed = all.iter().filter(|record| record.version.is_none()).count();
    // A request is routed somewhere between its two ends, so both must lie before the next edit.
    let settled: Sample = within(phase.settled)
        .filter(|record| record.ended < phase.settled.1)
        .map(|record| record.version)
        .collect();
    let sample = Sample {
        errors: u32::try_from(failed).unwrap_or(u32::MAX),
        ..settled
    };
    let seconds = phase.whole.1.duration_since(phase.whole.0).as_secs_f64();
    let rate = f64::from(u32::try_from(all.len()).unwrap_or(u32::MAX)) / seconds;
    let mut millis: Vec<u128> = all
        .iter()
        .map(|r| r.ended.duration_since(r.started).as_millis())
        .collect();
    millis.sort_unstable();
    let p99 = millis
        .len()
        .checked_sub(1)
        .map_or(0, |last| millis[last * 99 / 100]);
    Check {
        expected: format!("{expected}, none failed at {RATE}/s"),
        observed: format!(
            "{sample}; {failed} of {} failed at {rate:.0}/s, p99 {p99} ms",
            all.len()
        ),
        // A load that was not there proves nothing.
        pass: shares.fit(&sample) && rate > 0.95 * f64::from(RATE),
        is_baseline: Shares::BASELINE.fit(&sample),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tour::judge::Version;

    /// A phase of 2 s at the full rate; its last requests are routed after the next edit.
    fn load(begins: Instant, late: Option<Version>) -> Vec<Record> {
        (0..1_000)
            .map(|n| {
                let started = begins + Duration::from_millis(2) * n;
                let is_late = n >= 990;
                Record {
                    started,
                    ended: started + Duration::from_millis(if is_late { 100 } else { 1 }),
                    version: if is_late { late } else { Some(Version(3)) },
                }
            })
            .collect()
    }

    #[test]
    fn what_is_routed_after_the_next_edit_does_not_count_but_its_failure_does() {
        let begins = Instant::now();
        let all = (begins, begins + PHASE);
        let phase = Phase {
            whole: all,
            settled: all,
        };
        let check = |late| check_phase("green", Shares::V3, &load(begins, late), phase);
        let good = check(Some(Version(1)));
        assert!(good.pass, "{good:?}");
        assert!(
            good.observed.starts_with("v1 0, v2 0, v3 990, errors 0;"),
            "{good:?}"
        );
        let failed = check(None);
        assert!(
            !failed.pass && failed.observed.contains("errors 10;"),
            "{failed:?}"
        );
        // One that ended in time and came from blue is red.
        let mut records = load(begins, Some(Version(1)));
        records[10].version = Some(Version(1));
        assert!(!check_phase("green", Shares::V3, &records, phase).pass);
    }
}
