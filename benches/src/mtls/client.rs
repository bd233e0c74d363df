//! The two clients of the row. Both build a new request each time and read the whole response.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::InvalidUri;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use mesh_tower::{Body, Mesh, MeshClient};
use rustls::ClientConfig;

use super::tls::Connector;
use crate::error::BenchError;
use crate::paired::{Client, spin};
use crate::secured::URL;

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

/// hyper-util's legacy client over rustls.
#[derive(Clone)]
pub(crate) struct Plain {
    name: &'static str,
    client: legacy::Client<Connector, Full<Bytes>>,
    uri: Uri,
}

impl Plain {
    pub(crate) fn new(
        name: &'static str,
        config: &ClientConfig,
        server: SocketAddr,
    ) -> Result<Self, BenchError> {
        let connector = Connector {
            config: Arc::new(config.clone()),
            server,
        };
        // Byte for byte the request that ours sends.
        let uri = URL.replace("http://", "https://");
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
        Ok(Self {
            client: mesh.client(),
            uri: format!("{URL}/")
                .parse()
                .map_err(|error: InvalidUri| failed(OURS, error.to_string()))?,
            spin,
        })
    }
}

impl Client for Ours {
    async fn exchange(&mut self) -> Result<(), BenchError> {
        spin(self.spin);
        let request = Request::post(self.uri.clone())
            .body(Body::from(BODY))
            .map_err(|error| failed(OURS, error.to_string()))?;
        let response = self
            .client
            .send(request)
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
