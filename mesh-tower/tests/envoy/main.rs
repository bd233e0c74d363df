//! A stock Envoy on the other end: as a peer in the shape that istiod gives to a sidecar, and as the one whose policies are the
//! measure of ours.
//!
//! Runs when `MESH_ENVOY` names an Envoy binary.

#![cfg(all(feature = "grpc", feature = "tls"))]
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

mod from_envoy;
mod proxy;
mod rbac;
mod sidecar;
mod to_envoy;

// The policies and facts that the engine's own tests compare with a plain reading of the rules.
#[allow(dead_code, reason = "that one has other facts, too")]
#[path = "../../../mesh-core/tests/authz/dice.rs"]
mod dice;
#[allow(dead_code, reason = "that one has other facts, too")]
#[path = "../../../mesh-core/tests/authz/model.rs"]
mod model;

#[path = "../support/mod.rs"]
mod support;
