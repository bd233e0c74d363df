//! How soon an edit is in force in every service: judged with our own control plane, reported with any other.

use std::fmt;
use std::time::Duration;

use super::TourError;
use super::edits::{BLUE, EditError, GREEN};
use super::judge::Check;
use super::stage::Stage;

/// The median must not be longer.
const BOUND: Duration = Duration::from_millis(300);

/// How many edits are measured where there are none yet, or too slow ones.
const FURTHER: usize = 20;

/// Judges all edits of the tour so far.
///
/// # Errors
/// When a rule does not come into force.
pub(crate) async fn play(stage: &mut Stage) -> Result<Vec<Check>, TourError> {
    if stage.delays().is_empty() {
        further(stage).await?;
    }
    let first = Delays::new(stage.delays());
    Ok(vec![judge(first, further(stage)).await?])
}

/// Applies edits by turns, and returns how long these took.
async fn further(stage: &mut Stage) -> Result<Delays, EditError> {
    let before = stage.delays().len();
    for edit in [&BLUE, &GREEN].into_iter().cycle().take(FURTHER) {
        stage.apply(edit).await?;
    }
    Ok(Delays::new(&stage.delays()[before..]))
}

/// A busy machine can spoil one measurement: a slow one is red only if the next is slow, too.
async fn judge(
    first: Delays,
    further: impl Future<Output = Result<Delays, EditError>>,
) -> Result<Check, EditError> {
    let expected = format!(
        "an edit is in force in a service within {} ms (median)",
        BOUND.as_millis()
    );
    if first.is_good() {
        let observed = first.to_string();
        return Ok(measured(expected, observed, true));
    }
    let again = further.await?;
    let observed = format!("{first}; once more: {again}");
    Ok(measured(expected, observed, again.is_good()))
}

/// What is measured has no baseline.
const fn measured(expected: String, observed: String, pass: bool) -> Check {
    Check {
        expected,
        observed,
        pass,
        is_baseline: false,
    }
}

/// How long edits took, in milliseconds and in order.
#[derive(Debug, Clone)]
pub(crate) struct Delays(Vec<u128>);

impl Delays {
    /// Of these.
    pub(crate) fn new(delays: &[Duration]) -> Self {
        let mut millis: Vec<u128> = delays.iter().map(Duration::as_millis).collect();
        millis.sort_unstable();
        Self(millis)
    }

    fn at(&self, percent: usize) -> Option<u128> {
        let last = self.0.len().checked_sub(1)?;
        self.0.get(last * percent / 100).copied()
    }

    fn is_good(&self) -> bool {
        self.at(50)
            .is_some_and(|median| median <= BOUND.as_millis())
    }
}

impl fmt::Display for Delays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |percent| self.at(percent).unwrap_or_default();
        write!(
            f,
            "ms: min {}, median {}, p90 {}, p99 {}, max {} (n {})",
            at(0),
            at(50),
            at(90),
            at(99),
            at(100),
            self.0.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delays(millis: &[u64]) -> Delays {
        let all: Vec<_> = millis.iter().copied().map(Duration::from_millis).collect();
        Delays::new(&all)
    }

    async fn of(first: &[u64], again: Option<&[u64]>) -> Check {
        let further = async {
            Ok(delays(
                again.expect("what is good is not measured once more"),
            ))
        };
        judge(delays(first), further).await.unwrap()
    }

    #[tokio::test]
    async fn the_median_is_judged_and_a_slow_one_once_more() {
        let good = of(&[900, 300, 10], None).await;
        assert!(good.pass);
        assert_eq!(
            good.observed,
            "ms: min 10, median 300, p90 300, p99 300, max 900 (n 3)"
        );
        assert!(of(&[301], Some(&[300])).await.pass);
        let slow = of(&[301], Some(&[10, 301, 302])).await;
        assert!(!slow.pass);
        assert!(slow.observed.contains("once more: ms: min 10, median 301"));
        assert!(!of(&[], Some(&[])).await.pass, "nothing is no evidence");
    }
}
