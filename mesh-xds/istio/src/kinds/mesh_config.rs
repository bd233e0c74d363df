//! `MeshConfig` (`istio.mesh.v1alpha1`): what holds for the whole mesh.
//!
//! istiod reads it from a file or a ConfigMap of its own; here it is a document of the folder, by convention
//! `mesh.yaml`, with the message as its `spec`.

use crate::decode::{Fields, Schema, Sink};
use crate::yaml::Value;

/// A checked `MeshConfig`, as far as it is served.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct MeshConfig {
    pub(crate) outbound: OutboundPolicy,
}

/// `outboundTrafficPolicy.mode`: calls to hosts that the mesh does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum OutboundPolicy {
    /// `ALLOW_ANY`: they are passed through.
    #[default]
    AllowAny,
    /// `REGISTRY_ONLY`: they are answered with 502.
    RegistryOnly,
}

const SPEC: Schema = Schema {
    served: &["outboundTrafficPolicy"],
    unserved: &[
        "accessLogEncoding",
        "accessLogFile",
        "accessLogFormat",
        "ca",
        "caCertificates",
        "certificates",
        "configSources",
        "connectTimeout",
        "defaultConfig",
        "defaultDestinationRuleExportTo",
        "defaultHttpRetryPolicy",
        "defaultProviders",
        "defaultServiceExportTo",
        "defaultVirtualServiceExportTo",
        "disableEnvoyListenerLog",
        "discoverySelectors",
        "dnsRefreshRate",
        "enableAutoMtls",
        "enableEnvoyAccessLogService",
        "enablePrometheusMerge",
        "enableTracing",
        "extensionProviders",
        "h2UpgradePolicy",
        "hboneIdleTimeout",
        "inboundClusterStatName",
        "inboundTrafficPolicy",
        "ingressClass",
        "ingressControllerMode",
        "ingressSelector",
        "ingressService",
        "localityLbSetting",
        "meshMTLS",
        "outboundClusterStatName",
        "pathNormalization",
        "protocolDetectionTimeout",
        "proxyHttpPort",
        "proxyInboundListenPort",
        "proxyListenPort",
        "rootNamespace",
        "serviceScopeConfigs",
        "serviceSettings",
        "tcpKeepalive",
        "tlsDefaults",
        "trustDomain",
        "trustDomainAliases",
        "verifyCertificateAtClient",
    ],
};
const OUTBOUND: Schema = Schema {
    served: &["mode"],
    unserved: &[],
};

pub(crate) fn decode(spec: &Value, sink: &mut Sink) -> Option<MeshConfig> {
    let fields = Fields::open(spec, "spec", SPEC, sink)?;
    let Some(outbound) = fields.get("outboundTrafficPolicy") else {
        return Some(MeshConfig::default());
    };
    let outbound = Fields::open(outbound, "spec.outboundTrafficPolicy", OUTBOUND, sink)?;
    let outbound = match outbound.word("mode", &["ALLOW_ANY", "REGISTRY_ONLY"], sink) {
        Some("REGISTRY_ONLY") => OutboundPolicy::RegistryOnly,
        _ => OutboundPolicy::AllowAny,
    };
    Some(MeshConfig { outbound })
}
