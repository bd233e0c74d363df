//! The row's configuration as a folder of Istio YAML: 1,000 services on one port, and 1,000 routes to
//! one of them.

use std::net::SocketAddr;
use std::path::Path;

use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use mesh_tower::Node;
use prost::Message;

use crate::error::BenchError;

pub(super) const NAMESPACE: &str = "default";
pub(super) const PORT: u16 = 9080;
/// The service that is called: in the middle of the others.
pub(super) const CALLED: &str = "service-0500.default.svc.cluster.local";
/// Matched by the last route alone.
pub(super) const PATH: &str = "/route/0999/item";
/// The name of that route.
pub(super) const LAST_ROUTE: &str = "route-0999";

const SERVICES: usize = 1_000;
const ROUTES: usize = 1_000;

/// Writes the folder. Both subsets of the called service select the one endpoint that there is.
pub(super) fn write(folder: &Path, server: SocketAddr) -> Result<(), BenchError> {
    let mut services = String::new();
    for at in 0..SERVICES {
        service(&mut services, at, server);
    }
    std::fs::write(folder.join("services.yaml"), services)?;
    std::fs::write(folder.join("rules.yaml"), rules())?;
    Ok(())
}

fn service(text: &mut String, at: usize, server: SocketAddr) {
    let (ip, port) = (server.ip(), server.port());
    text.push_str(&format!(
        "---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{ name: service-{at:04}, namespace: {NAMESPACE} }}
spec:
  hosts: [service-{at:04}.{NAMESPACE}.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [ {{ number: {PORT}, name: http, protocol: HTTP }} ]
  endpoints:
  - address: {ip}
    ports: {{ http: {port} }}
    labels: {{ stable: 'yes', canary: 'yes' }}
"
    ));
}

fn rules() -> String {
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
        text.push_str(&format!(
            "  - name: route-{at:04}
    match: [ {{ uri: {{ prefix: /route/{at:04}/ }} }} ]
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
pub(super) fn check(folder: &Path, node: &Node) -> Result<(), BenchError> {
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

    #[test]
    fn the_folder_holds_what_the_row_says() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), SocketAddr::from(([127, 0, 0, 1], 8080))).unwrap();
        check(folder.path(), &Node::sidecar("bench", NAMESPACE)).unwrap();
    }

    #[test]
    fn a_route_too_few_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), SocketAddr::from(([127, 0, 0, 1], 8080))).unwrap();
        std::fs::write(folder.path().join("rules.yaml"), "").unwrap();
        let error = check(folder.path(), &Node::sidecar("bench", NAMESPACE)).unwrap_err();
        assert!(error.to_string().contains("1 routes"), "{error}");
    }
}
