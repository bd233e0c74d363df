//! YAML with positions: a text is cut into documents, each document becomes a tree that knows its lines.
//!
//! YAML 1.2 section 9.1: `---` or `...` at the start of a line ends a document whatever came before, so the cut
//! is made on lines, and a document that cannot be read does not hide the faults of the others.

mod fault;

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// Deep enough for every object of Istio, shallow enough for any stack.
const MAX_DEPTH: usize = 48;
/// Keys, values, lists and mappings of a document, and what its aliases repeat.
const MAX_NODES: usize = 1_000_000;

/// A place in a file, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) line: u64,
    pub(crate) column: u64,
}

/// One document of a file as text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chunk<'a> {
    /// The text, with the `---` line that opens it, if one does.
    pub(crate) text: &'a str,
    /// Where it starts in the file, in bytes.
    pub(crate) start: usize,
    /// How many lines stand before it.
    pub(crate) lines_before: u64,
}

impl<'a> Chunk<'a> {
    /// Whether it holds nothing but comments, directives and white space.
    pub(crate) fn is_blank(&self) -> bool {
        self.text.lines().all(|line| {
            let line = line.trim();
            line.is_empty() || line.starts_with(['#', '%']) || line == "..." || marker_only(line)
        })
    }

    /// The text without a `---` line in front; the second part is how many bytes that line takes.
    pub(crate) fn body(&self) -> (&'a str, usize) {
        let first = self.text.split_inclusive('\n').next().unwrap_or_default();
        let skip = if marker_only(first.trim()) {
            first.len()
        } else {
            0
        };
        (&self.text[skip..], skip)
    }
}

/// Whether a trimmed line is `---` and at most a comment.
fn marker_only(line: &str) -> bool {
    line.strip_prefix("---")
        .is_some_and(|rest| rest.is_empty() || rest.trim_start().starts_with('#'))
}

/// Cuts a text into documents, blank ones included, so that joining them gives the text again.
pub(crate) fn split(text: &str) -> Vec<Chunk<'_>> {
    let mut chunks = Vec::new();
    let (mut start, mut lines_before) = (0, 0);
    let (mut at, mut line_number) = (0, 0);
    let mut cut = |start: usize, end: usize, lines_before| {
        if end > start {
            chunks.push(Chunk {
                text: &text[start..end],
                start,
                lines_before,
            });
        }
    };
    for line in text.split_inclusive('\n') {
        let ends = |mark: &str| {
            line.strip_prefix(mark)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
        };
        if ends("---") {
            cut(start, at, lines_before);
            (start, lines_before) = (at, line_number);
        }
        at += line.len();
        line_number += 1;
        if ends("...") {
            cut(start, at, lines_before);
            (start, lines_before) = (at, line_number);
        }
    }
    cut(start, at, lines_before);
    chunks
}

/// A node of a document.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Value {
    pub(crate) at: Position,
    /// Where it starts in the file, in bytes, where the reader can tell.
    pub(crate) byte: Option<usize>,
    pub(crate) data: Data,
}

/// What a node holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Data {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    String(String),
    List(Vec<Value>),
    Map(Vec<Entry>),
}

/// A key of a mapping with its value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) at: Position,
    pub(crate) byte: Option<usize>,
    pub(crate) value: Value,
}

impl Value {
    /// The value under a key of a mapping; nothing where it is absent or null.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key)
            .map(|e| &e.value)
            .filter(|v| v.data != Data::Null)
    }

    /// The entry of a key, null or not.
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.data {
            Data::Map(entries) => entries.iter().find(|e| e.key == key),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub(crate) fn as_str(&self) -> Option<&str> {
        match &self.data {
            Data::String(s) => Some(s),
            _ => None,
        }
    }

    /// What it is, for messages.
    pub(crate) fn describe(&self) -> String {
        match &self.data {
            Data::Null => "nothing".to_owned(),
            Data::Bool(b) => format!("the boolean {b}"),
            Data::Integer(i) => format!("the number {i}"),
            Data::Float(f) => format!("the number {f}"),
            Data::String(s) => format!("the string {s:?}"),
            Data::List(_) => "a list".to_owned(),
            Data::Map(_) => "a mapping".to_owned(),
        }
    }
}

/// Why a document is not YAML.
#[derive(Debug)]
pub(crate) struct SyntaxError {
    pub(crate) at: Position,
    pub(crate) message: String,
}

/// Reads one document.
pub(crate) fn parse(chunk: &Chunk<'_>) -> Result<Value, SyntaxError> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: MAX_DEPTH, flow_nesting_limit: MAX_DEPTH, max_nodes: MAX_NODES },
        with_snippet: false,
    };
    let offset = Offset {
        lines: chunk.lines_before,
        bytes: chunk.start,
    };
    match serde_saphyr::from_str_with_options::<Spanned<Raw>>(chunk.text, options) {
        Ok(raw) => Ok(offset.value(raw)),
        Err(error) => {
            let location = error.location();
            let (line, column) = location.map_or((1, 1), |l| (l.line().max(1), l.column().max(1)));
            Err(SyntaxError {
                at: Position {
                    line: line + offset.lines,
                    column,
                },
                message: fault::message(&error),
            })
        }
    }
}

/// Moves positions of a document to those of its file.
struct Offset {
    lines: u64,
    bytes: usize,
}

impl Offset {
    fn at(&self, location: serde_saphyr::Location) -> (Position, Option<usize>) {
        let byte = location
            .span()
            .byte_offset()
            .and_then(|b| usize::try_from(b).ok())
            .map(|b| b + self.bytes);
        (
            Position {
                line: location.line().max(1) + self.lines,
                column: location.column().max(1),
            },
            byte,
        )
    }

    fn value(&self, raw: Spanned<Raw>) -> Value {
        let (at, byte) = self.at(raw.referenced);
        let data = match raw.value {
            Raw::Scalar(data) => data,
            Raw::List(items) => {
                Data::List(items.into_iter().map(|item| self.value(item)).collect())
            }
            Raw::Map(entries) => {
                Data::Map(entries.into_iter().map(|(k, v)| self.entry(k, v)).collect())
            }
        };
        Value { at, byte, data }
    }

    fn entry(&self, key: Spanned<String>, value: Spanned<Raw>) -> Entry {
        let (at, byte) = self.at(key.referenced);
        Entry {
            key: key.value,
            at,
            byte,
            value: self.value(value),
        }
    }
}

/// A node before its position is known.
enum Raw {
    Scalar(Data),
    List(Vec<Spanned<Self>>),
    Map(Vec<(Spanned<String>, Spanned<Self>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Scalar(Data::Null))
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Scalar(Data::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_bool<E>(self, v: bool) -> Result<Raw, E> {
        Ok(Raw::Scalar(Data::Bool(v)))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Raw, E> {
        Ok(Raw::Scalar(Data::Integer(v.into())))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Raw, E> {
        Ok(Raw::Scalar(Data::Integer(v.into())))
    }

    fn visit_i128<E>(self, v: i128) -> Result<Raw, E> {
        Ok(Raw::Scalar(Data::Integer(v)))
    }

    fn visit_f64<E>(self, v: f64) -> Result<Raw, E> {
        Ok(Raw::Scalar(Data::Float(v)))
    }

    fn visit_str<E>(self, v: &str) -> Result<Raw, E> {
        Ok(Raw::Scalar(Data::String(v.to_owned())))
    }

    fn visit_string<E>(self, v: String) -> Result<Raw, E> {
        Ok(Raw::Scalar(Data::String(v)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}
