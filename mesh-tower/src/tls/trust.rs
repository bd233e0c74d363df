//! Authorities that are believed at one moment, and the judgement of chains by them.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_core::identity::{SanFault, TrustDomain};
use rustls::RootCertStore;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{CertificateError, Error as RustlsError, OtherError};

use super::cert::{self, Unreadable, WrongUse};
use super::crypto::Crypto;
use super::roots::{Roots, Sets};

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
/// How many trust domains an error names.
const SHOWN: usize = 4;

/// Authorities.
#[derive(Debug)]
pub(crate) struct Trust {
    /// Where they come from, for errors.
    pub(super) whence: Arc<str>,
    /// None of the platform.
    roots: Option<Roots>,
    by: By,
}

/// Who vouches for whom.
#[derive(Debug)]
enum By {
    All(Anchors),
    /// Each for the workloads of its own trust domain (SPIFFE bundles; gRPC A87).
    Domain {
        /// Ours, whose authorities vouch for who is no workload, too: a control plane.
        own: Option<TrustDomain>,
        all: BTreeMap<TrustDomain, Anchors>,
    },
}

/// What chains are verified by.
#[derive(Debug)]
struct Anchors {
    roots: Arc<RootCertStore>,
    clients: Arc<dyn ClientCertVerifier>,
}

/// Why a certificate is refused whatever its chain is.
#[derive(Debug, Clone, thiserror::Error)]
enum Unfit {
    #[error("roots are bound to trust domains here, and of it no domain can be told: {0}")]
    OfNoDomain(SanFault),
    #[error("roots are bound to trust domains here, and there is none for {0}, only for {1}")]
    OfOtherDomain(Box<str>, Box<str>),
    #[error("{0}")]
    Use(WrongUse),
    #[error("{0}")]
    Unreadable(Unreadable),
}

impl From<Unfit> for RustlsError {
    fn from(unfit: Unfit) -> Self {
        CertificateError::Other(OtherError(Arc::new(unfit))).into()
    }
}

impl Anchors {
    fn new(roots: RootCertStore, crypto: &Crypto) -> Result<Self, String> {
        let roots = Arc::new(roots);
        let provider = Arc::clone(&crypto.provider);
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider);
        Ok(Self {
            roots,
            clients: clients.build().map_err(|error| error.to_string())?,
        })
    }

    fn chain(
        &self,
        crypto: &Crypto,
        role: Role,
        (leaf, intermediates): Chain<'_>,
        now: UnixTime,
    ) -> Result<(), RustlsError> {
        match role {
            Role::Server => verify_server_cert_signed_by_trust_anchor(
                &ParsedCertificate::try_from(leaf)?,
                &self.roots,
                intermediates,
                now,
                crypto.provider.signature_verification_algorithms.all,
            ),
            Role::Client => {
                let judged = self.clients.verify_client_cert(leaf, intermediates, now);
                judged.map(drop)
            }
        }
    }
}

impl By {
    fn anchors(&self, leaf: &CertificateDer<'_>, crypto: &Crypto) -> Result<&Anchors, Unfit> {
        let (own, all) = match self {
            Self::All(anchors) => return Ok(anchors),
            Self::Domain { own, all } => (own, all),
        };
        let sans = cert::read(leaf, crypto).map_err(Unfit::Unreadable)?.sans;
        let domain = match (sans.workload(), own) {
            (Ok(id), _) => id.trust_domain().to_owned(),
            (Err(SanFault::NoUri), Some(own)) => own.as_str().to_owned(),
            (Err(fault), _) => return Err(Unfit::OfNoDomain(fault)),
        };
        let found = all.iter().find(|(of, _)| of.as_str() == domain);
        found.map(|(_, anchors)| anchors).ok_or_else(|| {
            let mut known: Vec<&str> = all.keys().take(SHOWN).map(TrustDomain::as_str).collect();
            if all.len() > SHOWN {
                known.push("others");
            }
            Unfit::OfOtherDomain(domain.into(), known.join(", ").into())
        })
    }
}

impl Trust {
    /// Says which of them cannot be used.
    pub(super) fn of(roots: &Roots, whence: &Arc<str>, crypto: &Crypto) -> Result<Self, String> {
        Self::of_workload(roots, None, whence, crypto)
    }

    /// Those of a workload, whose trust domain is `own`.
    pub(super) fn of_workload(
        roots: &Roots,
        own: Option<&str>,
        whence: &Arc<str>,
        crypto: &Crypto,
    ) -> Result<Self, String> {
        let by = match roots.sets() {
            Sets::All(all) => By::All(Anchors::new(store(all)?, crypto)?),
            Sets::ByDomain(sets) => {
                let mut by_domain = BTreeMap::new();
                for (domain, all) in sets {
                    let anchors = store(all).and_then(|all| Anchors::new(all, crypto));
                    match anchors {
                        Ok(anchors) => drop(by_domain.insert(domain.clone(), anchors)),
                        // It is somebody else's to mend, and must not cost us our own certificate.
                        Err(error) if own.is_some_and(|own| own != domain.as_str()) => {
                            tracing::error!(%whence, %domain, %error, "authorities of a trust domain that is federated with are left out: nobody of it is believed");
                        }
                        Err(error) => return Err(format!("of {domain}: {error}")),
                    }
                }
                By::Domain {
                    own: own.and_then(|own| own.parse().ok()),
                    all: by_domain,
                }
            }
        };
        Ok(Self {
            whence: Arc::clone(whence),
            roots: Some(roots.clone()),
            by,
        })
    }

    /// Those of the platform.
    pub(super) fn in_store(
        store: RootCertStore,
        whence: &Arc<str>,
        crypto: &Crypto,
    ) -> Result<Self, String> {
        Ok(Self {
            whence: Arc::clone(whence),
            roots: None,
            by: By::All(Anchors::new(store, crypto)?),
        })
    }

    pub(super) fn holds_the_same(&self, roots: &Roots) -> bool {
        self.roots.as_ref() == Some(roots)
    }

    /// Whether a chain leads to one of them and holds now.
    pub(super) fn chain(
        &self,
        crypto: &Crypto,
        role: Role,
        shown: Chain<'_>,
        now: UnixTime,
    ) -> Result<(), RustlsError> {
        let (leaf, above) = shown;
        if above.len() >= LONGEST_CHAIN {
            let error = format!("it has more than {LONGEST_CHAIN} certificates");
            return Err(RustlsError::General(error));
        }
        let anchors = self.by.anchors(leaf, crypto)?;
        anchors.chain(crypto, role, shown, now)?;
        let used = || {
            cert::signs_handshakes(leaf)?;
            above.iter().try_for_each(cert::signs_certificates)
        };
        // webpki looks at the extended uses alone.
        used().map_err(|wrong| match wrong {
            Ok(wrong) => Unfit::Use(wrong).into(),
            Err(unreadable) => Unfit::Unreadable(unreadable).into(),
        })
    }
}

/// What rustls verifies chains by; says which of them cannot be used.
fn store(all: &[CertificateDer<'static>]) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    for (at, root) in all.iter().enumerate() {
        store
            .add(root.clone())
            .map_err(|error| format!("root certificate {}: {error}", at + 1))?;
    }
    Ok(store)
}

/// Whether other roots might have done.
pub(super) const fn is_of_other_roots(error: &RustlsError) -> bool {
    use CertificateError::{BadSignature, UnknownIssuer};
    matches!(
        error,
        RustlsError::InvalidCertificate(UnknownIssuer | BadSignature)
    )
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
        CertificateError::Other(other) => match other.0.to_string() {
            // webpki's word; it refuses constraints that it cannot judge in the same way (RFC 5280, 4.2.1.10).
            violation if violation == "NameConstraintViolation" => {
                "NameConstraintViolation: a name constraint of an authority above it does not allow it, or is about URIs, by which nothing is judged here; let the authority have none".to_owned()
            }
            reason => reason,
        },
        CertificateError::BadSignature => "a signature of its chain is wrong".to_owned(),
        other => other.to_string(),
    }
}
