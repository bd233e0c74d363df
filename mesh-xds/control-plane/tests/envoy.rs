//! A stock Envoy takes our clusters, endpoints and routes over ADS, and does with them what the YAML says.
//!
//! Runs when `MESH_ENVOY` names an Envoy binary; says so when it does not.
#![allow(clippy::unwrap_used)] // a test that cannot be set up fails

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mesh_control_plane::ControlPlane;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};

const LIMIT: Duration = Duration::from_secs(20);
const N: u32 = 2000;
const HOST: &str = "reviews.default.svc.cluster.local:9080";

/// `MESH_ENVOY=$(bash examples/interop/envoy.sh install) cargo test -p mesh-control-plane --test envoy -- --ignored`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a stock Envoy: MESH_ENVOY=$(bash examples/interop/envoy.sh install), then -- --ignored"]
async fn a_stock_envoy_follows_our_rules() {
    follows_our_rules("GRPC").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a stock Envoy: MESH_ENVOY=$(bash examples/interop/envoy.sh install), then -- --ignored"]
async fn a_stock_envoy_that_speaks_delta_follows_our_rules() {
    follows_our_rules("DELTA_GRPC").await;
}

/// With this `api_type` of `ads_config`.
async fn follows_our_rules(variant: &str) {
    let binary = std::env::var_os("MESH_ENVOY").expect("MESH_ENVOY names the binary");
    let dir = tempfile::tempdir().unwrap();
    let (v1, v2) = (backend("v1").await, backend("v2").await);
    write_services(dir.path(), v1, v2);
    write_subsets(dir.path(), "LEAST_REQUEST");
    write_rules(dir.path(), &weighted(90));
    let plane = ControlPlane::start(dir.path(), SocketAddr::from(([127, 0, 0, 1], 0)))
        .await
        .unwrap();
    let envoy = Envoy::start(Path::new(&binary), plane.local_addr(), variant).await;

    envoy
        .until("90/10", &[], |seen| seen.contains_key("v1"))
        .await;
    envoy.splits(&[("v1", 0.9), ("v2", 0.1)]).await;

    // A changed cluster must not get stuck while it warms.
    write_subsets(dir.path(), "RANDOM");
    write_rules(dir.path(), &weighted(0));
    envoy
        .until("0/100", &[], |seen| seen.get("v2") == Some(&50))
        .await;
    envoy.splits(&[("v1", 0.0), ("v2", 1.0)]).await;
    assert!(
        envoy
            .admin("/config_dump?resource=dynamic_warming_clusters")
            .await
            .find("outbound|")
            .is_none()
    );

    // By header; no rule for the rest.
    let to =
        |subset: &str| format!("route: [{{ destination: {{ host: reviews, subset: {subset} }} }}]");
    let header = "match: [{ headers: { end-user: { exact: jason } } }]";
    write_rules(dir.path(), &format!("  - {{ {header}, {} }}\n", to("v2")));
    envoy
        .until("no route", &[], |seen| seen.get("404") == Some(&50))
        .await;
    assert_eq!(
        envoy.seen(50, &[("end-user", "jason")]).await,
        counts(&[("v2", 50)])
    );
    assert_eq!(
        envoy.seen(50, &[("end-user", "jasons")]).await,
        counts(&[("404", 50)])
    );

    // A subset that does not exist, for some.
    write_rules(
        dir.path(),
        &format!("  - {{ {header}, {} }}\n  - {{ {} }}\n", to("v3"), to("v1")),
    );
    envoy
        .until("v1 for the rest", &[], |seen| seen.get("v1") == Some(&50))
        .await;
    assert_eq!(
        envoy.seen(50, &[("end-user", "jason")]).await,
        counts(&[("503", 50)])
    );

    let v1 = follows_new_endpoints(&envoy, dir.path(), v2).await;
    loses_a_removed_service(&envoy, dir.path()).await;
    let plane = goes_on_after_a_restart(&envoy, dir.path(), plane, (v1, v2)).await;
    envoy.has_refused_nothing().await;
    assert_eq!(plane.nacks(), []);
}

/// v1 moves to another address.
async fn follows_new_endpoints(envoy: &Envoy, dir: &Path, v2: u16) -> u16 {
    let moved = backend("v1-moved").await;
    write_services(dir, moved, v2);
    envoy
        .until("new endpoints", &[], |seen| {
            seen.get("v1-moved") == Some(&50)
        })
        .await;
    moved
}

/// Another process at the same address, on a folder that changed meanwhile: one service is gone, another is new, and
/// of what stays the rules are others.
async fn goes_on_after_a_restart(
    envoy: &Envoy,
    dir: &Path,
    plane: ControlPlane,
    (v1, v2): (u16, u16),
) -> ControlPlane {
    put(dir, "gone.yaml", &service("gone", &[("v1", v1)]));
    envoy.until_cluster("outbound|9080||gone.", true).await;
    let address = plane.local_addr();
    plane.shutdown().await;
    assert_eq!(envoy.seen(50, &[]).await, counts(&[("v1-moved", 50)]));
    std::fs::remove_file(dir.join("gone.yaml")).unwrap();
    put(dir, "new.yaml", &service("new", &[("v1", v1)]));
    write_rules(dir, &weighted(0));
    let plane = ControlPlane::start(dir, address).await.unwrap();
    envoy
        .until("rules after the restart", &[], |seen| {
            seen.get("v2") == Some(&50)
        })
        .await;
    envoy.until_cluster("outbound|9080||gone.", false).await;
    envoy.until_cluster("outbound|9080||new.", true).await;
    // What did not change still follows.
    write_services(dir, v1, v1);
    envoy
        .until("endpoints after the restart", &[], |seen| {
            seen.get("v1-moved") == Some(&50)
        })
        .await;
    write_services(dir, v1, v2);
    plane
}

/// A service comes and goes again, and its cluster with it.
async fn loses_a_removed_service(envoy: &Envoy, dir: &Path) {
    let ratings = service("ratings", &[("v1", backend("ratings").await)]);
    put(dir, "ratings.yaml", &ratings);
    envoy.until_cluster("outbound|9080||ratings.", true).await;
    std::fs::remove_file(dir.join("ratings.yaml")).unwrap();
    envoy.until_cluster("outbound|9080||ratings.", false).await;
    let rest = envoy.admin("/clusters").await;
    assert!(rest.contains("outbound|9080||reviews."), "{rest}");
}

impl Envoy {
    /// Waits until it has a cluster whose name begins like this, or has it no more.
    async fn until_cluster(&self, name: &str, present: bool) {
        let deadline = Instant::now() + LIMIT;
        while self.admin("/clusters").await.contains(name) != present {
            assert!(
                Instant::now() < deadline,
                "{name} present: not {present} in time; {}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Every update that Envoy got was taken.
    async fn has_refused_nothing(&self) {
        let stats = self.admin("/stats?filter=update_(rejected|success)").await;
        let stats: BTreeMap<&str, u64> = stats
            .lines()
            .filter_map(|line| line.split_once(": "))
            .map(|(k, v)| (k, v.parse().unwrap()))
            .collect();
        assert!(stats["cluster_manager.cds.update_success"] > 0, "{stats:?}");
        assert!(stats["http.out.rds.9080.update_success"] > 0, "{stats:?}");
        for (name, count) in stats
            .iter()
            .filter(|(name, _)| name.ends_with("update_rejected"))
        {
            assert_eq!(*count, 0, "{name}");
        }
        assert!(stats.contains_key("cluster_manager.cds.update_rejected"));
        assert!(stats.contains_key("http.out.rds.9080.update_rejected"));
        let dump: Value =
            serde_json::from_str(&self.admin("/config_dump?include_eds").await).unwrap();
        assert!(!dump.to_string().contains("error_state"), "{dump:#}");
        let clusters = self.admin("/clusters").await;
        for name in ["outbound|9080|v1|", "outbound|9080|v2|"] {
            assert!(clusters.contains(name), "{clusters}");
        }
    }
}

// The Envoy.

struct Envoy {
    process: Child,
    admin: SocketAddr,
    listener: SocketAddr,
    client: Client<HttpConnector, Full<Bytes>>,
    files: TempDir,
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Envoy {
    async fn start(binary: &Path, control_plane: SocketAddr, variant: &str) -> Self {
        let files = tempfile::tempdir().unwrap();
        let (config, admin) = (files.path().join("envoy.json"), files.path().join("admin"));
        std::fs::write(&config, bootstrap(control_plane, variant).to_string()).unwrap();
        let log = std::fs::File::create(files.path().join("log")).unwrap();
        let process = Command::new(binary)
            .args([
                "--disable-hot-restart",
                "--concurrency",
                "1",
                "-l",
                "warning",
            ])
            .arg("--config-path")
            .arg(&config)
            .arg("--admin-address-path")
            .arg(&admin)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("MESH_ENVOY={}: {error}", binary.display()));
        let client = Client::builder(TokioExecutor::new()).build_http();
        let nowhere = SocketAddr::from(([0; 4], 0));
        let mut this = Self {
            process,
            admin: nowhere,
            listener: nowhere,
            client,
            files,
        };
        let address = this
            .wait(|| std::fs::read_to_string(&admin).ok()?.parse().ok())
            .await;
        this.admin = address;
        let deadline = Instant::now() + LIMIT;
        // The listener opens when clusters and routes are there.
        this.listener = loop {
            let listeners: Value =
                serde_json::from_str(&this.admin("/listeners?format=json").await).unwrap();
            let socket = &listeners["listener_statuses"][0]["local_address"]["socket_address"];
            if let (Some(ip), Some(port)) = (
                socket["address"].as_str(),
                socket["port_value"].as_u64().filter(|p| *p > 0),
            ) {
                let address: SocketAddr = format!("{ip}:{port}").parse().unwrap();
                // The admin page lists it before its workers accept.
                if TcpStream::connect(address).await.is_ok() {
                    break address;
                }
            }
            assert!(
                Instant::now() < deadline,
                "Envoy does not listen: {}",
                this.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        this
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.files.path().join("log")).unwrap_or_default()
    }

    async fn wait<T>(&self, mut condition: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(found) = condition() {
                return found;
            }
            assert!(
                Instant::now() < deadline,
                "Envoy does not start: {}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn admin(&self, path: &str) -> String {
        let uri = format!("http://{}{path}", self.admin).parse().unwrap();
        let response = self.client.get(uri).await.unwrap();
        String::from_utf8(
            response
                .into_body()
                .collect()
                .await
                .unwrap()
                .to_bytes()
                .to_vec(),
        )
        .unwrap()
    }

    /// Who answered `n` requests: the name of the backend, else the status.
    async fn seen(&self, n: u32, headers: &[(&str, &str)]) -> BTreeMap<String, u32> {
        let mut seen = BTreeMap::new();
        for _ in 0..n {
            let mut request =
                Request::get(format!("http://{}/reviews/0", self.listener)).header("host", HOST);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let response = self
                .client
                .request(request.body(Full::default()).unwrap())
                .await
                .unwrap();
            let status = response.status();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let who = if status == 200 {
                String::from_utf8(body.to_vec()).unwrap()
            } else {
                status.as_u16().to_string()
            };
            *seen.entry(who).or_default() += 1;
        }
        seen
    }

    /// Waits until 50 requests in a row go as the condition says.
    async fn until(
        &self,
        what: &str,
        headers: &[(&str, &str)],
        condition: impl Fn(&BTreeMap<String, u32>) -> bool,
    ) {
        let deadline = Instant::now() + LIMIT;
        loop {
            let seen = self.seen(50, headers).await;
            if condition(&seen) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "not in time: {what}; the last 50 requests: {seen:?}; {}",
                self.log()
            );
        }
    }

    /// `N` requests fall within 5 standard deviations of these shares, and nowhere else.
    async fn splits(&self, shares: &[(&str, f64)]) {
        let seen = self.seen(N, &[]).await;
        let n = f64::from(N);
        let all: u32 = shares.iter().filter_map(|(name, _)| seen.get(*name)).sum();
        assert_eq!(all, N, "{seen:?}");
        for (name, share) in shares {
            let count = f64::from(seen.get(*name).copied().unwrap_or_default());
            let sigma = (n * share * (1.0 - share)).sqrt();
            assert!(
                (count - n * share).abs() <= 5.0 * sigma,
                "{name} should get {share} of {N}: {seen:?}"
            );
        }
    }
}

fn bootstrap(control_plane: SocketAddr, variant: &str) -> Value {
    let any =
        |name: &str| json!({ "@type": format!("type.googleapis.com/envoy.extensions.{name}") });
    let address = |address: SocketAddr| json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } });
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    let ads = json!({ "ads": {}, "resource_api_version": "V3" });
    let router = any("filters.http.router.v3.Router");
    let mut http = any("filters.network.http_connection_manager.v3.HttpConnectionManager");
    http["stat_prefix"] = json!("out");
    http["rds"] = json!({ "route_config_name": "9080", "config_source": ads });
    http["http_filters"] = json!([{ "name": "envoy.filters.http.router", "typed_config": router }]);
    let mut http2 = any("upstreams.http.v3.HttpProtocolOptions");
    http2["explicit_http_config"] = json!({ "http2_protocol_options": {} });
    json!({
        "node": {
            "id": "sidecar~127.0.0.1~envoy.default~default.svc.cluster.local",
            "cluster": "envoy",
            "metadata": { "NAMESPACE": "default", "LABELS": { "app": "envoy" } },
        },
        "admin": { "address": address(free) },
        "dynamic_resources": {
            "ads_config": {
                "api_type": variant,
                "transport_api_version": "V3",
                "grpc_services": [{ "envoy_grpc": { "cluster_name": "xds" } }],
            },
            "cds_config": ads,
        },
        "static_resources": {
            "listeners": [{
                "name": "out",
                "address": address(free),
                "filter_chains": [{
                    "filters": [{ "name": "envoy.filters.network.http_connection_manager", "typed_config": http }],
                }],
            }],
            "clusters": [{
                "name": "xds",
                "type": "STATIC",
                "connect_timeout": "1s",
                "typed_extension_protocol_options": { "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2 },
                "load_assignment": {
                    "cluster_name": "xds",
                    "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address(control_plane) } }] }],
                },
            }],
        },
    })
}

// The folder and the backends.

/// A server that answers with its name; gives its port.
async fn backend(name: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let answer = move |_: Request<Incoming>| async move {
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(
                    name.as_bytes(),
                ))))
            };
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(socket), service_fn(answer));
            tokio::spawn(connection);
        }
        io::Result::Ok(())
    });
    port
}

fn counts(counts: &[(&str, u32)]) -> BTreeMap<String, u32> {
    counts
        .iter()
        .map(|(name, count)| ((*name).to_owned(), *count))
        .collect()
}

fn put(dir: &Path, name: &str, text: &str) {
    let temporary = dir.join(name).with_extension("tmp");
    std::fs::write(&temporary, text).unwrap();
    std::fs::rename(temporary, dir.join(name)).unwrap();
}

fn write_services(dir: &Path, v1: u16, v2: u16) {
    put(
        dir,
        "services.yaml",
        &service("reviews", &[("v1", v1), ("v2", v2)]),
    );
}

/// A service with an endpoint of each version.
fn service(name: &str, endpoints: &[(&str, u16)]) -> String {
    let mut text = format!(
        "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{ name: {name}, namespace: default }}
spec:
  hosts: [{name}.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{ number: 9080, name: http, protocol: HTTP }}]
  endpoints:
"
    );
    for (version, port) in endpoints {
        let _ = writeln!(
            text,
            "  - {{ address: 127.0.0.1, ports: {{ http: {port} }}, labels: {{ version: {version} }} }}"
        );
    }
    text
}

fn write_subsets(dir: &Path, simple: &str) {
    let text = format!(
        "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{ name: reviews, namespace: default }}
spec:
  host: reviews
  trafficPolicy: {{ tls: {{ mode: DISABLE }}, loadBalancer: {{ simple: {simple} }} }}
  subsets:
  - {{ name: v1, labels: {{ version: v1 }} }}
  - {{ name: v2, labels: {{ version: v2 }} }}
"
    );
    put(dir, "subsets.yaml", &text);
}

fn weighted(weight: u32) -> String {
    let rest = 100 - weight;
    format!(
        "  - route:
    - {{ destination: {{ host: reviews, subset: v1 }}, weight: {weight} }}
    - {{ destination: {{ host: reviews, subset: v2 }}, weight: {rest} }}
"
    )
}

fn write_rules(dir: &Path, routes: &str) {
    let head = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: reviews, namespace: default }
spec:
  hosts: [reviews]
  http:
";
    put(dir, "rules.yaml", &format!("{head}{routes}"));
}
