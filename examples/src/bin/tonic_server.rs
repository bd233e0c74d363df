//! tonic's own loop on a listener of the mesh; SIGTERM drains:
//! `cargo run -p mesh-examples --bin tonic_server`. `LISTEN` is another address, port 0 a free one.
use mesh_examples::greeter::greeter_server::{Greeter, GreeterServer};
use mesh_examples::{Greeting, Name};
use mesh_tower::Mesh;
use tonic::{Request, Response, Status, transport::Server};

struct Polite;

#[tonic::async_trait]
impl Greeter for Polite {
    async fn greet(&self, request: Request<Name>) -> Result<Response<Greeting>, Status> {
        let text = format!("hello, {}", request.into_inner().name);
        Ok(Response::new(Greeting { text }))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::var("LISTEN").unwrap_or("127.0.0.1:9082".to_owned());
    let mesh = Mesh::from_env_or_direct().await?;
    mesh.drain_on_signal()?;

    let listener = mesh.listen(&address).await?;
    println!("listening on {}", listener.local_addr());
    Server::builder()
        .layer(mesh.inbound())
        .add_service(GreeterServer::new(Polite))
        .serve_with_incoming_shutdown(listener.incoming(), mesh.draining())
        .await?;
    Ok(())
}
