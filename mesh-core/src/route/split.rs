//! The split over clusters (`WeightedCluster`, gRPC A28).

use rand::{Rng, RngExt};

/// Things by weight. One thing is a split of one.
///
/// Weights need not add up to 100: the sum is what counts. Weight 0 gets nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split<T> {
    /// Each thing with the upper end of its share of `0..total`, ascending. Never empty.
    shares: Box<[(T, u32)]>,
    total: u32,
}

impl<T> Split<T> {
    /// All to one.
    pub fn one(thing: T) -> Self {
        Self {
            shares: Box::new([(thing, 1)]),
            total: 1,
        }
    }

    /// By weights.
    ///
    /// # Errors
    /// When the weights add up to 0 or to more than 2^32 - 1.
    pub fn new(weights: impl IntoIterator<Item = (T, u32)>) -> Result<Self, SplitError> {
        let mut total = 0_u32;
        let mut shares = Vec::new();
        for (thing, weight) in weights.into_iter().filter(|(_, weight)| *weight > 0) {
            total = total.checked_add(weight).ok_or(SplitError::TooLarge)?;
            shares.push((thing, total));
        }
        if total == 0 {
            return Err(SplitError::NoWeight);
        }
        Ok(Self {
            shares: shares.into(),
            total,
        })
    }

    /// Draws one. One draw per request, never per attempt: a retry stays in its cluster.
    pub fn draw(&self, rng: &mut impl Rng) -> &T {
        if self.shares.len() == 1 {
            return &self.shares[0].0;
        }
        self.holding(rng.random_range(0..self.total))
    }

    /// The one that a number leads to, modulo the sum of the weights: a hash, or a header's value
    /// (`use_hash_policy`, `header_name`).
    pub fn at(&self, number: u64) -> &T {
        // The remainder is below `total`, which is 32 bits wide.
        self.holding(u32::try_from(number % u64::from(self.total)).unwrap_or(0))
    }

    fn holding(&self, point: u32) -> &T {
        let at = self.shares.partition_point(|(_, end)| *end <= point);
        &self.shares[at.min(self.shares.len() - 1)].0
    }

    /// Each thing with its weight.
    pub fn weights(&self) -> impl Iterator<Item = (&T, u32)> {
        let starts = std::iter::once(0).chain(self.shares.iter().map(|(_, end)| *end));
        self.shares
            .iter()
            .zip(starts)
            .map(|((thing, end), start)| (thing, end - start))
    }
}

/// Weights that make no split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// Nothing would get a request.
    #[error("the weights of weighted_clusters add up to 0; at least one must be positive")]
    NoWeight,
    /// The sum has to fit.
    #[error("the weights of weighted_clusters add up to more than 4294967295")]
    TooLarge,
}
