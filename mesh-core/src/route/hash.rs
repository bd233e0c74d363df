//! `RouteAction.HashPolicy`: the number by which ring hash, maglev and a split by hash choose (Envoy, gRPC A42).

use std::borrow::Cow;

use twox_hash::XxHash64;

use crate::matcher::{Substitution, cookie, first_parameter};
use crate::request::{HeaderKey, RequestView};

/// The policies of a route, in order.
#[derive(Debug, Clone, Default)]
pub struct HashPolicies(Box<[HashPolicy]>);

/// One of them.
#[derive(Debug, Clone)]
pub struct HashPolicy {
    /// What is hashed.
    pub of: Hashed,
    /// `terminal`: when there is a hash after this policy, the rest is not asked.
    pub terminal: bool,
}

/// What a policy hashes.
#[derive(Debug, Clone)]
pub enum Hashed {
    /// `header`: all its values in the order of their bytes, each first rewritten (`regex_rewrite`).
    Header(HeaderKey, Option<Substitution>),
    /// `cookie`: its value. A cookie that is not there gives no hash; with a `ttl` Envoy would make one,
    /// which a library that keeps no cookies does not.
    Cookie(Box<[u8]>),
    /// `query_parameter`: the first of its name, not decoded.
    QueryParameter(Box<[u8]>),
}

impl HashPolicies {
    /// Policies in order.
    pub fn new(policies: impl IntoIterator<Item = HashPolicy>) -> Self {
        Self(policies.into_iter().collect())
    }

    /// The hash of a request; `None` when no policy finds anything.
    ///
    /// Each hash is XXH64 with seed 0; one that follows another is combined with it, so that two equal
    /// ones do not cancel each other out.
    pub fn of(&self, request: &RequestView<'_>) -> Option<u64> {
        let mut hash: Option<u64> = None;
        for policy in &self.0 {
            if let Some(found) = policy.of.hash(request) {
                hash = Some(hash.map_or(0, |hash| hash.rotate_left(1)) ^ found);
            }
            if policy.terminal && hash.is_some() {
                break;
            }
        }
        hash
    }
}

impl Hashed {
    fn hash(&self, request: &RequestView<'_>) -> Option<u64> {
        match self {
            Self::Header(name, rewrite) => header(request, name, rewrite.as_ref()),
            Self::Cookie(name) => cookie(request.headers, name)
                .filter(|value| !value.is_empty())
                .map(|value| XxHash64::oneshot(0, value)),
            Self::QueryParameter(name) => {
                first_parameter(request.query?, name).map(|value| XxHash64::oneshot(0, value))
            }
        }
    }
}

/// The values in order, the hash of each the seed of the next.
fn header(
    request: &RequestView<'_>,
    name: &HeaderKey,
    rewrite: Option<&Substitution>,
) -> Option<u64> {
    let rewritten = |value: Cow<'_, [u8]>| match rewrite {
        Some(rewrite) => rewrite.replaced(&value),
        None => value.into_owned(),
    };
    let mut values = request.header(name);
    let first = values.next()?;
    let Some(second) = values.next() else {
        return Some(match rewrite {
            None => XxHash64::oneshot(0, &first),
            Some(rewrite) => XxHash64::oneshot(0, &rewrite.replaced(&first)),
        });
    };
    let all = [first, second].into_iter().chain(values);
    let mut all: Vec<_> = all.map(rewritten).collect();
    all.sort_unstable();
    Some(
        all.iter()
            .fold(0, |seed, value| XxHash64::oneshot(seed, value)),
    )
}
