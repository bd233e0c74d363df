//! Who is at the other end, as one handshake has shown it.

use std::sync::Arc;

use mesh_core::identity::Peer;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::{CommonState, HandshakeKind};

use super::cert;
use super::crypto::Crypto;
use super::error::TlsError;
use super::verify::{Judge, Refused, Role, UnreadablePeer};

/// What a full handshake has proven. There is none of a resumed session: it shows a certificate that somebody judged once,
/// by roots and rules of that time.
#[derive(Debug)]
pub(crate) struct Proof {
    peer: Peer,
    chain: Box<[CertificateDer<'static>]>,
}

impl Proof {
    /// After the handshake, whose verifier has judged what is read here.
    pub(super) fn of(
        who: &Arc<str>,
        session: &CommonState,
        required: bool,
        crypto: &Crypto,
    ) -> Result<Self, TlsError> {
        match session.handshake_kind() {
            Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest) => {}
            Some(HandshakeKind::Resumed) | None => return Err(TlsError::Resumed(Arc::clone(who))),
        }
        let chain = session.peer_certificates().unwrap_or_default();
        let peer = match chain.first() {
            Some(leaf) if required => {
                let read = cert::read(leaf, crypto).map_err(UnreadablePeer::from);
                let read =
                    read.map_err(|error| TlsError::Refused(Arc::clone(who), error.into()))?;
                Peer::Proven(Arc::new(read))
            }
            None if required => return Err(TlsError::NoCertificate(Arc::clone(who))),
            // Nobody has judged it.
            _ => Peer::Anonymous,
        };
        let chain = match &peer {
            Peer::Proven(_) => chain.into(),
            Peer::Anonymous | Peer::Plaintext => [].into(),
        };
        Ok(Self { peer, chain })
    }

    /// Who it is.
    pub(crate) const fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Judges the kept chain once more, by the roots that hold now.
    pub(super) fn again(&self, judge: &Judge, role: Role, now: UnixTime) -> Result<(), Refused> {
        match self.chain.split_first() {
            Some(shown) => judge.judge(role, shown, now).map(drop),
            None => Ok(()),
        }
    }
}
