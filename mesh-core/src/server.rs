//! What a server does with connections that come in, as data: which of them it takes, on what terms, and what a request has
//! to pass. Nothing here accepts one.

mod addresses;
pub mod ask;
mod chain;
mod first;
mod pipeline;
mod rules;

pub use addresses::Addresses;
pub use chain::{Chain, Demand, Opening, Shut};
pub use first::First;
pub use pipeline::{Gateway, Pipeline, Remote, Step, Xfcc};
pub use rules::{Chosen, Inbound, Port, Rules, Why};
