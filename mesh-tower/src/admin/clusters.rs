//! `/clusters`, in the two forms that Envoy has (`envoy.admin.v3.Clusters`).

use std::fmt::{self, Write};
use std::sync::Arc;

use mesh_core::cluster::{Endpoint, Health};
use serde_json::{Value, json};

use crate::live::LiveCluster;
use crate::mesh::Mesh;
use crate::pool::EndpointPool;

fn all(mesh: &Mesh) -> Vec<Arc<LiveCluster>> {
    let mut clusters = mesh.shared.live.clusters();
    clusters.extend(mesh.shared.outside.counted().cloned());
    clusters
}

/// An endpoint of the configuration, and what calls know of it.
fn endpoints(cluster: &LiveCluster) -> impl Iterator<Item = (&Endpoint, &EndpointPool)> {
    let pools = cluster.endpoints.iter().map(|pool| &**pool);
    cluster.model.endpoints.iter().zip(pools)
}

/// Envoy's counters of a host: errors are 5xx, and calls without a whole response.
fn stats(pool: &EndpointPool) -> [(&'static str, u64); 4] {
    let [.., errors] = pool.cells.classes();
    let errors = errors + pool.cells.failed();
    let success = pool.cells.classes()[..4].iter().sum();
    [
        ("rq_active", pool.cells.in_flight()),
        ("rq_error", errors),
        ("rq_success", success),
        ("rq_total", pool.cells.started()),
    ]
}

pub(super) fn text(mesh: &Mesh) -> String {
    let mut text = String::new();
    for cluster in all(mesh) {
        // A String takes whatever it is given.
        let _ = one(&mut text, &cluster);
    }
    text
}

fn one(text: &mut String, cluster: &LiveCluster) -> fmt::Result {
    let name = &cluster.model.name;
    writeln!(text, "{name}::observability_name::{name}")?;
    writeln!(text, "{name}::added_via_api::true")?;
    if let Some(fault) = &cluster.model.fault {
        writeln!(text, "{name}::fault::{}", fault.replace('\n', " "))?;
    }
    for (endpoint, pool) in endpoints(cluster) {
        let address = endpoint.address;
        for (stat, value) in stats(pool) {
            writeln!(text, "{name}::{address}::{stat}::{value}")?;
        }
        let flags = match endpoint.health {
            Health::Healthy => "healthy",
            Health::Degraded => "/degraded_eds_health",
            Health::Unhealthy => "/failed_eds_health",
            Health::Draining => "/eds_status_draining",
        };
        let locality = endpoint.locality.as_deref().cloned().unwrap_or_default();
        writeln!(text, "{name}::{address}::hostname::")?;
        writeln!(text, "{name}::{address}::health_flags::{flags}")?;
        writeln!(text, "{name}::{address}::weight::{}", endpoint.weight)?;
        writeln!(text, "{name}::{address}::region::{}", locality.region)?;
        writeln!(text, "{name}::{address}::zone::{}", locality.zone)?;
        writeln!(text, "{name}::{address}::sub_zone::{}", locality.sub_zone)?;
        writeln!(text, "{name}::{address}::canary::false")?;
        writeln!(text, "{name}::{address}::priority::{}", endpoint.priority)?;
        // Envoy's "not known".
        writeln!(text, "{name}::{address}::success_rate::-1")?;
        writeln!(text, "{name}::{address}::local_origin_success_rate::-1")?;
    }
    Ok(())
}

pub(super) fn json(mesh: &Mesh) -> Value {
    let clusters = all(mesh);
    let statuses = clusters.iter().map(|cluster| {
        json!({
            "name": &*cluster.model.name,
            "added_via_api": true,
            "host_statuses": endpoints(cluster).map(host).collect::<Vec<_>>(),
        })
    });
    json!({ "cluster_statuses": statuses.collect::<Vec<_>>() })
}

fn host((endpoint, pool): (&Endpoint, &EndpointPool)) -> Value {
    let health = match endpoint.health {
        Health::Healthy => "HEALTHY",
        Health::Degraded => "DEGRADED",
        Health::Unhealthy => "UNHEALTHY",
        Health::Draining => "DRAINING",
    };
    let stats = stats(pool).map(|(name, value)| {
        let kind = match name {
            "rq_active" => "GAUGE",
            _ => "COUNTER",
        };
        // Protobuf's JSON has 64 bits as text.
        json!({ "name": name, "type": kind, "value": value.to_string() })
    });
    let locality = endpoint.locality.as_deref().cloned().unwrap_or_default();
    json!({
        "address": { "socket_address": {
            "address": endpoint.address.ip().to_string(),
            "port_value": endpoint.address.port(),
        } },
        "stats": stats,
        "health_status": { "eds_health_status": health },
        "weight": endpoint.weight,
        "priority": endpoint.priority,
        "locality": {
            "region": &*locality.region,
            "zone": &*locality.zone,
            "sub_zone": &*locality.sub_zone,
        },
    })
}
