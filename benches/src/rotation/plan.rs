//! Which certificates workloads get, and when.

use crate::error::BenchError;

/// What both get at one rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// A certificate of the old root, which alone is believed.
    Old,
    /// The same; the new root is believed, too.
    Both,
    /// A certificate of the new root; both are believed.
    NewLeaf,
    /// A certificate of the new root, which alone is believed.
    New,
}

impl Step {
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Old => "certificates of the old root",
            Self::Both => "the new root is believed, too",
            Self::NewLeaf => "certificates are of the new root",
            Self::New => "the new root alone is believed, certificates are of it",
        }
    }
}

/// The rotations of a run of so many periods. The last one begins nothing: what came before it has to be seen.
pub(super) fn plan(periods: usize, at_once: bool) -> Result<Vec<Step>, BenchError> {
    let overlap: &[Step] = match at_once {
        true => &[],
        false => &[Step::Both, Step::NewLeaf],
    };
    let rotations = periods.saturating_sub(1);
    // The last third, or as much as it takes.
    let last = (periods * 2).div_ceil(3);
    let before = rotations
        .checked_sub(overlap.len() + 1)
        .map(|most| most.min(last.saturating_sub(1)))
        .ok_or_else(|| {
            let told = format!(
                "a change of roots does not fit into {periods} periods of certificates: give more --seconds"
            );
            BenchError::Configuration(told)
        })?;
    let mut steps = vec![Step::Old; before];
    steps.extend(overlap);
    steps.resize(rotations, Step::New);
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_changes_with_overlap_in_the_last_third() {
        let steps = plan(12, false).unwrap();
        assert_eq!(steps.len(), 11);
        assert_eq!(steps[..7], [Step::Old; 7]);
        assert_eq!(
            steps[7..],
            [Step::Both, Step::NewLeaf, Step::New, Step::New]
        );
    }

    #[test]
    fn a_short_run_has_all_steps_or_says_so() {
        let all = [Step::Both, Step::NewLeaf, Step::New];
        assert_eq!(plan(4, false).unwrap(), all);
        let error = plan(3, false).unwrap_err().to_string();
        assert!(error.contains("--seconds"), "{error}");
    }

    #[test]
    fn the_control_has_no_overlap() {
        let steps = plan(4, true).unwrap();
        assert_eq!(steps, [Step::Old, Step::Old, Step::New]);
    }
}
