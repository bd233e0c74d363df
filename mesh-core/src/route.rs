//! Routes: which host, which rule, which cluster.

mod action;
mod domain;
mod index;
mod virtual_host;

pub use action::{Action, ClusterIndex, DirectResponse, Split, SplitError};
pub use domain::{Domain, DomainTable, InvalidDomain};
pub use virtual_host::{Route, RouteMatch, VirtualHost};
