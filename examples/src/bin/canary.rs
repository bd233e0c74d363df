//! A canary release by saving a file: v2 gets 0, 10, 50, then 100 percent of the calls. Two servers and the client in
//! one process: `cargo run -p mesh-examples --bin canary`.
use std::fs;
use std::path::Path;

use axum::{Router, routing::get};
use mesh_tower::Mesh;

type Failure = Box<dyn std::error::Error>;
const RULES: &str = include_str!("../../canary.yaml");

async fn serve(name: &'static str) -> Result<u16, Failure> {
    let mesh = Mesh::builder().build()?;
    let listener = mesh.listen("127.0.0.1:0").await?;
    let port = listener.local_addr().port();
    tokio::spawn(listener.serve(Router::new().route("/", get(move || async move { name }))));
    Ok(port)
}

/// Renamed into place, so that nobody reads half a file.
fn save(dir: &Path, ports: (u16, u16), v2: u32) -> std::io::Result<()> {
    let rules = RULES
        .replace("PORT1", &ports.0.to_string())
        .replace("PORT2", &ports.1.to_string())
        .replace("WEIGHT1", &(100 - v2).to_string())
        .replace("WEIGHT2", &v2.to_string());
    fs::write(dir.join(".rules"), rules)?;
    fs::rename(dir.join(".rules"), dir.join("rules.yaml"))
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let ports = (serve("v1").await?, serve("v2").await?);
    let dir = tempfile::tempdir()?;
    save(dir.path(), ports, 0)?;
    let mesh = Mesh::builder().yaml(dir.path()).build()?;
    let client = mesh.client();
    for percent in [0, 10, 50, 100] {
        let before = mesh.generation();
        save(dir.path(), ports, percent)?;
        while percent > 0 && mesh.generation() == before {
            tokio::task::yield_now().await; // what was saved has come with the next generation
        }
        let mut seen = 0;
        for _ in 0..1000 {
            let answer = client.get("http://hello:9080/").await?;
            seen += u32::from(answer.into_body().text().await? == "v2");
        }
        println!("v2 has {percent} percent and answered {seen} of 1000");
    }
    Ok(())
}
