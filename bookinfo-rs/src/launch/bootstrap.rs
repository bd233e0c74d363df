//! What a process must know to find its control plane: an xDS bootstrap, as `GRPC_XDS_BOOTSTRAP_CONFIG`.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::topology::Workload;

/// The namespace of Bookinfo's services.
pub const NAMESPACE: &str = "default";

/// The namespace of gateways: Istio's root namespace, as its own installation has them. A policy for all of Bookinfo's
/// namespace is not for them.
pub const GATEWAYS: &str = "istio-system";

/// The labels of the ingress: those that a `Gateway` selects.
pub const INGRESS_LABELS: [(&str, &str); 2] =
    [("istio", "ingressgateway"), ("app", "istio-ingressgateway")];

/// The ingress's workload and service account.
pub const INGRESS: &str = "ingressgateway";
/// See [`INGRESS`].
pub const INGRESS_ACCOUNT: &str = "bookinfo-ingress";

/// The labels of the egress gateway.
const EGRESS_LABELS: [(&str, &str); 2] =
    [("istio", "egressgateway"), ("app", "istio-egressgateway")];

/// The egress gateway's workload and service account.
pub const EGRESS: &str = "egressgateway";
/// See [`EGRESS`].
pub const EGRESS_ACCOUNT: &str = "bookinfo-egress";

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
        (&workload.name(), NAMESPACE),
        &workload.service_account(),
        &labels,
    )
}

/// The bootstrap of the ingress: a router's node, with the labels that the `Gateway` selects.
pub fn router(ip: IpAddr, control_plane: &str) -> Value {
    gateway(
        control_plane,
        ip,
        (INGRESS, INGRESS_ACCOUNT),
        INGRESS_LABELS,
    )
}

/// The bootstrap of the egress gateway.
pub fn egress(ip: IpAddr, control_plane: &str) -> Value {
    gateway(control_plane, ip, (EGRESS, EGRESS_ACCOUNT), EGRESS_LABELS)
}

fn gateway(
    control_plane: &str,
    ip: IpAddr,
    (name, account): (&str, &str),
    labels: [(&str, &str); 2],
) -> Value {
    let labels = labels.map(|(name, value)| (name.to_owned(), value.into()));
    let labels = Value::Object(labels.into_iter().collect());
    bootstrap(
        control_plane,
        "router",
        ip,
        (name, GATEWAYS),
        account,
        &labels,
    )
}

fn bootstrap(
    control_plane: &str,
    kind: &str,
    ip: IpAddr,
    (name, namespace): (&str, &str),
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
            "id": format!("{kind}~{ip}~{name}.{namespace}~{namespace}.svc.cluster.local"),
            "metadata": {
                "NAMESPACE": namespace,
                "LABELS": labels,
                "INSTANCE_IPS": ip.to_string(),
                "SERVICE_ACCOUNT": account,
                "WORKLOAD_NAME": name,
            },
        },
    })
}
