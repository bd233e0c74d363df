//! Whom a workload believes.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use mesh_core::identity::TrustDomain;
use rustls::pki_types::CertificateDer;

use super::bundle_map;
use super::keys::{InvalidPem, certificates};

/// The certificates of the authorities that are believed; at least one.
///
/// They are believed whoever they vouch for, or each is bound to one trust domain: then a workload is judged by the
/// authorities of the domain that its id names, and by no others (SPIFFE bundles; gRPC A87), so that the authority of a
/// domain that is federated with cannot make workloads of ours. Who is no workload, as a control plane that is known by its
/// host's name, is then judged by the authorities of our own domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots(Sets);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sets {
    All(Vec<CertificateDer<'static>>),
    /// None of them is empty.
    ByDomain(BTreeMap<TrustDomain, Vec<CertificateDer<'static>>>),
}

impl Roots {
    /// The certificates of a PEM text, bound to no trust domain.
    ///
    /// # Errors
    /// When the text holds none: that would be to believe nobody, which no one means.
    pub fn from_pem(pem: &[u8]) -> Result<Self, InvalidPem> {
        certificates(pem).map(Sets::All).map(Self)
    }

    /// The certificates of PEM texts, each bound to its trust domain. Our own is among them, or our own certificate is not
    /// taken.
    ///
    /// # Errors
    /// When there is no domain, one is there twice, or its text holds no certificate.
    pub fn by_trust_domain<'a>(
        sets: impl IntoIterator<Item = (TrustDomain, &'a [u8])>,
    ) -> Result<Self, InvalidPem> {
        let read = |(domain, pem): (TrustDomain, &[u8])| {
            let all = certificates(pem);
            let all = all.map_err(|error| InvalidPem(format!("trust domain {domain}: {error}")))?;
            Ok((domain, all))
        };
        let sets: Result<Vec<_>, InvalidPem> = sets.into_iter().map(read).collect();
        Self::bound(sets?)
    }

    /// A SPIFFE trust bundle map, which is a JSON text: `{"trust_domains": {"cluster.local": {"keys": [{"use": "x509-svid",
    /// "x5c": ["<base64>"]}]}}}` (gRPC A87, `spiffe_trust_bundle_map_file`). Keys of another `use` are passed over.
    ///
    /// # Errors
    /// When it is none, or a domain in it has no certificate.
    pub fn from_trust_bundle_map(json: &[u8]) -> Result<Self, InvalidPem> {
        Self::bound(bundle_map::read(json)?)
    }

    pub(super) fn bound(
        sets: impl IntoIterator<Item = (TrustDomain, Vec<CertificateDer<'static>>)>,
    ) -> Result<Self, InvalidPem> {
        let mut all = BTreeMap::new();
        for (domain, certificates) in sets {
            if certificates.is_empty() {
                return Err(InvalidPem(format!("trust domain {domain}: no certificate")));
            }
            match all.entry(domain) {
                Entry::Vacant(free) => drop(free.insert(certificates)),
                Entry::Occupied(taken) => {
                    let domain = taken.key();
                    return Err(InvalidPem(format!("trust domain {domain} is there twice")));
                }
            }
        }
        match all.is_empty() {
            true => Err(InvalidPem("there is no trust domain".to_owned())),
            false => Ok(Self(Sets::ByDomain(all))),
        }
    }

    pub(super) const fn sets(&self) -> &Sets {
        &self.0
    }
}

/// Certificates in DER, one behind the other.
#[cfg(feature = "spiffe")]
pub(super) fn in_der(mut der: &[u8]) -> Result<Vec<CertificateDer<'static>>, InvalidPem> {
    use x509_parser::certificate::X509Certificate;
    use x509_parser::prelude::FromDer;
    let mut all = Vec::new();
    while !der.is_empty() {
        let at = all.len() + 1;
        let (rest, _) = X509Certificate::from_der(der)
            .map_err(|_| InvalidPem(format!("certificate {at} cannot be read")))?;
        let (one, _) = der.split_at(der.len() - rest.len());
        all.push(CertificateDer::from(one.to_vec()));
        der = rest;
    }
    match all.is_empty() {
        true => Err(InvalidPem("there is no certificate".to_owned())),
        false => Ok(all),
    }
}
