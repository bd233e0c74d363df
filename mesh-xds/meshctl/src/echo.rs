//! `meshctl echo`: a server behind the mesh that answers with what arrived.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Bytes;
use mesh_tower::{Body, Mesh, PeerIdentity, RulesFrom};
use serde_json::{Value, json};
use tower_service::Service;

use crate::failure::Failure;
use crate::{rules, stop};

/// Where to listen, and under which name to answer.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The address to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: String,
    /// The name in every answer.
    #[arg(long, default_value = "echo")]
    name: String,
    #[command(flatten)]
    stop: stop::Args,
}

pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let mesh = match RulesFrom::env() {
        // A server needs no rules, and no folder of them.
        RulesFrom::Nowhere | RulesFrom::Folder(_) => Mesh::builder()
            .build()
            .map_err(|error| Failure::Setup(format!("the mesh did not start: {error}")))?,
        _ => rules::from_env().await?,
    };
    let listener = mesh
        .listen(&args.listen)
        .await
        .map_err(|error| Failure::Setup(format!("{error}, with --listen")))?;
    stop::listening(listener.local_addr())?;
    let served = listener.serve(Echo {
        name: args.name.into(),
    });
    tokio::select! {
        ended = served => return ended.map_err(|error| Failure::No(error.to_string())),
        () = stop::wanted(args.stop) => {}
    }
    mesh.shutdown().await;
    Ok(())
}

#[derive(Debug, Clone)]
struct Echo {
    name: Arc<str>,
}

impl Service<Request<Body>> for Echo {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(answer(Arc::clone(&self.name), request))
    }
}

async fn answer(name: Arc<str>, request: Request<Body>) -> Result<Response<Body>, Infallible> {
    let (head, mut body) = request.into_parts();
    let headers: Vec<[String; 2]> = (head.headers.iter())
        .map(|(key, value)| {
            [
                key.to_string(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            ]
        })
        .collect();
    let peer = head
        .extensions
        .get::<PeerIdentity>()
        .map(|peer| peer.address.to_string());
    let mut length = 0;
    let mut fault = None;
    // Counted frame by frame: a large body is not held.
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => length += frame.data_ref().map_or(0, Bytes::len),
            Err(error) => {
                fault = Some(error.to_string());
                break;
            }
        }
    }
    let answer = json!({
        "name": &*name,
        "method": head.method.as_str(),
        "target": head.uri.path_and_query().map_or("/", |target| target.as_str()),
        "version": format!("{:?}", head.version),
        "headers": headers,
        "peer": peer,
        "body_length": length,
        "body_error": fault,
    });
    Ok(response(
        &answer,
        if fault.is_some() {
            StatusCode::BAD_REQUEST
        } else {
            StatusCode::OK
        },
    ))
}

fn response(answer: &Value, status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::from(answer.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("application/json"),
    );
    response
}
