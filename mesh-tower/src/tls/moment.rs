//! What one handshake goes by: the certificate that is shown and the authorities that are believed, of one moment.

use std::fmt;
use std::sync::Arc;

use mesh_core::identity::Domains;
use mesh_core::tls::{CertName, RootName, TlsVersion};
use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{SignatureScheme, SupportedProtocolVersion};

use super::crypto::Crypto;
use super::named::{Held, Shown};
use super::own::Own;
use super::store::Store;
use super::trust::Trust;

/// Where the certificate and the authorities of a connection come from, by the names in its terms.
pub(super) struct Sources {
    pub(super) store: Arc<Store>,
    pub(super) crypto: Crypto,
    /// None where nobody is judged.
    roots: Option<From<Trust>>,
    identity: Option<From<Shown>>,
}

enum From<T> {
    Workload,
    Named(Arc<Held<T>>),
}

/// All that a handshake goes by. It was whole at one moment, so that no connection shows the certificate of today and
/// believes the authorities of yesterday.
#[derive(Clone)]
pub(super) struct Moment {
    pub(super) trust: Option<Arc<Trust>>,
    /// Ours, once there is a certificate of the workload.
    pub(super) domains: Option<Domains>,
    key: Option<Arc<CertifiedKey>>,
    /// Of what is believed, as it was counted before all this was read.
    pub(super) generation: u64,
}

/// Why there is none.
#[derive(Debug)]
pub(super) enum Lacking {
    /// A certificate of our own.
    Identity(Arc<str>),
    /// Authorities.
    Roots(Arc<str>),
}

impl Sources {
    /// Of what cannot be had for want of cryptography, the reason.
    pub(super) fn new(
        store: &Arc<Store>,
        roots: Option<&RootName>,
        identity: Option<&CertName>,
    ) -> Result<Self, &'static str> {
        let roots = roots.map(|name| match name {
            RootName::Workload => From::Workload,
            RootName::File(path) => From::Named(store.root_file(path)),
            RootName::System => From::Named(store.platform()),
        });
        let identity = identity.map(|name| match name {
            CertName::Workload => From::Workload,
            CertName::Files { chain, key } => From::Named(store.pair(chain, key)),
        });
        Ok(Self {
            store: Arc::clone(store),
            crypto: store.crypto()?.clone(),
            roots,
            identity,
        })
    }

    /// For a new handshake; files are looked at again.
    pub(super) async fn moment(&self) -> Result<Moment, Lacking> {
        if let Some(From::Named(held)) = &self.roots {
            held.look(&self.store).await;
        }
        if let Some(From::Named(held)) = &self.identity {
            held.look(&self.store).await;
        }
        // First: what changes meanwhile is judged again, and not missed.
        let generation = self.store.believed();
        let own = self.store.own();
        Ok(Moment {
            generation,
            // Before the roots: that we have no certificate is what can be mended.
            key: self.key(own.as_ref()).map_err(Lacking::Identity)?,
            trust: self.trust(own.as_ref())?,
            domains: own.map(|own| own.domains.clone()),
        })
    }

    /// For a connection of before, whose certificate of ours was shown already.
    pub(super) fn judging(&self) -> Result<Moment, Lacking> {
        let generation = self.store.believed();
        let own = self.store.own();
        Ok(Moment {
            generation,
            trust: self.trust(own.as_ref())?,
            key: None,
            domains: own.map(|own| own.domains.clone()),
        })
    }

    fn trust(&self, own: Option<&Arc<Own>>) -> Result<Option<Arc<Trust>>, Lacking> {
        match (&self.roots, own) {
            (None, _) => Ok(None),
            (Some(From::Workload), Some(own)) => Ok(Some(Arc::clone(&own.trust))),
            (Some(From::Workload), None) => Err(Lacking::Roots(self.store.why_none())),
            (Some(From::Named(held)), _) => held.now().map(Some).map_err(Lacking::Roots),
        }
    }

    fn key(&self, own: Option<&Arc<Own>>) -> Result<Option<Arc<CertifiedKey>>, Arc<str>> {
        Ok(match &self.identity {
            None => None,
            Some(From::Workload) => Some(Arc::clone(&self.store.usable(own)?.key)),
            Some(From::Named(held)) => {
                let shown = held.now()?;
                self.store.holds(shown.not_after, &shown.whence)?;
                Some(Arc::clone(&shown.key))
            }
        })
    }
}

impl Moment {
    /// What resolves to the certificate.
    pub(super) fn shown(&self) -> Option<Arc<Showing>> {
        self.key.clone().map(|key| Arc::new(Showing(key)))
    }
}

/// Shows one certificate, whoever asks.
#[derive(Debug)]
pub(super) struct Showing(Arc<CertifiedKey>);

impl ResolvesClientCert for Showing {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for Showing {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

static ALL: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];
static NEWEST: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS13];
static OLDEST: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS12];

/// The versions that will do.
pub(super) const fn versions(
    min: TlsVersion,
    max: TlsVersion,
) -> &'static [&'static SupportedProtocolVersion] {
    match (min, max) {
        (TlsVersion::V1_2, TlsVersion::V1_2) => &OLDEST,
        (TlsVersion::V1_2, TlsVersion::V1_3) => &ALL,
        // A maximum below the minimum is not decoded.
        (TlsVersion::V1_3, _) => &NEWEST,
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sources")
    }
}
