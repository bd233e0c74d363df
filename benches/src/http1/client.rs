//! The two clients of the row. Both build a new request each time and read the whole response.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::uri::InvalidUri;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use mesh_tower::{Body, CallInfo, Mesh, MeshClient};

use crate::error::BenchError;
use crate::folder::{self, Protocol};
use crate::paired::{Client, spin};

/// What is sent, and what must come back.
const BODY: Bytes = Bytes::from_static(&[b'x'; 128]);

fn expect(arm: &'static str, status: StatusCode, body: &Bytes) -> Result<(), BenchError> {
    if status == StatusCode::OK && *body == BODY {
        return Ok(());
    }
    Err(failed(
        arm,
        format!("status {status}, {} bytes", body.len()),
    ))
}

fn failed(arm: &'static str, reason: impl Into<String>) -> BenchError {
    BenchError::Request {
        arm,
        reason: reason.into(),
    }
}

/// hyper-util's legacy client as it comes.
#[derive(Debug, Clone)]
pub(super) struct Plain {
    name: &'static str,
    client: legacy::Client<HttpConnector, Full<Bytes>>,
    uri: Uri,
}

impl Plain {
    pub(super) fn new(name: &'static str, server: SocketAddr) -> Result<Self, BenchError> {
        let mut connector = HttpConnector::new();
        // As ours does: what differs is to be the client, not the socket.
        connector.set_nodelay(true);
        let uri = format!("http://{server}{}", Protocol::Http.path());
        Ok(Self {
            name,
            client: legacy::Client::builder(TokioExecutor::new()).build(connector),
            uri: uri
                .parse()
                .map_err(|error: InvalidUri| failed(name, error.to_string()))?,
        })
    }
}

impl Client for Plain {
    async fn exchange(&mut self) -> Result<(), BenchError> {
        let request = Request::post(self.uri.clone())
            .body(Full::new(BODY))
            .map_err(|error| failed(self.name, error.to_string()))?;
        let response = self
            .client
            .request(request)
            .await
            .map_err(|error| failed(self.name, error.to_string()))?;
        let status = response.status();
        let body = response
            .into_body()
            .collect()
            .await
            .map_err(|error| failed(self.name, error.to_string()))?;
        expect(self.name, status, &body.to_bytes())
    }
}

/// The client that we ship.
#[derive(Debug, Clone)]
pub(super) struct Ours {
    client: MeshClient,
    uri: Uri,
    spin: Duration,
}

const OURS: &str = "ours";

impl Ours {
    pub(super) fn new(mesh: &Mesh, spin: Duration) -> Result<Self, BenchError> {
        let path = Protocol::Http.path();
        let uri = format!("http://{}:{}{path}", folder::CALLED, folder::PORT);
        Ok(Self {
            client: mesh.client(),
            uri: uri
                .parse()
                .map_err(|error: InvalidUri| failed(OURS, error.to_string()))?,
            spin,
        })
    }

    fn request(&self) -> Result<Request<Body>, BenchError> {
        Request::post(self.uri.clone())
            .body(Body::from(BODY))
            .map_err(|error| failed(OURS, error.to_string()))
    }

    /// Whether the last of the routes takes our requests and splits them 90/10.
    pub(super) async fn check(&self) -> Result<(), BenchError> {
        let asked = self.client.clone().with_call_info();
        let mut clusters: BTreeMap<String, u64> = BTreeMap::new();
        for _ in 0..folder::LOOKS {
            let response = asked
                .send(self.request()?)
                .await
                .map_err(|error| failed(OURS, error.to_string()))?;
            let info = response.extensions().get::<CallInfo>().cloned();
            let info = info.ok_or_else(|| failed(OURS, "no CallInfo in the response"))?;
            if &*info.route != folder::LAST_ROUTE {
                let told = format!("route {:?} matched instead of the last", info.route);
                return Err(BenchError::Configuration(told));
            }
            *clusters.entry(info.cluster.to_string()).or_default() += 1;
            let body = response.into_body().bytes().await;
            expect(
                OURS,
                StatusCode::OK,
                &body.map_err(|error| failed(OURS, error.to_string()))?,
            )?;
        }
        folder::check_split(&clusters)
    }
}

impl Client for Ours {
    async fn exchange(&mut self) -> Result<(), BenchError> {
        spin(self.spin);
        let response = self
            .client
            .send(self.request()?)
            .await
            .map_err(|error| failed(OURS, error.to_string()))?;
        let status = response.status();
        let body = response
            .into_body()
            .bytes()
            .await
            .map_err(|error| failed(OURS, error.to_string()))?;
        expect(OURS, status, &body)
    }
}
