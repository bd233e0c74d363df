//! Matchers: one string, one path, one header, one query parameter, one cookie at a time.

mod header;
mod path;
mod query;
mod re2;
mod string;
mod substitute;

pub use header::{HeaderMatcher, HeaderTest};
pub use path::PathMatcher;
pub use query::{CookieMatcher, QueryMatcher, QueryTest};
pub(crate) use query::{cookie, first_parameter};
pub use string::{FullRegex, InvalidRegex, StringMatcher};
pub use substitute::Substitution;
