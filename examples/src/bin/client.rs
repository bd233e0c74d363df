//! The README's client: `cargo run -p mesh-examples --bin client`, with the server running.
use mesh_tower::Mesh;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mesh = Mesh::builder().yaml("examples/mesh").build()?;
    let page = mesh.client().get("http://hello:9080/").await?;
    print!("{}", page.into_body().text().await?);
    Ok(())
}
