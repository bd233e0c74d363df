//! One small program per idea, in `src/bin`; here is what two of them share: the greeter, as tonic generates it. The
//! README's own programs are checked here, too.

/// `examples.Greeter`.
pub mod greeter {
    #![allow(missing_docs)]
    tonic::include_proto!("examples.Greeter");
}

/// Who is greeted.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Name {
    /// A name.
    #[prost(string, tag = "1")]
    pub name: String,
}

/// How.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Greeting {
    /// A sentence.
    #[prost(string, tag = "1")]
    pub text: String,
}

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
