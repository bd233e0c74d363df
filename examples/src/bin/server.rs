//! The README's server: `cargo run -p mesh-examples --bin server`.
use axum::{Router, routing::get};
use mesh_tower::Mesh;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let app = Router::new().route("/", get(|| async { "hello from the mesh\n" }));
    let mesh = Mesh::builder().build()?;
    mesh.serve("127.0.0.1:9081", app).await?;
    Ok(())
}
