//! The names under which people know the kinds of Istio: `vs`, `virtualservices`, `VirtualService`.

/// Kind and short name, as `kubectl api-resources` lists them.
const SHORT: [(&str, &str); 10] = [
    ("virtualservice", "vs"),
    ("destinationrule", "dr"),
    ("gateway", "gw"),
    ("serviceentry", "se"),
    ("workloadentry", "we"),
    ("workloadgroup", "wg"),
    ("peerauthentication", "pa"),
    ("authorizationpolicy", "ap"),
    ("requestauthentication", "ra"),
    ("telemetry", "telemetries"),
];

/// The other kinds that a folder may hold, in the singular.
const LONG: [&str; 12] = [
    "sidecar",
    "envoyfilter",
    "proxyconfig",
    "wasmplugin",
    "trafficextension",
    "istiooperator",
    "meshconfig",
    "httproute",
    "grpcroute",
    "service",
    "endpoints",
    "endpointslice",
];

/// All kinds that a folder may hold, in the singular.
pub(crate) fn all() -> impl Iterator<Item = &'static str> {
    SHORT.iter().map(|(long, _)| *long).chain(LONG)
}

/// The singular lower-case name of a kind, from any of its spellings.
pub(crate) fn singular(kind: &str) -> String {
    let kind = kind.to_ascii_lowercase();
    // `virtualservices.networking.istio.io`, as kubectl takes it too.
    let kind = kind.split('.').next().unwrap_or_default();
    for (long, short) in SHORT {
        if kind == short || kind == long {
            return long.to_owned();
        }
    }
    if kind == "endpoints" {
        return kind.to_owned(); // Kubernetes calls one of them so
    }
    if let Some(stem) = kind.strip_suffix("ies") {
        return format!("{stem}y");
    }
    kind.strip_suffix('s').unwrap_or(kind).to_owned()
}

/// `virtualservice.networking.istio.io`, and `service` of Kubernetes' core, which has no group: how kubectl names an
/// object's type.
pub(crate) fn qualified(kind: &str, group: &str) -> String {
    let mut name = kind.to_ascii_lowercase();
    if !group.is_empty() {
        name.push('.');
        name.push_str(group);
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings() {
        for (text, kind) in [
            ("vs", "virtualservice"),
            ("VirtualService", "virtualservice"),
            ("virtualservices.networking.istio.io", "virtualservice"),
            ("serviceentries", "serviceentry"),
            ("se", "serviceentry"),
            ("gateways", "gateway"),
            ("AuthorizationPolicies", "authorizationpolicy"),
            ("telemetries", "telemetry"),
            ("sidecar", "sidecar"),
            ("Endpoints", "endpoints"),
        ] {
            assert_eq!(singular(text), kind, "{text}");
        }
    }
}
