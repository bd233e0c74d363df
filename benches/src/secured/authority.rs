//! An authority, and the certificates of workloads.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use rustls::pki_types::CertificateDer;

use crate::error::BenchError;

/// The name that all of them have beside that of their workload, for clients that know no SPIFFE.
pub(crate) const NAME: &str = "workload.bench";

/// Signs certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key.
pub(crate) struct Leaf {
    chain: String,
    key: KeyPair,
}

pub(super) fn failed(error: &impl ToString) -> BenchError {
    BenchError::Certificates(error.to_string())
}

/// Whose certificate it is.
pub(super) fn id(workload: &str) -> String {
    format!("spiffe://cluster.local/ns/default/sa/{workload}")
}

impl Authority {
    /// Its own certificate.
    pub(super) fn der(&self) -> &CertificateDer<'static> {
        self.0.der()
    }

    pub(crate) fn new(name: &str) -> Result<Self, BenchError> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().map_err(|error| failed(&error))?;
        let issuer = CertifiedIssuer::self_signed(params, key);
        issuer.map(Self).map_err(|error| failed(&error))
    }

    /// A new key with its certificate.
    pub(crate) fn issue(&self, workload: &str) -> Result<Leaf, BenchError> {
        let key = KeyPair::generate().map_err(|error| failed(&error))?;
        let mut params = CertificateParams::default();
        let id = id(workload).try_into().map_err(|error| failed(&error))?;
        let name = NAME.try_into().map_err(|error| failed(&error))?;
        params.subject_alt_names = vec![SanType::URI(id), SanType::DnsName(name)];
        let signed = params.signed_by(&key, &self.0);
        let signed = signed.map_err(|error| failed(&error))?;
        Ok(Leaf {
            chain: signed.pem(),
            key,
        })
    }
}

impl Leaf {
    /// Puts it into the folder of its workload as Istio's agent does.
    pub(crate) fn write(&self, folder: &Path, roots: &[&Authority]) -> Result<(), BenchError> {
        let roots: String = roots.iter().map(|root| root.0.pem()).collect();
        for (name, text) in [
            ("cert-chain.pem", &self.chain),
            ("key.pem", &self.key.serialize_pem()),
            ("root-cert.pem", &roots),
        ] {
            let unfinished = folder.join(format!("unfinished-{name}"));
            std::fs::write(&unfinished, text)?;
            std::fs::rename(unfinished, folder.join(name))?;
        }
        Ok(())
    }
}
