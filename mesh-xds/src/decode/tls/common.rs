//! `CommonTlsContext` and `CertificateValidationContext`: whose certificate is shown and whose authorities are believed.

use envoy_types::pb::envoy::config::core::v3::{DataSource, data_source::Specifier};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as pb;
use mesh_core::identity::PeerRule;
use mesh_core::tls::{CertName, RootName, TlsVersion};
use pb::common_tls_context::ValidationContextType;
use pb::tls_parameters::TlsProtocol;

use super::{Unfit, san};
use crate::decode::Invalid;

/// What both sides have in common.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) identity: Option<CertName>,
    pub(super) roots: Option<RootName>,
    /// Whom the peer's certificate must name, where a list says it.
    pub(super) peer: Option<PeerRule>,
    pub(super) alpn: Vec<String>,
    pub(super) min: TlsVersion,
    pub(super) max: TlsVersion,
}

pub(super) fn decode(wire: pb::CommonTlsContext) -> Result<Common, Unfit> {
    refuse(&[
        ("tls_certificates", !wire.tls_certificates.is_empty()),
        ("custom_handshaker", wire.custom_handshaker.is_some()),
        (
            "custom_tls_certificate_selector",
            wire.custom_tls_certificate_selector.is_some(),
        ),
        #[allow(deprecated, reason = "it may still be sent")]
        (
            "tls_certificate_certificate_provider",
            wire.tls_certificate_certificate_provider.is_some(),
        ),
    ])?;
    if wire
        .alpn_protocols
        .iter()
        .any(|name| !(1..=255).contains(&name.len()))
    {
        let reason = "holds a name that has not 1 to 255 bytes";
        return Err(Invalid::new("alpn_protocols", reason).into());
    }
    let (min, max) =
        versions(wire.tls_params.as_ref()).map_err(|unfit| unfit.within("tls_params"))?;
    let identity = identity(&wire)?;
    let (roots, peer) = validation(wire.validation_context_type)?;
    Ok(Common {
        identity,
        roots,
        peer,
        alpn: wire.alpn_protocols,
        min,
        max,
    })
}

/// Each of these is a condition, or a way to a key, that nothing here honours.
fn refuse(fields: &[(&str, bool)]) -> Result<(), Unfit> {
    match fields.iter().find(|(_, is_set)| *is_set) {
        Some((field, _)) => Unfit::not_served(format!("{field} is not served")),
        None => Ok(()),
    }
}

/// `tls_params`. Ciphers, curves and signatures are those of the TLS library, all of them without known weakness.
fn versions(wire: Option<&pb::TlsParameters>) -> Result<(TlsVersion, TlsVersion), Unfit> {
    let Some(wire) = wire else {
        return Ok((TlsVersion::default(), TlsVersion::V1_3));
    };
    refuse(&[("compliance_policies", !wire.compliance_policies.is_empty())])?;
    let version = |field: &str, number: i32| {
        TlsProtocol::try_from(number)
            .map_err(|_| Invalid::new(field, format_args!("{number} is no version of TLS")))
    };
    let min = match version(
        "tls_minimum_protocol_version",
        wire.tls_minimum_protocol_version,
    )? {
        TlsProtocol::TlSv13 => TlsVersion::V1_3,
        TlsProtocol::TlsAuto | TlsProtocol::TlSv10 | TlsProtocol::TlSv11 | TlsProtocol::TlSv12 => {
            TlsVersion::V1_2
        }
    };
    let max = version(
        "tls_maximum_protocol_version",
        wire.tls_maximum_protocol_version,
    )?;
    match (max, min) {
        (TlsProtocol::TlSv10 | TlsProtocol::TlSv11, _)
        | (TlsProtocol::TlSv12, TlsVersion::V1_3) => Unfit::not_served(format!(
            "tls_maximum_protocol_version: {} is older than what is spoken at least",
            max.as_str_name()
        )),
        (TlsProtocol::TlSv12, TlsVersion::V1_2) => Ok((min, TlsVersion::V1_2)),
        (TlsProtocol::TlsAuto | TlsProtocol::TlSv13, _) => Ok((min, TlsVersion::V1_3)),
    }
}

fn identity(wire: &pb::CommonTlsContext) -> Result<Option<CertName>, Unfit> {
    let by_secret = match &*wire.tls_certificate_sds_secret_configs {
        [] => None,
        [one] => Some(certificate(&one.name)?),
        _ => {
            return Unfit::not_served(
                "tls_certificate_sds_secret_configs: more than one is not served",
            );
        }
    };
    let named = wire.tls_certificate_provider_instance.as_ref();
    let named = named.map(|it| (&*it.instance_name, &*it.certificate_name));
    #[allow(deprecated, reason = "istiod sends both spellings")]
    let older = wire.tls_certificate_certificate_provider_instance.as_ref();
    let older = older.map(|it| (&*it.instance_name, &*it.certificate_name));
    let instance = |(instance, name): (&str, &str)| match (instance, name) {
        ("default", "default") => Ok(CertName::Workload),
        _ => unknown_instance("tls_certificate_provider_instance", instance, name),
    };
    let by_instance = [named, older].map(|named| named.map(instance).transpose());
    let [named, older] = by_instance;
    same("the certificate", [by_secret, named?, older?])
}

/// The names of SDS secrets that istiod gives, and that its agent answers.
fn certificate(secret: &str) -> Result<CertName, Unfit> {
    const FIELD: &str = "tls_certificate_sds_secret_configs[0].name";
    if secret == "default" {
        return Ok(CertName::Workload);
    }
    let files = secret.strip_prefix("file-cert:");
    match files.map(|files| files.split('~').collect::<Vec<_>>()) {
        Some(files) => match *files {
            [chain, key] if !chain.is_empty() && !key.is_empty() => Ok(CertName::Files {
                chain: chain.into(),
                key: key.into(),
            }),
            _ => unknown_secret(FIELD, secret),
        },
        None => unknown_secret(FIELD, secret),
    }
}

fn authorities(secret: &str) -> Result<RootName, Unfit> {
    const FIELD: &str = "validation_context_sds_secret_config.name";
    match (secret, secret.strip_prefix("file-root:")) {
        ("ROOTCA", _) => Ok(RootName::Workload),
        (_, Some("system")) => Ok(RootName::System),
        // What Istio would put behind it is another condition.
        (_, Some(path)) if !path.is_empty() && !path.contains('~') => {
            Ok(RootName::File(path.into()))
        }
        _ => unknown_secret(FIELD, secret),
    }
}

fn unknown_secret<T>(field: &str, name: &str) -> Result<T, Unfit> {
    if name.is_empty() {
        return Err(Invalid::new(field, "is empty").into());
    }
    Unfit::not_served(format!(
        "{field}: {name:?} is no secret that is known here (default, ROOTCA, file-cert:<chain>~<key>, file-root:<path>)"
    ))
}

fn unknown_instance<T>(field: &str, instance: &str, name: &str) -> Result<T, Unfit> {
    Unfit::not_served(format!(
        "{field}: {name:?} of {instance:?} is not known here (default and ROOTCA of \"default\")"
    ))
}

/// One thing that may be named in several places has one name.
fn same<T: PartialEq + std::fmt::Debug>(
    what: &str,
    named: impl IntoIterator<Item = Option<T>>,
) -> Result<Option<T>, Unfit> {
    let mut named = named.into_iter().flatten();
    let first = named.next();
    match named.find(|other| first.as_ref() != Some(other)) {
        Some(other) => Unfit::not_served(format!("{what} is named twice: {first:?} and {other:?}")),
        None => Ok(first),
    }
}

type Validation = (Option<RootName>, Option<PeerRule>);

#[allow(deprecated, reason = "istiod sends both spellings")]
fn validation(wire: Option<ValidationContextType>) -> Result<Validation, Unfit> {
    let instance = |instance: &str, name: &str| match (instance, name) {
        ("default", "ROOTCA") => Ok(RootName::Workload),
        _ => unknown_instance("ca_certificate_provider_instance", instance, name),
    };
    match wire {
        None => Ok((None, None)),
        Some(ValidationContextType::ValidationContext(context)) => {
            context_of(context, &instance).map_err(|unfit| unfit.within("validation_context"))
        }
        Some(ValidationContextType::ValidationContextSdsSecretConfig(secret)) => {
            Ok((Some(authorities(&secret.name)?), None))
        }
        Some(ValidationContextType::ValidationContextCertificateProviderInstance(named)) => {
            let roots = instance(&named.instance_name, &named.certificate_name)?;
            Ok((Some(roots), None))
        }
        Some(ValidationContextType::ValidationContextCertificateProvider(_)) => {
            Unfit::not_served("validation_context_certificate_provider is not served")
        }
        Some(ValidationContextType::CombinedValidationContext(combined)) => {
            let within = |unfit: Unfit| unfit.within("combined_validation_context");
            self::combined(combined, &instance).map_err(within)
        }
    }
}

#[allow(deprecated, reason = "istiod sends both spellings")]
fn combined(
    wire: pb::common_tls_context::CombinedCertificateValidationContext,
    instance: &impl Fn(&str, &str) -> Result<RootName, Unfit>,
) -> Result<Validation, Unfit> {
    let provider = wire.validation_context_certificate_provider.is_some();
    refuse(&[("validation_context_certificate_provider", provider)])?;
    let context = wire.default_validation_context.unwrap_or_default();
    let (roots, peer) = context_of(context, instance)
        .map_err(|unfit| unfit.within("default_validation_context"))?;
    let secret = wire.validation_context_sds_secret_config;
    let secret = secret.map(|secret| authorities(&secret.name)).transpose()?;
    let older = wire.validation_context_certificate_provider_instance;
    let older = older.map(|it| instance(&it.instance_name, &it.certificate_name));
    let roots = same("the authority", [roots, secret, older.transpose()?])?;
    Ok((roots, peer))
}

/// What makes Envoy more lenient (`allow_expired_certificate`, `trust_chain_verification`) has no effect.
fn context_of(
    wire: pb::CertificateValidationContext,
    instance: &impl Fn(&str, &str) -> Result<RootName, Unfit>,
) -> Result<Validation, Unfit> {
    let timestamp = wire.require_signed_certificate_timestamp;
    refuse(&[
        (
            "verify_certificate_spki",
            !wire.verify_certificate_spki.is_empty(),
        ),
        (
            "verify_certificate_hash",
            !wire.verify_certificate_hash.is_empty(),
        ),
        (
            "require_signed_certificate_timestamp",
            timestamp.is_some_and(|it| it.value),
        ),
        ("crl", wire.crl.is_some()),
        ("only_verify_leaf_cert_crl", wire.only_verify_leaf_cert_crl),
        (
            "custom_validator_config",
            wire.custom_validator_config.is_some(),
        ),
        ("max_verify_depth", wire.max_verify_depth.is_some()),
    ])?;
    let file = match wire.trusted_ca {
        None => None,
        Some(DataSource {
            specifier: Some(Specifier::Filename(path)),
            ..
        }) => Some(RootName::File(path.into())),
        Some(_) => return Unfit::not_served("trusted_ca: only a filename is served"),
    };
    let system = wire.system_root_certs.map(|_| RootName::System);
    let named = wire.ca_certificate_provider_instance;
    let named = named.map(|it| instance(&it.instance_name, &it.certificate_name));
    let roots = same("the authority", [file, system, named.transpose()?])?;
    #[allow(deprecated, reason = "istiod sends the older form")]
    let peer = san::rule(
        &wire.match_typed_subject_alt_names,
        &wire.match_subject_alt_names,
    )?;
    Ok((roots, peer))
}
