//! What a process must know to find its control plane: an xDS bootstrap, as `GRPC_XDS_BOOTSTRAP_CONFIG`.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::topology::Workload;

/// The labels of the ingress: those that a `Gateway` selects.
pub const INGRESS_LABELS: [(&str, &str); 2] =
    [("istio", "ingressgateway"), ("app", "istio-ingressgateway")];

/// The ingress's workload and service account.
pub const INGRESS: &str = "ingressgateway";
/// See [`INGRESS`].
pub const INGRESS_ACCOUNT: &str = "bookinfo-ingress";

/// The bootstrap of a workload: a sidecar's node.
pub fn sidecar(workload: &Workload, control_plane: &str) -> Value {
    let labels = json!({
        "app": workload.service,
        "version": workload.version,
        "service.istio.io/canonical-name": workload.service,
        "service.istio.io/canonical-revision": workload.version,
    });
    bootstrap(
        control_plane,
        "sidecar",
        workload.ip,
        &workload.name(),
        &workload.service_account(),
        &labels,
    )
}

/// The bootstrap of the ingress: a router's node, with the labels that the `Gateway` selects.
pub fn router(ip: IpAddr, control_plane: &str) -> Value {
    let labels = INGRESS_LABELS
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into()));
    let labels = Value::Object(labels.collect());
    bootstrap(
        control_plane,
        "router",
        ip,
        INGRESS,
        INGRESS_ACCOUNT,
        &labels,
    )
}

fn bootstrap(
    control_plane: &str,
    kind: &str,
    ip: IpAddr,
    name: &str,
    account: &str,
    labels: &Value,
) -> Value {
    json!({
        "xds_servers": [{
            "server_uri": control_plane,
            "channel_creds": [{"type": "insecure"}],
            "server_features": ["xds_v3"],
        }],
        "node": {
            "id": format!("{kind}~{ip}~{name}.default~default.svc.cluster.local"),
            "metadata": {
                "NAMESPACE": "default",
                "LABELS": labels,
                "INSTANCE_IPS": ip.to_string(),
                "SERVICE_ACCOUNT": account,
                "WORKLOAD_NAME": name,
            },
        },
    })
}
