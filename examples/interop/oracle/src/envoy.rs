//! A stock Envoy, and requests through it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::ads::TABLE;
use crate::copies::Copies;
use crate::failure::{Doing, Failure, Result};
use crate::generate::fault::FILTER as FAULT;
use crate::outcome::Outcome;
use crate::request::Ask;

/// How long Envoy may take to listen.
const LIMIT: Duration = Duration::from_secs(30);

/// Headers in which Envoy tells about itself.
const ROUTE: &str = "x-oracle-route";
const FLAGS: &str = "x-oracle-flags";
const DETAILS: &str = "x-oracle-details";

/// How paths are normalised, in Istio's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Normalization {
    /// As they are.
    #[default]
    None,
    /// `normalize_path`
    Base,
    /// And `merge_slashes`.
    MergeSlashes,
    /// And escaped slashes are slashes.
    DecodeAndMergeSlashes,
}

/// A running Envoy. It ends with this value.
#[derive(Debug)]
pub(crate) struct Envoy {
    /// Killed when dropped.
    process: Child,
    listener: SocketAddr,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
    files: TempDir,
    copies: Copies,
}

impl Envoy {
    /// Starts the binary with a listener whose routes come from this ADS server.
    pub(crate) async fn start(
        binary: &Path,
        ads: SocketAddr,
        normalization: Normalization,
        copies: Copies,
    ) -> Result<Self> {
        let files = tempfile::tempdir().doing("a folder for Envoy")?;
        let (config, admin) = (files.path().join("envoy.json"), files.path().join("admin"));
        std::fs::write(&config, bootstrap(ads, normalization).to_string())
            .doing("Envoy's bootstrap")?;
        let log = std::fs::File::create(files.path().join("log")).doing("Envoy's log")?;
        let process = Command::new(binary)
            .args(["--disable-hot-restart", "--concurrency", "1", "-l", "error"])
            .arg("--config-path")
            .arg(&config)
            .arg("--admin-address-path")
            .arg(&admin)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .doing(&format!("MESH_ENVOY={}", binary.display()))?;
        let mut this = Self {
            process,
            listener: ads,
            idle: Mutex::default(),
            copies,
            files,
        };
        this.listener = this.listening(&admin).await?;
        Ok(this)
    }

    /// Waits for the listener: it opens when clusters and routes are there.
    async fn listening(&mut self, admin: &Path) -> Result<SocketAddr> {
        let deadline = Instant::now() + LIMIT;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.process.try_wait() {
                return Err(Failure::new(format!(
                    "Envoy ended: {status}: {}",
                    self.log()
                )));
            }
            let known = std::fs::read_to_string(admin)
                .ok()
                .and_then(|text| text.parse().ok());
            if let Some(address) = known
                && let Ok(found) = listener(address).await
            {
                return Ok(found);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(Failure::new(format!(
            "Envoy does not listen: {}",
            self.log()
        )))
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.files.path().join("log")).unwrap_or_default()
    }

    /// Sends a request. Envoy may close a connection that we thought idle: then on a new one, once more.
    pub(crate) async fn send(&self, ask: &Ask) -> Result<Outcome> {
        let pooled = self.idle.lock().ok().and_then(|mut idle| idle.pop());
        if let Some(sender) = pooled {
            let number = self.copies.number();
            match self.on(sender, ask.to_envoy(number)?).await {
                Ok(outcome) => return Ok(Outcome { number, ..outcome }),
                Err(_) => self.copies.forget(number),
            }
        }
        let doing = "Envoy's listener";
        let socket = TcpStream::connect(self.listener).await.doing(doing)?;
        let (sender, connection) = handshake(TokioIo::new(socket)).await.doing(doing)?;
        tokio::spawn(connection);
        let number = self.copies.number();
        match self.on(sender, ask.to_envoy(number)?).await {
            Ok(outcome) => Ok(Outcome { number, ..outcome }),
            // What a rule added to a response can make it none.
            Err(error) if error.is_parse() => {
                let mut outcome = Outcome::new(0, &http::HeaderMap::new(), b"");
                outcome.detail = format!("no HTTP: {error}");
                outcome.number = number;
                Ok(outcome)
            }
            Err(error) => Err(Failure::new(format!(
                "Envoy and {ask}: {error}; {}",
                self.log()
            ))),
        }
    }

    async fn on(
        &self,
        mut sender: SendRequest<Full<Bytes>>,
        request: Request<Full<Bytes>>,
    ) -> std::result::Result<Outcome, hyper::Error> {
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        if let Ok(mut idle) = self.idle.lock() {
            idle.push(sender);
        }
        let text = |name: &str| {
            let value = head.headers.get(name)?.to_str().ok()?;
            (value != "-" && !value.is_empty()).then(|| value.to_owned())
        };
        let mut outcome = Outcome::new(head.status.as_u16(), &head.headers, &body);
        outcome.route = text(ROUTE);
        outcome.flags = text(FLAGS);
        outcome.detail = text(DETAILS).unwrap_or_default();
        Ok(outcome)
    }
}

/// The address of the one listener, from the admin page.
async fn listener(admin: SocketAddr) -> Result<SocketAddr> {
    let socket = TcpStream::connect(admin)
        .await
        .doing("Envoy's admin page")?;
    let (mut sender, connection) = handshake(TokioIo::new(socket))
        .await
        .doing("Envoy's admin page")?;
    tokio::spawn(connection);
    let request = Ask::get(admin.to_string(), "/listeners?format=json").to_envoy(0)?;
    let response = sender
        .send_request(request)
        .await
        .doing("Envoy's admin page")?;
    let body = response
        .into_body()
        .collect()
        .await
        .doing("Envoy's admin page")?;
    let page: Value = serde_json::from_slice(&body.to_bytes()).doing("Envoy's admin page")?;
    let socket = &page["listener_statuses"][0]["local_address"]["socket_address"];
    match (socket["address"].as_str(), socket["port_value"].as_u64()) {
        (Some(ip), Some(port)) if port > 0 => {
            let address: SocketAddr = format!("{ip}:{port}").parse().doing("Envoy's listener")?;
            // The admin page lists it before its workers accept.
            TcpStream::connect(address)
                .await
                .doing("Envoy's listener")?;
            Ok(address)
        }
        _ => Err(Failure::new("Envoy has no listener yet")),
    }
}

/// A connection manager whose routes come over ADS, and that tells which route it took.
fn connection_manager(normalization: Normalization) -> Value {
    let any = |name: &str, mut rest: Value| {
        rest["@type"] = json!(format!("type.googleapis.com/envoy.extensions.{name}"));
        rest
    };
    let tell = |name: &str, what: &str| json!({ "header": { "key": name, "value": what }, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD" });
    let mutation = any(
        "filters.http.header_mutation.v3.HeaderMutation",
        json!({ "mutations": { "response_mutations": [
            { "append": tell(ROUTE, "%ROUTE_NAME%") },
            { "append": tell(FLAGS, "%RESPONSE_FLAGS%") },
        ] } }),
    );
    let fault = any("filters.http.fault.v3.HTTPFault", json!({}));
    let router = any("filters.http.router.v3.Router", json!({}));
    any(
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        json!({
            "stat_prefix": "out",
            "normalize_path": normalization != Normalization::None,
            "merge_slashes": matches!(
                normalization,
                Normalization::MergeSlashes | Normalization::DecodeAndMergeSlashes
            ),
            "path_with_escaped_slashes_action": match normalization {
                Normalization::DecodeAndMergeSlashes => "UNESCAPE_AND_FORWARD",
                _ => "KEEP_UNCHANGED",
            },
            "rds": {
                "route_config_name": TABLE,
                "config_source": { "ads": {}, "resource_api_version": "V3" },
            },
            "http_filters": [
                { "name": "envoy.filters.http.header_mutation", "typed_config": mutation },
                { "name": FAULT, "typed_config": fault },
                { "name": "envoy.filters.http.router", "typed_config": router },
            ],
            "local_reply_config": { "mappers": [{
                "filter": { "status_code_filter": { "comparison": {
                    "op": "GE", "value": { "default_value": 100, "runtime_key": "oracle.local" },
                } } },
                "headers_to_add": [tell(DETAILS, "%RESPONSE_CODE_DETAILS%")],
            }] },
        }),
    )
}

fn bootstrap(ads: SocketAddr, normalization: Normalization) -> Value {
    let address = |address: SocketAddr| json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } });
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    let http2 = json!({
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": { "http2_protocol_options": {} },
    });
    json!({
        "node": { "id": "sidecar~127.0.0.1~envoy.default~default.svc.cluster.local", "cluster": "envoy" },
        "admin": { "address": address(free) },
        "layered_runtime": { "layers": [{ "name": "static", "static_layer": {
            // As Istio sets it for its proxies; Envoy's own limit refuses nearly every repetition.
            "re2.max_program_size.error_level": 32768,
        } }] },
        "dynamic_resources": {
            "ads_config": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{ "envoy_grpc": { "cluster_name": "xds" } }],
            },
            "cds_config": { "ads": {}, "resource_api_version": "V3" },
        },
        "static_resources": {
            "listeners": [{
                "name": "out",
                "address": address(free),
                "filter_chains": [{ "filters": [{
                    "name": "envoy.filters.network.http_connection_manager",
                    "typed_config": connection_manager(normalization),
                }] }],
            }],
            "clusters": [{
                "name": "xds",
                "type": "STATIC",
                "connect_timeout": "1s",
                "typed_extension_protocol_options": {
                    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2,
                },
                "load_assignment": {
                    "cluster_name": "xds",
                    "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address(ads) } }] }],
                },
            }],
        },
    })
}
