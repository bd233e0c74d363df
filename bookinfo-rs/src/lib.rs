//! Istio's Bookinfo on `mesh-tower`: five services, an ingress, a launcher and a tour of Istio's tasks.
//!
//! ```text
//! browser -> ingress -> productpage -> details (v1; v2 -> www.googleapis.com, here a stand-in)
//!                                   -> reviews (v1; v2, v3 -> ratings)
//! ```
//!
//! Every arrow is a call through [`mesh_tower::MeshClient`], ruled by a control plane over xDS. The behaviour, names
//! and JSON shapes are those of Istio's sample; ratings v2, which needs a database, is left out.

pub mod cli;
pub mod ingress;
pub mod launch;
pub mod outside;
pub mod page;
pub mod process;
pub mod service;
pub mod tour;
