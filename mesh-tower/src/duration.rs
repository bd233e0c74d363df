//! How long anything is waited for at most.

use std::time::Duration;

/// Ten years: longer than any process runs, and far from where the clock's `Instant` ends. A protobuf `Duration`
/// may be 10,000 years, and adding that to the present overflows on some platforms.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// A limit that can be added to the present. What is longer than ten years is as good as that.
pub(crate) fn bounded(limit: Duration) -> Duration {
    limit.min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_can_be_added_to_the_present() {
        let now = tokio::time::Instant::now();
        assert_eq!(now.checked_add(Duration::MAX), None);
        let at = now.checked_add(bounded(Duration::MAX));
        assert_eq!(at, Some(now + LONGEST));
        assert_eq!(bounded(Duration::from_secs(10)), Duration::from_secs(10));
    }
}
