//! A weighted draw.

use rand::{Rng, RngExt};

/// Things by weight. A single one is found without a draw.
#[derive(Debug)]
pub(super) struct Shares<T> {
    /// Each with the upper end of its share of `0..total`, ascending; no share is empty.
    entries: Box<[(T, u64)]>,
    total: u64,
}

impl<T> Shares<T> {
    /// Weight 0 gets nothing. Weights that add up to more than 64 bits are cut off there.
    pub(super) fn new(weights: impl IntoIterator<Item = (T, u64)>) -> Self {
        let mut total = 0_u64;
        let mut entries = Vec::new();
        for (thing, weight) in weights {
            let end = total.saturating_add(weight);
            if end > total {
                entries.push((thing, end));
                total = end;
            }
        }
        Self {
            entries: entries.into(),
            total,
        }
    }

    pub(super) fn draw(&self, rng: &mut impl Rng) -> Option<&T> {
        match &self.entries[..] {
            [] => None,
            [(only, _)] => Some(only),
            entries => {
                let point = rng.random_range(0..self.total);
                let at = entries.partition_point(|(_, end)| *end <= point);
                entries.get(at).map(|(thing, _)| thing)
            }
        }
    }

    /// The same shares of other things.
    pub(super) fn map<U>(self, mut make: impl FnMut(T) -> U) -> Shares<U> {
        let entries = self.entries.into_iter();
        Shares {
            entries: entries.map(|(thing, end)| (make(thing), end)).collect(),
            total: self.total,
        }
    }

    /// Takes the only thing out of shares of one.
    pub(super) fn into_only(self) -> Result<T, Self> {
        let Self { entries, total } = self;
        match <Box<[(T, u64); 1]>>::try_from(entries) {
            Ok(only) => {
                let [(thing, _)] = *only;
                Ok(thing)
            }
            Err(entries) => Err(Self { entries, total }),
        }
    }
}
