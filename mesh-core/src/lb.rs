//! Load balancing: picks the index of an endpoint. Everything that can be made at publish is.
//!
//! A pick goes down three steps, as Envoy's does: a [priority] by its load, a [locality] in it by
//! weight and availability (`locality_weighted_lb_config`), and an endpoint in that by
//! [`LbPolicy`]. A step that leads to one thing only costs no random number.

mod balancer;
mod config;
mod groups;
pub mod locality;
pub mod priority;
mod schedule;
mod shares;

pub use balancer::{Balancer, Cursor};
pub use config::{InPanic, LbConfig, LbPolicy, Overprovisioning, Panic};
