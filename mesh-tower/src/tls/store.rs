//! The certificate that is shown and the roots that hold now. What is not taken leaves the last good in its place, and its
//! reason to be read.

use std::fmt;
use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use mesh_core::identity::TrustDomain;
use mesh_core::tls::{CertName, RootName};
use rustls::pki_types::UnixTime;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use tokio::sync::watch;

use super::crypto::Crypto;
use super::jws::Jws;
use super::keys::Material;
use super::named::{Held, Shown};
use super::outside::Settings;
use super::own::{Own, Rejected};
use super::provider::{CertificateProvider, Certificates};
use super::registry::{Registry, Revocation};
use super::thread::Thread;
use super::trust::Trust;
use crate::weak_map::WeakMap;

/// One for each mesh. Handshakes read it without a lock.
pub(crate) struct Store {
    crypto: Result<Crypto, &'static str>,
    /// Made of it.
    jws: Result<Jws, &'static str>,
    pub(super) clock: Arc<dyn TimeProvider>,
    pub(super) thread: Thread,
    /// What a builder says of authorities outside of the mesh.
    settings: Settings,
    own: ArcSwapOption<Own>,
    refusal: ArcSwapOption<String>,
    /// How many were taken. Locked by those that offer alone.
    generation: Mutex<u64>,
    changes: watch::Sender<u64>,
    /// Counts what is believed: a connection that was judged by less is judged again.
    believed: watch::Sender<u64>,
    named: Mutex<Named>,
    pub(super) registry: Registry,
    /// Whether there is a provider.
    fed: AtomicBool,
    /// The generation whose end was warned of.
    warned: AtomicU64,
}

/// What the configuration names by its files, while a connection's terms use it.
#[derive(Default)]
struct Named {
    roots: WeakMap<RootName, Held<Trust>>,
    pairs: WeakMap<CertName, Held<Shown>>,
}

impl Store {
    /// As a builder has it.
    pub(crate) fn of(settings: &Settings) -> Self {
        let crypto = Crypto::of(settings.provider.clone());
        Self::new(crypto, Arc::new(DefaultTimeProvider), settings.clone())
    }

    pub(crate) fn new(
        crypto: Result<Crypto, &'static str>,
        clock: Arc<dyn TimeProvider>,
        settings: Settings,
    ) -> Self {
        let provider = crypto.as_ref().map(|crypto| &crypto.provider);
        Self {
            jws: provider.map(|it| Jws::of(it)).map_err(|missing| *missing),
            crypto,
            clock,
            settings,
            thread: Thread::default(),
            own: ArcSwapOption::empty(),
            refusal: ArcSwapOption::empty(),
            generation: Mutex::new(0),
            changes: watch::Sender::new(0),
            believed: watch::Sender::new(0),
            named: Mutex::default(),
            registry: Registry::default(),
            fed: AtomicBool::new(false),
            warned: AtomicU64::new(0),
        }
    }

    /// By which other names our trust domain is known, as the builder says.
    pub(super) fn aliases(&self) -> Box<[TrustDomain]> {
        self.settings.aliases.clone()
    }

    /// How soon it shows that somebody is believed no longer.
    pub(super) const fn revocation(&self) -> Revocation {
        self.settings.revocation
    }

    /// The cryptography, or what to do where there is none.
    pub(super) fn crypto(&self) -> Result<&Crypto, &'static str> {
        self.crypto.as_ref().map_err(|missing| *missing)
    }

    /// What judges the signatures of tokens, or what to do where there is no cryptography.
    pub(crate) fn jws(&self) -> Result<&Jws, &'static str> {
        self.jws.as_ref().map_err(|missing| *missing)
    }

    /// Lets a provider feed it, until it is dropped.
    pub(crate) fn feed(self: &Arc<Self>, from: Arc<dyn CertificateProvider>) -> io::Result<()> {
        let feeding = from.feed(Certificates::of(self));
        drop(self.thread.handle()?.spawn(feeding));
        self.fed.store(true, Relaxed);
        self.look_after();
        Ok(())
    }

    /// Takes what a provider has, if it is good; returns its generation. What was taken before is not news.
    pub(crate) fn offer(&self, material: &Material) -> Result<u64, Rejected> {
        // What panicked under it left a number.
        let mut generation = self
            .generation
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let before = self.own();
        match Own::judged(self, material, *generation + 1, before.as_deref()) {
            Ok(own) => {
                self.refusal.store(None);
                let is_news = |before: &Arc<Own>| before.key.cert != own.key.cert;
                let believes_anew = before
                    .as_ref()
                    .is_none_or(|it| !Arc::ptr_eq(&it.trust, &own.trust));
                if believes_anew || before.as_ref().is_none_or(is_news) {
                    *generation = own.generation;
                    tracing::info!(generation = own.generation, certificate = %own.certificate.sans, whence = %own.whence, "a certificate of the workload is taken");
                    self.own.store(Some(Arc::new(own)));
                    self.changes.send_replace(*generation);
                }
                if believes_anew {
                    self.believes_anew();
                }
                Ok(*generation)
            }
            Err(fault) => {
                let rejected = Rejected::of(material, before.is_some(), fault);
                self.failed(&rejected);
                Err(rejected)
            }
        }
    }

    /// A provider has nothing to offer; the last good stays, if there is one.
    pub(crate) fn failed(&self, reason: &dyn fmt::Display) {
        let reason = Arc::new(reason.to_string());
        // A provider tries again and again.
        if self.refusal.swap(Some(Arc::clone(&reason))).as_ref() == Some(&reason) {
            return;
        }
        match self.own() {
            Some(_) => tracing::error!(%reason, "the workload's certificate is not renewed"),
            None => {
                tracing::error!(%reason, "the workload gets no certificate, and there is none yet")
            }
        }
    }

    /// What was taken last.
    pub(crate) fn own(&self) -> Option<Arc<Own>> {
        self.own.load_full()
    }

    /// What can be shown now, or why it cannot.
    pub(super) fn usable<'a>(&self, own: Option<&'a Arc<Own>>) -> Result<&'a Arc<Own>, Arc<str>> {
        let own = own.ok_or_else(|| self.why_none())?;
        self.holds(own.certificate.not_after, &own.whence)?;
        Ok(own)
    }

    /// Why there is no certificate of the workload.
    pub(super) fn why_none(&self) -> Arc<str> {
        match self.refusal() {
            Some(refusal) => refusal.as_str().into(),
            None if self.fed.load(Relaxed) => "the provider has given none yet".into(),
            None => "this mesh has no provider of certificates; name one by Builder::certificates, or a folder by MESH_CERTIFICATES with Mesh::from_env".into(),
        }
    }

    /// Whether a certificate of ours has not expired.
    pub(super) fn holds(&self, not_after: u64, whence: &str) -> Result<(), Arc<str>> {
        let now = self.now().ok_or("there is no clock")?.as_secs();
        match now.checked_sub(not_after) {
            None | Some(0) => Ok(()),
            Some(late) => {
                let mut text = format!("the one from {whence} expired {late} s ago");
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
    #[cfg(test)]
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Which generation of authorities is believed.
    pub(super) fn believed(&self) -> u64 {
        *self.believed.borrow()
    }

    /// Tells when that changes.
    pub(super) fn believing(&self) -> watch::Receiver<u64> {
        self.believed.subscribe()
    }

    /// Looks at all files that connections are judged by.
    pub(super) async fn look_at_files(&self) {
        let held: Vec<_> = self.named(|named| named.roots.values().collect());
        for held in held {
            held.look(self).await;
        }
    }

    /// Warns when little is left of our certificate: its provider should have given the next one by now.
    pub(super) fn warn_of_the_end(&self) {
        let (Some(own), Some(now)) = (self.own(), self.now()) else {
            return;
        };
        let left = own.certificate.not_after.saturating_sub(now.as_secs());
        if own.is_late(now.as_secs()) && self.warned.swap(own.generation, Relaxed) != own.generation
        {
            let reason = self.refusal();
            let reason = reason
                .as_ref()
                .map_or("no other was offered", |it| it.as_str());
            tracing::warn!(whence = %own.whence, left, reason, "the workload's certificate ends soon, in that many seconds, and is not renewed");
        }
    }

    /// How many seconds our certificate holds yet, less than none when it has ended; none without one.
    pub(crate) fn seconds_left(&self) -> Option<i64> {
        let end = i64::try_from(self.own()?.certificate.not_after).ok()?;
        let now = i64::try_from(self.now()?.as_secs()).ok()?;
        Some(end.saturating_sub(now))
    }

    /// Whether certificates are provided.
    pub(crate) fn is_fed(&self) -> bool {
        self.fed.load(Relaxed)
    }

    /// Other authorities are believed from now on.
    pub(super) fn believes_anew(&self) {
        self.believed.send_modify(|generation| *generation += 1);
    }

    pub(crate) fn now(&self) -> Option<UnixTime> {
        self.clock.current_time()
    }

    pub(super) fn root_file(&self, path: &Arc<str>) -> Arc<Held<Trust>> {
        let name = RootName::File(Arc::clone(path));
        self.named(|named| {
            named
                .roots
                .shared(&name, || Arc::new(Held::root_file(path)))
        })
    }

    pub(super) fn platform(&self) -> Arc<Held<Trust>> {
        let made = || Arc::new(Held::platform(&self.settings));
        self.named(|named| named.roots.shared(&RootName::System, made))
    }

    pub(super) fn pair(&self, chain: &Arc<str>, key: &Arc<str>) -> Arc<Held<Shown>> {
        let name = CertName::Files {
            chain: Arc::clone(chain),
            key: Arc::clone(key),
        };
        self.named(|named| {
            named
                .pairs
                .shared(&name, || Arc::new(Held::pair(chain, key)))
        })
    }

    fn named<T>(&self, find: impl FnOnce(&mut Named) -> T) -> T {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        named.roots.sweep();
        named.pairs.sweep();
        find(&mut named)
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
