//! `CowMap` against the map of the standard library, over random histories with copies in between.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use mesh_core::CowMap;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

#[path = "support/property.rs"]
mod property;

/// A key of which only `HASHES` different hashes exist: full collisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Weak<const HASHES: u16>(u16);

impl<const HASHES: u16> Hash for Weak<HASHES> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.0 % HASHES).hash(state);
    }
}

/// A step of a history. The first number says on which of the copies made so far.
#[derive(Debug, Clone)]
enum Step {
    Insert(usize, u16, u32),
    Remove(usize, u16),
    Copy(usize),
}

fn histories(keys: u16) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (any::<usize>(), 0..keys, any::<u32>()).prop_map(|(on, k, v)| Step::Insert(on, k, v)),
        5 => (any::<usize>(), 0..keys).prop_map(|(on, key)| Step::Remove(on, key)),
        1 => any::<usize>().prop_map(Step::Copy),
    ];
    prop::collection::vec(step, 0..250)
}

/// Both maps say the same about every key there can be.
fn same<K: Hash + Eq + Clone + Ord + std::fmt::Debug>(
    map: &CowMap<K, u32>,
    model: &HashMap<K, u32>,
    keys: &[K],
) -> Result<(), TestCaseError> {
    prop_assert_eq!(map.len(), model.len());
    prop_assert_eq!(map.is_empty(), model.is_empty());
    for key in keys {
        prop_assert_eq!(map.get(key), model.get(key), "key {:?}", key);
    }
    let mut entries: Vec<_> = map.iter().collect();
    let mut expected: Vec<_> = model.iter().collect();
    entries.sort_unstable();
    expected.sort_unstable();
    prop_assert_eq!(entries, expected);
    let mut values: Vec<_> = map.values().collect();
    let mut expected: Vec<_> = model.values().collect();
    values.sort_unstable();
    expected.sort_unstable();
    prop_assert_eq!(values, expected);
    Ok(())
}

fn replay<K: Hash + Eq + Clone + Ord + std::fmt::Debug>(
    steps: &[Step],
    keys: &[K],
) -> Result<(), TestCaseError> {
    let mut copies = vec![(CowMap::new(), HashMap::new())];
    for step in steps {
        let last = copies.len();
        match step {
            Step::Insert(on, key, value) => {
                let (map, model) = &mut copies[on % last];
                map.insert(keys[usize::from(*key)].clone(), *value);
                model.insert(keys[usize::from(*key)].clone(), *value);
            }
            Step::Remove(on, key) => {
                let (map, model) = &mut copies[on % last];
                let key = &keys[usize::from(*key)];
                prop_assert_eq!(map.remove(key), model.remove(key).is_some());
                prop_assert_eq!(map.get(key), None);
            }
            Step::Copy(on) => {
                let copy = copies[on % last].clone();
                copies.push(copy);
            }
        }
    }
    // A change of one copy that leaked into another shows here.
    copies
        .iter()
        .try_for_each(|(map, model)| same(map, model, keys))
}

impl<const HASHES: u16> PartialOrd for Weak<HASHES> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<const HASHES: u16> Ord for Weak<HASHES> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

#[test]
fn histories_of_well_spread_keys() {
    let keys: Vec<String> = (0..120).map(|key| format!("cluster-{key}")).collect();
    property::holds(11, 200, &histories(120), |steps| replay(&steps, &keys));
}

#[test]
fn histories_where_every_key_collides() {
    let keys: Vec<Weak<1>> = (0..12).map(Weak).collect();
    property::holds(12, 200, &histories(12), |steps| replay(&steps, &keys));
}

#[test]
fn histories_where_some_keys_collide() {
    let keys: Vec<Weak<5>> = (0..30).map(Weak).collect();
    property::holds(13, 200, &histories(30), |steps| replay(&steps, &keys));
}

/// Keys that share the path through the three upper levels, so that chains of nodes with a single
/// child come and go. They are found by trying, with the standard hasher.
#[test]
fn histories_of_keys_that_share_a_long_path() {
    let low_bits = |key: &u64| {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        hasher.finish() & 0x7fff
    };
    let wanted = low_bits(&0);
    let keys: Vec<u64> = (0..)
        .filter(|key| low_bits(key) == wanted)
        .take(24)
        .collect();
    property::holds(14, 200, &histories(24), |steps| replay(&steps, &keys));
}

#[test]
fn removing_everything_in_any_order_leaves_an_empty_map() {
    let order = Just((0..60).collect::<Vec<u16>>()).prop_shuffle();
    property::holds(15, 100, &order, |order| {
        let full: CowMap<Weak<20>, u16> = (0..60).map(|key| (Weak(key), key)).collect();
        let mut map = full.clone();
        for (gone, key) in order.iter().enumerate() {
            prop_assert!(map.remove(&Weak(*key)));
            prop_assert!(!map.remove(&Weak(*key)), "a second removal finds nothing");
            prop_assert_eq!(map.len(), 59 - gone);
            prop_assert_eq!(map.iter().count(), map.len());
        }
        prop_assert!(map.is_empty());
        prop_assert_eq!(full.len(), 60);
        prop_assert_eq!(full.iter().count(), 60);
        Ok(())
    });
}

#[test]
fn of_equal_keys_the_last_value_stays() {
    let map: CowMap<Arc<str>, u8> = [("a", 1), ("b", 2), ("a", 3)]
        .into_iter()
        .map(|(k, v)| (Arc::from(k), v))
        .collect();
    assert_eq!(
        (map.len(), map.get("a"), map.get("b"), map.get("c")),
        (2, Some(&3), Some(&2), None)
    );
}

/// The reason for the map: what a change does not touch is not copied.
#[test]
fn copies_share_what_a_change_leaves_alone() {
    let old: CowMap<u32, u32> = (0..10_000).map(|key| (key, key)).collect();
    let mut new = old.clone();
    new.insert(77, 0);
    new.insert(10_000, 1);
    assert!(new.remove(&78));
    let at = |map: &CowMap<u32, u32>, key| map.get(&key).map(std::ptr::from_ref);
    let moved: Vec<u32> = (0..10_000)
        .filter(|key| at(&old, *key) != at(&new, *key))
        .collect();
    assert_eq!(moved, [77, 78]);
    assert_eq!(
        (old.len(), old.get(&77), old.get(&78)),
        (10_000, Some(&77), Some(&78))
    );
    assert_eq!(
        (new.len(), new.get(&77), new.get(&78)),
        (10_000, Some(&0), None)
    );
}
