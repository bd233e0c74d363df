//! The client of the row: the same over every channel, in the shape that is generated from a proto file.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use mesh_tower::{CallInfo, MeshChannel};
use tonic::client::{Grpc, GrpcService};
use tonic::codegen::{Body, StdError};
use tonic::{Request, Response};
use tonic_prost::ProstCodec;

use super::echo::Payload;
use crate::error::BenchError;
use crate::folder::{self, Protocol};
use crate::paired::{Client, spin};

const DATA: Bytes = Bytes::from_static(&[b'x'; 128]);

/// A client over a channel.
#[derive(Debug, Clone)]
pub(super) struct Caller<S> {
    name: &'static str,
    grpc: Grpc<S>,
    path: PathAndQuery,
    spin: Duration,
}

impl<S> Caller<S> {
    pub(super) fn new(name: &'static str, channel: S, spin: Duration) -> Self {
        Self {
            name,
            grpc: Grpc::new(channel),
            path: PathAndQuery::from_static(Protocol::Grpc.path()),
            spin,
        }
    }
}

impl<S> Caller<S>
where
    S: GrpcService<tonic::body::Body>,
    S::ResponseBody: Body + Send + 'static,
    <S::ResponseBody as Body>::Error: Into<StdError>,
{
    async fn call(&mut self) -> Result<Response<Payload>, BenchError> {
        self.grpc
            .ready()
            .await
            .map_err(|error| failed(self.name, error.into().to_string()))?;
        let request = Request::new(Payload { data: DATA });
        let codec = ProstCodec::<Payload, Payload>::default();
        let response = self
            .grpc
            .unary(request, self.path.clone(), codec)
            .await
            .map_err(|status| failed(self.name, status.to_string()))?;
        if response.get_ref().data == DATA {
            return Ok(response);
        }
        let length = response.get_ref().data.len();
        Err(failed(self.name, format!("{length} bytes came back")))
    }
}

impl<S> Client for Caller<S>
where
    S: GrpcService<tonic::body::Body> + Clone + Send + Sync + 'static,
    S::Error: Send,
    S::Future: Send,
    S::ResponseBody: Body + Send + 'static,
    <S::ResponseBody as Body>::Error: Into<StdError>,
{
    async fn exchange(&mut self) -> Result<(), BenchError> {
        spin(self.spin);
        self.call().await.map(drop)
    }
}

pub(super) fn failed(arm: &'static str, reason: impl Into<String>) -> BenchError {
    BenchError::Request {
        arm,
        reason: reason.into(),
    }
}

/// Whether the last of the routes takes our calls and splits them 90/10. Takes a channel that tells.
pub(super) async fn check(telling: MeshChannel) -> Result<(), BenchError> {
    let mut caller = Caller::new("ours", telling, Duration::ZERO);
    let mut clusters: BTreeMap<String, u64> = BTreeMap::new();
    for _ in 0..folder::LOOKS {
        let response = caller.call().await?;
        let info = response.extensions().get::<CallInfo>();
        let info = info.ok_or_else(|| failed("ours", "no CallInfo in the response"))?;
        if &*info.route != folder::LAST_ROUTE {
            let told = format!("route {:?} matched instead of the last", info.route);
            return Err(BenchError::Configuration(told));
        }
        *clusters.entry(info.cluster.to_string()).or_default() += 1;
    }
    folder::check_split(&clusters)
}
