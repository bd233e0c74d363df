//! `envoy.type.matcher.v3.StringMatcher` and `RegexMatcher`, over bytes: header values need not be UTF-8.

use std::fmt;

use regex::bytes::{Regex, RegexBuilder};

use super::re2::translated;

/// The compiled size at which a pattern is refused: a control plane must not fill our memory.
const REGEX_SIZE_LIMIT: usize = 256 * 1024;

/// What matching may keep in memory for one pattern in each thread, in bytes.
const REGEX_CACHE_LIMIT: usize = 256 * 1024;

/// The longest pattern, in bytes: parsing takes many times its size.
const REGEX_LONGEST: usize = 16 * 1024;

/// How many characters of a pattern an error shows.
const SHOWN: usize = 200;

/// A test of one value.
#[derive(Debug, Clone)]
pub enum StringMatcher {
    /// The whole value.
    Exact(Box<[u8]>),
    /// Its beginning.
    Prefix(Box<[u8]>),
    /// Its end.
    Suffix(Box<[u8]>),
    /// Any part of it.
    Contains(Box<[u8]>),
    /// The whole value, by a regular expression.
    Regex(FullRegex),
    /// One of the first four with ASCII case ignored; the pattern is in lower case.
    IgnoreCase(Box<Self>),
}

impl StringMatcher {
    /// Whether the value matches.
    pub fn matches(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(pattern) => value == &**pattern,
            Self::Prefix(pattern) => value.starts_with(pattern),
            Self::Suffix(pattern) => value.ends_with(pattern),
            Self::Contains(pattern) => contains(value, pattern),
            Self::Regex(regex) => regex.matches(value),
            Self::IgnoreCase(inner) => inner.matches_ignoring_case(value),
        }
    }

    fn matches_ignoring_case(&self, value: &[u8]) -> bool {
        let is = |part: Option<&[u8]>, pattern: &[u8]| {
            part.is_some_and(|part| part.eq_ignore_ascii_case(pattern))
        };
        match self {
            Self::Exact(pattern) => value.eq_ignore_ascii_case(pattern),
            Self::Prefix(pattern) => is(value.get(..pattern.len()), pattern),
            Self::Suffix(pattern) => {
                let start = value.len().checked_sub(pattern.len());
                is(start.and_then(|start| value.get(start..)), pattern)
            }
            Self::Contains(pattern) => {
                let mut windows = value.windows(pattern.len().max(1));
                pattern.is_empty() || windows.any(|window| window.eq_ignore_ascii_case(pattern))
            }
            Self::Regex(_) | Self::IgnoreCase(_) => self.matches(value),
        }
    }

    /// The same matcher with ASCII case ignored. A regex ignores this, as Envoy's does.
    #[must_use]
    pub fn ignoring_case(self) -> Self {
        let lower = |pattern: Box<[u8]>| pattern.to_ascii_lowercase().into_boxed_slice();
        let inner = match self {
            Self::Exact(pattern) => Self::Exact(lower(pattern)),
            Self::Prefix(pattern) => Self::Prefix(lower(pattern)),
            Self::Suffix(pattern) => Self::Suffix(lower(pattern)),
            Self::Contains(pattern) => Self::Contains(lower(pattern)),
            other @ (Self::Regex(_) | Self::IgnoreCase(_)) => return other,
        };
        Self::IgnoreCase(Box::new(inner))
    }
}

fn contains(value: &[u8], pattern: &[u8]) -> bool {
    pattern.is_empty() || value.windows(pattern.len()).any(|window| window == pattern)
}

/// A regular expression that must match the whole value, as `safe_regex` demands (RE2 full match).
#[derive(Clone)]
pub struct FullRegex {
    regex: Regex,
    pattern: Box<str>,
}

impl FullRegex {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// When it is no regular expression in linear time, is longer than 16 KiB, or compiles to more
    /// than 256 KiB.
    pub fn new(pattern: &str) -> Result<Self, InvalidRegex> {
        // The bare pattern first: wrapping would make an unbalanced `a)|(?:b` valid.
        compiled(pattern, |text| text.to_owned())?;
        Ok(Self {
            regex: compiled(pattern, |text| format!(r"\A(?:{text})\z"))?,
            pattern: pattern.into(),
        })
    }

    /// The pattern as it is written.
    pub const fn pattern(&self) -> &str {
        &self.pattern
    }

    /// Whether the whole value matches.
    pub fn matches(&self, value: &[u8]) -> bool {
        self.regex.is_match(value)
    }
}

/// Compiles what is made of a pattern, as Envoy's RE2 understands it.
pub(super) fn compiled(
    pattern: &str,
    made: impl Fn(&str) -> String,
) -> Result<Regex, InvalidRegex> {
    if pattern.len() > REGEX_LONGEST {
        let reason = format!("is longer than {REGEX_LONGEST} bytes");
        return Err(InvalidRegex::new(pattern, reason));
    }
    let Some(bytes) = translated(pattern) else {
        return Err(InvalidRegex::new(pattern, "RE2 has no such flag"));
    };
    RegexBuilder::new(&made(&bytes))
        .unicode(false)
        .size_limit(REGEX_SIZE_LIMIT)
        .dfa_size_limit(REGEX_CACHE_LIMIT)
        .build()
        .map_err(|error| InvalidRegex::refused(pattern, &error))
}

impl fmt::Debug for FullRegex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FullRegex").field(&self.pattern).finish()
    }
}

/// A pattern that is no usable regular expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("regex {pattern:?}: {reason}")]
pub struct InvalidRegex {
    pattern: String,
    reason: String,
}

impl InvalidRegex {
    fn new(pattern: &str, reason: impl Into<String>) -> Self {
        let shown = match pattern.char_indices().nth(SHOWN) {
            None => pattern.to_owned(),
            Some((end, _)) => format!("{}...", &pattern[..end]),
        };
        Self {
            pattern: shown,
            reason: reason.into(),
        }
    }

    fn refused(pattern: &str, error: &regex::Error) -> Self {
        // The crate's own text draws the pattern over several lines; its last line is the reason.
        let text = error.to_string();
        let reason = text
            .lines()
            .last()
            .unwrap_or_default()
            .trim_start_matches("error: ");
        Self::new(pattern, reason)
    }
}
