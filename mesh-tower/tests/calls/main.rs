//! Calls to the services of the mesh, and how they fail; by a folder and by a control plane.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

mod access_log;
mod admin;
#[cfg(feature = "tls")]
mod aliases;
mod alone;
mod answers;
mod bad_edit;
mod broken_off;
mod call_options;
mod connect_timeout;
mod control_plane;
mod csds;
#[cfg(feature = "csr")]
mod csr;
mod dialect;
mod downloads;
mod explain;
mod ext_authz;
#[cfg(feature = "tls")]
mod fetched_keys;
#[cfg(feature = "tls")]
mod gateway;
mod go_control_plane;
mod hostile;
mod inbound;
mod joined;
#[cfg(feature = "tls")]
mod link;
#[cfg(feature = "tls")]
mod mtls;
mod one_call;
#[cfg(feature = "tls")]
mod other_authorizer;
mod places;
mod repeat;
mod same_snapshot;
mod scripted;
mod secrets;
#[cfg(feature = "tls")]
mod secured_authorizer;
#[cfg(all(feature = "tls", feature = "tonic-server"))]
mod served;
#[cfg(feature = "otel")]
mod spans;
mod telemetry;
#[cfg(feature = "tls")]
mod tokens;
mod unmentioned;
mod uploads;

#[path = "../support/mod.rs"]
mod support;
