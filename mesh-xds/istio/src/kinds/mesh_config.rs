//! `MeshConfig` (`istio.mesh.v1alpha1`): what holds for the whole mesh.
//!
//! istiod reads it from a file or a ConfigMap of its own; here it is a document of the folder with the message as its
//! `spec`, or the file `mesh.yaml` with the message itself, as istiod's `--meshConfig` takes it.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use crate::decode::{Fields, Schema, Sink};
use crate::yaml::{Data, Value};

use super::ExportTo;
use super::connection_pool::{self, H2Upgrade, Keepalive};
use super::extension_provider::{self, Authorizers};
use super::http_route::{self, Retries};
use super::load_balancer::LoadBalancer;
use super::locality::{self, LocalityLb};

/// Istio's default of `trustDomain`.
pub(crate) const TRUST_DOMAIN: &str = "cluster.local";

/// A checked `MeshConfig`, as far as it is served.
#[derive(Debug, Clone)]
pub(crate) struct MeshConfig {
    pub(crate) outbound: OutboundPolicy,
    /// Where rules for all namespaces live.
    pub(crate) root_namespace: String,
    /// Whose identities are those of the mesh: its own trust domain, then the aliases.
    pub(crate) trust_domains: Vec<String>,
    /// `enableAutoMtls`: whether endpoints that can are called over mutual TLS where no rule says how.
    pub(crate) auto_mtls: bool,
    /// `pathNormalization`: how servers read paths before policies see them.
    pub(crate) normalization: Normalization,
    pub(crate) connect_timeout: Duration,
    pub(crate) dns_refresh: Duration,
    pub(crate) keepalive: Option<Keepalive>,
    pub(crate) h2_upgrade: H2Upgrade,
    /// What routes do that say nothing of retries; istiod's own where this says nothing.
    pub(crate) retries: Option<Retries>,
    pub(crate) export: Exports,
    /// `extensionProviders`: the services that policies with the action CUSTOM name.
    pub(crate) authorizers: Authorizers,
    locality: LocalityLb,
}

/// Who sees the objects that do not say it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Exports {
    pub(crate) services: ExportTo,
    pub(crate) virtual_services: ExportTo,
    pub(crate) destination_rules: ExportTo,
}

impl Default for MeshConfig {
    fn default() -> Self {
        Self {
            outbound: OutboundPolicy::default(),
            root_namespace: "istio-system".to_owned(),
            trust_domains: vec![TRUST_DOMAIN.to_owned()],
            auto_mtls: true,
            normalization: Normalization::default(),
            connect_timeout: Duration::from_secs(10),
            dns_refresh: Duration::from_secs(60),
            keepalive: None,
            h2_upgrade: H2Upgrade::Default,
            retries: None,
            export: Exports::default(),
            authorizers: Authorizers::new(),
            locality: LocalityLb::default(),
        }
    }
}

impl MeshConfig {
    /// What is said of places: by the rule, else by the mesh; nothing where it is turned off.
    pub(crate) fn locality_for<'a>(
        &'a self,
        rule: Option<&'a LoadBalancer>,
    ) -> Option<&'a LocalityLb> {
        let own = rule.and_then(|rule| rule.locality.as_ref());
        Some(own.unwrap_or(&self.locality)).filter(|setting| !setting.disabled)
    }
}

/// `pathNormalization.normalization`; each step adds to the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Normalization {
    /// `NONE`: paths are read as they come.
    None,
    /// `BASE` and `DEFAULT`: RFC 3986, and `\\` is `/`.
    #[default]
    Base,
    /// `MERGE_SLASHES`: `//` is `/`.
    MergeSlashes,
    /// `DECODE_AND_MERGE_SLASHES`: `%2F` and `%5C` are `/` before that.
    DecodeAndMergeSlashes,
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
    served: &[
        "connectTimeout",
        "defaultDestinationRuleExportTo",
        "defaultHttpRetryPolicy",
        "defaultServiceExportTo",
        "defaultVirtualServiceExportTo",
        "dnsRefreshRate",
        "enableAutoMtls",
        "extensionProviders",
        "h2UpgradePolicy",
        "localityLbSetting",
        "outboundTrafficPolicy",
        "pathNormalization",
        "rootNamespace",
        "tcpKeepalive",
        "trustDomain",
        "trustDomainAliases",
    ],
    unserved: &[
        "accessLogEncoding",
        "accessLogFile",
        "accessLogFormat",
        "ca",
        "caCertificates",
        "certificates",
        "configSources",
        "defaultConfig",
        "defaultProviders",
        "defaultTrafficPolicy",
        "disableEnvoyListenerLog",
        "discoverySelectors",
        "enableEnvoyAccessLogService",
        "enablePrometheusMerge",
        "enableTracing",
        "hboneIdleTimeout",
        "inboundClusterStatName",
        "inboundTrafficPolicy",
        "ingressClass",
        "ingressControllerMode",
        "ingressSelector",
        "ingressService",
        "meshMTLS",
        "outboundClusterStatName",
        "protocolDetectionTimeout",
        "proxyHttpPort",
        "proxyInboundListenPort",
        "proxyListenPort",
        "serviceScopeConfigs",
        "serviceSettings",
        "tlsDefaults",
        "verifyCertificateAtClient",
    ],
};
const NORMALIZATION: Schema = Schema {
    served: &["normalization"],
    unserved: &[],
};
const OUTBOUND: Schema = Schema {
    served: &["mode"],
    unserved: &["egressProxy"],
};

/// Whether a document is the message itself: it stands in `mesh.yaml` and has nothing of an object.
pub(crate) fn is_plain(file: &Path, document: &Value) -> bool {
    let named = file
        .file_name()
        .is_some_and(|name| name == "mesh.yaml" || name == "mesh.yml");
    let object = ["apiVersion", "kind", "metadata", "spec"];
    named
        && matches!(document.data, Data::Map(_))
        && object.iter().all(|key| document.get(key).is_none())
}

/// Reads the message under a path: `spec` of a document.
pub(crate) fn decode(spec: &Value, path: &str, sink: &mut Sink) -> Option<MeshConfig> {
    let fields = Fields::open(spec, path, SPEC, sink)?;
    let default = MeshConfig::default();
    let retries = fields.get("defaultHttpRetryPolicy").and_then(|value| {
        let path = fields.path_of("defaultHttpRetryPolicy");
        http_route::retries::decode(value, path, sink)
    });
    let root = fields.string("rootNamespace", sink);
    Some(MeshConfig {
        outbound: outbound(&fields, OutboundPolicy::AllowAny, sink).unwrap_or_default(),
        root_namespace: root
            .filter(|name| !name.is_empty())
            .unwrap_or(default.root_namespace),
        trust_domains: trust_domains(&fields, sink).unwrap_or(default.trust_domains),
        auto_mtls: auto_mtls(&fields, sink),
        normalization: normalization(&fields, sink).unwrap_or_default(),
        connect_timeout: fields
            .milliseconds("connectTimeout", sink)
            .unwrap_or(default.connect_timeout),
        dns_refresh: fields
            .milliseconds("dnsRefreshRate", sink)
            .unwrap_or(default.dns_refresh),
        keepalive: connection_pool::keepalive(&fields, sink),
        h2_upgrade: connection_pool::h2_upgrade(&fields, &["DO_NOT_UPGRADE", "UPGRADE"], sink),
        retries,
        export: Exports {
            services: ExportTo::decode_from(&fields, "defaultServiceExportTo", sink),
            virtual_services: ExportTo::decode_from(&fields, "defaultVirtualServiceExportTo", sink),
            destination_rules: ExportTo::decode_from(
                &fields,
                "defaultDestinationRuleExportTo",
                sink,
            ),
        },
        authorizers: extension_provider::decode(&fields, sink),
        locality: locality::decode(&fields, sink).unwrap_or_default(),
    })
}

/// `outboundTrafficPolicy` of the mesh or of a `Sidecar`; nothing where it is not said.
/// A policy without a mode is the default given.
pub(crate) fn outbound(
    parent: &Fields<'_>,
    default: OutboundPolicy,
    sink: &mut Sink,
) -> Option<OutboundPolicy> {
    let fields = parent.sub("outboundTrafficPolicy", OUTBOUND, sink)?;
    match fields.word("mode", &["ALLOW_ANY", "REGISTRY_ONLY"], sink) {
        Some("REGISTRY_ONLY") => Some(OutboundPolicy::RegistryOnly),
        Some(_) => Some(OutboundPolicy::AllowAny),
        None => Some(default),
    }
}

fn auto_mtls(fields: &Fields<'_>, sink: &mut Sink) -> bool {
    if fields.get("enableAutoMtls").is_some() && !sink.options.has_certificates() {
        let path = fields.path_of("enableAutoMtls");
        let message = format!("{path} has no effect in this version");
        sink.note(fields.place("enableAutoMtls"), message);
    }
    fields.flag("enableAutoMtls", sink).unwrap_or(true)
}

/// The trust domain, then its aliases.
fn trust_domains(fields: &Fields<'_>, sink: &mut Sink) -> Option<Vec<String>> {
    let own = fields.string("trustDomain", sink);
    let aliases = fields.strings("trustDomainAliases", sink);
    let own = own.filter(|name| !name.is_empty());
    if own.is_none() && aliases.is_empty() {
        return None;
    }
    let own = own.unwrap_or_else(|| TRUST_DOMAIN.to_owned());
    // istiod sorts them.
    let aliases: BTreeSet<_> = aliases.into_iter().map(|(name, _)| name).collect();
    let aliases = aliases.into_iter().filter(|name| *name != own);
    Some([own.clone()].into_iter().chain(aliases).collect())
}

/// How servers read paths. A client of ours is told by its program.
fn normalization(parent: &Fields<'_>, sink: &mut Sink) -> Option<Normalization> {
    let fields = parent.sub("pathNormalization", NORMALIZATION, sink)?;
    let allowed = &[
        "DEFAULT",
        "NONE",
        "BASE",
        "MERGE_SLASHES",
        "DECODE_AND_MERGE_SLASHES",
    ];
    let how = fields.word("normalization", allowed, sink)?;
    if !matches!(how, "DEFAULT" | "NONE") {
        let path = fields.path_of("normalization");
        let message = format!(
            "{path} {how} has no effect on calls: it is said in listeners, and none are sent for calls"
        );
        sink.note(fields.place("normalization"), message);
    }
    Some(match how {
        "NONE" => Normalization::None,
        "MERGE_SLASHES" => Normalization::MergeSlashes,
        "DECODE_AND_MERGE_SLASHES" => Normalization::DecodeAndMergeSlashes,
        _ => Normalization::Base,
    })
}
