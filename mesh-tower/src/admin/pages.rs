//! The pages.

use http::{StatusCode, Uri};
use mesh_xds::csds::ResourceState;
use serde_json::{Value, json};

use super::clusters;
use crate::mesh::Mesh;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

const INDEX: &str = "/clusters            endpoints, with what is counted of them; ?format=json\n\
/config_dump         what the control plane has sent, and what was refused\n\
/metrics             as /stats/prometheus\n\
/ready               200 when the mesh is configured, else 503 and why not\n\
/stats/prometheus    Istio's request metrics\n";

pub(super) struct Page {
    pub(super) status: StatusCode,
    pub(super) content_type: &'static str,
    pub(super) text: String,
}

impl Page {
    pub(super) fn text(status: StatusCode, text: impl Into<String>) -> Self {
        Self {
            status,
            content_type: TEXT,
            text: text.into(),
        }
    }

    fn json(value: &Value) -> Self {
        Self {
            status: StatusCode::OK,
            content_type: JSON,
            text: format!("{value:#}\n"),
        }
    }
}

pub(super) async fn page(mesh: &Mesh, uri: &Uri) -> Page {
    match uri.path() {
        "/" => Page::text(StatusCode::OK, INDEX),
        "/stats/prometheus" | "/metrics" => Page {
            content_type: PROMETHEUS,
            ..Page::text(StatusCode::OK, mesh.prometheus())
        },
        "/ready" => ready(mesh),
        "/config_dump" => config_dump(mesh).await,
        "/clusters" if wants_json(uri) => Page::json(&clusters::json(mesh)),
        "/clusters" => Page::text(StatusCode::OK, clusters::text(mesh)),
        _ => Page::text(
            StatusCode::NOT_FOUND,
            format!("no such page; there are\n{INDEX}"),
        ),
    }
}

fn wants_json(uri: &Uri) -> bool {
    let query = uri.query().unwrap_or_default();
    query.split('&').any(|part| part == "format=json")
}

/// Envoy's words; the reasons are ours.
fn ready(mesh: &Mesh) -> Page {
    if mesh.shared.drain.begun().get() {
        return Page::text(StatusCode::SERVICE_UNAVAILABLE, "DRAINING\n");
    }
    let missing = mesh.missing();
    if missing.is_empty() {
        return Page::text(StatusCode::OK, "LIVE\n");
    }
    let mut text = "PRE_INITIALIZING\n".to_owned();
    let status = mesh.status();
    for reason in missing {
        text.push_str(&format!("waits for {reason}\n"));
    }
    if let Some(error) = status.last_error.filter(|_| !status.connected) {
        text.push_str(&format!("control plane {}: {error}\n", status.server));
    }
    for rejected in &status.rejected {
        text.push_str(&format!("{rejected}\n"));
    }
    Page::text(StatusCode::SERVICE_UNAVAILABLE, text)
}

async fn config_dump(mesh: &Mesh) -> Page {
    let overview = mesh.shared.csds.overview().await;
    let status = mesh.status();
    let resources = overview.as_ref().map_or(&[][..], |all| &all.resources);
    Page::json(&json!({
        "node": overview.as_ref().map(|all| &all.node),
        "source": overview.as_ref().map(|all| &all.source),
        "connected": status.connected,
        "last_error": status.last_error.as_deref(),
        "generation": mesh.generation(),
        "resources": resources.iter().map(resource).collect::<Vec<_>>(),
    }))
}

fn resource(state: &ResourceState) -> Value {
    let refused = state.last_error.as_ref();
    json!({
        "type_url": state.type_url,
        "name": state.name,
        "version": state.version,
        "state": state.state,
        "last_error": refused.map(|refused| json!({
            "version": refused.version,
            "details": refused.details,
        })),
    })
}
