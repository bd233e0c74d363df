//! The certificate that is shown and the roots that hold now. What a provider offers is judged before it is taken; what is
//! not taken leaves the last good in its place, and its reason to be read.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use mesh_core::identity::{Domains, PeerCertificate, SanFault, SpiffeId, TrustDomain};
use rustls::RootCertStore;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::UnixTime;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use tokio::sync::watch;

use super::cert::{self, Unreadable};
use super::crypto::Crypto;
use super::keys::{KeyFault, Material};
use super::outside::Settings;
use super::provider::{CertificateProvider, Certificates};
use super::thread::Thread;
use super::verify::{Role, chain};

/// All that was taken at one moment.
pub(crate) struct Own {
    /// Counts what was taken, from 1.
    pub(crate) generation: u64,
    /// Our own certificate.
    pub(crate) certificate: PeerCertificate,
    /// Our own trust domain, as the certificate has it, and its aliases.
    pub(crate) domains: Domains,
    pub(super) whence: Arc<str>,
    pub(super) roots: Arc<RootCertStore>,
    pub(super) clients: Arc<dyn ClientCertVerifier>,
    key: Arc<CertifiedKey>,
}

/// One for each mesh. Handshakes read it without a lock.
pub(crate) struct Store {
    crypto: Result<Crypto, &'static str>,
    pub(super) clock: Arc<dyn TimeProvider>,
    aliases: Box<[TrustDomain]>,
    own: ArcSwapOption<Own>,
    refusal: ArcSwapOption<String>,
    /// How many were taken. Locked by those that offer alone.
    generation: Mutex<u64>,
    changes: watch::Sender<u64>,
    thread: Thread,
}

/// Why a certificate that was offered is not taken. The text has whose it is, where it comes from and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the certificate from {whence} is not taken, the one before stays: {fault}")]
pub struct Rejected {
    whence: Arc<str>,
    fault: Fault,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Fault {
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
    #[error("there is no clock to judge its validity by")]
    Clock,
    #[error("{0}")]
    Crypto(&'static str),
}

impl Store {
    pub(crate) fn new(
        crypto: Result<Crypto, &'static str>,
        clock: Arc<dyn TimeProvider>,
        aliases: Box<[TrustDomain]>,
    ) -> Self {
        Self {
            crypto,
            clock,
            aliases,
            own: ArcSwapOption::empty(),
            refusal: ArcSwapOption::empty(),
            generation: Mutex::new(0),
            changes: watch::Sender::new(0),
            thread: Thread::default(),
        }
    }

    /// As a builder has it.
    pub(crate) fn of(settings: &Settings) -> Self {
        let crypto = Crypto::of(settings.provider.clone());
        Self::new(crypto, Arc::new(DefaultTimeProvider), [].into())
    }

    /// The cryptography, or what to do where there is none.
    pub(super) fn crypto(&self) -> Result<&Crypto, &'static str> {
        self.crypto.as_ref().map_err(|missing| *missing)
    }

    /// Lets a provider feed it, until it is dropped.
    pub(crate) fn feed(self: &Arc<Self>, from: Arc<dyn CertificateProvider>) -> io::Result<()> {
        let feeding = from.feed(Certificates::of(self));
        drop(self.thread.handle()?.spawn(feeding));
        Ok(())
    }

    /// Takes what a provider has, if it is good; returns its generation.
    pub(crate) fn offer(&self, material: &Material) -> Result<u64, Rejected> {
        // What panicked under it left a number.
        let mut generation = self
            .generation
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match self.judged(material, *generation + 1) {
            Ok(own) => {
                *generation = own.generation;
                self.own.store(Some(Arc::new(own)));
                self.refusal.store(None);
                self.changes.send_replace(*generation);
                Ok(*generation)
            }
            Err(fault) => {
                let whence = Arc::clone(&material.whence);
                let rejected = Rejected { whence, fault };
                self.failed(&rejected);
                Err(rejected)
            }
        }
    }

    /// A provider has nothing to offer; the last good stays.
    pub(crate) fn failed(&self, reason: &dyn fmt::Display) {
        let reason = Arc::new(reason.to_string());
        // A provider tries again and again.
        if self.refusal.swap(Some(Arc::clone(&reason))).as_ref() != Some(&reason) {
            tracing::error!(%reason, "the workload's certificate is not renewed");
        }
    }

    /// What was taken last.
    pub(crate) fn own(&self) -> Option<Arc<Own>> {
        self.own.load_full()
    }

    /// What can be shown now, or why nothing can.
    pub(crate) fn usable(&self) -> Result<Arc<Own>, Arc<str>> {
        let Some(own) = self.own() else {
            return Err(match self.refusal() {
                Some(refusal) => refusal.as_str().into(),
                None => "no provider has given one yet".into(),
            });
        };
        let now = self.now().ok_or("there is no clock")?.as_secs();
        match now.checked_sub(own.certificate.not_after) {
            None | Some(0) => Ok(own),
            Some(late) => {
                let mut text = format!("the one from {} expired {late} s ago", own.whence);
                if let Some(refusal) = self.refusal() {
                    text.push_str(&format!(", and no other came: {refusal}"));
                }
                Err(text.into())
            }
        }
    }

    /// Why the last that was offered, or looked for, was not taken; none if it was.
    pub(crate) fn refusal(&self) -> Option<Arc<String>> {
        self.refusal.load_full()
    }

    /// The generations, as they are taken.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(super) fn now(&self) -> Option<UnixTime> {
        self.clock.current_time()
    }

    fn judged(&self, material: &Material, generation: u64) -> Result<Own, Fault> {
        let crypto = self.crypto().map_err(Fault::Crypto)?;
        let key = material.identity.certified(crypto)?;
        let roots = Arc::new(material.roots.store().map_err(Fault::Roots)?);
        let provider = Arc::clone(&crypto.provider);
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider)
            .build()
            .map_err(|error| Fault::Roots(error.to_string()))?;
        let Some((leaf, intermediates)) = key.cert.split_first() else {
            return Err(Fault::Roots("the chain is empty".to_owned()));
        };
        let certificate = cert::read(leaf, crypto)?;
        let id = certificate.sans.workload()?;
        let own = Own {
            generation,
            domains: self.domains(&id)?,
            whence: Arc::clone(&material.whence),
            roots,
            clients,
            certificate,
            key: Arc::new(key.clone()),
        };
        let now = self.now().ok_or(Fault::Clock)?;
        // A workload is called and calls.
        for (role, name) in [(Role::Server, "server's"), (Role::Client, "client's")] {
            chain(&own, crypto, role, (leaf, intermediates), now)
                .map_err(|reason| Fault::Chain(name, reason))?;
        }
        Ok(own)
    }

    fn domains(&self, id: &SpiffeId) -> Result<Domains, Fault> {
        let own = id.trust_domain().parse();
        Ok(Domains {
            own: own.map_err(|_| SanFault::NotSpiffe(id.as_str().into()))?,
            aliases: self.aliases.clone(),
        })
    }
}

/// Shows what the store has at each handshake.
#[derive(Debug)]
pub(super) struct Shown(pub(super) Arc<Store>);

impl ResolvesClientCert for Shown {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _schemes: &[rustls::SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        self.0.own().map(|own| Arc::clone(&own.key))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.own().map(|own| Arc::clone(&own.key))
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

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("own", &self.own())
            .field("refusal", &self.refusal())
            .finish_non_exhaustive()
    }
}
