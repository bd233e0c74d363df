//! `UpstreamTlsContext` and `DownstreamTlsContext`: whose certificate is shown, and whose is taken, in istiod's words.
//!
//! Certificates go by names: `default` is the workload's own, `ROOTCA` what it trusts; `file-cert:` and `file-root:`
//! name files of the workload (istiod's SDS resources).

use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3::cluster::TransportSocketMatch;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as pb;
use envoy_types::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use envoy_types::pb::google::protobuf::{Struct, Value, value::Kind};

use crate::kinds::peer_authentication::Mode;
use crate::kinds::server_tls::{Clients, ServerFiles, ServerTls, Version};
use crate::kinds::tls_settings::{ClientTls, Files, Names};
use crate::kinds::traffic_policy::Effective;
use crate::registry::{ISTIO, Instance, Registry, Service, ServicePort};

use super::proto;

/// Istio's key of endpoints' metadata by which a cluster chooses among its sockets.
pub(super) const MATCH: &str = "envoy.transport_socket_match";
/// The key in it.
pub(super) const TLS_MODE: &str = "tlsMode";
/// The protocols of calls within the mesh, TCP's exchange of metadata first.
const IN_MESH: [&str; 2] = ["istio-peer-exchange", "istio"];
const HTTP2: &str = "h2";
/// istiod's list for servers. Those without an exchange of keys are for clients that are older than the mesh.
const CIPHERS: [&str; 6] = [
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-GCM-SHA256",
];

/// How the endpoints of a cluster are called.
pub(super) enum Upstream {
    /// In plaintext.
    Plain,
    /// All alike.
    All(Box<pb::UpstreamTlsContext>),
    /// Over mutual TLS those whose metadata say that they take it.
    Those(Box<pb::UpstreamTlsContext>),
}

/// A cluster as far as its security depends on it.
pub(super) struct Target<'a> {
    pub(super) service: &'a Service,
    pub(super) port: &'a ServicePort,
    pub(super) subset: &'a str,
    /// Whether the caller dials the address that it asked for.
    pub(super) original: bool,
    /// Whether HTTP/2 is spoken to it.
    pub(super) http2: bool,
}

impl Upstream {
    /// By the rule, else by what the service's namespace takes.
    pub(super) fn of(
        registry: &Registry,
        target: &Target<'_>,
        policy: Effective<'_>,
        identities: &[String],
    ) -> Self {
        match policy.tls {
            Some(ClientTls::Disable) => Self::Plain,
            Some(ClientTls::Istio(names)) => Self::All(Box::new(mutual(target, names, identities))),
            Some(ClientTls::Files(files)) => Self::All(Box::new(by_files(target, files))),
            None if !is_inferred(registry, target) => Self::Plain,
            None => {
                let context = Box::new(mutual(target, &Names::default(), identities));
                // An address that is only known when it is called has no metadata.
                match target.original {
                    true => Self::All(context),
                    false => Self::Those(context),
                }
            }
        }
    }
}

/// Whether endpoints are called over mutual TLS where no rule says anything (`enableAutoMtls`).
fn is_inferred(registry: &Registry, target: &Target<'_>) -> bool {
    let service = target.service;
    let wanted = registry.options.has_certificates() && registry.mesh.auto_mtls;
    if !wanted || service.external || registry.namespace_mode(&service.namespace) == Mode::Disable {
        return false;
    }
    // What all endpoints are to take alike, all must be able to.
    let instances = &target.port.instances;
    let able = |instance: &Instance| instance.workload.tls_mode().is_some();
    !target.original || (!instances.is_empty() && instances.iter().all(able))
}

fn mutual(target: &Target<'_>, names: &Names, identities: &[String]) -> pb::UpstreamTlsContext {
    let Target {
        service,
        port,
        subset,
        http2,
        ..
    } = target;
    let sni = match names.sni.as_str() {
        "" => format!("outbound_.{}_.{subset}_.{}", port.number, service.host),
        said => said.to_owned(),
    };
    let sans = match names.sans.as_slice() {
        [] => identities,
        said => said,
    };
    let alpn = IN_MESH.into_iter().chain(http2.then_some(HTTP2));
    pb::UpstreamTlsContext {
        sni,
        common_tls_context: Some(pb::CommonTlsContext {
            tls_params: Some(params(&[])),
            tls_certificate_sds_secret_configs: vec![own_secret("default")],
            alpn_protocols: alpn.map(str::to_owned).collect(),
            validation_context_type: Some(validation(
                sans.iter().map(|san| exact(san)).collect(),
                own_secret("ROOTCA"),
            )),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn by_files(target: &Target<'_>, files: &Files) -> pb::UpstreamTlsContext {
    let Files { names, roots, own } = files;
    let sans = match names.sans.as_slice() {
        [] => &target.service.sans[..],
        said => said,
    };
    let roots = format!("file-root:{}", roots.as_deref().unwrap_or("system"));
    let own = own.iter();
    let own = own.map(|(certificate, key)| secret(&format!("file-cert:{certificate}~{key}"), None));
    let alpn = target.http2.then_some(HTTP2);
    pb::UpstreamTlsContext {
        sni: names.sni.clone(),
        common_tls_context: Some(pb::CommonTlsContext {
            tls_params: Some(params(&[])),
            tls_certificate_sds_secret_configs: own.collect(),
            alpn_protocols: alpn.into_iter().map(str::to_owned).collect(),
            validation_context_type: Some(validation(
                sans.iter().map(|san| exact(san)).collect(),
                secret(&roots, None),
            )),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// What a server shows and demands: its own certificate, and one of the mesh's trust domains.
pub(super) fn downstream(domains: &[String], alpn: &[&str]) -> core::TransportSocket {
    let prefix = |domain: &String| {
        let prefix = format!("spiffe://{domain}/");
        matcher(MatchPattern::Prefix(prefix))
    };
    let context = pb::DownstreamTlsContext {
        common_tls_context: Some(pb::CommonTlsContext {
            tls_params: Some(params(&CIPHERS)),
            tls_certificate_sds_secret_configs: vec![own_secret("default")],
            alpn_protocols: alpn.iter().copied().map(str::to_owned).collect(),
            validation_context_type: Some(validation(
                domains.iter().map(prefix).collect(),
                own_secret("ROOTCA"),
            )),
            ..Default::default()
        }),
        require_client_certificate: Some(proto::bool_value(true)),
        ..Default::default()
    };
    socket("envoy.transport_sockets.tls", &context)
}

/// What a server of a gateway shows, and what it demands of its clients.
pub(super) fn of_gateway(tls: &ServerTls) -> core::TransportSocket {
    let (shown, clients, params) = match tls {
        ServerTls::Istio { sans } => (
            own_secret("default"),
            Some((own_secret("ROOTCA"), sans)),
            None,
        ),
        ServerTls::Files(files) => {
            let ServerFiles {
                chain,
                key,
                clients,
                min,
                max,
            } = &**files;
            let of = |clients: &'_ Clients| secret(&format!("file-root:{}", clients.roots), None);
            (
                secret(&format!("file-cert:{chain}~{key}"), None),
                clients.as_ref().map(|clients| (of(clients), &clients.sans)),
                (min.is_some() || max.is_some()).then(|| pb::TlsParameters {
                    tls_minimum_protocol_version: protocol(*min).into(),
                    tls_maximum_protocol_version: protocol(*max).into(),
                    ..Default::default()
                }),
            )
        }
    };
    let context = pb::DownstreamTlsContext {
        require_client_certificate: Some(proto::bool_value(clients.is_some())),
        common_tls_context: Some(pb::CommonTlsContext {
            tls_params: params,
            tls_certificate_sds_secret_configs: vec![shown],
            alpn_protocols: [HTTP2, "http/1.1"].map(str::to_owned).into(),
            validation_context_type: clients.map(|(roots, sans)| {
                validation(sans.iter().map(|san| exact(san)).collect(), roots)
            }),
            ..Default::default()
        }),
        ..Default::default()
    };
    socket("envoy.transport_sockets.tls", &context)
}

fn protocol(version: Option<Version>) -> pb::tls_parameters::TlsProtocol {
    use pb::tls_parameters::TlsProtocol;
    match version {
        None => TlsProtocol::TlsAuto,
        Some(Version::V1_0) => TlsProtocol::TlSv10,
        Some(Version::V1_1) => TlsProtocol::TlSv11,
        Some(Version::V1_2) => TlsProtocol::TlSv12,
        Some(Version::V1_3) => TlsProtocol::TlSv13,
    }
}

/// The socket of a context.
pub(super) fn upstream(context: &pb::UpstreamTlsContext) -> core::TransportSocket {
    socket("envoy.transport_sockets.tls", context)
}

/// Mutual TLS for the endpoints that say that they take it, plaintext for the others.
pub(super) fn by_metadata(context: &pb::UpstreamTlsContext) -> Vec<TransportSocketMatch> {
    let istio = Value {
        kind: Some(Kind::StringValue(ISTIO.to_owned())),
    };
    let those = Struct {
        fields: [(TLS_MODE.to_owned(), istio)].into(),
    };
    let plain = socket("envoy.transport_sockets.raw_buffer", &RawBuffer::default());
    vec![
        TransportSocketMatch {
            name: "tlsMode-istio".to_owned(),
            r#match: Some(those),
            transport_socket: Some(upstream(context)),
        },
        TransportSocketMatch {
            name: "tlsMode-disabled".to_owned(),
            r#match: Some(Struct::default()),
            transport_socket: Some(plain),
        },
    ]
}

/// The socket of a cluster that a rule wants called over mutual TLS, in gRPC's dialect: certificates by the names of the
/// client's own providers (gRFC A29), in the field that it reads and in the one before it. istiod names nobody whom the
/// server may be.
pub(super) fn by_providers() -> core::TransportSocket {
    upstream(&pb::UpstreamTlsContext {
        common_tls_context: Some(of_providers()),
        ..Default::default()
    })
}

/// The same of a server, that takes whom its authorities have given a certificate.
pub(super) fn downstream_by_providers() -> core::TransportSocket {
    let context = pb::DownstreamTlsContext {
        common_tls_context: Some(of_providers()),
        require_client_certificate: Some(proto::bool_value(true)),
        ..Default::default()
    };
    socket("envoy.transport_sockets.tls", &context)
}

// The older fields are deprecated, and what istiod sends.
#[allow(deprecated)]
fn of_providers() -> pb::CommonTlsContext {
    use pb::common_tls_context as common;
    let older = |name: &str| common::CertificateProviderInstance {
        instance_name: "default".to_owned(),
        certificate_name: name.to_owned(),
    };
    let newer = |name: &str| pb::CertificateProviderPluginInstance {
        instance_name: "default".to_owned(),
        certificate_name: name.to_owned(),
    };
    let roots = pb::CertificateValidationContext {
        ca_certificate_provider_instance: Some(newer("ROOTCA")),
        ..Default::default()
    };
    let validation = common::CombinedCertificateValidationContext {
        default_validation_context: Some(roots),
        validation_context_certificate_provider_instance: Some(older("ROOTCA")),
        ..Default::default()
    };
    pb::CommonTlsContext {
        tls_certificate_provider_instance: Some(newer("default")),
        tls_certificate_certificate_provider_instance: Some(older("default")),
        validation_context_type: Some(common::ValidationContextType::CombinedValidationContext(
            validation,
        )),
        ..Default::default()
    }
}

fn socket(name: &str, context: &impl prost::Name) -> core::TransportSocket {
    let config = core::transport_socket::ConfigType::TypedConfig(proto::any(context));
    core::TransportSocket {
        name: name.to_owned(),
        config_type: Some(config),
    }
}

fn params(ciphers: &[&str]) -> pb::TlsParameters {
    use pb::tls_parameters::TlsProtocol;
    pb::TlsParameters {
        tls_minimum_protocol_version: TlsProtocol::TlSv12.into(),
        tls_maximum_protocol_version: TlsProtocol::TlSv13.into(),
        cipher_suites: ciphers.iter().copied().map(str::to_owned).collect(),
        ..Default::default()
    }
}

// The untyped matchers are deprecated in Envoy, and what istiod sends.
#[allow(deprecated)]
fn validation(
    sans: Vec<StringMatcher>,
    roots: pb::SdsSecretConfig,
) -> pb::common_tls_context::ValidationContextType {
    let context = pb::CertificateValidationContext {
        match_subject_alt_names: sans,
        ..Default::default()
    };
    let combined = pb::common_tls_context::CombinedCertificateValidationContext {
        default_validation_context: Some(context),
        validation_context_sds_secret_config: Some(roots),
        ..Default::default()
    };
    pb::common_tls_context::ValidationContextType::CombinedValidationContext(combined)
}

fn exact(text: &str) -> StringMatcher {
    matcher(MatchPattern::Exact(text.to_owned()))
}

fn matcher(pattern: MatchPattern) -> StringMatcher {
    StringMatcher {
        match_pattern: Some(pattern),
        ..StringMatcher::default()
    }
}

/// A secret that is there before anything is called: it is waited for without an end.
fn own_secret(name: &str) -> pb::SdsSecretConfig {
    secret(name, Some(Duration::ZERO))
}

fn secret(name: &str, wait: Option<Duration>) -> pb::SdsSecretConfig {
    let agent = core::grpc_service::EnvoyGrpc {
        cluster_name: "sds-grpc".to_owned(),
        ..Default::default()
    };
    let agent = core::GrpcService {
        target_specifier: Some(core::grpc_service::TargetSpecifier::EnvoyGrpc(agent)),
        ..Default::default()
    };
    let source = core::ApiConfigSource {
        api_type: core::api_config_source::ApiType::Grpc.into(),
        transport_api_version: core::ApiVersion::V3.into(),
        grpc_services: vec![agent],
        set_node_on_first_message_only: true,
        ..Default::default()
    };
    let source = core::ConfigSource {
        initial_fetch_timeout: wait.map(proto::duration),
        resource_api_version: core::ApiVersion::V3.into(),
        config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::ApiConfigSource(
            source,
        )),
        ..Default::default()
    };
    pb::SdsSecretConfig {
        name: name.to_owned(),
        sds_config: Some(source),
    }
}
