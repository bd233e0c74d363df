//! What a workload has at one moment. What a provider offers is judged before it is taken.

use std::fmt;
use std::sync::Arc;

use mesh_core::identity::{Domains, PeerCertificate, SanFault, SpiffeId};
use rustls::sign::CertifiedKey;

use super::cert::{self, Unreadable};
use super::keys::{KeyFault, Material};
use super::store::Store;
use super::trust::{Role, Trust, is_of_other_roots, reason};

/// What part of its life a certificate has left when it should have been renewed: Istio's agent does so at the half.
const LATE: u64 = 4;

/// All that was taken at one moment.
pub(crate) struct Own {
    /// Counts what was taken, from 1.
    pub(crate) generation: u64,
    /// Our own certificate.
    pub(crate) certificate: PeerCertificate,
    /// From when it holds, in seconds since 1970.
    not_before: u64,
    /// Who we are.
    pub(super) id: SpiffeId,
    /// Our own trust domain, as the certificate has it.
    pub(super) domains: Domains,
    pub(super) whence: Arc<str>,
    pub(super) trust: Arc<Trust>,
    pub(super) key: Arc<CertifiedKey>,
}

/// Why a certificate that was offered is not taken. The text has whose it is, where it comes from and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the certificate from {whence} is not taken, {}: {fault}", if *.has_one { "the one before stays" } else { "and there is none yet" })]
pub struct Rejected {
    whence: Arc<str>,
    /// Whether there is one before.
    has_one: bool,
    fault: Fault,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("{0}")]
    Key(#[from] KeyFault),
    #[error("{0}")]
    Roots(String),
    #[error("{0}")]
    Unreadable(#[from] Unreadable),
    #[error(
        "{0}; a workload's certificate has one URI name, spiffe://<trust domain>/ns/<namespace>/sa/<service account>"
    )]
    Names(#[from] SanFault),
    #[error("as a {0} it does not hold by the roots that came with it: {1}")]
    Chain(&'static str, Box<str>),
    /// Of itself it may be good.
    #[error("as a {0} it does not hold by the roots that came with it: {1}")]
    OfOtherRoots(&'static str, Box<str>),
    #[error("there is no clock to judge its validity by")]
    Clock,
    #[error("{0}")]
    Crypto(&'static str),
    #[error("it is of {0}, and came as that of {1}")]
    NotAsTold(SpiffeId, SpiffeId),
    #[error(
        "it is of {0}, and this process is {1}, as which its connections are open; start another process to be another workload"
    )]
    Other(SpiffeId, SpiffeId),
}

impl Rejected {
    pub(super) fn of(material: &Material, has_one: bool, fault: Fault) -> Self {
        Self {
            whence: Arc::clone(&material.whence),
            has_one,
            fault,
        }
    }

    /// Whether it is the certificate that does not go with the roots: the others may be on their way.
    pub(super) const fn is_of_other_roots(&self) -> bool {
        matches!(self.fault, Fault::OfOtherRoots(..))
    }
}

impl Own {
    /// Whether so little of its life is left that the next should be there.
    pub(super) const fn is_late(&self, now: u64) -> bool {
        let end = self.certificate.not_after;
        let life = end.saturating_sub(self.not_before);
        end.saturating_sub(now) < life / LATE
    }

    /// What a provider offers, if it is good.
    pub(super) fn judged(
        store: &Store,
        material: &Material,
        generation: u64,
        before: Option<&Self>,
    ) -> Result<Self, Fault> {
        let crypto = store.crypto().map_err(Fault::Crypto)?;
        let key = material.identity.certified(crypto)?;
        let Some(shown) = key.cert.split_first() else {
            return Err(Fault::Roots("the chain is empty".to_owned()));
        };
        let certificate = cert::read(shown.0, crypto)?;
        let trust = match before {
            Some(own) if own.trust.holds_the_same(&material.roots) => Arc::clone(&own.trust),
            _ => {
                let own = certificate.spiffe.as_ref().map(SpiffeId::trust_domain);
                let trust = Trust::of_workload(&material.roots, own, &material.whence, crypto);
                trust.map(Arc::new).map_err(Fault::Roots)?
            }
        };
        let now = store.now().ok_or(Fault::Clock)?;
        // A workload is called and calls.
        for (role, name) in [(Role::Server, "server's"), (Role::Client, "client's")] {
            let judged = trust.chain(crypto, role, shown, now);
            judged.map_err(|error| {
                let text = reason(&error).into();
                match is_of_other_roots(&error) {
                    true => Fault::OfOtherRoots(name, text),
                    false => Fault::Chain(name, text),
                }
            })?;
        }
        let id = certificate.sans.workload()?;
        if let Some(told) = material.of.as_ref().filter(|told| **told != id) {
            return Err(Fault::NotAsTold(id, told.clone()));
        }
        if let Some(before) = before.filter(|before| before.id != id) {
            return Err(Fault::Other(id, before.id.clone()));
        }
        let own = id.trust_domain().parse();
        Ok(Self {
            generation,
            not_before: cert::holds(shown.0).map_or(0, |[from, _]| from),
            domains: Domains {
                own: own.map_err(|_| SanFault::NotSpiffe(id.as_str().into()))?,
                aliases: store.aliases(),
            },
            id,
            whence: Arc::clone(&material.whence),
            trust,
            certificate,
            key: Arc::new(key),
        })
    }
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Own")
            .field("generation", &self.generation)
            .field("certificate", &self.certificate)
            .field("whence", &self.whence)
            .finish_non_exhaustive()
    }
}
