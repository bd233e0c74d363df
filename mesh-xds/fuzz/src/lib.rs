//! What the fuzz targets run; `cargo test -p mesh-xds --test fuzz` runs the same.

pub mod bodies;
pub mod grpc;
pub mod rbac;
#[allow(dead_code)]
#[path = "../../tests/support/histories.rs"]
mod histories;
#[allow(dead_code)]
#[path = "../../tests/support/model.rs"]
mod model;
#[allow(dead_code)]
#[path = "../../tests/support/rig.rs"]
mod rig;
#[allow(dead_code)]
#[path = "../../tests/support/wire.rs"]
mod wire;
