//! What the resources in use ask for and do not get: counted as they come and go, since there
//! may be ten thousand of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Which resources of one type hold something that has no effect, kind by kind.
#[derive(Debug, Default)]
pub(in super::super) struct Tally {
    kinds: BTreeMap<Box<str>, BTreeSet<Arc<str>>>,
    of: HashMap<Arc<str>, Vec<Box<str>>>,
    changed: bool,
}

impl Tally {
    /// This is what a resource holds now.
    pub(in super::super) fn set(&mut self, name: &Arc<str>, kinds: &[Box<str>]) {
        if self.of.get(name).map_or(&[][..], Vec::as_slice) == kinds {
            return;
        }
        self.remove(name);
        self.changed = true;
        for kind in kinds {
            let names = self.kinds.entry(kind.clone()).or_default();
            names.insert(Arc::clone(name));
        }
        self.of.insert(Arc::clone(name), kinds.to_vec());
    }

    /// The resource is gone, or nobody uses it.
    pub(in super::super) fn remove(&mut self, name: &str) {
        let Some((name, kinds)) = self.of.remove_entry(name) else {
            return;
        };
        self.changed = true;
        for kind in kinds {
            if let Some(names) = self.kinds.get_mut(&kind) {
                names.remove(&name);
                if names.is_empty() {
                    self.kinds.remove(&kind);
                }
            }
        }
    }

    /// Whether [`Self::told`] differs from when this was asked last.
    pub(in super::super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Each kind once: in how many resources, and in which first. `what` they are in singular and plural.
    pub(in super::super) fn told(&self, [one, many]: [&str; 2]) -> impl Iterator<Item = Arc<str>> {
        self.kinds.iter().filter_map(move |(kind, names)| {
            let first = names.first()?;
            let text = match names.len() {
                1 => format!("{one} {first:?}: {kind}"),
                count => format!("{one} {first:?} and {} other {many}: {kind}", count - 1),
            };
            Some(text.into())
        })
    }
}
