//! Who is at the other end, as one handshake has shown it.

use std::sync::Arc;

use mesh_core::cluster::Protocol;
use mesh_core::identity::Peer;
use mesh_core::tls::protocol;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::{CommonState, HandshakeKind};

use super::cert;
use super::crypto::Crypto;
use super::error::TlsError;
use super::trust::Role;
use super::verify::{Judge, Refused};

/// What a full handshake has proven. There is none of a resumed session: it shows a certificate that somebody judged once,
/// by roots and rules of that time.
#[derive(Debug)]
pub(crate) struct Proof {
    peer: Peer,
    chain: Box<[CertificateDer<'static>]>,
    generation: u64,
    /// When the first certificate of the chain ends, in seconds since 1970.
    until: u64,
    protocol: Option<Protocol>,
}

impl Proof {
    /// After the handshake, whose verifier has judged what is read here: `generation` is what it went by, or none if no
    /// certificate was asked for.
    pub(super) fn of(
        who: &Arc<str>,
        session: &CommonState,
        crypto: &Crypto,
        generation: Option<u64>,
    ) -> Result<Self, TlsError> {
        match session.handshake_kind() {
            Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest) => {}
            Some(HandshakeKind::Resumed) | None => return Err(TlsError::Resumed(Arc::clone(who))),
        }
        let agreed = session.alpn_protocol();
        let protocol = match agreed.map(|name| (name, protocol(name))) {
            None | Some((b"istio", None)) => None,
            Some((_, Some(protocol))) => Some(protocol),
            Some((name, None)) => {
                let name = name.escape_ascii().to_string();
                return Err(TlsError::ForeignProtocol(Arc::clone(who), name));
            }
        };
        let Some(generation) = generation else {
            // What is shown without being asked for has been judged by nobody.
            return Ok(Self {
                peer: Peer::Anonymous,
                chain: [].into(),
                generation: 0,
                until: u64::MAX,
                protocol,
            });
        };
        let refused = |refused| TlsError::Refused(Arc::clone(who), refused);
        let chain = session.peer_certificates().unwrap_or_default();
        let leaf = chain.first().ok_or(Refused::NoCertificate);
        let read = cert::read(leaf.map_err(refused)?, crypto);
        let read = read.map_err(|error| refused(Refused::Unreadable(error.to_string().into())))?;
        let ends = chain.iter().filter_map(|it| Some(cert::holds(it)?[1]));
        Ok(Self {
            until: ends.min().unwrap_or(read.not_after),
            peer: Peer::Proven(Arc::new(read)),
            chain: chain.into(),
            generation,
            protocol,
        })
    }

    /// Who it is.
    pub(crate) const fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The version of HTTP that was agreed; none if the peers left it to the first bytes.
    pub(crate) const fn protocol(&self) -> Option<Protocol> {
        self.protocol
    }

    /// Whether anybody was judged.
    pub(super) const fn is_proven(&self) -> bool {
        matches!(self.peer, Peer::Proven(_))
    }

    /// By which generation of what is believed it was judged.
    pub(super) const fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether a certificate of it is valid no longer.
    pub(super) const fn has_ended(&self, now: UnixTime) -> bool {
        now.as_secs() > self.until
    }

    /// Judges the kept chain once more.
    pub(super) fn again(&self, judge: &Judge, role: Role, now: UnixTime) -> Result<(), Refused> {
        match self.chain.split_first() {
            Some(shown) => judge.judge(role, shown, now).map_err(|wrong| wrong.refused),
            // Nobody was asked then, and somebody is now.
            None => Err(Refused::NoCertificate),
        }
    }
}
