//! Judges the certificates of peers: the chain by webpki against the roots that hold now, the names by the rule of the
//! configuration. Both read the store at each handshake, so that a rotation needs no new configuration.

use std::sync::Arc;

use mesh_core::identity::{PeerCertificate, PeerRule, SanFault};
use mesh_core::tls::wanted;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error as RustlsError, OtherError,
    SignatureScheme,
};

use super::cert::{self, Unreadable};
use super::crypto::Crypto;
use super::store::{Own, Store};

/// Why a peer's certificate is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error(transparent)]
    Unreadable(#[from] UnreadablePeer),
    /// Names seen, roots asked, reason.
    #[error("its certificate ({0}) does not hold by the roots of {1}: {2}")]
    Chain(Box<str>, Arc<str>, Box<str>),
    /// Names seen, names wanted, reason, roots asked.
    #[error("its certificate ({0}; good by the roots of {3}) is not of whom we want, {1}: {2}")]
    Names(Box<str>, Box<str>, SanFault, Arc<str>),
    #[error("it does not hold the key of the certificate that it shows ({0}): {1}")]
    Key(Box<str>, Box<str>),
    #[error("we have no roots to judge its certificate by")]
    NoRoots,
}

/// A certificate of a peer that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub(crate) struct UnreadablePeer(#[from] Unreadable);

/// What the owner of a certificate acts as; its extended key usage must allow it, if it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Client,
    Server,
}

/// A chain as the peer shows it: its own certificate first.
pub(super) type Chain<'a> = (&'a CertificateDer<'a>, &'a [CertificateDer<'a>]);

/// Whether a chain leads to the roots and holds now.
pub(super) fn chain(
    own: &Own,
    crypto: &Crypto,
    role: Role,
    (leaf, intermediates): Chain<'_>,
    now: UnixTime,
) -> Result<(), Box<str>> {
    let judged = match role {
        Role::Server => ParsedCertificate::try_from(leaf).and_then(|leaf| {
            let algorithms = crypto.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(
                &leaf,
                &own.roots,
                intermediates,
                now,
                algorithms,
            )
        }),
        Role::Client => own
            .clients
            .verify_client_cert(leaf, intermediates, now)
            .map(drop),
    };
    judged.map_err(|error| reason(&error).into())
}

/// rustls' reason in the words of whoever has to mend it.
fn reason(error: &RustlsError) -> String {
    let RustlsError::InvalidCertificate(error) = error else {
        return error.to_string();
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

/// A rule with what it is judged by.
#[derive(Debug, Clone)]
pub(super) struct Judge {
    pub(super) store: Arc<Store>,
    pub(super) crypto: Crypto,
    pub(super) rule: PeerRule,
}

impl Judge {
    pub(super) fn judge(
        &self,
        role: Role,
        shown: Chain<'_>,
        now: UnixTime,
    ) -> Result<PeerCertificate, Refused> {
        let own = self.store.own().ok_or(Refused::NoRoots)?;
        let read = cert::read(shown.0, &self.crypto).map_err(UnreadablePeer::from)?;
        let seen = || cert::seen(&read.sans).into();
        chain(&own, &self.crypto, role, shown, now)
            .map_err(|reason| Refused::Chain(seen(), Arc::clone(&own.whence), reason))?;
        self.rule.check(&read.sans, &own.domains).map_err(|fault| {
            let wanted = wanted(&self.rule).into();
            Refused::Names(seen(), wanted, fault, Arc::clone(&own.whence))
        })?;
        Ok(read)
    }

    fn holds_key(
        &self,
        der: &CertificateDer<'_>,
        judged: Result<HandshakeSignatureValid, RustlsError>,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        judged.map_err(|error| {
            let read = cert::read(der, &self.crypto);
            let seen = read.map_or_else(
                |unreadable| unreadable.to_string(),
                |read| cert::seen(&read.sans),
            );
            Refused::Key(seen.into(), error.to_string().into()).into()
        })
    }
}

impl From<Refused> for RustlsError {
    fn from(refused: Refused) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(refused))))
    }
}

/// Both verifiers prove the key in the same way.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            der: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, RustlsError> {
            let algorithms = &self.0.crypto.provider.signature_verification_algorithms;
            self.0.holds_key(
                der,
                verify_tls12_signature(message, der, signed, algorithms),
            )
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            der: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, RustlsError> {
            let algorithms = &self.0.crypto.provider.signature_verification_algorithms;
            self.0.holds_key(
                der,
                verify_tls13_signature(message, der, signed, algorithms),
            )
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            let provider = &self.0.crypto.provider;
            provider
                .signature_verification_algorithms
                .supported_schemes()
        }
    };
}

/// Judges servers. The name that rustls hands over is only what is sent as SNI.
#[derive(Debug)]
pub(super) struct Servers(pub(super) Judge);

impl ServerCertVerifier for Servers {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _sni: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, RustlsError> {
        self.0.judge(Role::Server, (leaf, intermediates), now)?;
        Ok(ServerCertVerified::assertion())
    }

    signatures!();
}

/// Judges clients; each must show a certificate.
#[derive(Debug)]
pub(super) struct Clients(pub(super) Judge);

impl ClientCertVerifier for Clients {
    /// None: the roots may be others when the client answers.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, RustlsError> {
        self.0.judge(Role::Client, (leaf, intermediates), now)?;
        Ok(ClientCertVerified::assertion())
    }

    signatures!();
}
