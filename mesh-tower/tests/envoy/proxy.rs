//! A running Envoy, and single requests to it.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::support::until;

pub(crate) struct Envoy {
    process: Child,
    admin: SocketAddr,
    files: TempDir,
}

impl Drop for Envoy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.files.path().join("log"));
            eprintln!("Envoy: {}", log.unwrap_or_default());
        }
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Envoy {
    /// One with these `static_resources`. All of its listeners listen, on ports that the system has chosen.
    pub(crate) async fn start(resources: Value) -> Self {
        let binary = std::env::var_os("MESH_ENVOY").expect("MESH_ENVOY names the binary");
        let many = resources["listeners"].as_array().unwrap().len();
        let config =
            json!({ "admin": { "address": address(free()) }, "static_resources": resources });
        let files = TempDir::new().unwrap();
        let place = |name| files.path().join(name);
        std::fs::write(place("envoy.json"), config.to_string()).unwrap();
        let log = std::fs::File::create(place("log")).unwrap();
        let process = Command::new(binary)
            .args([
                "--disable-hot-restart",
                "--concurrency",
                "1",
                "-l",
                "warning",
            ])
            .arg("--config-path")
            .arg(place("envoy.json"))
            .arg("--admin-address-path")
            .arg(place("admin"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut this = Self {
            process,
            admin: free(),
            files,
        };
        let told = || {
            let text = std::fs::read_to_string(this.files.path().join("admin"));
            text.ok().and_then(|text| text.parse::<SocketAddr>().ok())
        };
        until("Envoy's admin address", async || told().is_some()).await;
        this.admin = told().unwrap();
        until("Envoy to be ready", async || {
            this.admin("/ready").await.0 == StatusCode::OK && this.listeners().await.len() == many
        })
        .await;
        // The admin page lists them before its workers accept.
        for (_, address) in this.listeners().await {
            until("a listener", async || {
                TcpStream::connect(address).await.is_ok()
            })
            .await;
        }
        this
    }

    async fn admin(&self, path: &str) -> (StatusCode, String) {
        let (parts, body) = get(self.admin, Version::HTTP_11, "admin", path)
            .await
            .expect("Envoy's admin page")
            .into_parts();
        (parts.status, body)
    }

    /// Its listeners by their names.
    async fn listeners(&self) -> Vec<(String, SocketAddr)> {
        let (_, text) = self.admin("/listeners?format=json").await;
        let all: Value = serde_json::from_str(&text).unwrap();
        let all = all["listener_statuses"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let one = |listener: Value| {
            let socket = &listener["local_address"]["socket_address"];
            let port = socket["port_value"].as_u64().filter(|port| *port > 0)?;
            let ip = socket["address"].as_str()?.parse().ok()?;
            let name = listener["name"].as_str()?.to_owned();
            Some((name, SocketAddr::new(ip, port.try_into().ok()?)))
        };
        all.into_iter().filter_map(one).collect()
    }

    pub(crate) async fn listener(&self, name: &str) -> SocketAddr {
        let all = self.listeners().await;
        all.into_iter().find(|(its, _)| its == name).unwrap().1
    }
}

/// Any port of this machine.
pub(crate) fn free() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

pub(crate) fn address(address: SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } })
}

/// A message with its type.
pub(crate) fn typed(name: &str, mut fields: Value) -> Value {
    fields["@type"] = json!(format!("type.googleapis.com/envoy.extensions.{name}"));
    fields
}

/// One GET over a plaintext connection of its own; none if the connection ends before an answer.
pub(crate) async fn get(
    address: SocketAddr,
    version: Version,
    host: &str,
    path: &str,
) -> Option<Response<String>> {
    let io = TokioIo::new(TcpStream::connect(address).await.ok()?);
    let request = Request::get(match version {
        Version::HTTP_2 => format!("http://{host}{path}"),
        _ => path.to_owned(),
    });
    let response = if version == Version::HTTP_2 {
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.ok()?;
        tokio::spawn(connection);
        sender.send_request(request).await.ok()?
    } else {
        let request = request.header("host", host).body(Empty::<Bytes>::new());
        let (mut sender, connection) = http1::handshake(io).await.ok()?;
        tokio::spawn(connection);
        sender.send_request(request.unwrap()).await.ok()?
    };
    let (parts, body) = response.into_parts();
    let body = body.collect().await.ok()?.to_bytes();
    let text = String::from_utf8(body.to_vec()).unwrap();
    Some(Response::from_parts(parts, text))
}
