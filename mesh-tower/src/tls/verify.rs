//! Judges the certificates of peers: the chain by webpki, then the names by the rule of the configuration. A judge is made
//! for each handshake, of what holds at that moment.

use std::fmt;
use std::sync::{Arc, OnceLock};

use mesh_core::identity::{Domains, PeerRule, SanFault};
use mesh_core::tls::told;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error as RustlsError,
    SignatureScheme,
};

use super::cert;
use super::crypto::Crypto;
use super::moment::{Lacking, Moment};
use super::trust::{Chain, Role, Trust, reason};

/// Why a peer's certificate is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("it shows no certificate, and one is required")]
    NoCertificate,
    #[error("{0}")]
    Unreadable(Box<str>),
    /// Names seen, roots asked, reason.
    #[error("its certificate ({0}) does not hold by the roots of {1}: {2}")]
    Chain(Box<str>, Arc<str>, Box<str>),
    /// Names seen, names wanted, reason, roots asked.
    #[error("its certificate ({0}; good by the roots of {3}) is not of whom we want, {1}: {2}")]
    Names(Box<str>, Box<str>, SanFault, Arc<str>),
    #[error("it does not hold the key of the certificate that it shows ({0}): {1}")]
    Key(Box<str>, Box<str>),
    #[error("we have no roots to judge its certificate by: {0}")]
    NoRoots(Arc<str>),
    #[error("there is no clock to judge its certificate by")]
    NoClock,
}

impl From<Lacking> for Refused {
    fn from(lacking: Lacking) -> Self {
        let (Lacking::Identity(reason) | Lacking::Roots(reason)) = lacking;
        Self::NoRoots(reason)
    }
}

/// A rule with what it is judged by.
pub(super) struct Judge {
    crypto: Crypto,
    rule: Arc<PeerRule>,
    trust: Arc<Trust>,
    domains: Option<Domains>,
    /// What was found wrong: rustls is told what the peer may hear of it, which is less.
    refused: OnceLock<Refused>,
    /// The check that a test has switched off.
    #[cfg(test)]
    masked: Option<super::tests::mask::Check>,
}

impl Judge {
    /// None of a moment without authorities.
    pub(super) fn new(crypto: &Crypto, rule: &Arc<PeerRule>, moment: &Moment) -> Option<Arc<Self>> {
        Some(Arc::new(Self {
            crypto: crypto.clone(),
            rule: Arc::clone(rule),
            trust: Arc::clone(moment.trust.as_ref()?),
            domains: moment.domains.clone(),
            refused: OnceLock::new(),
            #[cfg(test)]
            masked: None,
        }))
    }

    #[cfg(test)]
    pub(super) fn without(
        masked: Option<super::tests::mask::Check>,
        crypto: &Crypto,
        rule: &Arc<PeerRule>,
        (trust, domains): (&Arc<Trust>, Domains),
    ) -> Self {
        Self {
            crypto: crypto.clone(),
            rule: Arc::clone(rule),
            trust: Arc::clone(trust),
            domains: Some(domains),
            refused: OnceLock::new(),
            masked,
        }
    }

    /// Why the peer of a handshake that failed was refused, if it was.
    pub(super) fn refused(&self) -> Option<&Refused> {
        self.refused.get()
    }

    /// The chain first: what nobody has signed is read for the error's text alone.
    pub(super) fn judge(&self, role: Role, shown: Chain<'_>, now: UnixTime) -> Result<(), Wrong> {
        let counts = |wrong| self.counts(wrong, shown.0);
        self.chain(role, shown, now).or_else(counts)?;
        self.names(shown.0).or_else(counts)
    }

    fn chain(&self, role: Role, shown: Chain<'_>, now: UnixTime) -> Result<(), Wrong> {
        let trust = &self.trust;
        trust
            .chain(&self.crypto, role, shown, now)
            .map_err(|error| {
                let (seen, whence) = (cert::seen(shown.0, &self.crypto), &trust.whence);
                let refused = Refused::Chain(seen, Arc::clone(whence), reason(&error).into());
                Wrong { refused, error }
            })
    }

    fn names(&self, leaf: &CertificateDer<'_>) -> Result<(), Wrong> {
        let read = cert::read(leaf, &self.crypto).map_err(|unreadable| Wrong {
            refused: Refused::Unreadable(unreadable.to_string().into()),
            error: CertificateError::BadEncoding.into(),
        })?;
        let domains = self.domains.as_ref();
        self.rule.check(&read.sans, domains).map_err(|fault| {
            let (seen, whence) = (cert::seen(leaf, &self.crypto), &self.trust.whence);
            let wanted = told(&self.rule).into();
            Wrong {
                refused: Refused::Names(seen, wanted, fault, Arc::clone(whence)),
                error: CertificateError::ApplicationVerificationFailure.into(),
            }
        })
    }

    /// What is wrong counts, except in a test that asks what the check is good for.
    #[cfg(not(test))]
    const fn counts(&self, wrong: Wrong, _: &CertificateDer<'_>) -> Result<(), Wrong> {
        Err(wrong)
    }

    #[cfg(test)]
    fn counts(&self, wrong: Wrong, leaf: &CertificateDer<'_>) -> Result<(), Wrong> {
        let domains = self.domains.as_ref();
        match self.masked {
            Some(check) if check.lets_pass(&wrong, leaf, &self.rule, domains) => Ok(()),
            _ => Err(wrong),
        }
    }

    fn in_handshake(&self, role: Role, shown: Chain<'_>, now: UnixTime) -> Result<(), RustlsError> {
        self.judge(role, shown, now)
            .map_err(|wrong| self.note(wrong))
    }

    fn note(&self, Wrong { refused, error }: Wrong) -> RustlsError {
        drop(self.refused.set(refused));
        error
    }

    fn algorithms(&self) -> &WebPkiSupportedAlgorithms {
        &self.crypto.provider.signature_verification_algorithms
    }

    fn holds_key(
        &self,
        der: &CertificateDer<'_>,
        judged: Result<HandshakeSignatureValid, RustlsError>,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        judged.or_else(|error| {
            let seen = cert::seen(der, &self.crypto);
            let refused = Refused::Key(seen, error.to_string().into());
            let counted = self.counts(Wrong { refused, error }, der);
            counted.map_err(|wrong| self.note(wrong))?;
            Ok(HandshakeSignatureValid::assertion())
        })
    }
}

/// A refusal, and what rustls makes an alert of.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) refused: Refused,
    pub(super) error: RustlsError,
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
            let judged = verify_tls12_signature(message, der, signed, self.0.algorithms());
            self.0.holds_key(der, judged)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            der: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, RustlsError> {
            let judged = verify_tls13_signature(message, der, signed, self.0.algorithms());
            self.0.holds_key(der, judged)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.algorithms().supported_schemes()
        }
    };
}

/// Judges servers. The name that rustls hands over is only what is sent as SNI.
#[derive(Debug)]
pub(super) struct Servers(pub(super) Arc<Judge>);

impl ServerCertVerifier for Servers {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _sni: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, RustlsError> {
        let shown = (leaf, intermediates);
        self.0.in_handshake(Role::Server, shown, now)?;
        Ok(ServerCertVerified::assertion())
    }

    signatures!();
}

/// Judges clients; says whether each must show a certificate.
#[derive(Debug)]
pub(super) struct Clients(pub(super) Arc<Judge>, pub(super) bool);

impl ClientCertVerifier for Clients {
    /// None: they would tell a stranger whom we believe.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        self.1
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, RustlsError> {
        let shown = (leaf, intermediates);
        self.0.in_handshake(Role::Client, shown, now)?;
        Ok(ClientCertVerified::assertion())
    }

    signatures!();
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judge")
            .field("rule", &self.rule)
            .finish_non_exhaustive()
    }
}
