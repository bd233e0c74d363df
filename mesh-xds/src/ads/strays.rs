//! Responses of types that nobody asked for: passed over, as in gRPC, and counted.

use std::collections::BTreeMap;
use std::sync::Arc;

/// How many types are told apart; the others are counted together.
const MOST_TYPES: usize = 16;
/// How much of a type's name is shown, in characters.
const SHOWN: usize = 200;

/// How many responses of each type came unasked.
#[derive(Debug, Default)]
pub(super) struct Strays {
    by_type: BTreeMap<Box<str>, u64>,
    others: u64,
}

impl Strays {
    pub(super) fn add(&mut self, type_url: &str) {
        let end = type_url.char_indices().nth(SHOWN);
        let shown = &type_url[..end.map_or(type_url.len(), |(at, _)| at)];
        if let Some(count) = self.by_type.get_mut(shown) {
            *count += 1;
        } else if self.by_type.len() < MOST_TYPES {
            self.by_type.insert(shown.into(), 1);
        } else {
            self.others += 1;
        }
    }

    pub(super) fn told(&self) -> impl Iterator<Item = Arc<str>> {
        let others = (self.others > 0).then(|| {
            format!(
                "responses of further types that were not asked for: {}",
                self.others
            )
        });
        let others = others.map(Into::into);
        let all = self.by_type.iter().map(|(name, count)| {
            format!("responses of type {name:?}, which was not asked for: {count}").into()
        });
        all.chain(others)
    }
}
