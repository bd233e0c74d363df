//! The order of weighted round robin, laid out when the cluster is built.

/// What the schedules of a cluster share, in entries; larger weights are scaled down to fit.
const BUDGET: usize = 4096;

/// Among many endpoints it may be longer: with this many entries for each of mean weight, scaling
/// down still leaves the light and the heavy apart.
const ENTRIES_PER_ENDPOINT: u64 = 16;

/// One turn over endpoints with their weights, which are at least 1: the entries of an endpoint stand at even distances, and each
/// endpoint starts a little after the one before it, so that those of equal weight do not bunch.
/// Sorting keeps this cheap for thousands of endpoints, where a smooth round robin is quadratic.
///
/// `groups` is how many schedules the cluster has. They share one budget: a control plane that names
/// thousands of localities must not fill our memory.
pub(super) fn schedule(
    eligible: &[(u32, u32)],
    groups: usize,
) -> impl Iterator<Item = u32> + use<> {
    let budget = (BUDGET / groups.max(1)) as u64;
    let count = eligible.len() as u64;
    let divisor = eligible
        .iter()
        .fold(0, |a, (_, weight)| gcd(a, u64::from(*weight)))
        .max(1);
    let total: u64 = eligible
        .iter()
        .map(|(_, weight)| u64::from(*weight) / divisor)
        .sum();
    let longest = budget.max(count * ENTRIES_PER_ENDPOINT).max(1);
    let shrink = total.div_ceil(longest).max(1);
    let mut turn: Vec<(u64, u32)> = (0_u64..)
        .zip(eligible)
        .flat_map(|(rank, (at, weight))| {
            let entries = ((u64::from(*weight) / divisor + shrink / 2) / shrink).max(1);
            // Fixed point: 2^32 is the whole turn.
            let offset = ((2 * rank + 1) << 31) / count;
            (0..entries).map(move |entry| (((entry << 32) + offset) / entries, *at))
        })
        .collect();
    turn.sort_by_key(|(place, _)| *place);
    turn.into_iter().map(|(_, at)| at)
}

const fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
