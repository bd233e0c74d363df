//! One small program per idea, in `src/bin`. The README's own programs are checked here.

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
