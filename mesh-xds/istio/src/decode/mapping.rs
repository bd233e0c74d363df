//! The fields of one mapping, read one by one: what has another form is a finding with its place.

use std::time::Duration;

use super::{Schema, Sink};
use crate::yaml::{Data, Entry, Position, Value};

/// A mapping that is being read, with its path for messages (`spec.http[0].match`).
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a> {
    pub(crate) path: String,
    pub(crate) at: Position,
    value: &'a Value,
    /// Whether it has a field that nobody knows.
    is_misspelt: bool,
}

impl<'a> Fields<'a> {
    /// Opens a mapping: unknown fields are errors, unserved ones notes. Nothing when it is no mapping.
    pub(crate) fn open(
        value: &'a Value,
        path: impl Into<String>,
        schema: Schema,
        sink: &mut Sink,
    ) -> Option<Self> {
        let mut this = Self {
            path: path.into(),
            at: value.at,
            value,
            is_misspelt: false,
        };
        let Data::Map(entries) = &value.data else {
            sink.error(
                value.at,
                format!("{} must be a mapping, not {}", this.path, value.describe()),
            );
            return None;
        };
        for Entry { key, at, value, .. } in entries {
            if schema.unserved.contains(&key.as_str()) {
                if value.data != Data::Null {
                    sink.note(
                        *at,
                        format!("{}.{key} has no effect in this version", this.path),
                    );
                }
            } else if !schema.served.contains(&key.as_str()) {
                this.is_misspelt = true;
                let mut allowed: Vec<&str> = schema
                    .served
                    .iter()
                    .chain(schema.unserved)
                    .copied()
                    .collect();
                allowed.sort_unstable();
                let allowed = allowed.join(", ");
                sink.error(
                    *at,
                    format!(
                        "unknown field {key:?} in {}; allowed are: {allowed}",
                        this.path
                    ),
                );
            }
        }
        Some(this)
    }

    /// Opens a mapping whose fields are not ours to judge.
    pub(crate) fn open_loose(value: &'a Value, path: &str, sink: &mut Sink) -> Option<Self> {
        if !matches!(value.data, Data::Map(_)) {
            sink.error(
                value.at,
                format!("{path} must be a mapping, not {}", value.describe()),
            );
            return None;
        }
        Some(Self {
            path: path.to_owned(),
            at: value.at,
            value,
            is_misspelt: false,
        })
    }

    /// A field that is present and not null.
    pub(crate) fn get(&self, key: &str) -> Option<&'a Value> {
        self.value.get(key)
    }

    /// The place of a field's key, or of the mapping where it is absent.
    pub(crate) fn place(&self, key: &str) -> Position {
        self.value.entry(key).map_or(self.at, |e| e.at)
    }

    /// Tells that a field is absent or empty. One that is absent beside an unknown field most likely is that, misspelt: one
    /// slip is one error.
    pub(crate) fn lacks(
        &self,
        key: &str,
        at: Position,
        message: impl Into<String>,
        sink: &mut Sink,
    ) {
        if !self.is_misspelt || self.get(key).is_some() {
            sink.error(at, message);
        }
    }

    pub(crate) fn path_of(&self, key: &str) -> String {
        format!("{}.{key}", self.path)
    }

    fn wrong(&self, key: &str, value: &Value, expected: &str, sink: &mut Sink) {
        let hint = match value.data {
            Data::Bool(_) | Data::Integer(_) | Data::Float(_) if expected == "a string" => {
                "; put it in quotes"
            }
            _ => "",
        };
        sink.error(
            value.at,
            format!(
                "{} must be {expected}, not {}{hint}",
                self.path_of(key),
                value.describe()
            ),
        );
    }

    pub(crate) fn string(&self, key: &str, sink: &mut Sink) -> Option<String> {
        let value = self.get(key)?;
        if value.as_str().is_none() {
            self.wrong(key, value, "a string", sink);
        }
        value.as_str().map(str::to_owned)
    }

    pub(crate) fn bool(&self, key: &str, sink: &mut Sink) -> bool {
        match self.get(key) {
            None => false,
            Some(Value {
                data: Data::Bool(b),
                ..
            }) => *b,
            Some(value) => {
                self.wrong(key, value, "true or false", sink);
                false
            }
        }
    }

    /// An integer in a range.
    pub(crate) fn integer(&self, key: &str, low: u32, high: u32, sink: &mut Sink) -> Option<u32> {
        let value = self.get(key)?;
        integer(value, &self.path_of(key), low, high, sink)
    }

    pub(crate) fn port(&self, key: &str, sink: &mut Sink) -> Option<u32> {
        self.integer(key, 1, 65_535, sink)
    }

    /// The items of a list; empty where it is absent.
    pub(crate) fn list(&self, key: &str, sink: &mut Sink) -> &'a [Value] {
        match self.get(key) {
            None => &[],
            Some(Value {
                data: Data::List(items),
                ..
            }) => items,
            Some(value) => {
                self.wrong(key, value, "a list", sink);
                &[]
            }
        }
    }

    pub(crate) fn strings(&self, key: &str, sink: &mut Sink) -> Vec<(String, Position)> {
        let mut out = Vec::new();
        for (i, item) in self.list(key, sink).iter().enumerate() {
            match item.as_str() {
                Some(s) => out.push((s.to_owned(), item.at)),
                None => self.wrong(&format!("{key}[{i}]"), item, "a string", sink),
            }
        }
        out
    }

    /// The entries of a free mapping; empty where it is absent.
    pub(crate) fn entries(&self, key: &str, sink: &mut Sink) -> &'a [Entry] {
        match self.get(key) {
            None => &[],
            Some(Value {
                data: Data::Map(entries),
                ..
            }) => entries,
            Some(value) => {
                self.wrong(key, value, "a mapping", sink);
                &[]
            }
        }
    }

    /// Labels: a mapping of strings.
    pub(crate) fn labels(&self, key: &str, sink: &mut Sink) -> Labels {
        let mut out = Labels::new();
        for entry in self.entries(key, sink) {
            match entry.value.as_str() {
                Some(s) => {
                    out.insert(entry.key.clone(), s.to_owned());
                }
                None => self.wrong(
                    &format!("{key}.{}", entry.key),
                    &entry.value,
                    "a string",
                    sink,
                ),
            }
        }
        out
    }

    /// One word of several.
    pub(crate) fn word(
        &self,
        key: &str,
        allowed: &[&'static str],
        sink: &mut Sink,
    ) -> Option<&'static str> {
        let value = self.get(key)?;
        let found = value
            .as_str()
            .and_then(|s| allowed.iter().find(|a| **a == s));
        if found.is_none() {
            let allowed = allowed.join(", ");
            sink.error(
                value.at,
                format!(
                    "{} must be one of {allowed}, not {}",
                    self.path_of(key),
                    value.describe()
                ),
            );
        }
        found.copied()
    }

    /// Opens the mapping under a key; nothing where it is absent.
    pub(crate) fn sub(&self, key: &str, schema: Schema, sink: &mut Sink) -> Option<Self> {
        Self::open(self.get(key)?, self.path_of(key), schema, sink)
    }

    /// Of the fields of a `oneof`, more than one is an error.
    pub(crate) fn at_most_one(&self, keys: &[&str], sink: &mut Sink) {
        let mut given = keys.iter().filter(|key| self.get(key).is_some());
        if let (Some(first), Some(second)) = (given.next(), given.next()) {
            let message = format!("{} may have {first} or {second}, not both", self.path);
            sink.error(self.place(second), message);
        }
    }

    /// `true` or `false`, where it is said.
    pub(crate) fn flag(&self, key: &str, sink: &mut Sink) -> Option<bool> {
        self.get(key)?;
        Some(self.bool(key, sink))
    }

    /// A number in a range, with or without a fraction.
    pub(crate) fn number(&self, key: &str, low: f64, high: f64, sink: &mut Sink) -> Option<f64> {
        let value = self.get(key)?;
        let number = match value.data {
            // What is lost of larger integers lies outside of every range.
            Data::Integer(i) => i32::try_from(i).ok().map(f64::from),
            Data::Float(f) => Some(f),
            _ => None,
        };
        let number = number.filter(|number| (low..=high).contains(number));
        if number.is_none() {
            let expected = match high < f64::MAX {
                true => format!("a number from {low} to {high}"),
                false => format!("a number from {low}"),
            };
            self.wrong(key, value, &expected, sink);
        }
        number
    }

    /// A duration of whole milliseconds, one at least: what istiod takes for most of them.
    pub(crate) fn milliseconds(&self, key: &str, sink: &mut Sink) -> Option<Duration> {
        let duration = self.duration(key, sink)?;
        if duration.is_zero() || duration.subsec_nanos() % 1_000_000 != 0 {
            let path = self.path_of(key);
            let message = format!("{path} must be 1ms or more, in whole milliseconds");
            sink.error(self.place(key), message);
        }
        Some(duration)
    }

    /// A duration of Istio: `1h`, `1m30s`, `0.5s`, `10ms`.
    pub(crate) fn duration(&self, key: &str, sink: &mut Sink) -> Option<Duration> {
        let value = self.get(key)?;
        let parsed = value.as_str().and_then(duration);
        if parsed.is_none() {
            self.wrong(key, value, "a duration such as 1h, 1m, 1.5s or 10ms", sink);
        }
        parsed
    }
}

/// A set of labels.
pub(crate) type Labels = std::collections::BTreeMap<String, String>;

/// Whether every label of a selector is in a set.
pub(crate) fn selects(selector: &Labels, labels: &Labels) -> bool {
    selector.iter().all(|(k, v)| labels.get(k) == Some(v))
}

pub(crate) fn integer(
    value: &Value,
    path: &str,
    low: u32,
    high: u32,
    sink: &mut Sink,
) -> Option<u32> {
    let number = match value.data {
        Data::Integer(i) => u32::try_from(i).ok().filter(|i| (low..=high).contains(i)),
        _ => None,
    };
    if number.is_none() {
        sink.error(
            value.at,
            format!(
                "{path} must be a number from {low} to {high}, not {}",
                value.describe()
            ),
        );
    }
    number
}

/// Go's duration syntax, without signs.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = 0.0_f64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        total += number
            * match &rest[..unit] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = &rest[unit..];
    }
    // The bound of a protobuf Duration, far below what would overflow.
    (total <= 315_576_000_000.0).then(|| Duration::from_secs_f64(total))
}
