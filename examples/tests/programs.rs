//! Each program does what its first lines say.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// A server that runs until this is dropped.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(program: &str) -> Self {
        let mut child = Command::new(program)
            .env("LISTEN", "127.0.0.1:0")
            .env("MESH", "off")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let said = child.stdout.take().unwrap();
        BufReader::new(said).read_line(&mut line).unwrap();
        let (_, port) = line.trim().rsplit_once(':').unwrap();
        let port = port.parse().unwrap();
        Self { child, port }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The rules of `examples/mesh`, with other ports for what listens.
fn rules(changes: &[(&str, u16)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in Path::new("mesh").read_dir().unwrap() {
        let path = entry.unwrap().path();
        let mut text = std::fs::read_to_string(&path).unwrap();
        for (port, bound) in changes {
            text = text.replace(port, &bound.to_string());
        }
        std::fs::write(dir.path().join(path.file_name().unwrap()), text).unwrap();
    }
    dir
}

fn run(program: &str, rules: &Path) -> Output {
    let mut command = Command::new(program);
    for name in ["MESH", "GRPC_XDS_BOOTSTRAP", "GRPC_XDS_BOOTSTRAP_CONFIG"] {
        command.env_remove(name);
    }
    command.env("MESH_CONFIG", rules).output().unwrap()
}

fn printed(output: &Output) -> &str {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    std::str::from_utf8(&output.stdout).unwrap()
}

#[test]
fn clients_of_http_reach_axum_s_server() {
    let server = Server::start(env!("CARGO_BIN_EXE_axum_server"));
    let rules = rules(&[("9081", server.port)]);
    for client in [
        env!("CARGO_BIN_EXE_hyper_client"),
        env!("CARGO_BIN_EXE_custom_layer"),
    ] {
        let output = run(client, rules.path());
        assert_eq!(printed(&output), "200 OK hello from axum\n", "{client}");
    }
}

#[test]
fn a_rule_for_the_layer_s_header_is_followed() {
    let server = Server::start(env!("CARGO_BIN_EXE_axum_server"));
    let rules = rules(&[("9081", server.port)]);
    let team = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: hello, namespace: default }
spec:
  hosts: [hello]
  http:
  - match: [ { headers: { x-team: { exact: blue } } } ]
    directResponse: { status: 418, body: { string: blue } }
  - route: [ { destination: { host: hello } } ]
";
    std::fs::write(rules.path().join("team.yaml"), team).unwrap();
    let with = run(env!("CARGO_BIN_EXE_custom_layer"), rules.path());
    assert_eq!(printed(&with), "418 I'm a teapot blue\n");
    let without = run(env!("CARGO_BIN_EXE_hyper_client"), rules.path());
    assert_eq!(printed(&without), "200 OK hello from axum\n");
}

#[test]
fn the_grpc_client_reaches_tonic_s_server() {
    let server = Server::start(env!("CARGO_BIN_EXE_tonic_server"));
    let rules = rules(&[("9082", server.port)]);
    let output = run(env!("CARGO_BIN_EXE_grpc_client"), rules.path());
    assert_eq!(printed(&output), "hello, mesh\n");
    drop(server);
    let output = run(env!("CARGO_BIN_EXE_grpc_client"), rules.path());
    assert!(!output.status.success());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("Unavailable"), "{errors}");
}

#[test]
fn the_canary_gets_its_share() {
    let nothing = tempfile::tempdir().unwrap();
    let output = run(env!("CARGO_BIN_EXE_canary"), nothing.path());
    let shares: Vec<(f64, f64)> = printed(&output)
        .lines()
        .map(|line| {
            let numbers: Vec<f64> = line
                .split(' ')
                .filter_map(|word| word.parse().ok())
                .collect();
            (numbers[0], numbers[1])
        })
        .collect();
    let percents: Vec<f64> = shares.iter().map(|share| share.0).collect();
    assert_eq!(percents, [0.0, 10.0, 50.0, 100.0]);
    for (percent, seen) in shares {
        let share = percent / 100.0;
        let sigma = (1000.0 * share * (1.0 - share)).sqrt();
        assert!(
            (seen - 1000.0 * share).abs() <= 5.0 * sigma,
            "{percent} percent: {seen}"
        );
    }
}

#[test]
fn no_program_is_long() {
    for entry in Path::new("src/bin").read_dir().unwrap() {
        let path = entry.unwrap().path();
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines < 60, "{} has {lines} lines", path.display());
    }
}
