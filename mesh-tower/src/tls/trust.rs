//! Authorities that are believed at one moment, and the judgement of chains by them.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{CertificateError, Error as RustlsError};

use super::crypto::Crypto;
use super::keys::Roots;

/// What the owner of a certificate acts as; its extended key usage must allow it, if it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Client,
    Server,
}

/// A chain as the peer shows it: its own certificate first.
pub(super) type Chain<'a> = (&'a CertificateDer<'a>, &'a [CertificateDer<'a>]);

/// How many certificates of a peer are looked at: each above its own may cost several signatures.
const LONGEST_CHAIN: usize = 8;

/// Certificates of authorities.
#[derive(Debug)]
pub(crate) struct Trust {
    /// Where they come from, for errors.
    pub(super) whence: Arc<str>,
    certificates: Vec<CertificateDer<'static>>,
    roots: Arc<RootCertStore>,
    clients: Arc<dyn ClientCertVerifier>,
}

impl Trust {
    /// Says which of them cannot be used.
    pub(super) fn of(roots: &Roots, whence: &Arc<str>, crypto: &Crypto) -> Result<Self, String> {
        let store = roots.store()?;
        Self::in_store(store, roots.certificates().to_vec(), whence, crypto)
    }

    pub(super) fn in_store(
        store: RootCertStore,
        certificates: Vec<CertificateDer<'static>>,
        whence: &Arc<str>,
        crypto: &Crypto,
    ) -> Result<Self, String> {
        let roots = Arc::new(store);
        let provider = Arc::clone(&crypto.provider);
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider);
        Ok(Self {
            whence: Arc::clone(whence),
            certificates,
            roots,
            clients: clients.build().map_err(|error| error.to_string())?,
        })
    }

    pub(super) fn holds_the_same(&self, roots: &Roots) -> bool {
        self.certificates == roots.certificates()
    }

    /// Whether a chain leads to one of them and holds now.
    pub(super) fn chain(
        &self,
        crypto: &Crypto,
        role: Role,
        (leaf, intermediates): Chain<'_>,
        now: UnixTime,
    ) -> Result<(), RustlsError> {
        if intermediates.len() >= LONGEST_CHAIN {
            let error = format!("it has more than {LONGEST_CHAIN} certificates");
            return Err(RustlsError::General(error));
        }
        match role {
            Role::Server => {
                let leaf = ParsedCertificate::try_from(leaf)?;
                let algorithms = crypto.provider.signature_verification_algorithms.all;
                let roots = &self.roots;
                verify_server_cert_signed_by_trust_anchor(
                    &leaf,
                    roots,
                    intermediates,
                    now,
                    algorithms,
                )
            }
            Role::Client => {
                let judged = self.clients.verify_client_cert(leaf, intermediates, now);
                judged.map(drop)
            }
        }
    }
}

/// rustls' reason in the words of whoever has to mend it.
pub(super) fn reason(error: &RustlsError) -> String {
    let error = match error {
        RustlsError::InvalidCertificate(error) => error,
        RustlsError::General(reason) => return reason.clone(),
        other => return other.to_string(),
    };
    match error {
        CertificateError::UnknownIssuer => {
            "its chain leads to none of them; an intermediate may be missing, or it is of another mesh".to_owned()
        }
        CertificateError::ExpiredContext { time, not_after } => format!(
            "it, or a certificate above it, expired {} s ago",
            time.as_secs().saturating_sub(not_after.as_secs())
        ),
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "it, or a certificate above it, is valid only in {} s; one of the two clocks may be wrong",
            not_before.as_secs().saturating_sub(time.as_secs())
        ),
        CertificateError::InvalidPurposeContext { required, presented } => format!(
            "its extended key usage does not allow {required}, only {presented:?}"
        ),
        CertificateError::BadSignature => "a signature of its chain is wrong".to_owned(),
        other => other.to_string(),
    }
}
