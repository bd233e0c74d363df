//! The differences that are known: `known.tsv`.

use std::fmt;
use std::path::Path;

use crate::failure::{Doing, Failure, Result};

const NAME: &str = "known.tsv";

/// One difference, as it is printed and matched.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Difference {
    /// The case's name.
    pub(crate) case: String,
    /// Shape, name and namespace of the node.
    pub(crate) node: String,
    /// The type of the resource, or `Folder`.
    pub(crate) kind: String,
    /// The resource's name, and after a blank the path in it.
    pub(crate) path: String,
    /// `istiod's | ours`
    pub(crate) values: String,
}

impl Difference {
    fn columns(&self) -> [&str; 5] {
        let Self {
            case,
            node,
            kind,
            path,
            values,
        } = self;
        [case, node, kind, path, values]
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.columns().join("\t"))
    }
}

/// A line of a list: five patterns in which `*` stands for any text, and the reason.
#[derive(Debug)]
struct Line {
    patterns: [String; 5],
    reason: String,
    count: u64,
}

/// The list, and how often each line of it was met.
#[derive(Debug)]
pub(crate) struct Known {
    lines: Vec<Line>,
}

impl Known {
    /// Reads the list.
    pub(crate) fn load() -> Result<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(NAME);
        let text = std::fs::read_to_string(path).doing(NAME)?;
        let lines = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        let lines = lines.map(Line::parse).collect::<Result<_>>()?;
        Ok(Self { lines })
    }

    /// Whether a line speaks of it; every one that does is counted.
    pub(crate) fn has(&mut self, difference: &Difference) -> bool {
        let mut found = false;
        for line in self
            .lines
            .iter_mut()
            .filter(|line| line.matches(difference))
        {
            line.count += 1;
            found = true;
        }
        found
    }

    /// The same without counting.
    pub(crate) fn knows(&self, difference: &Difference) -> bool {
        self.lines.iter().any(|line| line.matches(difference))
    }

    /// Each line's count and text.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (u64, String)> {
        self.lines.iter().map(|line| {
            (
                line.count,
                format!("{} ({})", line.patterns.join(" "), line.reason),
            )
        })
    }
}

impl Line {
    fn parse(line: &str) -> Result<Self> {
        let columns: Vec<_> = line.split('\t').map(str::to_owned).collect();
        let Ok([case, node, kind, path, values, reason]) = <[String; 6]>::try_from(columns) else {
            return Err(Failure::new(format!(
                "{NAME}: {line:?} has not six columns"
            )));
        };
        if reason.is_empty() {
            return Err(Failure::new(format!("{NAME}: {line:?} gives no reason")));
        }
        Ok(Self {
            patterns: [case, node, kind, path, values],
            reason,
            count: 0,
        })
    }

    fn matches(&self, difference: &Difference) -> bool {
        let columns = difference.columns();
        self.patterns
            .iter()
            .zip(columns)
            .all(|(pattern, text)| matches(pattern, text))
    }
}

/// Whether a pattern is the whole of a text.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let parts: Vec<_> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text) in [
            ("a", "a"),
            ("*", ""),
            ("*", "a"),
            ("a*c", "abc"),
            ("a*c", "ac"),
            ("*b*", "abc"),
            ("a*b*c", "a1b2b3c"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("a", "ab"),
            ("", "a"),
            ("a*c", "abd"),
            ("*b", "bc"),
            ("a*a", "a"),
            ("*b*c", "acb"),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }
}
