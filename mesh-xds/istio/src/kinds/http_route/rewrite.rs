//! `HTTPRewrite`: what becomes of the path and the authority of a request before it is forwarded.

use crate::decode::{Fields, Schema, Sink};

use super::http_match::check_regex;
use super::values::text;

/// A checked `rewrite`; at least one of the two is given.
#[derive(Debug, Clone)]
pub(crate) struct Rewrite {
    pub(crate) path: Option<PathRewrite>,
    pub(crate) authority: Option<String>,
}

/// `uri` or `uriRegexRewrite`.
#[derive(Debug, Clone)]
pub(crate) enum PathRewrite {
    /// In the place of the prefix, or of the whole path, that the match names.
    Prefix(String),
    Regex {
        pattern: String,
        /// With `\1` for the first group.
        substitution: String,
    },
}

const REWRITE: Schema = Schema {
    served: &["uri", "authority", "uriRegexRewrite"],
    unserved: &[],
};
const REGEX: Schema = Schema {
    served: &["match", "rewrite"],
    unserved: &[],
};

/// `rewrite` of a route.
pub(super) fn decode(route: &Fields<'_>, sink: &mut Sink) -> Option<Rewrite> {
    let fields = Fields::open(
        route.get("rewrite")?,
        route.path_of("rewrite"),
        REWRITE,
        sink,
    )?;
    let prefix = text(&fields, "uri", sink).map(PathRewrite::Prefix);
    let authority = text(&fields, "authority", sink);
    let has_regex = fields.get("uriRegexRewrite").is_some();
    if prefix.is_some() && has_regex {
        sink.error(
            fields.at,
            format!("{} may have uri or uriRegexRewrite, not both", fields.path),
        );
    } else if prefix.is_none() && !has_regex && authority.is_none() {
        sink.error(
            fields.at,
            format!(
                "{} must have one of uri, uriRegexRewrite, authority",
                fields.path
            ),
        );
    }
    let path = match prefix {
        Some(prefix) => Some(prefix),
        None => regex(&fields, sink),
    };
    Some(Rewrite { path, authority })
}

fn regex(rewrite: &Fields<'_>, sink: &mut Sink) -> Option<PathRewrite> {
    let value = rewrite.get("uriRegexRewrite")?;
    let fields = Fields::open(value, rewrite.path_of("uriRegexRewrite"), REGEX, sink)?;
    let pattern = text(&fields, "match", sink);
    let substitution = text(&fields, "rewrite", sink);
    let (Some(pattern), Some(substitution)) = (pattern, substitution) else {
        sink.error(
            fields.at,
            format!("{} must have match and rewrite", fields.path),
        );
        return None;
    };
    let at = fields.place("match");
    let regex = check_regex(&pattern, &fields.path_of("match"), at, sink)?;
    if !groups_exist(&substitution, regex.captures_len()) {
        sink.error(
            fields.place("rewrite"),
            format!(
                "{} {substitution:?} may hold \\0 to \\{} and \\\\",
                fields.path_of("rewrite"),
                regex.captures_len() - 1
            ),
        );
    }
    Some(PathRewrite::Regex {
        pattern,
        substitution,
    })
}

/// RE2's substitutions: a backslash stands before another one, or before the digit of a group. Envoy refuses others.
fn groups_exist(substitution: &str, groups: usize) -> bool {
    let mut rest = substitution.chars();
    while let Some(c) = rest.next() {
        let good = c != '\\'
            || match rest.next() {
                Some('\\') => true,
                Some(c) => c.to_digit(10).is_some_and(|d| (d as usize) < groups),
                None => false,
            };
        if !good {
            return false;
        }
    }
    true
}
