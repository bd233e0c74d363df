//! A small service. It says its name over HTTP (`/name`) and gRPC (`outside.Greeter/Name`), both on one port, and on
//! `/` it asks the next service for its name both ways. Settings are variables of the environment: `NAME`, `LISTEN`
//! (an address; port 0 takes a free one) and `NEXT` (`host:port`).

use std::error::Error;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use mesh_tower::{Mesh, MeshChannel as Channel, MeshClient};
use tonic::{Request, Response, Status};

tonic::include_proto!("outside.Greeter");
use greeter_client::GreeterClient;
use greeter_server::{Greeter, GreeterServer};

type Failure = Box<dyn Error + Send + Sync>;

/// The most that is read of an answer, in bytes.
const LIMIT: usize = 1024;

#[derive(Clone, PartialEq, prost::Message)]
pub struct Name {
    #[prost(string, tag = "1")]
    name: String,
}

#[tonic::async_trait]
impl Greeter for Name {
    async fn name(&self, _: Request<Self>) -> Result<Response<Self>, Status> {
        Ok(Response::new(self.clone()))
    }
}

/// The service that is asked.
#[derive(Clone)]
struct Next {
    url: String,
    http: MeshClient,
    grpc: GreeterClient<Channel>,
}

impl Next {
    async fn names(&mut self) -> Result<String, Failure> {
        let answer = self.http.get(&self.url).await?;
        let status = answer.status();
        let text = to_bytes(Body::new(answer.into_body()), LIMIT).await?;
        let text = String::from_utf8_lossy(&text);
        let said = self.grpc.name(Name::default()).await?.into_inner().name;
        Ok(format!("HTTP {status} {text}, gRPC {said}\n"))
    }
}

async fn ask(State(mut next): State<Next>) -> Result<String, (StatusCode, String)> {
    let failed = |error: Failure| (StatusCode::BAD_GATEWAY, format!("{error}\n"));
    next.names().await.map_err(failed)
}

fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let name = setting("NAME").unwrap_or("greeter".to_owned());
    let listen = setting("LISTEN").unwrap_or("127.0.0.1:9080".to_owned());
    let next = setting("NEXT").unwrap_or("localhost:9081".to_owned());
    let mesh = Mesh::from_env_or_direct().await?;
    let next = Next {
        url: format!("http://{next}/name"),
        http: mesh.client(),
        grpc: GreeterClient::new(mesh.channel(&next)?),
    };
    let greeter = GreeterServer::new(Name { name: name.clone() });
    let app = Router::new()
        .route("/", get(ask))
        .route("/name", get(name))
        .route_service("/outside.Greeter/{*method}", greeter)
        .with_state(next);
    let server = axum::serve(mesh.listen(&listen).await?, app);
    println!("listening on {}", server.local_addr()?);
    Ok(server.await?)
}
