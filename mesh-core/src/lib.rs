//! What a service mesh decides, as pure functions over immutable configuration.
//!
//! No sockets, no runtime, no clock and no ambient randomness: time and random numbers are
//! arguments, so that every decision can be replayed. The words are Envoy's.
//!
//! A request is put into one [`RequestView`]; a [`Snapshot`] finds the [`Table`](snapshot::Table) of
//! its port, the table the [`Target`](snapshot::Target) of its host, the target's
//! [`VirtualHost`](route::VirtualHost) the first matching [`Route`](route::Route), the route a
//! cluster by weight, and the cluster's [`Balancer`](lb::Balancer) the index of an endpoint.

pub mod authz;
pub mod cluster;
pub mod cow_map;
pub mod explain;
pub mod identity;
pub mod istiod;
pub mod jwt;
pub mod lb;
pub mod matcher;
pub mod registry;
pub mod request;
pub mod route;
pub mod server;
pub mod snapshot;
pub mod tls;

pub use cow_map::CowMap;
pub use registry::Registry;
pub use request::RequestView;
pub use snapshot::Snapshot;
