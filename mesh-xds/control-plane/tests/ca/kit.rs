//! What the tests share: a time, callers, and a reader of certificates that is not the authority's.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mesh_control_plane::ca::{Authority, Caller, Csr, Tokens};
use mesh_core::identity::SpiffeId;
use rcgen::{CertificateParams, KeyPair, SanType};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

pub(crate) const REVIEWS: &str = "spiffe://cluster.local/ns/default/sa/bookinfo-reviews";
pub(crate) const THIEF: &str = "spiffe://cluster.local/ns/default/sa/thief";
pub(crate) const HOUR: Duration = Duration::from_hours(1);

/// Some day in 2026.
pub(crate) fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_790_000_000)
}

pub(crate) fn authority() -> Authority {
    Authority::self_signed(&"cluster.local".parse().unwrap(), now()).unwrap()
}

pub(crate) fn id(text: &str) -> SpiffeId {
    text.parse().unwrap()
}

/// A caller who has proven to be this one.
pub(crate) fn caller(text: &str) -> Caller {
    let (token, line) = Tokens::mint(&id(text), HOUR, now()).unwrap();
    let tokens: Tokens = line.parse().unwrap();
    tokens.caller(token.text(), now()).unwrap()
}

/// A request that asks for a name.
pub(crate) fn request(key: &KeyPair, name: &str) -> String {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(name.try_into().unwrap())];
    params.serialize_request(key).unwrap().pem().unwrap()
}

pub(crate) fn csr(name: &str) -> Csr {
    let key = KeyPair::generate().unwrap();
    Csr::from_pem(&request(&key, name)).unwrap()
}

/// What a certificate says.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) uris: Vec<String>,
    pub(crate) other_names: usize,
    pub(crate) names_are_critical: bool,
    pub(crate) subject: String,
    pub(crate) serial: Vec<u8>,
    pub(crate) key: Vec<u8>,
    pub(crate) is_ca: bool,
    pub(crate) server_and_client_only: bool,
    pub(crate) digital_signature: bool,
    pub(crate) key_encipherment: bool,
    pub(crate) signs_certificates: bool,
    /// Seconds from `now()`.
    pub(crate) from: i64,
    pub(crate) to: i64,
}

pub(crate) fn certificates(text: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<_, _>>()
        .unwrap()
}

/// The first certificate of a text.
pub(crate) fn said(text: &str) -> Said {
    let der = certificates(text).remove(0);
    let (rest, leaf) = X509Certificate::from_der(&der).unwrap();
    assert!(rest.is_empty());
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    let (uris, others): (Vec<_>, Vec<_>) = names
        .value
        .general_names
        .iter()
        .partition(|name| matches!(name, GeneralName::URI(_)));
    let uri = |name: &&GeneralName<'_>| match name {
        GeneralName::URI(text) => (*text).to_owned(),
        other => panic!("{other}"),
    };
    let uses = leaf.key_usage().unwrap().unwrap().value;
    let purposes = leaf.extended_key_usage().unwrap().unwrap().value;
    let base = i64::try_from(now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    Said {
        uris: uris.iter().map(uri).collect(),
        other_names: others.len(),
        names_are_critical: names.critical,
        subject: leaf.subject().to_string(),
        serial: leaf.raw_serial().to_vec(),
        key: leaf.public_key().raw.to_vec(),
        is_ca: leaf.is_ca(),
        server_and_client_only: purposes.server_auth
            && purposes.client_auth
            && !purposes.any
            && !purposes.code_signing
            && purposes.other.is_empty(),
        digital_signature: uses.digital_signature(),
        key_encipherment: uses.key_encipherment(),
        signs_certificates: uses.key_cert_sign(),
        from: leaf.validity().not_before.timestamp() - base,
        to: leaf.validity().not_after.timestamp() - base,
    }
}

/// Whether a chain, leaf first, leads to one of these roots, for both uses.
pub(crate) fn leads_to(chain: &str, roots: &str, at: SystemTime) -> Result<(), webpki::Error> {
    let chain = certificates(chain);
    let roots = certificates(roots);
    let anchors: Vec<_> = roots
        .iter()
        .map(|root| anchor_from_trusted_cert(root).unwrap())
        .collect();
    let at = UnixTime::since_unix_epoch(at.duration_since(UNIX_EPOCH).unwrap());
    let leaf = EndEntityCert::try_from(&chain[0])?;
    for usage in [KeyUsage::client_auth(), KeyUsage::server_auth()] {
        leaf.verify_for_usage(
            ALL_VERIFICATION_ALGS,
            &anchors,
            &chain[1..],
            at,
            usage,
            None,
            None,
        )?;
    }
    Ok(())
}

/// The bytes of a request.
pub(crate) fn der(pem: &str) -> Vec<u8> {
    rustls_pki_types::CertificateSigningRequestDer::from_pem_slice(pem.as_bytes())
        .unwrap()
        .to_vec()
}

/// A PEM text, in one line: readers do not mind.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine;
    let base64 = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{base64}\n-----END {label}-----\n")
}
