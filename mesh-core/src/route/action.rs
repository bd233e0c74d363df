//! What a matched route does (`Route.action`), and the split over clusters (`WeightedCluster`, gRPC A28).

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use rand::{Rng, RngExt};

/// Which of the virtual host's clusters: an index into [`VirtualHost::clusters`](super::VirtualHost).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClusterIndex(pub u32);

/// The action of a route.
#[derive(Debug, Clone)]
pub enum Action {
    /// `route`: forward to one cluster of a split.
    Forward(Split),
    /// `direct_response`: answer here.
    DirectResponse(DirectResponse),
    /// An action that is known but not served; the text names it.
    Unsupported(Arc<str>),
}

/// An answer that the configuration itself gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectResponse {
    /// Its status.
    pub status: StatusCode,
    /// Its body, may be empty. Shared by all answers.
    pub body: Bytes,
}

/// Clusters by weight. One cluster is a split of one.
///
/// Weights need not add up to 100: the sum is what counts. Weight 0 gets nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// Each cluster with the upper end of its share of `0..total`, ascending.
    shares: Box<[(ClusterIndex, u32)]>,
    total: u32,
}

impl Split {
    /// All to one cluster.
    pub fn one(cluster: ClusterIndex) -> Self {
        Self {
            shares: Box::new([(cluster, 1)]),
            total: 1,
        }
    }

    /// By weights.
    ///
    /// # Errors
    /// When the weights add up to 0 or to more than 2^32 - 1.
    pub fn new(weights: impl IntoIterator<Item = (ClusterIndex, u32)>) -> Result<Self, SplitError> {
        let mut total = 0_u32;
        let mut shares = Vec::new();
        for (cluster, weight) in weights.into_iter().filter(|(_, weight)| *weight > 0) {
            total = total.checked_add(weight).ok_or(SplitError::TooLarge)?;
            shares.push((cluster, total));
        }
        if total == 0 {
            return Err(SplitError::NoWeight);
        }
        Ok(Self {
            shares: shares.into(),
            total,
        })
    }

    /// Draws a cluster. One draw per request, never per attempt: a retry stays in its cluster.
    pub fn draw(&self, rng: &mut impl Rng) -> ClusterIndex {
        let (last, _) = self.shares[self.shares.len() - 1];
        if self.shares.len() == 1 {
            return last;
        }
        let drawn = rng.random_range(0..self.total);
        self.shares
            .iter()
            .find(|(_, end)| drawn < *end)
            .map_or(last, |(cluster, _)| *cluster)
    }

    /// Each cluster with its weight.
    pub fn weights(&self) -> impl Iterator<Item = (ClusterIndex, u32)> {
        let starts = std::iter::once(0).chain(self.shares.iter().map(|(_, end)| *end));
        self.shares
            .iter()
            .zip(starts)
            .map(|((cluster, end), start)| (*cluster, end - start))
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
