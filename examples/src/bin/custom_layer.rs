//! A layer of one's own over the mesh's client, which is a tower service like any other:
//! `MESH_CONFIG=examples/mesh cargo run -p mesh-examples --bin custom_layer`, with `axum_server` running.
use http::{HeaderValue, Request};
use mesh_tower::{Body, Mesh};
use std::task::{Context, Poll};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer};

/// Says in each request which team it comes from.
#[derive(Clone)]
struct Team(HeaderValue);

#[derive(Clone)]
struct Stamp<S> {
    team: HeaderValue,
    inner: S,
}

impl<S> Layer<S> for Team {
    type Service = Stamp<S>;

    fn layer(&self, inner: S) -> Stamp<S> {
        let team = self.0.clone();
        Stamp { team, inner }
    }
}

impl<S: Service<Request<Body>>> Service<Request<Body>> for Stamp<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> S::Future {
        // Before the mesh's own layers: a VirtualService can match it.
        request.headers_mut().insert("x-team", self.team.clone());
        self.inner.call(request)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mesh = Mesh::from_env().await?;
    let mut client = ServiceBuilder::new()
        .layer(ConcurrencyLimitLayer::new(64))
        .layer(Team(HeaderValue::from_static("blue")))
        .service(mesh.client());
    let request = Request::get("http://hello:9080/").body(Body::empty())?;
    let answer = client.ready().await?.call(request).await?;
    println!("{} {}", answer.status(), answer.into_body().text().await?);
    Ok(())
}
