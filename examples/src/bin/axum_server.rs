//! axum's own loop on a listener of the mesh; SIGTERM drains:
//! `cargo run -p mesh-examples --bin axum_server`. `LISTEN` is another address, port 0 a free one.
use axum::{Router, routing::get};
use mesh_tower::Mesh;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::var("LISTEN").unwrap_or("127.0.0.1:9081".to_owned());
    let mesh = Mesh::from_env_or_direct().await?;
    mesh.drain_on_signal()?;

    let app = Router::new()
        .route("/", get(|| async { "hello from axum" }))
        .layer(mesh.inbound());
    let listener = mesh.listen(&address).await?;
    println!("listening on {}", listener.local_addr());
    axum::serve(
        listener,
        app.into_make_service_with_connect_info::<mesh_tower::PeerIdentity>(),
    )
    .with_graceful_shutdown(mesh.draining())
    .await?;
    Ok(())
}
