//! `envoy.type.matcher.v3.MetadataMatcher` over what a token said.

use std::collections::BTreeMap;

use super::facts::Claims;
use super::truth::Truth;
use crate::matcher::StringMatcher;

/// A value of JSON, which is what claims are (`google.protobuf.Value`).
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number.
    Number(f64),
    /// A string.
    Text(Box<str>),
    /// An array.
    List(Box<[Self]>),
    /// An object.
    Object(BTreeMap<Box<str>, Self>),
}

/// The filter whose metadata are the claims of a token.
const JWT_AUTHN: &str = "envoy.filters.http.jwt_authn";

/// How deep tests of values may nest.
const DEEPEST: usize = 16;

/// A test of what a filter wrote of the request. Of the filters of HTTP only `envoy.filters.http.jwt_authn` is known here:
/// what any other would have written is [`Truth::Unknown`], and so is the metadata of a route.
#[derive(Debug, Clone)]
pub struct ClaimMatcher {
    is_known: bool,
    path: Box<[Box<str>]>,
    value: ValueMatcher,
    invert: bool,
}

/// `envoy.config.rbac.v3.MetadataSource`: whose metadata are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MetadataSource {
    /// `DYNAMIC`, the default: what filters wrote of the request.
    Dynamic,
    /// `ROUTE`: what stands in the configuration of the route.
    Route,
}

/// What is no test of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotClaim {
    /// The whole of a filter's metadata is no value.
    #[error("the path to the value is empty; name the keys of the objects on the way to it")]
    NoPath,
    /// Nobody writes such a test by hand.
    #[error("tests of the value nest more than {DEEPEST} deep")]
    Deep,
}

/// `envoy.type.matcher.v3.ValueMatcher`. A value that is absent or of another type than the test is for fails it.
#[derive(Debug, Clone)]
pub enum ValueMatcher {
    /// `null_match`
    Null,
    /// `double_match`
    Number(NumberMatcher),
    /// `string_match`
    Text(StringMatcher),
    /// `bool_match`
    Bool(bool),
    /// `present_match`: any value. `false` meets nothing, as in Envoy.
    Present(bool),
    /// `list_match.one_of`: an array of which one element meets this.
    OneOf(Box<Self>),
    /// `or_match`. Empty it meets nothing.
    Or(Box<[Self]>),
}

/// `envoy.type.matcher.v3.DoubleMatcher`
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum NumberMatcher {
    /// `range`: start included, end excluded.
    Range(f64, f64),
    /// `exact`
    Exact(f64),
}

impl ClaimMatcher {
    /// A test of the value that is found by the keys of the objects on the way to it, outermost first, in the metadata
    /// of a filter. With `invert` it must not be that.
    ///
    /// # Errors
    /// When there are no keys, or the test nests too deep.
    pub fn new(
        filter: &str,
        source: MetadataSource,
        path: impl IntoIterator<Item = Box<str>>,
        value: ValueMatcher,
        invert: bool,
    ) -> Result<Self, NotClaim> {
        let path: Box<[Box<str>]> = path.into_iter().collect();
        if path.is_empty() {
            return Err(NotClaim::NoPath);
        }
        if !value.is_within(DEEPEST) {
            return Err(NotClaim::Deep);
        }
        Ok(Self {
            is_known: filter == JWT_AUTHN && source == MetadataSource::Dynamic,
            path,
            value,
            invert,
        })
    }

    pub(super) fn holds(&self, claims: Claims<'_>) -> Truth {
        if !self.is_known {
            return Truth::Unknown;
        }
        let written = match claims {
            Claims::NoFilter => return Truth::Unknown,
            Claims::None => None,
            Claims::Verified(value) => Some(value),
        };
        let value = self
            .path
            .iter()
            .try_fold(written, |value, key| match value {
                Some(Value::Object(fields)) => Some(fields.get(key)),
                _ => None,
            });
        Truth::from(self.value.matches(value.flatten()) != self.invert)
    }
}

impl ValueMatcher {
    fn is_within(&self, depth: usize) -> bool {
        let Some(inner) = depth.checked_sub(1) else {
            return false;
        };
        match self {
            Self::OneOf(one) => one.is_within(inner),
            Self::Or(each) => each.iter().all(|one| one.is_within(inner)),
            Self::Null | Self::Number(_) | Self::Text(_) | Self::Bool(_) | Self::Present(_) => true,
        }
    }

    fn matches(&self, value: Option<&Value>) -> bool {
        match (self, value) {
            (Self::Or(each), value) => each.iter().any(|one| one.matches(value)),
            (Self::Present(wanted), Some(_)) => *wanted,
            (Self::Null, Some(Value::Null)) => true,
            (Self::Bool(wanted), Some(Value::Bool(value))) => wanted == value,
            (Self::Number(wanted), Some(Value::Number(value))) => wanted.matches(*value),
            (Self::Text(wanted), Some(Value::Text(value))) => wanted.matches(value.as_bytes()),
            (Self::OneOf(wanted), Some(Value::List(values))) => {
                values.iter().any(|value| wanted.matches(Some(value)))
            }
            _ => false,
        }
    }
}

impl NumberMatcher {
    fn matches(self, value: f64) -> bool {
        match self {
            Self::Range(start, end) => start <= value && value < end,
            Self::Exact(wanted) => wanted == value,
        }
    }
}
