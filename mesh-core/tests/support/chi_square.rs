//! Pearson's chi-square test of counts against weights, at p = 0.001.

/// Critical values at p = 0.001 for 1, 2, .. degrees of freedom.
const CRITICAL: [f64; 12] = [
    10.828, 13.816, 16.266, 18.467, 20.515, 22.458, 24.322, 26.124, 27.877, 29.588, 31.264, 32.909,
];

/// Whether draws that were counted into `counts` can have come from these weights.
///
/// # Errors
/// The text says how far off they are. A weight of 0 must have a count of 0.
pub(crate) fn fits(counts: &[u64], weights: &[u32]) -> Result<(), String> {
    assert_eq!(counts.len(), weights.len(), "one count for each weight");
    let drawn: u64 = counts.iter().sum();
    let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
    let (mut statistic, mut cells) = (0.0, 0_usize);
    for (count, weight) in counts.iter().zip(weights) {
        let expected = drawn as f64 * f64::from(*weight) / total;
        if *weight == 0 {
            if *count > 0 {
                return Err(format!(
                    "weight 0 was drawn {count} times: {counts:?} for {weights:?}"
                ));
            }
            continue;
        }
        assert!(
            expected >= 5.0,
            "too few draws for weight {weight}: the test means nothing"
        );
        statistic += (*count as f64 - expected).powi(2) / expected;
        cells += 1;
    }
    let critical = if cells < 2 { 0.0 } else { CRITICAL[cells - 2] };
    if statistic > critical {
        return Err(format!(
            "chi-square {statistic:.2} > {critical}: {counts:?} for {weights:?}"
        ));
    }
    Ok(())
}

/// How often each of `0..kinds` occurs.
pub(crate) fn counted(kinds: usize, drawn: impl IntoIterator<Item = usize>) -> Vec<u64> {
    let mut counts = vec![0; kinds];
    for kind in drawn {
        counts[kind] += 1;
    }
    counts
}
