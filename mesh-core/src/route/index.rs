//! Finds the first matching of many routes without trying each.
//!
//! Exact paths are hashed. Prefixes are hashed by length: one pass over the path gives the hash of
//! each of its beginnings, and only lengths that occur are looked up. What can be neither (regex,
//! ignored case) is tried in order. The candidates are then taken lowest first, so the outcome is
//! that of the plain scan.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::matcher::PathMatcher;

/// How many candidate lists are kept on the stack; a path with more matching prefixes than this,
/// each the prefix of the next, falls back to the heap.
const ON_STACK: usize = 8;

/// An index over the paths of an ordered list of routes.
#[derive(Debug)]
pub(super) struct RouteIndex {
    exact: Hashed,
    prefixes: Hashed,
    /// The distinct lengths of prefixes, ascending.
    lengths: Box<[usize]>,
    /// Routes whose path no hash can find, in order, with their matcher.
    others: Box<[(u32, PathMatcher)]>,
}

/// Hash of a text -> the texts of this hash, each with its routes in order.
type Hashed = HashMap<u64, Box<[Text]>, BuildHasherDefault<AlreadyHashed>>;

/// A text with its routes.
type Text = (Box<str>, Box<[u32]>);

impl RouteIndex {
    pub(super) fn new<'a>(paths: impl Iterator<Item = &'a PathMatcher>) -> Self {
        let mut exact = Vec::new();
        let mut prefixes = Vec::new();
        let mut others = Vec::new();
        for (at, path) in (0_u32..).zip(paths) {
            match path {
                PathMatcher::Exact(text) => exact.push((text.clone(), at)),
                PathMatcher::Prefix(text) => prefixes.push((text.clone(), at)),
                other => others.push((at, other.clone())),
            }
        }
        let mut lengths: Vec<usize> = prefixes.iter().map(|(text, _)| text.len()).collect();
        lengths.sort_unstable();
        lengths.dedup();
        Self {
            exact: hashed(exact),
            prefixes: hashed(prefixes),
            lengths: lengths.into(),
            others: others.into(),
        }
    }

    /// The first route, in order, whose path matches and that `accept` takes.
    pub(super) fn find<R>(
        &self,
        path: &str,
        mut accept: impl FnMut(usize) -> Option<R>,
    ) -> Option<R> {
        let mut candidates = Candidates::default();
        let mut hash = Fnv::default();
        let mut hashed_to = 0;
        for length in self
            .lengths
            .iter()
            .take_while(|length| **length <= path.len())
        {
            hash.update(&path.as_bytes()[hashed_to..*length]);
            hashed_to = *length;
            candidates.add(
                self.prefixes.get(&hash.finish()).map(|texts| &**texts),
                &path.as_bytes()[..*length],
            );
        }
        if !self.exact.is_empty() {
            hash.update(&path.as_bytes()[hashed_to..]);
            candidates.add(
                self.exact.get(&hash.finish()).map(|texts| &**texts),
                path.as_bytes(),
            );
        }
        let mut others = self.others.iter();
        let mut other = others.find(|(_, matcher)| matcher.matches(path));
        loop {
            let at = match (candidates.lowest(), other) {
                (None, None) => return None,
                (Some((list, at)), None) => candidates.take(list, at),
                (Some((list, at)), Some((theirs, _))) if at < *theirs => candidates.take(list, at),
                (_, Some((theirs, _))) => {
                    other = others.find(|(_, matcher)| matcher.matches(path));
                    *theirs
                }
            };
            if let Some(found) = accept(at as usize) {
                return Some(found);
            }
        }
    }
}

fn hashed(mut entries: Vec<(Box<str>, u32)>) -> Hashed {
    entries.sort();
    let mut by_text: Vec<(Box<str>, Vec<u32>)> = Vec::new();
    for (text, at) in entries {
        match by_text.last_mut() {
            Some((last, routes)) if *last == text => routes.push(at),
            _ => by_text.push((text, vec![at])),
        }
    }
    let mut by_hash: HashMap<u64, Vec<Text>> = HashMap::new();
    for (text, routes) in by_text {
        let mut hash = Fnv::default();
        hash.update(text.as_bytes());
        by_hash
            .entry(hash.finish())
            .or_default()
            .push((text, routes.into()));
    }
    by_hash
        .into_iter()
        .map(|(hash, texts)| (hash, texts.into_boxed_slice()))
        .collect()
}

/// The lists of routes that match by hash, each a cursor that moves upwards.
#[derive(Default)]
struct Candidates<'a> {
    stack: [&'a [u32]; ON_STACK],
    used: usize,
    heap: Vec<&'a [u32]>,
}

impl<'a> Candidates<'a> {
    fn add(&mut self, found: Option<&'a [Text]>, text: &[u8]) {
        let Some((_, routes)) =
            found.and_then(|texts| texts.iter().find(|(t, _)| t.as_bytes() == text))
        else {
            return;
        };
        match self.stack.get_mut(self.used) {
            Some(slot) => {
                *slot = routes;
                self.used += 1;
            }
            None => self.heap.push(routes),
        }
    }

    /// The list with the lowest next route, and that route.
    fn lowest(&self) -> Option<(usize, u32)> {
        let lists = self.stack[..self.used].iter().chain(&self.heap);
        lists
            .enumerate()
            .filter_map(|(list, routes)| Some((list, *routes.first()?)))
            .min_by_key(|(_, at)| *at)
    }

    fn take(&mut self, list: usize, at: u32) -> u32 {
        let routes = match list.checked_sub(self.used) {
            None => &mut self.stack[list],
            Some(in_heap) => &mut self.heap[in_heap],
        };
        *routes = &routes[1..];
        at
    }
}

/// FNV-1a: its state after a prefix is the hash of the prefix, which is what one pass needs.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn update(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// FNV's high bits are weak for short texts, and the map looks at them.
    const fn finish(&self) -> u64 {
        self.0 ^ (self.0 << 32)
    }
}

/// The keys are hashes.
#[derive(Debug, Default, Clone)]
struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
