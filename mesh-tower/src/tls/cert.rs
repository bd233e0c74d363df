//! What is read of a certificate. All of its names are counted, also those that cannot be read: a second URI name that one
//! reader skips and another one believes would make two workloads of one certificate.

use std::net::IpAddr;

use mesh_core::identity::{PeerCertificate, Sans};
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, KeyUsage};
use x509_parser::prelude::FromDer;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use super::crypto::Crypto;

/// The tag of `uniformResourceIdentifier` in a `GeneralName` (RFC 5280, 4.2.1.6).
const URI: u32 = 6;
/// How many characters of a reason are told: it may quote what is in the certificate.
const LONGEST: usize = 200;

/// A certificate that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the certificate cannot be read: {0}")]
pub(super) struct Unreadable(Box<str>);

impl Unreadable {
    fn of(what: &str) -> Self {
        let shown = what.chars().take(LONGEST);
        Self(shown.flat_map(char::escape_debug).collect())
    }
}

/// Reads a certificate; whether its chain is good is for others to say.
pub(super) fn read(
    der: &CertificateDer<'_>,
    crypto: &Crypto,
) -> Result<PeerCertificate, Unreadable> {
    let wrong = Unreadable::of;
    let (rest, certificate) =
        X509Certificate::from_der(der).map_err(|error| wrong(&error.to_string()))?;
    if !rest.is_empty() {
        return Err(wrong("bytes follow it"));
    }
    // A second extension of this kind is an error, and so is one that is broken.
    let names = certificate
        .subject_alternative_name()
        .map_err(|error| wrong(&format!("its alternative names: {error}")))?;
    let names = names.map_or(&[][..], |extension| &extension.value.general_names);
    let sans = sans(names);
    let subject = subject(certificate.subject());
    let [_, not_after] = validity(&certificate);
    Ok(PeerCertificate::new(
        sans,
        subject,
        crypto.sha256(der),
        not_after,
    ))
}

/// From when until when it holds, in seconds since 1970.
pub(super) fn holds(der: &CertificateDer<'_>) -> Option<[u64; 2]> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(validity(&certificate))
}

fn validity(certificate: &X509Certificate<'_>) -> [u64; 2] {
    let validity = certificate.validity();
    [validity.not_before, validity.not_after].map(|time| time.timestamp().try_into().unwrap_or(0))
}

/// A certificate that is used for what its key usage (RFC 5280, 4.2.1.3) does not allow; one that says nothing of it may be
/// used for all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum WrongUse {
    #[error("its key usage does not allow digitalSignature, by which TLS proves who has the key")]
    DigitalSignature,
    #[error(
        "its key usage allows to sign certificates or revocation lists, and a workload's must not (X.509-SVID, 4.3)"
    )]
    OfWorkload,
    #[error("the key usage of a certificate above it does not allow keyCertSign")]
    KeyCertSign,
}

/// Whether a peer may prove itself by it; if not, why, or why that cannot be told.
pub(super) fn signs_handshakes(
    der: &CertificateDer<'_>,
) -> Result<(), Result<WrongUse, Unreadable>> {
    with_usage(der, |certificate, usage| {
        let of_workload = || {
            let names = certificate.subject_alternative_name().ok().flatten();
            let mut names = names.iter().flat_map(|it| &it.value.general_names);
            names.any(|name| matches!(name, GeneralName::URI(uri) if uri.starts_with("spiffe://")))
        };
        if !usage.digital_signature() {
            Err(WrongUse::DigitalSignature)
        } else if (usage.key_cert_sign() || usage.crl_sign()) && of_workload() {
            Err(WrongUse::OfWorkload)
        } else {
            Ok(())
        }
    })
}

/// Whether an authority may sign by it.
pub(super) fn signs_certificates(
    der: &CertificateDer<'_>,
) -> Result<(), Result<WrongUse, Unreadable>> {
    with_usage(der, |_, usage| match usage.key_cert_sign() {
        true => Ok(()),
        false => Err(WrongUse::KeyCertSign),
    })
}

fn with_usage(
    der: &CertificateDer<'_>,
    judged: impl FnOnce(&X509Certificate<'_>, &KeyUsage) -> Result<(), WrongUse>,
) -> Result<(), Result<WrongUse, Unreadable>> {
    let unreadable = |error: &dyn std::fmt::Display| Err(Unreadable::of(&error.to_string()));
    let (_, certificate) = X509Certificate::from_der(der).map_err(|error| unreadable(&error))?;
    // A second extension of this kind is an error, and so is one that is broken.
    let usage = certificate
        .key_usage()
        .map_err(|error| unreadable(&error))?;
    match usage {
        Some(usage) => judged(&certificate, usage.value).map_err(Ok),
        None => Ok(()),
    }
}

/// The names of a certificate for an error, also of one that nobody has judged.
pub(super) fn seen(der: &CertificateDer<'_>, crypto: &Crypto) -> Box<str> {
    match read(der, crypto) {
        Ok(read) => read.sans.to_string().into(),
        Err(unreadable) => unreadable.to_string().into(),
    }
}

fn sans(names: &[GeneralName<'_>]) -> Sans {
    let (mut uri, mut dns, mut ip) = (Vec::new(), Vec::new(), Vec::new());
    let mut unreadable = 0;
    for name in names {
        match name {
            GeneralName::URI(text) => uri.push((*text).into()),
            GeneralName::DNSName(text) => dns.push((*text).into()),
            GeneralName::IPAddress(bytes) => ip.extend(address(bytes)),
            GeneralName::Invalid(tag, _) if tag.0 == URI => unreadable += 1,
            _ => {}
        }
    }
    Sans {
        uri: uri.into(),
        dns: dns.into(),
        ip: ip.into(),
        unreadable,
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

/// The name by RFC 2253: the last part first, as OpenSSL prints it for `x-forwarded-client-cert`.
fn subject(name: &X509Name<'_>) -> String {
    let mut parts = Vec::new();
    for part in name.iter() {
        let all: Vec<String> = part.iter().map(attribute).collect();
        parts.push(all.join("+"));
    }
    parts.reverse();
    parts.join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type().to_id_string();
    let known = match &*oid {
        "2.5.4.3" => "CN",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "street",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        other => other,
    };
    format!("{known}={}", escaped(attribute.as_slice()))
}

/// RFC 2253, 2.4; bytes that are no printable ASCII by their hexadecimal form.
fn escaped(value: &[u8]) -> String {
    let mut text = String::with_capacity(value.len());
    for (at, &byte) in value.iter().enumerate() {
        let edge = at == 0 || at + 1 == value.len();
        match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => text.extend(['\\', byte.into()]),
            b'#' if at == 0 => text.push_str("\\#"),
            b' ' if edge => text.push_str("\\ "),
            b' '..=b'~' => text.push(byte.into()),
            other => text.push_str(&format!("\\{other:02X}")),
        }
    }
    text
}
