//! gRPC's C core (the Python package `grpcio`) takes listeners, routes, clusters and endpoints from us, and calls as
//! the YAML says; and calls us, and is called, by certificate and policy.
//!
//! Runs when `MESH_GRPCIO` names a Python that has `grpcio`.
#![allow(clippy::unwrap_used)] // a test that cannot be set up fails

mod secured;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Lines, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use mesh_control_plane::ControlPlane;
use serde_json::json;
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(20);
const N: u32 = 2000;
const FULL: &str = "xds:///echo.default.svc.cluster.local:7070";
const SHORT: &str = "xds:///echo:7070";

/// `MESH_GRPCIO=$(bash examples/interop/grpcio.sh install) cargo test -p mesh-control-plane --test grpcio -- --ignored`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs gRPC's C core: MESH_GRPCIO=$(bash examples/interop/grpcio.sh install), then -- --ignored"]
async fn grpc_core_follows_our_rules() {
    let python = std::env::var("MESH_GRPCIO").expect("MESH_GRPCIO names a python with grpcio");
    let (v1, v2) = (Echo::serve(&python, "v1"), Echo::serve(&python, "v2"));
    let dir = tempfile::tempdir().unwrap();
    write_service(dir.path(), v1.port, v2.port);
    write_rules(dir.path(), &weighted(100));
    let plane = ControlPlane::start(dir.path(), SocketAddr::from(([127, 0, 0, 1], 0)))
        .await
        .unwrap();
    let mut client = Caller::start(&python, plane.local_addr());

    // Before the edit nothing goes to v2; so the check of the split can fail.
    let before = client.seen(FULL, N);
    assert_eq!(before, counts(&[("v1", N)]), "{}", client.log());
    assert!(!splits(&before, 0.8));

    write_rules(dir.path(), &weighted(80));
    client.until("80/20", |seen| seen.contains_key("v2"));
    let after = client.seen(FULL, N);
    assert!(splits(&after, 0.8), "{after:?}; {}", client.log());
    let short = client.seen(SHORT, N);
    assert!(splits(&short, 0.8), "{short:?}; {}", client.log());

    // By method; the rest as before.
    let method = "match: [{ uri: { exact: /mesh.test.Echo/Say } }]";
    let to_v2 = "route: [{ destination: { host: echo, subset: v2 } }]";
    let rules = format!("  - {{ {method}, {to_v2} }}\n{}", weighted(100));
    write_rules(dir.path(), &rules);
    client.until("by method", |seen| seen == &counts(&[("v2", 50)]));

    // v2's endpoint moves to another server.
    let moved = Echo::serve(&python, "v2-moved");
    write_service(dir.path(), v1.port, moved.port);
    client.until("new endpoints", |seen| seen == &counts(&[("v2-moved", 50)]));

    // Without rules both, in turns.
    std::fs::remove_file(dir.path().join("rules.yaml")).unwrap();
    client.until("in turns", |seen| {
        seen == &counts(&[("v1", 25), ("v2-moved", 25)])
    });
    assert_eq!(plane.nacks(), []);
}

fn counts(counts: &[(&str, u32)]) -> BTreeMap<String, u32> {
    let counts = counts.iter();
    counts
        .map(|(name, count)| ((*name).to_owned(), *count))
        .collect()
}

/// Whether v1 got its share of `N` within 5 standard deviations, and v2 the rest.
fn splits(seen: &BTreeMap<String, u32>, share: f64) -> bool {
    let of = |name: &str| seen.get(name).copied().unwrap_or_default();
    let n = f64::from(N);
    let sigma = (n * share * (1.0 - share)).sqrt();
    of("v1") + of("v2") == N && (f64::from(of("v1")) - n * share).abs() <= 5.0 * sigma
}

// The processes.

/// One run of `echo.py`; it ends with its input.
struct Python {
    process: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Python {
    fn run(python: &str, arguments: &[&str], more: impl FnOnce(&mut Command)) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/grpcio/echo.py");
        let mut command = Command::new(python);
        command.arg(script).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // gRPC would send calls to loopback through a proxy too.
        for name in ["grpc_proxy", "http_proxy", "https_proxy", "all_proxy"] {
            command.env_remove(name).env_remove(name.to_uppercase());
        }
        more(&mut command);
        let mut process = command
            .spawn()
            .unwrap_or_else(|error| panic!("MESH_GRPCIO={python}: {error}"));
        let input = process.stdin.take();
        let output = BufReader::new(process.stdout.take().unwrap()).lines();
        Self {
            process,
            input,
            output,
        }
    }

    fn line(&mut self) -> String {
        self.output.next().expect("a line").unwrap()
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A server that answers with its name.
struct Echo {
    port: u16,
    _process: Python,
}

impl Echo {
    fn serve(python: &str, name: &str) -> Self {
        let mut process = Python::run(python, &["server", name], |_| ());
        let port = process.line().parse().unwrap();
        Self {
            port,
            _process: process,
        }
    }
}

/// A client that has the mesh from us.
struct Caller {
    process: Python,
    files: TempDir,
    /// What it reads while it runs.
    kept: Option<TempDir>,
}

impl Caller {
    fn start(python: &str, control_plane: SocketAddr) -> Self {
        let bootstrap = json!({
            "xds_servers": [{
                "server_uri": control_plane.to_string(),
                "channel_creds": [{ "type": "insecure" }],
                "server_features": ["xds_v3"],
            }],
            "node": {
                "id": "sidecar~127.0.0.1~caller.default~default.svc.cluster.local",
                "metadata": { "GENERATOR": "grpc", "NAMESPACE": "default" },
            },
        });
        Self::with(python, "client", bootstrap.to_string())
    }

    fn with(python: &str, how: &str, bootstrap: String) -> Self {
        let files = tempfile::tempdir().unwrap();
        let log = std::fs::File::create(files.path().join("log")).unwrap();
        let process = Python::run(python, &[how], |command| {
            command
                .env("GRPC_XDS_BOOTSTRAP_CONFIG", bootstrap)
                .stderr(log);
        });
        Self {
            process,
            files,
            kept: None,
        }
    }

    /// Who answered `n` calls: the name of the server, else the code.
    fn seen(&mut self, target: &str, n: u32) -> BTreeMap<String, u32> {
        self.by_method(target, n, "Say")
    }

    fn by_method(&mut self, target: &str, n: u32, method: &str) -> BTreeMap<String, u32> {
        let input = self.process.input.as_mut().unwrap();
        writeln!(input, "{target} {n} {method}").unwrap();
        serde_json::from_str(&self.process.line()).unwrap()
    }

    /// Waits until 50 calls in a row go as the condition says.
    fn until(&mut self, what: &str, condition: impl Fn(&BTreeMap<String, u32>) -> bool) {
        let deadline = Instant::now() + LIMIT;
        loop {
            let seen = self.seen(FULL, 50);
            if condition(&seen) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "not in time: {what}; the last 50 calls: {seen:?}; {}",
                self.log()
            );
        }
    }

    /// The end of what it has to say.
    fn log(&self) -> String {
        let log = std::fs::read_to_string(self.files.path().join("log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

// The folder.

fn put(dir: &Path, name: &str, text: &str) {
    let temporary = dir.join(name).with_extension("tmp");
    std::fs::write(&temporary, text).unwrap();
    std::fs::rename(temporary, dir.join(name)).unwrap();
}

fn write_service(dir: &Path, v1: u16, v2: u16) {
    let text = format!(
        "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{ name: echo, namespace: default }}
spec:
  hosts: [echo.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{ number: 7070, name: grpc, protocol: GRPC }}]
  endpoints:
  - {{ address: 127.0.0.1, ports: {{ grpc: {v1} }}, labels: {{ version: v1 }} }}
  - {{ address: 127.0.0.1, ports: {{ grpc: {v2} }}, labels: {{ version: v2 }} }}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{ name: echo, namespace: default }}
spec:
  host: echo
  subsets:
  - {{ name: v1, labels: {{ version: v1 }} }}
  - {{ name: v2, labels: {{ version: v2 }} }}
"
    );
    put(dir, "service.yaml", &text);
}

fn weighted(weight: u32) -> String {
    let rest = 100 - weight;
    format!(
        "  - route:
    - {{ destination: {{ host: echo, subset: v1 }}, weight: {weight} }}
    - {{ destination: {{ host: echo, subset: v2 }}, weight: {rest} }}
"
    )
}

fn write_rules(dir: &Path, routes: &str) {
    let head = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: echo, namespace: default }
spec:
  hosts: [echo]
  http:
";
    put(dir, "rules.yaml", &format!("{head}{routes}"));
}
