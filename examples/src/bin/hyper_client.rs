//! A client of hyper-util that the application keeps, with the mesh around it:
//! `MESH_CONFIG=examples/mesh cargo run -p mesh-examples --bin hyper_client`, with `axum_server` running.
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use mesh_tower::{Body, Mesh};
use tower::{Service, ServiceBuilder};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mesh = Mesh::from_env().await?;
    // Routes, splits, picks and counts are the mesh's; connections stay hyper-util's.
    let mine = Client::builder(TokioExecutor::new()).build_http::<Body>();
    let mut client = ServiceBuilder::new().layer(mesh.outbound()).service(mine);

    let request = http::Request::get("http://hello:9080/").body(Body::empty())?;
    let answer = client.call(request).await?;
    println!("{} {}", answer.status(), answer.into_body().text().await?);
    Ok(())
}
