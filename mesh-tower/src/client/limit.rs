//! The limits of one call's time: one timer for all of them, made only for a call that has any.

mod trail;
mod watch;

pub(crate) use trail::Trail;
pub(crate) use watch::{By, Expired, Limit, Watch};
