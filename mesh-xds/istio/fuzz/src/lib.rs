//! What the fuzz targets run; `cargo test -p mesh-istio --test fuzz` runs the same.

pub mod bodies;
