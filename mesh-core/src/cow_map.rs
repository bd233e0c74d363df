//! A persistent hash map: cloning is one reference count, and a change copies a path of a few small
//! nodes instead of the map. It is what makes a one-cluster change among 10,000 cheap to publish.
//!
//! A hash array mapped trie with 8-way nodes. Keys come from the control plane, which is trusted
//! with the whole configuration, so the hash is a quick one with fixed keys: replayable.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use foldhash::quality::FixedState;

/// Eight children a node: a change copies few references, and each of them is a cache line touched.
const BITS: u32 = 3;

/// A map whose copies share all that they have in common.
pub struct CowMap<K, V> {
    root: Option<Arc<Node<K, V>>>,
    len: usize,
}

enum Node<K, V> {
    Branch {
        bitmap: u32,
        children: Box<[Arc<Self>]>,
    },
    /// All entries of one full hash: one, unless two keys collide.
    Leaf { hash: u64, entries: Box<[(K, V)]> },
}

impl<K, V> CowMap<K, V> {
    /// An empty map.
    pub const fn new() -> Self {
        Self { root: None, len: 0 }
    }

    /// How many entries there are.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All entries, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let mut stack: Vec<&Node<K, V>> = self.root.as_deref().into_iter().collect();
        let mut leaf = [].iter();
        std::iter::from_fn(move || {
            loop {
                if let Some((key, value)) = leaf.next() {
                    return Some((key, value));
                }
                match stack.pop()? {
                    Node::Branch { children, .. } => stack.extend(children.iter().map(|c| &**c)),
                    Node::Leaf { entries, .. } => leaf = entries.iter(),
                }
            }
        })
    }

    /// All values, in no particular order.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }
}

impl<K: Hash + Eq, V> CowMap<K, V> {
    /// The value of a key.
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let hash = hash_of(key);
        let mut node = self.root.as_deref()?;
        let mut shift = 0;
        loop {
            match node {
                Node::Branch { bitmap, children } => {
                    let bit = bit_at(hash, shift);
                    if bitmap & bit == 0 {
                        return None;
                    }
                    node = &children[slot(*bitmap, bit)];
                    shift += BITS;
                }
                Node::Leaf { hash: at, entries } => {
                    return entries
                        .iter()
                        .find(|(k, _)| *at == hash && k.borrow() == key)
                        .map(|(_, v)| v);
                }
            }
        }
    }
}

impl<K: Hash + Eq + Clone, V: Clone> CowMap<K, V> {
    /// Sets a value; copies of this map do not see it.
    pub fn insert(&mut self, key: K, value: V) {
        let hash = hash_of(&key);
        let (root, added) = match &self.root {
            None => (leaf(hash, key, value), true),
            Some(root) => inserted(root, hash, 0, key, value),
        };
        self.root = Some(root);
        self.len += usize::from(added);
    }

    /// Removes a key; copies of this map keep it. Returns whether it was there.
    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        if self.get(key).is_none() {
            return false;
        }
        if let Some(root) = &self.root {
            self.root = removed(root, hash_of(key), 0, key);
            self.len -= 1;
        }
        true
    }
}

fn hash_of<Q: Hash + ?Sized>(key: &Q) -> u64 {
    FixedState::default().hash_one(key)
}

const fn bit_at(hash: u64, shift: u32) -> u32 {
    1 << ((hash >> shift) & 7)
}

/// Where the child of a bit stands among the children that are present.
const fn slot(bitmap: u32, bit: u32) -> usize {
    (bitmap & (bit - 1)).count_ones() as usize
}

fn leaf<K, V>(hash: u64, key: K, value: V) -> Arc<Node<K, V>> {
    Arc::new(Node::Leaf {
        hash,
        entries: Box::new([(key, value)]),
    })
}

fn inserted<K: Eq + Clone, V: Clone>(
    node: &Arc<Node<K, V>>,
    hash: u64,
    shift: u32,
    key: K,
    value: V,
) -> (Arc<Node<K, V>>, bool) {
    match &**node {
        Node::Leaf { hash: at, entries } if *at == hash => {
            let mut entries = entries.to_vec();
            let added = match entries.iter_mut().find(|(k, _)| *k == key) {
                Some(entry) => {
                    entry.1 = value;
                    false
                }
                None => {
                    entries.push((key, value));
                    true
                }
            };
            (
                Arc::new(Node::Leaf {
                    hash,
                    entries: entries.into(),
                }),
                added,
            )
        }
        Node::Leaf { hash: at, .. } => (
            joined(Arc::clone(node), *at, leaf(hash, key, value), hash, shift),
            true,
        ),
        Node::Branch { bitmap, children } => {
            let bit = bit_at(hash, shift);
            let at = slot(*bitmap, bit);
            let mut children = children.to_vec();
            let added = if bitmap & bit == 0 {
                children.insert(at, leaf(hash, key, value));
                true
            } else {
                let (child, added) = inserted(&children[at], hash, shift + BITS, key, value);
                children[at] = child;
                added
            };
            (
                Arc::new(Node::Branch {
                    bitmap: bitmap | bit,
                    children: children.into(),
                }),
                added,
            )
        }
    }
}

/// The smallest branch that holds two leaves of different hashes.
fn joined<K, V>(
    a: Arc<Node<K, V>>,
    a_hash: u64,
    b: Arc<Node<K, V>>,
    b_hash: u64,
    shift: u32,
) -> Arc<Node<K, V>> {
    let (a_bit, b_bit) = (bit_at(a_hash, shift), bit_at(b_hash, shift));
    let children: Box<[_]> = match a_bit.cmp(&b_bit) {
        std::cmp::Ordering::Equal => Box::new([joined(a, a_hash, b, b_hash, shift + BITS)]),
        std::cmp::Ordering::Less => Box::new([a, b]),
        std::cmp::Ordering::Greater => Box::new([b, a]),
    };
    Arc::new(Node::Branch {
        bitmap: a_bit | b_bit,
        children,
    })
}

/// `None` when nothing is left. A branch with one leaf collapses into it.
fn removed<K, V, Q>(
    node: &Arc<Node<K, V>>,
    hash: u64,
    shift: u32,
    key: &Q,
) -> Option<Arc<Node<K, V>>>
where
    K: Borrow<Q> + Clone,
    V: Clone,
    Q: Eq + ?Sized,
{
    match &**node {
        Node::Leaf { hash: at, entries } => {
            let left: Box<[_]> = entries
                .iter()
                .filter(|(k, _)| k.borrow() != key)
                .cloned()
                .collect();
            (!left.is_empty()).then(|| {
                Arc::new(Node::Leaf {
                    hash: *at,
                    entries: left,
                })
            })
        }
        Node::Branch { bitmap, children } => {
            let bit = bit_at(hash, shift);
            let at = slot(*bitmap, bit);
            let mut children = children.to_vec();
            let mut bitmap = *bitmap;
            match removed(&children[at], hash, shift + BITS, key) {
                Some(child) => children[at] = child,
                None => {
                    children.remove(at);
                    bitmap &= !bit;
                }
            }
            match &children[..] {
                [] => None,
                [only] if matches!(**only, Node::Leaf { .. }) => Some(Arc::clone(only)),
                _ => Some(Arc::new(Node::Branch {
                    bitmap,
                    children: children.into(),
                })),
            }
        }
    }
}

impl<K, V> Clone for CowMap<K, V> {
    fn clone(&self) -> Self {
        Self {
            root: self.root.clone(),
            len: self.len,
        }
    }
}

impl<K, V> Default for CowMap<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for CowMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K: Hash + Eq + Clone, V: Clone> FromIterator<(K, V)> for CowMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map = Self::new();
        for (key, value) in entries {
            map.insert(key, value);
        }
        map
    }
}
