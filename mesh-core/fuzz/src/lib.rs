//! What the fuzz targets run; `cargo test -p mesh-tower-core --test fuzz` runs the same.

pub mod bodies;
pub mod names;
