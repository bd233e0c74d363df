//! One fetch, by the mesh's own client.
//!
//! `http` goes to the cluster that is named beside the URI (`http_uri.cluster`), with mutual TLS where its endpoints take
//! that; where there is no such cluster, by the routes of the URI's host. `https` goes to the host itself, verified by its
//! name against the platform's roots; Envoy would use the cluster with the TLS of its `DestinationRule`, and without one
//! plaintext. What the outbound policy forbids is not called (`REGISTRY_ONLY`).

use std::sync::Arc;
use std::time::Duration;

use http::uri::{InvalidUri, Scheme};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use mesh_core::jwt::{InvalidJwks, Jwks, RemoteJwks};
use mesh_xds::Dialect;
use tokio::time::timeout;

use crate::body::Body;
use crate::client::{self, MeshClient, Scope};
use crate::error::{BoxError, Error};
use crate::mesh::Shared;

/// The largest answer that is read, in bytes.
const LARGEST: usize = 1 << 20;
/// The longest that an answer may take, whatever `http_uri.timeout` says; also for 0, which is no limit in Envoy.
const LONGEST: Duration = Duration::from_secs(60);

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("{0}")]
    Call(#[from] Error),
    /// A redirection is one, too: nobody follows it.
    #[error("the answer is {0}, and not 200")]
    Status(StatusCode),
    #[error("the answer has more than {LARGEST} bytes")]
    Oversized,
    #[error("the answer broke off: {0}")]
    Body(BoxError),
    #[error("there was no answer within {0:?}")]
    Late(Duration),
    #[error("{0}")]
    Keys(#[from] InvalidJwks),
    #[error("{0}")]
    Uri(InvalidUri),
    #[error("the mesh is gone")]
    Gone,
}

pub(super) async fn fetch(shared: &Arc<Shared>, from: &RemoteJwks) -> Result<Jwks, FetchError> {
    let limit = match from.timeout {
        Duration::ZERO => LONGEST,
        limit => limit.min(LONGEST),
    };
    let fetched = timeout(limit, fetched(shared, from)).await;
    fetched.unwrap_or(Err(FetchError::Late(limit)))
}

async fn answered(shared: &Arc<Shared>, from: &RemoteJwks) -> Result<Response<Body>, FetchError> {
    let uri: Uri = from.uri.parse().map_err(FetchError::Uri)?;
    // In gRPC's dialect clusters have no names of their own.
    let is_of_mesh = shared.dialect == Dialect::Sidecar && uri.scheme() == Some(&Scheme::HTTP);
    if is_of_mesh && let Some(cluster) = shared.live.callee(&from.cluster).await {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = uri;
        let shared = Arc::clone(shared);
        return Ok(client::direct(shared, cluster, request).await?);
    }
    let client = MeshClient::new(Arc::clone(shared), Scope::Mesh);
    Ok(client.get(&from.uri).await?)
}

async fn fetched(shared: &Arc<Shared>, from: &RemoteJwks) -> Result<Jwks, FetchError> {
    let answer = answered(shared, from).await?;
    if answer.status() != StatusCode::OK {
        return Err(FetchError::Status(answer.status()));
    }
    let body = Limited::new(answer.into_body(), LARGEST).collect().await;
    let body = body.map_err(|error| match error.is::<LengthLimitError>() {
        true => FetchError::Oversized,
        false => FetchError::Body(error),
    })?;
    Ok(Jwks::parse(&body.to_bytes())?)
}
