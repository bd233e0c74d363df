//! The workload's certificate by a signing request to an authority that has Istio's certificate service.

mod request;
mod wire;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mesh_core::identity::SpiffeId;
use mesh_core::tls::CertName;
use mesh_xds::ads::Server;
use mesh_xds::link::{CredentialFiles, Terms, TokenFile, Verified, told};
use rand::RngExt;
use tokio::time::{sleep, timeout};

use super::link::Link;
use super::own::Rejected;
use super::provider::{CertificateProvider, Certificates, Feeding};
use super::store::Store;
use crate::StartError;
use crate::random::{Randomness, SplitMix};
use request::{Request, RequestError};
use wire::{CREATE_CERTIFICATE, IstioCertificateRequest, IstioCertificateResponse};

/// How long a certificate is asked for where nobody says it: `SECRET_TTL` of Istio's agent.
const LIFETIME: Duration = Duration::from_hours(24);
/// How long a call may take.
const CALL: Duration = Duration::from_secs(10);
/// The wait after the first call that failed, how it grows, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const GROWTH: f64 = 1.6;
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// When a certificate is renewed, in parts of the life that is left to it: at half of it (`SECRET_GRACE_PERIOD_RATIO` of
/// Istio's agent), and not all workloads at once.
const RENEWED_AT: [f64; 2] = [0.45, 0.55];
/// A suspended machine must not sleep past it: how long the clock goes unread.
const LOOK: Duration = Duration::from_secs(60);

/// The workload's certificate from an authority that has `istio.v1.auth.IstioCertificateService`, as istiod does on its
/// port 15012. The key is made here, anew for each certificate, and does not leave the process.
///
/// The call goes over TLS to a server that has proven its name, and after that carries the token by which the authority
/// knows us. Both files are read for each call. The certificate is renewed when half of its life is over; what fails is
/// tried again, while the last one stays.
///
/// ```
/// # fn example() -> Result<(), mesh_tower::StartError> {
/// let authority = mesh_tower::Csr::new(
///     "https://istiod.istio-system.svc:15012",
///     "/var/run/secrets/istio/root-cert.pem",
///     "/var/run/secrets/tokens/istio-token",
/// )?;
/// let builder = mesh_tower::Mesh::builder().certificates(authority);
/// # drop(builder); Ok(()) }
/// # example().unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Csr {
    terms: Terms,
    token: TokenFile,
    id: Option<SpiffeId>,
    lifetime: Duration,
    renews_by_certificate: bool,
}

#[derive(Debug, thiserror::Error)]
enum CsrError {
    #[error("the certificate authority {0}: {1}")]
    Call(Arc<str>, String),
    #[error("the certificate authority {0} did not answer within {CALL:?}")]
    Late(Arc<str>),
    #[error("the certificate authority {0}: {1}")]
    Request(Arc<str>, RequestError),
    #[error("{0}")]
    Rejected(#[from] Rejected),
}

impl Csr {
    /// The authority's address (`https://host:port` or `host:port`), the PEM file of the roots by which its own
    /// certificate is judged, and the file of our token.
    ///
    /// # Errors
    /// When the address is none that is reached over TLS.
    pub fn new(
        server: &str,
        ca_file: impl Into<PathBuf>,
        token_file: impl Into<PathBuf>,
    ) -> Result<Self, StartError> {
        let files = CredentialFiles {
            ca_certificate: Some(ca_file.into()),
            identity: None,
        };
        let server = Server::with_files(server, files)?;
        let terms = server.terms().cloned();
        let terms = terms.ok_or_else(|| StartError::ControlPlaneTls("no TLS".to_owned()))?;
        Ok(Self {
            terms,
            token: TokenFile::new(token_file),
            id: None,
            lifetime: LIFETIME,
            renews_by_certificate: false,
        })
    }

    /// The name that the authority's certificate must have, where it is not the host of its address.
    #[must_use]
    pub fn server_name(mut self, name: &str) -> Self {
        self.terms.server_name = name.into();
        self
    }

    /// The id that the request names. By default none: istiod and our own authority sign the id of whom the token is,
    /// whatever the request says. Others want to read it there.
    #[must_use]
    pub fn identity(self, id: SpiffeId) -> Self {
        Self {
            id: Some(id),
            ..self
        }
    }

    /// How long a certificate is asked for; the authority may give less. By default 24 hours.
    #[must_use]
    pub fn lifetime(self, lifetime: Duration) -> Self {
        Self { lifetime, ..self }
    }

    /// Once there is a certificate, the next one is asked for by it, over mutual TLS, and the token is not sent: so it may be
    /// one that is good for the first call alone. A call that fails so is made again with the token. Our own authority and
    /// istiod take both.
    #[must_use]
    pub fn renew_by_certificate(self) -> Self {
        Self {
            renews_by_certificate: true,
            ..self
        }
    }

    async fn follow(&self, to: &Certificates) {
        let mut rng = Randomness::new(crate::builder::seed_from_time()).next();
        let mut pause = FIRST_PAUSE;
        let mut by_token = false;
        // The store is not held while there is nothing to do: it ends with the mesh, and this with it.
        while let Some(store) = to.store() {
            let own = store.own();
            let by_certificate =
                self.renews_by_certificate && !by_token && store.usable(own.as_ref()).is_ok();
            let renewed = self.renew(&store, to, by_certificate).await;
            drop(store);
            by_token = by_certificate && renewed.is_err();
            match renewed {
                Ok(()) => {
                    pause = FIRST_PAUSE;
                    until_renewal(to, &mut rng).await;
                }
                Err(error) => {
                    to.failed(&error);
                    sleep(pause.mul_f64(rng.random_range(0.8..1.2))).await;
                    pause = pause.mul_f64(GROWTH).min(LONGEST_PAUSE);
                }
            }
        }
    }

    async fn renew(
        &self,
        store: &Arc<Store>,
        to: &Certificates,
        by_certificate: bool,
    ) -> Result<(), CsrError> {
        let whom = || Arc::clone(&self.terms.uri);
        let failed = |error| CsrError::Request(whom(), error);
        let request = Request::new(self.id.as_ref()).map_err(failed)?;
        let asked = IstioCertificateRequest {
            csr: request.pem().map_err(failed)?,
            validity_duration: self.lifetime.as_secs().try_into().unwrap_or(i64::MAX),
        };
        let identity = by_certificate.then_some(CertName::Workload);
        let link = Link::showing(&self.terms, identity, store)
            .map_err(|error| CsrError::Call(whom(), error.to_string()))?;
        let token = (!by_certificate).then(|| self.token.clone());
        let verified = Verified::new(&self.terms, Arc::new(link), token);
        let calling = verified.unary(CREATE_CERTIFICATE, asked);
        let answer: IstioCertificateResponse = match timeout(CALL, calling).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(status)) => return Err(CsrError::Call(whom(), told(&status))),
            Err(_) => return Err(CsrError::Late(whom())),
        };
        let whence = format!("the certificate authority {}", self.terms.uri);
        let material = request.answered(&answer.cert_chain, whence);
        Ok(to.offer(&material.map_err(failed)?)?)
    }
}

/// Waits until the certificate in use has about half of its life behind it; by the clock, not by how long it slept.
async fn until_renewal(to: &Certificates, rng: &mut SplitMix) {
    let part = rng.random_range(RENEWED_AT[0]..RENEWED_AT[1]);
    let Some((now, end)) = to.life() else { return };
    let due = now + end.saturating_sub(now).mul_f64(part);
    while let Some((now, _)) = to.life() {
        let Some(left) = due.checked_sub(now).filter(|left| !left.is_zero()) else {
            return;
        };
        sleep(left.min(LOOK)).await;
    }
}

impl CertificateProvider for Csr {
    fn feed(self: Arc<Self>, to: Certificates) -> Feeding {
        Box::pin(async move { self.follow(&to).await })
    }
}
