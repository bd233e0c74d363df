//! Finds the first matching of many routes without trying each.
//!
//! Exact paths and prefixes of both kinds are hashed: one pass over the path gives the hash of each of
//! its beginnings, and only lengths that occur are looked up. What can be neither (regex, ignored
//! case) is tried in order. The candidates are then taken lowest first, so the outcome is
//! that of the plain scan.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

use crate::matcher::PathMatcher;

/// How many candidate lists are kept on the stack; a path with more matching prefixes than this,
/// each the prefix of the next, falls back to the heap.
const ON_STACK: usize = 8;

/// An index over the paths of an ordered list of routes.
#[derive(Debug)]
pub(super) struct RouteIndex {
    texts: HashMap<u64, Box<[Text]>, BuildHasherDefault<AlreadyHashed>>,
    /// The distinct lengths of prefixes of both kinds, ascending.
    lengths: Box<[usize]>,
    has_exact: bool,
    /// Routes whose path no hash can find, in order, with their matcher.
    others: Box<[(u32, PathMatcher)]>,
}

/// A text that rules name, with the routes that it leads to, in order.
#[derive(Debug)]
struct Text {
    text: Box<str>,
    exact: Vec<u32>,
    prefix: Vec<u32>,
    segments: Vec<u32>,
}

impl RouteIndex {
    pub(super) fn new<'a>(paths: impl Iterator<Item = &'a PathMatcher>) -> Self {
        let mut texts: BTreeMap<&str, Text> = BTreeMap::new();
        let mut lengths = BTreeSet::new();
        let mut others = Vec::new();
        let mut has_exact = false;
        for (at, path) in (0_u32..).zip(paths) {
            let (PathMatcher::Exact(text)
            | PathMatcher::Prefix(text)
            | PathMatcher::SegmentPrefix(text)) = path
            else {
                others.push((at, path.clone()));
                continue;
            };
            let entry = texts.entry(text).or_insert_with(|| Text::new(text));
            match path {
                PathMatcher::Prefix(_) => entry.prefix.push(at),
                PathMatcher::SegmentPrefix(_) => entry.segments.push(at),
                _ => entry.exact.push(at),
            }
            if matches!(path, PathMatcher::Exact(_)) {
                has_exact = true;
            } else {
                lengths.insert(text.len());
            }
        }
        Self {
            texts: by_hash(texts.into_values()),
            lengths: lengths.into_iter().collect(),
            has_exact,
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
        let bytes = path.as_bytes();
        for length in self
            .lengths
            .iter()
            .take_while(|length| **length < bytes.len())
        {
            hash.update(&bytes[hashed_to..*length]);
            hashed_to = *length;
            if let Some(text) = self.text(&hash, &bytes[..*length]) {
                candidates.add(&text.prefix);
                if bytes[*length] == b'/' {
                    candidates.add(&text.segments);
                }
            }
        }
        if self.has_exact || self.lengths.contains(&bytes.len()) {
            hash.update(&bytes[hashed_to..]);
            if let Some(text) = self.text(&hash, bytes) {
                candidates.add(&text.prefix);
                candidates.add(&text.segments);
                candidates.add(&text.exact);
            }
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

    fn text(&self, hash: &Fnv, bytes: &[u8]) -> Option<&Text> {
        self.texts
            .get(&hash.finish())?
            .iter()
            .find(|text| text.text.as_bytes() == bytes)
    }
}

impl Text {
    fn new(text: &str) -> Self {
        Self {
            text: text.into(),
            exact: Vec::new(),
            prefix: Vec::new(),
            segments: Vec::new(),
        }
    }
}

fn by_hash(
    texts: impl Iterator<Item = Text>,
) -> HashMap<u64, Box<[Text]>, BuildHasherDefault<AlreadyHashed>> {
    let mut by_hash: HashMap<u64, Vec<Text>> = HashMap::new();
    for text in texts {
        let mut hash = Fnv::default();
        hash.update(text.text.as_bytes());
        by_hash.entry(hash.finish()).or_default().push(text);
    }
    by_hash
        .into_iter()
        .map(|(hash, texts)| (hash, texts.into_boxed_slice()))
        .collect()
}

/// Where a list of routes is kept.
#[derive(Clone, Copy)]
enum Kept {
    OnStack(usize),
    /// The lowest of the heap.
    OnHeap,
}

/// The lists of routes that match by hash, each a cursor that moves upwards.
#[derive(Default)]
struct Candidates<'a> {
    stack: [&'a [u32]; ON_STACK],
    used: usize,
    /// Ordered by the next route: no route is in two lists.
    heap: BinaryHeap<Reverse<&'a [u32]>>,
}

impl<'a> Candidates<'a> {
    fn add(&mut self, routes: &'a [u32]) {
        if routes.is_empty() {
            return;
        }
        match self.stack.get_mut(self.used) {
            Some(slot) => {
                *slot = routes;
                self.used += 1;
            }
            None => self.heap.push(Reverse(routes)),
        }
    }

    /// The list with the lowest next route, and that route.
    fn lowest(&self) -> Option<(Kept, u32)> {
        let on_stack = self.stack[..self.used].iter().enumerate();
        let on_stack =
            on_stack.filter_map(|(list, routes)| Some((Kept::OnStack(list), *routes.first()?)));
        let on_heap = self.heap.peek();
        let on_heap = on_heap.and_then(|routes| Some((Kept::OnHeap, *routes.0.first()?)));
        on_stack.chain(on_heap).min_by_key(|(_, at)| *at)
    }

    fn take(&mut self, list: Kept, at: u32) -> u32 {
        match list {
            Kept::OnStack(list) => self.stack[list] = &self.stack[list][1..],
            Kept::OnHeap => {
                if let Some(Reverse([_, rest @ ..])) = self.heap.pop()
                    && !rest.is_empty()
                {
                    self.heap.push(Reverse(rest));
                }
            }
        }
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
