//! How reviews asks ratings: by HTTP, as Istio's sample does, or by gRPC.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use mesh_tower::{CallInfo, Mesh, MeshChannel, MeshClient};
use serde::Deserialize;
use tonic::metadata::MetadataMap;
use tonic::{Extensions, Request};

use crate::service::backend::Backend;
use crate::service::ratings::grpc::{Product, RatingsClient};
use crate::service::settings::{Settings, SettingsError};

/// Which of the two: `http`, the default, or `grpc`.
pub const VARIABLE: &str = "RATINGS_PROTOCOL";

/// The port for gRPC in `config/services.yaml`; `RATINGS_GRPC_PORT` is another one.
const GRPC_PORT: u16 = 9090;

/// Ratings, as reviews sees it.
#[derive(Debug)]
pub(super) enum Asking {
    Http(MeshClient, Backend),
    Grpc(RatingsClient<MeshChannel>),
}

/// What came of a call.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// Stars by reviewer; none when the call failed.
    pub(super) ratings: BTreeMap<String, i64>,
    /// The rule that routed the call, where there was an answer.
    pub(super) route: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Ratings {
    ratings: BTreeMap<String, i64>,
}

impl Asking {
    pub(super) fn new(mesh: &Mesh, settings: &Settings) -> Result<Self, SettingsError> {
        let backend =
            |port, default| settings.backend("ratings", "RATINGS_HOSTNAME", port, default);
        match settings.get(VARIABLE).unwrap_or("http") {
            "http" => {
                let client = mesh.client().with_call_info();
                Ok(Self::Http(client, backend("RATINGS_SERVICE_PORT", 9080)?))
            }
            "grpc" => {
                let ratings = backend("RATINGS_GRPC_PORT", GRPC_PORT)?;
                let channel =
                    mesh.channel(&ratings.target())
                        .map_err(|error| SettingsError::Target {
                            service: "ratings",
                            reason: error.to_string(),
                        })?;
                Ok(Self::Grpc(RatingsClient::new(channel.with_call_info())))
            }
            value => Err(SettingsError::Value {
                name: VARIABLE,
                value: value.to_owned(),
                expected: "http or grpc",
            }),
        }
    }

    /// Asks for the stars of a product with these headers.
    pub(super) async fn ask(&self, id: i32, timeout: Duration, headers: HeaderMap) -> Asked {
        match self {
            Self::Http(client, ratings) => http(client, ratings, id, timeout, &headers).await,
            Self::Grpc(ratings) => grpc(ratings.clone(), id, timeout, headers).await,
        }
    }
}

async fn http(
    client: &MeshClient,
    ratings: &Backend,
    id: i32,
    timeout: Duration,
    headers: &HeaderMap,
) -> Asked {
    let path = format!("ratings/{id}");
    match ratings.get(client, &path, headers, timeout).await {
        Ok(answer) if answer.status == StatusCode::OK => {
            let ratings = serde_json::from_slice::<Ratings>(&answer.body).map(|r| r.ratings);
            if let Err(error) = &ratings {
                tracing::warn!(%error, "ratings answered something else than ratings");
            }
            Asked {
                ratings: ratings.unwrap_or_default(),
                route: answer.route,
            }
        }
        Ok(answer) => {
            tracing::warn!(status = answer.status.as_u16(), "ratings refused");
            Asked {
                route: answer.route,
                ..Asked::default()
            }
        }
        Err(error) => {
            tracing::warn!(%error, "ratings cannot be had");
            Asked::default()
        }
    }
}

async fn grpc(
    mut ratings: RatingsClient<MeshChannel>,
    id: i32,
    timeout: Duration,
    headers: HeaderMap,
) -> Asked {
    let product = Product { id: id.into() };
    let metadata = MetadataMap::from_headers(headers);
    let mut request = Request::from_parts(metadata, Extensions::default(), product);
    request.set_timeout(timeout);
    match ratings.get(request).await {
        Ok(answer) => Asked {
            route: answer
                .extensions()
                .get::<CallInfo>()
                .map(|info| info.route.to_string()),
            ratings: answer.into_inner().ratings,
        },
        Err(status) => {
            tracing::warn!(%status, "ratings cannot be had");
            Asked::default()
        }
    }
}
