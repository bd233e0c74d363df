//! Adding, setting and removing headers (`request_headers_to_add`, `..._to_remove`, and the same for
//! responses) of all levels, as one list that is made when the configuration is published.

use std::collections::HashSet;
use std::sync::Arc;

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING, UPGRADE};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::template::{IllegalValue, Template, Values};

/// What a template makes, when it is not empty.
pub(super) type Outcome = Result<HeaderValue, IllegalValue>;

/// Sets a header to one value. A map that holds 24,576 names takes no other, and `HeaderMap::insert` would
/// panic: what is set is then left out, but never stays as the caller sent it.
pub(super) fn set(headers: &mut HeaderMap, name: &HeaderName, value: HeaderValue) {
    if headers.try_reserve(1).is_err() {
        // Makes room, for a full map refuses even a name that it has.
        headers.remove(name);
    }
    let _ = headers.try_insert(name.clone(), value);
}

/// The changes of all levels, in order. Cheap when empty.
#[derive(Debug, Clone, Default)]
pub struct Mutation(Box<[Arc<Level>]>);

/// The changes of one level: a cluster's entry, a route, a virtual host, a route configuration.
#[derive(Debug, Clone, Default)]
pub struct Level {
    remove: Box<[HeaderName]>,
    /// What replaces, and then what adds.
    changes: Box<[HeaderOp]>,
    /// Whether a change could see another change of its level.
    entangled: bool,
    /// `ClusterWeight.host_rewrite_literal`, which the levels after it see.
    host: Option<Authority>,
}

/// One change of one header.
#[derive(Debug, Clone)]
pub enum HeaderOp {
    /// `*_headers_to_remove`: all its values.
    Remove(HeaderName),
    /// `APPEND_IF_EXISTS_OR_ADD`: one value more.
    Append(HeaderName, Template),
    /// `ADD_IF_ABSENT`
    AddIfAbsent(HeaderName, Template),
    /// `OVERWRITE_IF_EXISTS_OR_ADD`. The rule owns the header: a value that comes out as no legal header
    /// value (a control character, as of `%QUERY_PARAM(x)%`) removes it, so that the caller's own never
    /// passes for the rule's. What Envoy does then is not known. One that comes out empty and is not kept
    /// leaves it, as in Envoy.
    Set(HeaderName, Template),
    /// `OVERWRITE_IF_EXISTS`; an illegal value removes, as with `Set`.
    SetIfPresent(HeaderName, Template),
}

impl HeaderOp {
    /// Whether a rule may change a header. Envoy refuses `host` and names with a colon.
    pub fn may_change(name: &str) -> bool {
        !name.starts_with(':') && !name.eq_ignore_ascii_case(HOST.as_str())
    }

    /// Whether a header frames the message on its connection, which is not a rule's to change here.
    pub fn is_framing(name: &HeaderName) -> bool {
        [&CONNECTION, &CONTENT_LENGTH, &TRANSFER_ENCODING, &UPGRADE].contains(&name)
            || matches!(name.as_str(), "keep-alive" | "proxy-connection")
    }

    const fn template(&self) -> Option<(&HeaderName, &Template)> {
        match self {
            Self::Remove(_) => None,
            Self::Append(name, value)
            | Self::AddIfAbsent(name, value)
            | Self::Set(name, value)
            | Self::SetIfPresent(name, value) => Some((name, value)),
        }
    }

    const fn replaces(&self) -> bool {
        matches!(self, Self::Set(..) | Self::SetIfPresent(..))
    }

    /// Whether it applies to these headers.
    fn applies(&self, headers: &HeaderMap) -> bool {
        match self {
            Self::AddIfAbsent(name, _) => !headers.contains_key(name),
            Self::SetIfPresent(name, _) => headers.contains_key(name),
            _ => true,
        }
    }

    fn carry_out(&self, value: Outcome, headers: &mut HeaderMap) {
        match (self, value) {
            (Self::Append(name, _) | Self::AddIfAbsent(name, _), Ok(value)) => {
                // A map that holds 24,576 names refuses; the header is then left out.
                let _ = headers.try_append(name.clone(), value);
            }
            (Self::Set(name, _) | Self::SetIfPresent(name, _), Ok(value)) => {
                set(headers, name, value);
            }
            (Self::Set(name, _) | Self::SetIfPresent(name, _), Err(IllegalValue)) => {
                headers.remove(name);
            }
            (Self::Remove(_), _)
            | (Self::Append(..) | Self::AddIfAbsent(..), Err(IllegalValue)) => {}
        }
    }
}

impl Level {
    /// The changes of a level. As in Envoy removals come first, then what replaces, then what adds; and all
    /// values and conditions are those from before any of the level's values is put in.
    pub fn new(ops: impl IntoIterator<Item = HeaderOp>) -> Self {
        let (mut remove, mut replace, mut add) = (Vec::new(), Vec::new(), Vec::new());
        for op in ops {
            match op {
                HeaderOp::Remove(name) => remove.push(name),
                op if op.replaces() => replace.push(op),
                op => add.push(op),
            }
        }
        replace.append(&mut add);
        Self {
            remove: remove.into(),
            entangled: entangled(&replace),
            changes: replace.into(),
            host: None,
        }
    }

    /// The same, and then the host is this one.
    #[must_use]
    pub fn with_host(mut self, host: Authority) -> Self {
        self.host = Some(host);
        self
    }

    fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.changes.is_empty() && self.host.is_none()
    }

    fn apply(
        &self,
        headers: &mut HeaderMap,
        value: impl Fn(&Template, &HeaderMap) -> Option<Outcome>,
    ) {
        for name in &self.remove {
            headers.remove(name);
        }
        let evaluated = |op: &HeaderOp, headers: &HeaderMap| {
            let (_, template) = op.template()?;
            op.applies(headers).then(|| value(template, headers))?
        };
        if self.entangled {
            let values: Vec<_> = self
                .changes
                .iter()
                .map(|op| evaluated(op, headers))
                .collect();
            for (op, value) in self.changes.iter().zip(values) {
                if let Some(value) = value {
                    op.carry_out(value, headers);
                }
            }
        } else {
            for op in &self.changes {
                if let Some(value) = evaluated(op, headers) {
                    op.carry_out(value, headers);
                }
            }
        }
    }
}

/// Whether one of these changes could see another: two of one name, or a value that is made of headers.
fn entangled(ops: &[HeaderOp]) -> bool {
    let mut names = HashSet::new();
    let mut named = ops.iter().filter_map(HeaderOp::template);
    ops.len() > 1
        && named.any(|(name, template)| template.is_made() || !names.insert(name.as_str()))
}

impl Mutation {
    /// The changes of one level.
    pub fn new(ops: impl IntoIterator<Item = HeaderOp>) -> Self {
        Self::levels([Arc::new(Level::new(ops))])
    }

    /// The changes of several levels, one after the other.
    pub fn levels(levels: impl IntoIterator<Item = Arc<Level>>) -> Self {
        Self(
            levels
                .into_iter()
                .filter(|level| !level.is_empty())
                .collect(),
        )
    }

    /// Whether it changes nothing.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a value is made of the request: for a response the request must be kept then, as it was
    /// sent.
    pub fn reads_request(&self) -> bool {
        let templates = self.0.iter().flat_map(|level| &level.changes);
        templates
            .filter_map(HeaderOp::template)
            .any(|(_, template)| template.reads_request())
    }

    /// Carries out the changes on the headers of a response, which stand for `values.response`.
    pub fn apply(&self, headers: &mut HeaderMap, values: &Values<'_>) {
        for level in &self.0 {
            level.apply(headers, |template, headers| {
                template.value(&Values {
                    response: Some(headers),
                    ..*values
                })
            });
        }
    }

    /// Carries out the changes on the headers of a request. `value` makes a value from a template, the
    /// headers of that moment and the host that a level before has set; the host comes back.
    pub(super) fn apply_to_request(
        &self,
        headers: &mut HeaderMap,
        value: impl Fn(&Template, &HeaderMap, Option<&Authority>) -> Option<Outcome>,
    ) -> Option<&Authority> {
        let mut host = None;
        for level in &self.0 {
            level.apply(headers, |template, headers| value(template, headers, host));
            host = level.host.as_ref().or(host);
        }
        host
    }
}
