//! What a workload holds, by the files in its folder: for operators. The key is read only to see whose it is.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mesh_core::identity::SpiffeId;
use rcgen::PublicKeyData;
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use zeroize::Zeroizing;

use super::pem;
use super::secret::Secret;

/// The layouts of Istio's agent and of a secret of Kubernetes: chain, key and roots.
const LAYOUTS: [[&str; 3]; 2] = [
    ["cert-chain.pem", "key.pem", "root-cert.pem"],
    ["tls.crt", "tls.key", "ca.crt"],
];
/// The link behind which the files are swapped together.
const DATA: &str = "..data";
/// How often a folder that changes while it is read is read again.
const ATTEMPTS: usize = 3;

/// The certificate in a workload's folder.
///
/// ```
/// # use std::time::{Duration, SystemTime};
/// use mesh_control_plane::ca::{Authority, Held};
///
/// let now = SystemTime::now();
/// let authority = Authority::self_signed(&"cluster.local".parse()?, now)?;
/// let reviews = "spiffe://cluster.local/ns/default/sa/bookinfo-reviews".parse()?;
/// let folder = tempfile::tempdir()?;
/// authority.issue(&reviews, Duration::from_hours(1), now)?.write(folder.path())?;
///
/// let held = Held::read(folder.path())?;
/// assert_eq!((&held.identity, held.fault(now)), (&reviews, None));
/// assert!(held.fault(now + Duration::from_hours(2)).is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Who the workload is.
    pub identity: SpiffeId,
    /// The name of who signed, as `O=cluster.local`.
    pub issuer: String,
    /// The serial number in hexadecimal.
    pub serial: String,
    /// From when on it is valid.
    pub not_before: SystemTime,
    /// Until when it is valid.
    pub not_after: SystemTime,
    /// When the file was written: the last rotation.
    pub written: SystemTime,
    chain: Vec<CertificateDer<'static>>,
    roots: Vec<CertificateDer<'static>>,
    /// Why the key beside it does not serve, whatever the time.
    key_fault: Option<String>,
}

/// A folder without a certificate of a workload.
#[derive(Debug, thiserror::Error)]
pub enum NotHeld {
    /// A file is not there.
    #[error("{} cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl Held {
    /// Reads `cert-chain.pem`, `key.pem` and `root-cert.pem` of a folder, or `tls.crt`, `tls.key` and `ca.crt`.
    ///
    /// # Errors
    /// When chain or roots cannot be read, or the first certificate does not name exactly one workload. What is wrong with
    /// the key is a [`fault`](Self::fault).
    pub fn read(folder: &Path) -> Result<Self, NotHeld> {
        // Of a rotation under way the chain would be of one generation, and the key of the next.
        let generation = || fs::read_link(folder.join(DATA)).ok();
        for _ in 1..ATTEMPTS {
            let before = generation();
            let held = Self::read_once(folder);
            if generation() == before {
                return held;
            }
        }
        Self::read_once(folder)
    }

    fn read_once(folder: &Path) -> Result<Self, NotHeld> {
        let [istio, kubernetes] = LAYOUTS;
        let there = |name: &str| folder.join(name).exists();
        let layout = match !there(istio[0]) && there(kubernetes[0]) {
            true => kubernetes,
            false => istio,
        };
        let [chain, key, roots] = layout.map(|name| folder.join(name));
        let refused = |path: &Path| {
            let path = path.to_owned();
            move |source| NotHeld::Read { path, source }
        };
        let written = fs::metadata(&chain).and_then(|data| data.modified());
        let written = written.map_err(refused(&chain))?;
        let parsed = |path: &Path| {
            let text = fs::read(path).map_err(refused(path))?;
            pem::certificates(&text).map_err(|reason| NotHeld::File {
                path: path.to_owned(),
                reason,
            })
        };
        let (all, roots) = (parsed(&chain)?, parsed(&roots)?);
        let held = Self::of(all, roots, written).map_err(|reason| NotHeld::File {
            path: chain.clone(),
            reason,
        })?;
        let key_fault = key_fault(&key, &chain, &held.chain);
        Ok(Self { key_fault, ..held })
    }

    fn of(
        chain: Vec<CertificateDer<'static>>,
        roots: Vec<CertificateDer<'static>>,
        written: SystemTime,
    ) -> Result<Self, String> {
        let leaf = chain.first().ok_or("it holds no CERTIFICATE block")?;
        let (_, leaf) = X509Certificate::from_der(leaf).map_err(|error| error.to_string())?;
        let names = leaf.subject_alternative_name();
        let names = names.map_err(|error| error.to_string())?;
        let names = names.map_or(&[][..], |names| &names.value.general_names);
        let [GeneralName::URI(uri)] = names else {
            return Err(format!(
                "the certificate has {} names, and a workload's has one, a SPIFFE id",
                names.len()
            ));
        };
        let time = |seconds: i64| {
            UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
        };
        Ok(Self {
            identity: uri.parse().map_err(|error| format!("{error}"))?,
            issuer: leaf.issuer().to_string(),
            serial: leaf.raw_serial_as_string(),
            not_before: time(leaf.validity().not_before.timestamp()),
            not_after: time(leaf.validity().not_after.timestamp()),
            written,
            roots,
            chain,
            key_fault: None,
        })
    }

    /// Why a peer that believes the roots in the same folder would not take it at this time, or why the workload cannot show
    /// it: the key in the folder is not its key. `None` if neither is so.
    pub fn fault(&self, now: SystemTime) -> Option<String> {
        let verified = || {
            let (leaf, rest) = self.chain.split_first().ok_or(webpki::Error::BadDer)?;
            let anchors: Result<Vec<_>, _> =
                self.roots.iter().map(anchor_from_trusted_cert).collect();
            let at = now.duration_since(UNIX_EPOCH).unwrap_or_default();
            EndEntityCert::try_from(leaf)?
                .verify_for_usage(
                    ALL_VERIFICATION_ALGS,
                    &anchors?,
                    rest,
                    UnixTime::since_unix_epoch(at),
                    KeyUsage::client_auth(),
                    None,
                    None,
                )
                .map(drop)
        };
        match verified() {
            Ok(()) => self.key_fault.clone(),
            Err(webpki::Error::CertExpired { .. }) => Some("expired".to_owned()),
            Err(webpki::Error::CertNotValidYet { .. }) => Some("not valid yet".to_owned()),
            // The second where a root has the same name and another key, as self-signed ones of one trust domain have.
            Err(webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey) => {
                Some("not signed by its roots".to_owned())
            }
            Err(error) => Some(error.to_string()),
        }
    }
}

/// What is wrong with the key of a certificate: the workload would not take the pair.
fn key_fault(key: &Path, chain: &Path, held: &[CertificateDer<'_>]) -> Option<String> {
    let text = match fs::read(key) {
        Ok(text) => Zeroizing::new(text),
        Err(error) => {
            return Some(format!(
                "{} cannot be read: {error}; put the key of {} there, or look as the user who may read it",
                key.display(),
                chain.display()
            ));
        }
    };
    // The reason of the reader may quote the text.
    let text = std::str::from_utf8(&text).ok();
    let Some(secret) = text.and_then(|text| Secret::from_pem(text).ok()) else {
        return Some(format!(
            "{} holds no PRIVATE KEY block that can be read (encrypted ones cannot); put the key of {} there",
            key.display(),
            chain.display()
        ));
    };
    let (_, leaf) = X509Certificate::from_der(held.first()?).ok()?;
    let public = &leaf.public_key().subject_public_key.data;
    (secret.der_bytes() != &**public).then(|| {
        format!(
            "{} is not the key of {}; replace both, best in one step, as `meshctl certs issue` does",
            key.display(),
            chain.display()
        )
    })
}
