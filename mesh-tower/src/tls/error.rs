//! Why there is no TLS with a workload. Every text has whose terms they were, and what was seen and wanted.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use mesh_core::cluster::Protocol;
use rustls::{AlertDescription, Error as RustlsError};

use super::moment::Lacking;
use super::verify::Refused;

/// A handshake that did not come about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("{0}: no TLS without a certificate of our own: {1}")]
    NoIdentity(Arc<str>, Arc<str>),
    #[error("{0}: we refused the peer: {1}")]
    Refused(Arc<str>, Refused),
    #[error("{0}: no TLS without authorities to judge the peer by: {1}")]
    NoRoots(Arc<str>, Arc<str>),
    #[error("{0}: the peers agreed on {1:?}, which is none that is spoken here")]
    ForeignProtocol(Arc<str>, String),
    #[error(
        "{0}: the server chose {1:?} where {2:?} is to be spoken; the port's name or appProtocol may be wrong"
    )]
    OtherProtocol(Arc<str>, Protocol, Protocol),
    #[error("{0}: {1}")]
    RefusedByPeer(Arc<str>, PeerRefused),
    #[error("{0}: no protocol in common: the client offered {1}, we accept {2}")]
    NoProtocol(Arc<str>, String, String),
    #[error("{0}: no TLS: {1}")]
    Failed(Arc<str>, #[source] io::Error),
    #[error("{0}: the session was resumed, which proves nobody; nothing here resumes sessions")]
    Resumed(Arc<str>),
    #[error("{0}: the server name {1:?} is none that TLS can send")]
    ServerName(Arc<str>, Arc<str>),
    #[error("{0}: no TLS: {1}")]
    NoCrypto(Arc<str>, &'static str),
    #[error("{0}: the cryptography cannot do TLS: {1}")]
    Cryptography(Arc<str>, RustlsError),
    #[error("the connection ended before its first byte")]
    Silent,
    #[error("the first bytes are TLS's, and no ClientHello: {0}")]
    NoHello(#[source] io::Error),
    #[error("the connection was not opened within {0:?}")]
    Late(Duration),
}

impl TlsError {
    /// What rustls says, which comes as an error of the stream; whom we refused is known better.
    pub(super) fn of(who: &Arc<str>, refused: Option<&Refused>, error: io::Error) -> Self {
        let who = Arc::clone(who);
        match (refused, tls(&error)) {
            (Some(refused), _) => Self::Refused(who, refused.clone()),
            (None, Some(RustlsError::NoCertificatesPresented)) => {
                Self::Refused(who, Refused::NoCertificate)
            }
            (None, Some(RustlsError::AlertReceived(alert))) => {
                Self::RefusedByPeer(who, PeerRefused(*alert))
            }
            _ => Self::Failed(who, error),
        }
    }

    pub(super) fn lacking(who: &Arc<str>, lacking: Lacking) -> Self {
        let who = Arc::clone(who);
        match lacking {
            Lacking::Identity(reason) => Self::NoIdentity(who, reason),
            Lacking::Roots(reason) => Self::NoRoots(who, reason),
        }
    }
}

/// The alert by which the peer ended a connection. In TLS 1.3 a client hears only after its handshake that its certificate
/// was refused: whatever it reads next fails with this.
#[derive(Debug, thiserror::Error)]
#[error("{text} {0:?}: {advice}", text = self.told().0, advice = self.told().1)]
pub(crate) struct PeerRefused(AlertDescription);

impl PeerRefused {
    const fn told(&self) -> (&'static str, &'static str) {
        match self.0 {
            // By RFC 8446, 6.2, it is unrelated to the peer: our own servers have no certificate then.
            AlertDescription::InternalError => (
                "the peer ended the connection by the TLS alert",
                "it has a trouble of its own, as where it has no certificate that it could show; its log says which",
            ),
            _ => (
                "the peer refused us by the TLS alert",
                "its log says why; our certificate, its chain and the names that it wants are what to look at",
            ),
        }
    }

    /// In the place of rustls' own words, which tell the alert alone.
    pub(crate) fn of(error: &io::Error) -> Option<Self> {
        match tls(error) {
            Some(RustlsError::AlertReceived(alert)) => Some(Self(*alert)),
            _ => None,
        }
    }

    /// Somewhere below an error.
    pub(crate) fn below<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        let mut below = Some(error);
        while let Some(error) = below {
            let io = error.downcast_ref::<io::Error>();
            if let Some(refused) = io.and_then(|io| io.get_ref()?.downcast_ref()) {
                return Some(refused);
            }
            below = error.source();
        }
        None
    }
}

fn tls(error: &io::Error) -> Option<&RustlsError> {
    error.get_ref()?.downcast_ref()
}
