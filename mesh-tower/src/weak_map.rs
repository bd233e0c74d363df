//! What is shared while anybody uses it, by name.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Weak};

/// Finds what is in use and forgets what nobody uses any more.
#[derive(Debug)]
pub(crate) struct WeakMap<K, V: ?Sized> {
    entries: HashMap<K, Weak<V>>,
    /// How many there were after the last look at all of them.
    after_sweep: usize,
}

impl<K, V: ?Sized> Default for WeakMap<K, V> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            after_sweep: 0,
        }
    }
}

impl<K: Eq + Hash, V: ?Sized> WeakMap<K, V> {
    pub(crate) fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<Arc<V>>
    where
        K: Borrow<Q>,
    {
        self.entries.get(key).and_then(Weak::upgrade)
    }

    /// What there is, or else what is made now.
    pub(crate) fn shared(&mut self, key: &K, make: impl FnOnce() -> Arc<V>) -> Arc<V>
    where
        K: Clone,
    {
        self.get(key).unwrap_or_else(|| {
            let made = make();
            self.insert(key.clone(), &made);
            made
        })
    }

    pub(crate) fn insert(&mut self, key: K, value: &Arc<V>) {
        self.entries.insert(key, Arc::downgrade(value));
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = Arc<V>> {
        self.entries.values().filter_map(Weak::upgrade)
    }

    /// Forgets an entry that nobody uses.
    pub(crate) fn forget<Q: Eq + Hash + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        if self
            .entries
            .get(key)
            .is_some_and(|value| value.strong_count() == 0)
        {
            self.entries.remove(key);
        }
    }

    /// Looks at all entries, if there are many more than when it last did: one that was in use when [`Self::forget`]
    /// asked goes here.
    pub(crate) fn sweep(&mut self) {
        if self.entries.len() > 2 * self.after_sweep + 64 {
            self.entries.retain(|_, value| value.strong_count() > 0);
            self.after_sweep = self.entries.len();
        }
    }
}
