//! `envoy.type.matcher.v3.RegexMatchAndSubstitute`: every match of a regular expression replaced.

use std::fmt;

use regex::bytes::{Captures, Regex};

use super::string::{InvalidRegex, compiled};

/// Replaces what a regular expression matches, wherever it does (RE2 `GlobalReplace`).
#[derive(Clone)]
pub struct Substitution {
    regex: Regex,
    parts: Box<[Part]>,
}

#[derive(Debug, Clone)]
enum Part {
    Text(Box<[u8]>),
    Group(usize),
}

impl Substitution {
    /// Compiles a pattern and its substitution, in which `\0` to `\9` are groups and `\\` is a backslash.
    ///
    /// A substitution that names a group that the pattern does not have, or has a stray backslash, is
    /// taken, as Envoy takes it, and replaces nothing.
    ///
    /// # Errors
    /// When the pattern is no regular expression in linear time.
    pub fn new(pattern: &str, substitution: &str) -> Result<Self, InvalidRegex> {
        let regex = compiled(pattern, str::to_owned)?;
        let groups = regex.captures_len();
        let parts = parts(substitution)
            .filter(|parts| parts.iter().all(|part| part.is_within(groups)))
            .unwrap_or_else(|| vec![Part::Group(0)]);
        Ok(Self {
            regex,
            parts: parts.into(),
        })
    }

    /// The text with every match replaced.
    pub fn replaced(&self, text: &[u8]) -> Vec<u8> {
        let replace = |found: &Captures<'_>| {
            let mut out = Vec::new();
            for part in &self.parts {
                match part {
                    Part::Text(text) => out.extend_from_slice(text),
                    Part::Group(group) => {
                        out.extend_from_slice(
                            found.get(*group).map_or(b"", |group| group.as_bytes()),
                        );
                    }
                }
            }
            out
        };
        self.regex.replace_all(text, replace).into_owned()
    }
}

impl Part {
    const fn is_within(&self, groups: usize) -> bool {
        match self {
            Self::Text(_) => true,
            Self::Group(group) => *group < groups,
        }
    }
}

/// `None` when a backslash is followed by neither a digit nor a backslash.
fn parts(substitution: &str) -> Option<Vec<Part>> {
    let (mut parts, mut text) = (Vec::new(), Vec::new());
    let mut rest = substitution.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'\\' {
            text.push(*first);
            continue;
        }
        let (escaped, after) = rest.split_first()?;
        rest = after;
        match escaped {
            b'\\' => text.push(b'\\'),
            digit @ b'0'..=b'9' => {
                parts.push(Part::Text(std::mem::take(&mut text).into()));
                parts.push(Part::Group(usize::from(digit - b'0')));
            }
            _ => return None,
        }
    }
    parts.push(Part::Text(text.into()));
    Some(parts)
}

impl fmt::Debug for Substitution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Substitution")
            .field("pattern", &self.regex.as_str())
            .field("with", &self.parts)
            .finish()
    }
}
