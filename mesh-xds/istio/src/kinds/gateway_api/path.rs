//! `HTTPPathModifier`: what becomes of a path, in a redirect or before a request is forwarded.

use crate::decode::{Fields, Schema, Sink};

use super::super::http_route::PathRewrite;

/// A checked `HTTPPathModifier`.
#[derive(Debug, Clone)]
pub(super) enum PathModifier {
    Full(String),
    /// In the place of the prefix that the match names.
    Prefix(String),
}

const PATH: Schema = Schema {
    served: &["type", "replaceFullPath", "replacePrefixMatch"],
    unserved: &[],
};

pub(super) fn decode(filter: &Fields<'_>, sink: &mut Sink) -> Option<PathModifier> {
    let fields = filter.sub("path", PATH, sink)?;
    let kinds = ["ReplaceFullPath", "ReplacePrefixMatch"];
    if fields.get("type").is_none() {
        sink.error(fields.at, format!("{}.type is missing", fields.path));
    }
    let kind = fields.word("type", &kinds, sink)?;
    let (key, other) = match kind {
        "ReplaceFullPath" => ("replaceFullPath", "replacePrefixMatch"),
        _ => ("replacePrefixMatch", "replaceFullPath"),
    };
    if fields.get(key).is_none() || fields.get(other).is_some() {
        let path = &fields.path;
        let message = format!("{path} of type {kind} must have {key}, and not {other}");
        sink.error(fields.at, message);
    }
    let text = fields.string(key, sink)?;
    Some(match kind {
        "ReplaceFullPath" => {
            if !text.starts_with('/') {
                let path = fields.path_of(key);
                sink.error(fields.place(key), format!("{path} must start with /"));
            }
            PathModifier::Full(text)
        }
        _ => PathModifier::Prefix(text),
    })
}

impl PathModifier {
    /// The rewrite for a match with this prefix (`/`, or without a slash at its end); nothing where it changes nothing.
    pub(super) fn rewrite(&self, prefix: &str) -> Option<PathRewrite> {
        let to = match self {
            Self::Full(path) => {
                return Some(PathRewrite::Regex {
                    pattern: "/.*".to_owned(),
                    // A path has no groups to refer to.
                    substitution: path.replace('\\', r"\\"),
                });
            }
            Self::Prefix(to) => to.strip_suffix('/').unwrap_or(to),
        };
        match (prefix, to) {
            ("/", "") => None,
            // The slash goes with the prefix, and is still wanted before what follows.
            ("/", to) => Some(PathRewrite::Prefix(format!("{to}/"))),
            // The slash after the prefix stays, and one must be there where nothing follows.
            (prefix, "") => Some(PathRewrite::Regex {
                pattern: format!("^{}(/?)(.*)", regex::escape(prefix)),
                substitution: r"/\2".to_owned(),
            }),
            (_, to) => Some(PathRewrite::Prefix(to.to_owned())),
        }
    }
}
