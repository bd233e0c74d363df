//! Reading trees that may be wrong: what is not of the expected shape is as if it were not there.

use crate::config::Tree;
use crate::decode::Labels;
use crate::yaml::{Data, Entry, Position, Value};

/// A node with its path.
#[derive(Debug, Clone)]
pub(super) struct Node<'a> {
    pub(super) value: &'a Value,
    pub(super) at: Position,
    pub(super) path: String,
}

impl<'a> Node<'a> {
    fn new(value: &'a Value, path: String) -> Self {
        let at = value.at;
        Self { value, at, path }
    }

    /// The `spec` of an object; the whole document of the file `mesh.yaml`.
    pub(super) fn spec(tree: &'a Tree) -> Self {
        match tree.root.get("spec") {
            Some(spec) => Self::new(spec, "spec".to_owned()),
            None => Self::new(&tree.root, String::new()),
        }
    }

    /// The object's name, or what stands in its place.
    pub(super) fn name(tree: &'a Tree) -> Self {
        let metadata = tree.root.get("metadata");
        let name = metadata.and_then(|m| m.get("name"));
        let value = name.unwrap_or(&tree.root);
        Self::new(value, "metadata.name".to_owned())
    }

    /// A field that is present and not null.
    pub(super) fn get(&self, key: &str) -> Option<Self> {
        let path = match self.path.as_str() {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        };
        Some(Self::new(self.value.get(key)?, path))
    }

    /// The same with the place of its key.
    pub(super) fn key(&self, key: &str) -> Option<Self> {
        let at = self.value.entry(key)?.at;
        Some(Self {
            at,
            ..self.get(key)?
        })
    }

    /// The items of a list under a key.
    pub(super) fn items(&self, key: &str) -> Vec<Self> {
        let Some(list) = self.get(key) else {
            return Vec::new();
        };
        let Data::List(items) = &list.value.data else {
            return Vec::new();
        };
        let item = |(i, value)| Self::new(value, format!("{}[{i}]", list.path));
        items.iter().enumerate().map(item).collect()
    }

    /// The entries of a mapping.
    pub(super) fn entries(&self) -> &'a [Entry] {
        match &self.value.data {
            Data::Map(entries) => entries,
            _ => &[],
        }
    }

    pub(super) fn text(&self) -> Option<&'a str> {
        self.value.as_str()
    }

    pub(super) fn number(&self) -> Option<u32> {
        match self.value.data {
            Data::Integer(number) => u32::try_from(number).ok(),
            _ => None,
        }
    }

    /// The text of a field; empty where there is none.
    pub(super) fn string(&self, key: &str) -> &'a str {
        let value = self.value.get(key);
        value.and_then(Value::as_str).unwrap_or_default()
    }

    /// A mapping of strings.
    pub(super) fn labels(&self, key: &str) -> Labels {
        let entries = self.get(key).map_or(&[][..], |map| map.entries());
        let text = |e: &Entry| Some((e.key.clone(), e.value.as_str()?.to_owned()));
        entries.iter().filter_map(text).collect()
    }

    /// A list of strings.
    pub(super) fn strings(&self, key: &str) -> Vec<&'a str> {
        self.items(key).iter().filter_map(Self::text).collect()
    }
}
