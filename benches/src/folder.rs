//! The configuration of the rows that send requests, as a folder of Istio YAML: 1,000 services on one
//! port, and 1,000 routes to one of them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use mesh_tower::{Mesh, Node};
use prost::Message;

use crate::error::BenchError;

const NAMESPACE: &str = "default";
pub(crate) const PORT: u16 = 9080;
/// The service that is called: in the middle of the others.
pub(crate) const CALLED: &str = "service-0500.default.svc.cluster.local";
/// The name of the route that takes the calls: the last of them.
pub(crate) const LAST_ROUTE: &str = "route-0999";
/// The calls by which we look whether the configuration is in force.
pub(crate) const LOOKS: usize = 1_000;

/// What the services speak.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Protocol {
    /// HTTP/1.1.
    Http,
    /// gRPC.
    Grpc,
}

impl Protocol {
    /// Istio takes the protocol of a port from its name.
    const fn port_name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Grpc => "grpc",
        }
    }

    /// What the route of this number matches.
    pub(crate) fn prefix(self, at: usize) -> String {
        match self {
            Self::Http => format!("/route/{at:04}/"),
            Self::Grpc => format!("/bench.Service{at:04}/"),
        }
    }

    /// Matched by the last route alone.
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Http => "/route/0999/item",
            Self::Grpc => "/bench.Service0999/Echo",
        }
    }
}

const SERVICES: usize = 1_000;
const ROUTES: usize = 1_000;

/// A mesh that has taken the folder.
pub(crate) async fn mesh(
    folder: &Path,
    protocol: Protocol,
    server: SocketAddr,
    seed: u64,
) -> Result<Mesh, BenchError> {
    write(folder, protocol, server)?;
    let node = Node::sidecar("bench", NAMESPACE);
    check(folder, &node)?;
    let mesh = Mesh::builder()
        .yaml(folder)
        .node(node)
        .declare(PORT)
        .seed(seed)
        .build()
        .map_err(|error| BenchError::Mesh(error.to_string()))?;
    mesh.ready(Duration::from_secs(60))
        .await
        .map_err(|error| BenchError::Mesh(error.to_string()))?;
    Ok(mesh)
}

/// Whether [`LOOKS`] calls, counted by cluster, were split 90/10.
pub(crate) fn check_split(clusters: &BTreeMap<String, u64>) -> Result<(), BenchError> {
    let mut shares: Vec<u64> = clusters.values().copied().collect();
    shares.sort_unstable();
    // 100 of 1,000 within five sigma (9.5 each).
    match shares[..] {
        [smaller, larger] if (52..=148).contains(&smaller) && smaller + larger == LOOKS as u64 => {
            Ok(())
        }
        _ => Err(BenchError::Configuration(format!(
            "not a 90/10 split: {clusters:?}"
        ))),
    }
}

/// Writes the folder. Both subsets of the called service select the one endpoint that there is.
fn write(folder: &Path, protocol: Protocol, server: SocketAddr) -> Result<(), BenchError> {
    let mut services = String::new();
    for at in 0..SERVICES {
        service(&mut services, at, protocol, server);
    }
    std::fs::write(folder.join("services.yaml"), services)?;
    std::fs::write(folder.join("rules.yaml"), rules(protocol))?;
    Ok(())
}

fn service(text: &mut String, at: usize, protocol: Protocol, server: SocketAddr) {
    let (ip, port, name) = (server.ip(), server.port(), protocol.port_name());
    let spoken = name.to_ascii_uppercase();
    text.push_str(&format!(
        "---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{ name: service-{at:04}, namespace: {NAMESPACE} }}
spec:
  hosts: [service-{at:04}.{NAMESPACE}.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [ {{ number: {PORT}, name: {name}, protocol: {spoken} }} ]
  endpoints:
  - address: {ip}
    ports: {{ {name}: {port} }}
    labels: {{ stable: 'yes', canary: 'yes' }}
"
    ));
}

fn rules(protocol: Protocol) -> String {
    let mut text = format!(
        "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{ name: called, namespace: {NAMESPACE} }}
spec:
  host: {CALLED}
  trafficPolicy: {{ tls: {{ mode: DISABLE }} }}
  subsets:
  - {{ name: stable, labels: {{ stable: 'yes' }} }}
  - {{ name: canary, labels: {{ canary: 'yes' }} }}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{ name: called, namespace: {NAMESPACE} }}
spec:
  hosts: [{CALLED}]
  http:
"
    );
    for at in 0..ROUTES {
        let prefix = protocol.prefix(at);
        text.push_str(&format!(
            "  - name: route-{at:04}
    match: [ {{ uri: {{ prefix: {prefix} }} }} ]
    route:
    - destination: {{ host: {CALLED}, subset: stable }}
      weight: 90
    - destination: {{ host: {CALLED}, subset: canary }}
      weight: 10
"
        ));
    }
    text
}

/// Whether what the folder says comes to the tables that the row speaks of.
fn check(folder: &Path, node: &Node) -> Result<(), BenchError> {
    let wrong = |what: String| BenchError::Configuration(what);
    let loaded =
        mesh_istio::Config::load(folder).map_err(|rejected| wrong(rejected.to_string()))?;
    let resources = loaded.config.resources(node);
    let table = resources
        .routes
        .get(&PORT.to_string())
        .ok_or_else(|| wrong(format!("no route configuration {PORT}")))?;
    let table = RouteConfiguration::decode(table.value.as_slice())
        .map_err(|error| wrong(error.to_string()))?;
    let called = table
        .virtual_hosts
        .iter()
        .find(|host| host.domains.iter().any(|domain| domain == CALLED))
        .ok_or_else(|| wrong(format!("no virtual host for {CALLED}")))?;
    let (hosts, routes) = (table.virtual_hosts.len(), called.routes.len());
    if hosts >= SERVICES && routes == ROUTES {
        return Ok(());
    }
    Err(wrong(format!("{hosts} virtual hosts and {routes} routes")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(protocol: Protocol) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        write(
            folder.path(),
            protocol,
            SocketAddr::from(([127, 0, 0, 1], 8080)),
        )
        .unwrap();
        folder
    }

    #[test]
    fn the_folder_holds_what_the_rows_say() {
        for protocol in [Protocol::Http, Protocol::Grpc] {
            let folder = written(protocol);
            check(folder.path(), &Node::sidecar("bench", NAMESPACE)).unwrap();
            assert!(protocol.path().starts_with(&protocol.prefix(ROUTES - 1)));
        }
    }

    #[test]
    fn a_route_too_few_is_seen() {
        let folder = written(Protocol::Http);
        std::fs::write(folder.path().join("rules.yaml"), "").unwrap();
        let error = check(folder.path(), &Node::sidecar("bench", NAMESPACE)).unwrap_err();
        assert!(error.to_string().contains("1 routes"), "{error}");
    }

    #[test]
    fn only_ninety_to_ten_is_a_split() {
        let counted = |larger, smaller| {
            BTreeMap::from([
                ("stable".to_owned(), larger),
                ("canary".to_owned(), smaller),
            ])
        };
        check_split(&counted(895, 105)).unwrap();
        check_split(&counted(500, 500)).unwrap_err();
        check_split(&counted(900, 50)).unwrap_err();
        check_split(&BTreeMap::from([("stable".to_owned(), 1_000)])).unwrap_err();
    }
}
