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

/// A test of one claim: the metadata of the filter `envoy.filters.http.jwt_authn`.
#[derive(Debug, Clone)]
pub struct ClaimMatcher {
    /// The keys of the objects on the way to the claim, outermost first.
    pub path: Box<[Box<str>]>,
    /// What the claim must be.
    pub value: ValueMatcher,
    /// `invert`: it must not.
    pub invert: bool,
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
    /// `or_match`
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
    pub(super) fn holds(&self, claims: Claims<'_>) -> Truth {
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
