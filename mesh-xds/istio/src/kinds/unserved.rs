//! Kinds that have no effect here: accepted and noted, refused where they secure a call, or not known at all.

use crate::decode::Sink;

use super::header::Header;

/// What to do with a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Served,
    Unserved,
}

const SERVED: &[&str] = &[
    "ServiceEntry",
    "WorkloadEntry",
    "DestinationRule",
    "VirtualService",
    "Gateway",
    "Sidecar",
];
const NETWORKING: &[&str] = &["EnvoyFilter", "WorkloadGroup", "ProxyConfig"];
const SECURITY: &[&str] = &[
    "PeerAuthentication",
    "AuthorizationPolicy",
    "RequestAuthentication",
];
const ISTIO_GROUPS: &[&str] = &[
    "networking.istio.io",
    "security.istio.io",
    "telemetry.istio.io",
    "extensions.istio.io",
    "install.istio.io",
    "mesh.istio.io",
];
/// Kubernetes' groups without a dot in them; the others end in `k8s.io`, Gateway API's too.
const KUBERNETES_GROUPS: &[&str] = &["", "apps", "batch", "autoscaling", "policy", "extensions"];

const GATEWAY_API: &str = "gateway.networking.k8s.io";

/// Sorts a document by its kind; nothing where it is wrong or refused.
pub(crate) fn classify(header: &Header, sink: &mut Sink) -> Option<Class> {
    let (group, kind) = (header.group(), header.kind.as_str());
    let known = match group {
        "networking.istio.io" if SERVED.contains(&kind) => {
            return version(header, sink).then_some(Class::Served);
        }
        "networking.istio.io" => NETWORKING.contains(&kind),
        "mesh.istio.io" if kind == "MeshConfig" => {
            return mesh_version(header, sink).then_some(Class::Served);
        }
        "" if matches!(kind, "Service" | "Endpoints") => return Some(Class::Served),
        "discovery.k8s.io" if kind == "EndpointSlice" => return Some(Class::Served),
        GATEWAY_API if matches!(kind, "HTTPRoute" | "GRPCRoute") => {
            return route_version(header, sink).then_some(Class::Served);
        }
        "security.istio.io" if SECURITY.contains(&kind) => return security(header, sink),
        "telemetry.istio.io" => kind == "Telemetry",
        "extensions.istio.io" => matches!(kind, "WasmPlugin" | "TrafficExtension"),
        "install.istio.io" => kind == "IstioOperator",
        "" if kind == "List" => {
            sink.error(
                header.at,
                "a List is not read; write its items as documents of their own",
            );
            return None;
        }
        group => {
            KUBERNETES_GROUPS.contains(&group)
                || group.ends_with(".k8s.io")
                || group.ends_with(".x-k8s.io")
        }
    };
    if known {
        sink.note(
            header.at,
            format!(
                "the kind {kind} of {} has no effect in this version",
                header.api_version
            ),
        );
        return Some(Class::Unserved);
    }
    sink.error(header.at, unknown(header));
    None
}

fn unknown(header: &Header) -> String {
    let (kind, api_version) = (&header.kind, &header.api_version);
    if ISTIO_GROUPS.contains(&header.group()) {
        let served = SERVED.join(", ");
        let (networking, security) = (NETWORKING.join(", "), SECURITY.join(", "));
        format!(
            "Istio has no kind {kind} in {api_version}; served are {served}; known are also {networking} \
             (networking.istio.io), {security} (security.istio.io), Telemetry (telemetry.istio.io), \
             WasmPlugin (extensions.istio.io); and MeshConfig (mesh.istio.io)"
        )
    } else {
        format!(
            "{kind} of {api_version} is no kind of Istio ({}), Kubernetes or Gateway API",
            ISTIO_GROUPS.join(", ")
        )
    }
}

fn version(header: &Header, sink: &mut Sink) -> bool {
    let good = matches!(header.version(), "v1" | "v1beta1" | "v1alpha3");
    if !good {
        let allowed =
            "networking.istio.io/v1, networking.istio.io/v1beta1, networking.istio.io/v1alpha3";
        sink.error(
            header.at,
            format!(
                "apiVersion must be one of {allowed}, not {:?}",
                header.api_version
            ),
        );
    }
    good
}

/// The versions under which Gateway API has published a kind with the fields that are read here.
fn route_version(header: &Header, sink: &mut Sink) -> bool {
    let other = match header.kind.as_str() {
        "HTTPRoute" => "v1beta1",
        _ => "v1alpha2",
    };
    let good = header.version() == "v1" || header.version() == other;
    if !good {
        sink.error(
            header.at,
            format!(
                "apiVersion must be one of {GATEWAY_API}/v1, {GATEWAY_API}/{other}, not {:?}",
                header.api_version
            ),
        );
    }
    good
}

fn mesh_version(header: &Header, sink: &mut Sink) -> bool {
    let good = header.version() == "v1alpha1";
    if !good {
        let message = format!(
            "apiVersion must be mesh.istio.io/v1alpha1, not {:?}",
            header.api_version
        );
        sink.error(header.at, message);
    }
    good
}

/// Kinds that secure calls are refused where the mesh has no certificates.
fn security(header: &Header, sink: &mut Sink) -> Option<Class> {
    match header.kind.as_str() {
        "PeerAuthentication" => return Some(Class::Served),
        _ if sink.options.has_certificates() => return Some(Class::Served),
        "AuthorizationPolicy" => {
            sink.refuse_uncertified(header.at, "an AuthorizationPolicy", "identities of callers")
        }
        _ => sink.refuse_uncertified(
            header.at,
            "a RequestAuthentication",
            "verification of callers",
        ),
    }
    None
}
