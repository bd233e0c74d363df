//! A mesh of so many clusters as its ADS machine sees it, and one change at a time.

use std::time::{Duration, Instant};

use envoy_types::pb::envoy::config::core::v3::address::Address;
use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::service::discovery::v3::DiscoveryResponse;
use envoy_types::pb::google::protobuf::Any;
use mesh_core::snapshot::TableKey;
use mesh_xds::ads::Machine;
use mesh_xds::{Node, ResourceType};
use prost::Message;

use super::handover::Live;
use crate::error::BenchError;

const PORT: u16 = 9080;

/// What one change took.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spent {
    /// From the response in hand to the snapshot that requests see.
    pub(super) publish: Duration,
    /// To build what is then sent to the control plane.
    pub(super) answer: Duration,
}

/// The machine, what it publishes to, and the load assignments that change.
#[derive(Debug)]
pub(super) struct World {
    machine: Machine,
    live: Live,
    assignments: Vec<ClusterLoadAssignment>,
    version: u16,
}

impl World {
    /// Hands a mesh of `clusters` services, one cluster each, to a machine.
    pub(super) fn build(clusters: usize) -> Result<Self, BenchError> {
        let node = Node::sidecar("bench", "default");
        let file = ("services.yaml".into(), services(clusters));
        let loaded = mesh_istio::Config::parse([file])
            .map_err(|rejected| BenchError::Configuration(rejected.to_string()))?;
        let resources = loaded.config.resources(&node);
        let assignments: Result<Vec<_>, _> = resources
            .endpoints
            .values()
            .map(|any| ClusterLoadAssignment::decode(any.value.as_slice()))
            .collect();
        let mut machine = Machine::new(node, "bench");
        machine.want(TableKey::Port(PORT));
        machine.connected();
        let mut world = Self {
            machine,
            live: Live::default(),
            assignments: assignments
                .map_err(|error| BenchError::Configuration(error.to_string()))?,
            version: 0,
        };
        let name = PORT.to_string();
        let table = resources.routes.get(&name).cloned();
        // Only what has been asked for is taken.
        world.answer();
        world.receive(ResourceType::Cluster, resources.clusters.into_values());
        world.receive(ResourceType::Route, table.into_iter());
        world.receive(ResourceType::Endpoints, resources.endpoints.into_values());
        world.check(clusters)?;
        Ok(world)
    }

    pub(super) const fn clusters(&self) -> usize {
        self.assignments.len()
    }

    fn response(&mut self, of: ResourceType, resources: Vec<Any>) -> DiscoveryResponse {
        // Ports from 1 on are in the assignments, so a version is never 0.
        self.version = self.version.checked_add(1).unwrap_or(1);
        DiscoveryResponse {
            version_info: self.version.to_string(),
            type_url: of.type_url().to_owned(),
            nonce: self.version.to_string(),
            resources,
            ..DiscoveryResponse::default()
        }
    }

    fn receive(&mut self, of: ResourceType, resources: impl Iterator<Item = Any>) {
        let response = self.response(of, resources.collect());
        self.machine.received(response);
        if let Some(assembled) = self.machine.assemble(Instant::now()) {
            self.live.publish(&assembled);
        }
        self.answer();
    }

    fn answer(&mut self) {
        while self.machine.request(Instant::now()).is_some() {}
    }

    /// Whether every service can be called.
    fn check(&self, clusters: usize) -> Result<(), BenchError> {
        let snapshot = self.live.snapshot();
        let table = snapshot.tables.get(&TableKey::Port(PORT));
        let complete = table.map_or(0, |table| {
            let with_endpoints = table.targets().filter(|target| {
                let mut clusters = target.clusters.iter().flatten();
                clusters.any(|cluster| !cluster.endpoints.is_empty())
            });
            with_endpoints.count()
        });
        if complete == clusters && self.assignments.len() == clusters {
            return Ok(());
        }
        let rejected = &self.machine.status().rejected;
        let told = format!("{complete} of {clusters} services are complete; {rejected:?}");
        Err(BenchError::Configuration(told))
    }

    /// Moves the endpoint of one cluster to another port, and publishes that.
    pub(super) fn change(&mut self, cluster: usize) -> Result<Spent, BenchError> {
        let mut changed = self.assignments[cluster].clone();
        let to = self.version.checked_add(1).unwrap_or(1);
        set_port(&mut changed, to);
        let packed = Any {
            type_url: ResourceType::Endpoints.type_url().to_owned(),
            value: changed.encode_to_vec(),
        };
        let response = self.response(ResourceType::Endpoints, vec![packed]);

        let start = Instant::now();
        self.machine.received(response);
        let assembled = self.machine.assemble(start);
        let changes = assembled.as_ref().map_or(0, |all| all.changes.len());
        if let Some(assembled) = assembled {
            self.live.publish(&assembled);
        }
        let publish = start.elapsed();

        let start = Instant::now();
        self.answer();
        let answer = start.elapsed();
        if changes == 1 && self.sees(&changed, to) {
            return Ok(Spent { publish, answer });
        }
        let name = &changed.cluster_name;
        let told = format!("the new port of {name} changed {changes} hosts and is not published");
        Err(BenchError::Configuration(told))
    }

    /// Whether a request to the cluster's service would go to this port.
    fn sees(&self, assignment: &ClusterLoadAssignment, port: u16) -> bool {
        let host = assignment
            .cluster_name
            .rsplit('|')
            .next()
            .unwrap_or_default();
        let snapshot = self.live.snapshot();
        let target = snapshot
            .tables
            .get(&TableKey::Port(PORT))
            .and_then(|table| table.find(host));
        target.is_some_and(|target| {
            let endpoints = target.clusters.iter().flatten();
            endpoints
                .flat_map(|cluster| cluster.endpoints.iter())
                .any(|endpoint| endpoint.address.port() == port)
        })
    }
}

fn services(count: usize) -> String {
    let mut text = String::new();
    for at in 0..count {
        text.push_str(&format!(
            "---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{ name: service-{at:05}, namespace: default }}
spec:
  hosts: [service-{at:05}.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [ {{ number: {PORT}, name: http, protocol: HTTP }} ]
  endpoints: [ {{ address: 127.0.0.1 }}, {{ address: 127.0.0.2 }} ]
"
        ));
    }
    text
}

/// Moves the first endpoint.
fn set_port(assignment: &mut ClusterLoadAssignment, port: u16) {
    let endpoint = assignment
        .endpoints
        .iter_mut()
        .flat_map(|locality| &mut locality.lb_endpoints)
        .find_map(|endpoint| match &mut endpoint.host_identifier {
            Some(HostIdentifier::Endpoint(endpoint)) => endpoint.address.as_mut(),
            _ => None,
        });
    if let Some(Address::SocketAddress(address)) =
        endpoint.and_then(|address| address.address.as_mut())
    {
        address.port_specifier = Some(PortSpecifier::PortValue(port.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_reaches_the_snapshot_and_changes_nothing_else() {
        let mut world = World::build(20).unwrap();
        world.change(3).unwrap();
        world.change(3).unwrap();
        let port = world.version;
        assert!(world.sees(&world.assignments[3], port));
        assert!(!world.sees(&world.assignments[4], port));
    }
}
