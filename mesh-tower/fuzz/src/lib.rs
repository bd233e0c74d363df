//! What the fuzz targets run; `cargo test -p mesh-tower --test fuzz` runs the same.

pub mod chain;
#[path = "../../src/tls/hello.rs"]
mod hello;
pub mod opening;
mod reads;
mod wire;
