//! An authority of the tour's own, and certificates in files, as an operator of a gateway puts them there.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

/// The files of the hosts, of the authority and of a client.
pub(super) struct Files {
    dir: PathBuf,
    authority: Issuer<'static, KeyPair>,
    /// The certificate of each host, as DER.
    shown: BTreeMap<String, Vec<u8>>,
}

/// Why there are no files.
#[derive(Debug, thiserror::Error)]
pub(super) enum FilesError {
    #[error(transparent)]
    Certificate(#[from] rcgen::Error),
    #[error(transparent)]
    File(#[from] io::Error),
}

impl Files {
    /// Puts `ca.pem`, `client.pem` and `client.key` into a folder, and `NAME.pem` and `NAME.key` for each host, where NAME
    /// is the first label of the host.
    pub(super) fn new(dir: &Path, hosts: &[&str]) -> Result<Self, FilesError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key)?;
        fs::write(dir.join("ca.pem"), root.pem())?;
        let mut this = Self {
            dir: dir.to_owned(),
            authority: Issuer::new(params, key),
            shown: BTreeMap::new(),
        };
        this.issue("client", &[], ExtendedKeyUsagePurpose::ClientAuth)?;
        for host in hosts {
            this.renew(host)?;
        }
        Ok(this)
    }

    /// A new certificate and key for a host, each put in place as a whole.
    pub(super) fn renew(&mut self, host: &str) -> Result<(), FilesError> {
        let name = host.split('.').next().unwrap_or_default();
        let shown = self.issue(name, &[host], ExtendedKeyUsagePurpose::ServerAuth)?;
        self.shown.insert(host.to_owned(), shown);
        Ok(())
    }

    fn issue(
        &self,
        name: &str,
        hosts: &[&str],
        purpose: ExtendedKeyUsagePurpose,
    ) -> Result<Vec<u8>, FilesError> {
        let key = KeyPair::generate()?;
        let hosts: Vec<String> = hosts.iter().copied().map(str::to_owned).collect();
        let mut params = CertificateParams::new(hosts)?;
        params.extended_key_usages = vec![purpose];
        let certificate = params.signed_by(&key, &self.authority)?;
        for (kind, text) in [("key", key.serialize_pem()), ("pem", certificate.pem())] {
            let next = self.dir.join(format!("{name}.{kind}.next"));
            fs::write(&next, text)?;
            fs::rename(&next, self.dir.join(format!("{name}.{kind}")))?;
        }
        Ok(certificate.der().to_vec())
    }

    /// The authority.
    pub(super) fn root(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// A client's chain and key.
    pub(super) fn client(&self) -> (PathBuf, PathBuf) {
        (self.dir.join("client.pem"), self.dir.join("client.key"))
    }

    /// Whether a certificate is the last one of a host.
    pub(super) fn is_of(&self, host: &str, certificate: &[u8]) -> bool {
        self.shown
            .get(host)
            .is_some_and(|shown| shown == certificate)
    }
}
