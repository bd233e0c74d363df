//! Matchers: one string, one path, one header at a time.

mod header;
mod path;
mod string;

pub use header::{HeaderMatcher, HeaderTest};
pub use path::PathMatcher;
pub use string::{FullRegex, InvalidRegex, StringMatcher};
