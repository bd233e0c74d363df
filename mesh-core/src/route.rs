//! Routes: which host, which rule, which cluster, and what is changed on the way.

mod action;
mod domain;
mod fault;
mod forward;
mod fraction;
mod hash;
mod index;
mod mirror;
mod mutate;
mod redirect;
mod rewrite;
mod split;
mod template;
mod timeout;
mod virtual_host;

pub use action::{Action, ClusterIndex, DirectResponse};
pub use domain::{Domain, DomainTable, InvalidDomain};
pub use fault::{ABORT_BODY, Abort, AbortBy, AbortStatus, Delay, DelayBy, Fault, Injected};
pub use forward::{Choice, Forward, SplitBy};
pub use fraction::{Denominator, Fraction};
pub use hash::{HashPolicies, HashPolicy, Hashed};
pub use mirror::{Mirror, MirrorHost, drawn};
pub use mutate::{HeaderOp, Level, Mutation};
pub use redirect::{Redirect, RedirectPath};
pub use rewrite::{HostRewrite, InvalidRewrite, PathRewrite};
pub use split::{Split, SplitError};
pub use template::{Template, TemplateError, Values};
pub use timeout::{DEFAULT_ROUTE_TIMEOUT, GrpcTimeout, Limits, MaxStream, Requested, Timeouts};
pub use virtual_host::{Route, RouteMatch, VirtualHost};
