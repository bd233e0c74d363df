//! A client that tonic generated, on a channel of the mesh:
//! `MESH_CONFIG=examples/mesh cargo run -p mesh-examples --bin grpc_client`, with `tonic_server` running.
use mesh_examples::{Name, greeter::greeter_client::GreeterClient};
use mesh_tower::Mesh;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mesh = Mesh::from_env().await?;
    let mut greeter = GreeterClient::new(mesh.channel("xds:///greeter:9080")?);

    let name = Name {
        name: "mesh".to_owned(),
    };
    let mut request = tonic::Request::new(name);
    request.set_timeout(std::time::Duration::from_secs(5));
    println!("{}", greeter.greet(request).await?.into_inner().text);
    Ok(())
}
