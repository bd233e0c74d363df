//! The authority itself: a key, its certificate, and what leads from it to the roots.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand;
use mesh_core::identity::{SpiffeId, TrustDomain};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use zeroize::Zeroizing;

use super::caller::Caller;
use super::csr::Csr;
use super::issued::Issued;
use super::secret::Secret;
use super::{DEFAULT_TTL, LONGEST_TTL, pem};

/// Certificates are valid from this long before they are made on: the clocks of peers are not the same. As istiod does.
const BACK_DATED: Duration = Duration::from_secs(2 * 60);
/// How long a root that we make is valid: istiod's ten years. Nothing is signed for longer, whatever is configured.
const ROOT_TTL: Duration = Duration::from_hours(10 * 365 * 24);
/// The last second that X.509 can write: the end of the year 9999.
const LAST: u64 = 253_402_300_799;
/// Bytes of a serial number; it must not look negative, so the highest bit is off (RFC 5280, 4.1.2.2).
const SERIAL: usize = 16;

/// Signs the certificates of workloads of one trust domain. Its key is overwritten when it is dropped.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use mesh_control_plane::ca::Authority;
///
/// let now = SystemTime::now();
/// let authority = Authority::self_signed(&"cluster.local".parse()?, now)?;
/// let id = "spiffe://cluster.local/ns/default/sa/bookinfo-reviews".parse()?;
/// let issued = authority.issue(&id, Duration::from_hours(1), now)?;
/// assert!(issued.chain().starts_with("-----BEGIN CERTIFICATE-----"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
/// ```compile_fail,E0599
/// fn copied(authority: mesh_control_plane::ca::Authority) { drop(authority.clone()); }
/// ```
pub struct Authority {
    issuer: Issuer<'static, Secret>,
    trust_domain: TrustDomain,
    /// What stands between a leaf and the roots in a chain; empty for an authority that is a root itself.
    above: Vec<CertificateDer<'static>>,
    roots: Vec<CertificateDer<'static>>,
    /// When the first of its own certificates expires.
    not_after: SystemTime,
    longest: Duration,
}

/// Why nothing was signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The caller is of another mesh.
    #[error("{id} is not of the trust domain {domain}, for which this authority signs")]
    ForeignDomain {
        /// The caller.
        id: SpiffeId,
        /// Ours.
        domain: TrustDomain,
    },
    /// More time than anybody gets.
    #[error(
        "a certificate for {asked:?} was asked for; the longest is {longest:?}: ask for less, or for 0, which takes the default"
    )]
    TooLong {
        /// What was asked for.
        asked: Duration,
        /// What can be had.
        longest: Duration,
    },
    /// The authority is too old.
    #[error(
        "the authority's own certificate expired at {0} (unix seconds): give the authority a new one"
    )]
    Expired(u64),
    /// The clock says a time that no certificate can.
    #[error("the clock of this machine is before 1970 or after 9989: correct it")]
    Clock,
    /// The cryptography.
    #[error("the certificate could not be made: {0}")]
    Crypto(String),
}

impl From<rcgen::Error> for SignError {
    fn from(error: rcgen::Error) -> Self {
        Self::Crypto(error.to_string())
    }
}

impl Authority {
    /// A new root for a trust domain. It is gone with the value; [`kept`](Self::kept) keeps one in a folder.
    ///
    /// # Errors
    /// When the system has no random bits, or its clock is absurd.
    pub fn self_signed(trust_domain: &TrustDomain, now: SystemTime) -> Result<Self, SignError> {
        let key = Secret::generate()?;
        let root = root(trust_domain, &key, now)?;
        Self::of(trust_domain, key, &root.clone(), &[], vec![root], now).map_err(SignError::Crypto)
    }

    /// The certificate and the key of a new root, as PEM texts.
    pub(super) fn new_root(
        trust_domain: &TrustDomain,
        now: SystemTime,
    ) -> Result<(String, Zeroizing<String>), SignError> {
        let key = Secret::generate()?;
        let root = root(trust_domain, &key, now)?;
        Ok((pem::encoded(&root), key.pem()))
    }

    /// Puts it together, and has it issue a certificate for a trial, which is verified as a peer would.
    pub(super) fn of(
        trust_domain: &TrustDomain,
        key: Secret,
        own: &CertificateDer<'static>,
        chain: &[CertificateDer<'static>],
        roots: Vec<CertificateDer<'static>>,
        now: SystemTime,
    ) -> Result<Self, String> {
        let issuer = Issuer::from_ca_cert_der(own, key).map_err(|error| error.to_string())?;
        let mut above = Vec::new();
        for certificate in [own].into_iter().chain(chain) {
            if !roots.contains(certificate) && !above.contains(certificate) {
                above.push(certificate.clone());
            }
        }
        let ends: Result<Vec<_>, _> = above.iter().chain([own]).map(not_after).collect();
        let not_after = ends?.into_iter().min().unwrap_or(UNIX_EPOCH);
        let this = Self {
            issuer,
            trust_domain: trust_domain.clone(),
            above,
            roots,
            not_after,
            longest: LONGEST_TTL,
        };
        this.tried(now)?;
        Ok(this)
    }

    /// The longest that a certificate of this authority may be valid, instead of 90 days; ten years at most.
    #[must_use]
    pub fn with_longest(self, longest: Duration) -> Self {
        Self {
            longest: longest.min(ROOT_TTL),
            ..self
        }
    }

    /// The trust domain for which it signs.
    pub const fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// How long a certificate is valid where nobody says it.
    pub(crate) fn usual(&self) -> Duration {
        DEFAULT_TTL.min(self.longest)
    }

    /// The roots as one PEM text: what peers of its workloads must trust.
    pub fn roots(&self) -> String {
        self.roots.iter().map(pem::encoded).collect()
    }

    /// A certificate for a caller, with the key of its request: PEM texts, the leaf first, then what leads up, the roots
    /// last (several of them in one text), as istiod answers. A `ttl` of zero asks for [`DEFAULT_TTL`], cut to what is
    /// configured as the longest; the certificate never outlives those of the authority.
    ///
    /// # Errors
    /// When the caller is of another trust domain, asks for too long, or the authority's own certificate has expired.
    pub fn sign(
        &self,
        csr: &Csr,
        who: &Caller,
        ttl: Duration,
        now: SystemTime,
    ) -> Result<Vec<String>, SignError> {
        let mut chain = self.chain(&csr.key, csr.is_rsa, who.id(), &[], ttl, now)?;
        chain.push(self.roots());
        Ok(chain)
    }

    /// A key with its certificate, for whoever starts a workload and puts both into its folder. It is not for a peer
    /// that asks: `id` is taken as it is.
    ///
    /// # Errors
    /// As those of [`sign`](Self::sign).
    pub fn issue(
        &self,
        id: &SpiffeId,
        ttl: Duration,
        now: SystemTime,
    ) -> Result<Issued, SignError> {
        self.issue_for(id, &[], ttl, now)
    }

    /// The same for a server that is called by the names of hosts, too, or by addresses.
    pub(crate) fn issue_for(
        &self,
        id: &SpiffeId,
        hosts: &[String],
        ttl: Duration,
        now: SystemTime,
    ) -> Result<Issued, SignError> {
        let key = Secret::generate()?;
        let chain = self.chain(&key, false, id, hosts, ttl, now)?;
        Ok(Issued::new(chain.concat(), key.pem(), self.roots()))
    }

    /// Leaf and intermediates.
    fn chain(
        &self,
        key: &impl PublicKeyData,
        is_rsa: bool,
        id: &SpiffeId,
        hosts: &[String],
        ttl: Duration,
        now: SystemTime,
    ) -> Result<Vec<String>, SignError> {
        let leaf = self.leaf(key, is_rsa, id, hosts, ttl, now)?;
        let all = [&leaf].into_iter().chain(&self.above);
        Ok(all.map(pem::encoded).collect())
    }

    fn leaf(
        &self,
        key: &impl PublicKeyData,
        is_rsa: bool,
        id: &SpiffeId,
        hosts: &[String],
        ttl: Duration,
        now: SystemTime,
    ) -> Result<CertificateDer<'static>, SignError> {
        if id.trust_domain() != self.trust_domain.as_str() {
            return Err(SignError::ForeignDomain {
                id: id.clone(),
                domain: self.trust_domain.clone(),
            });
        }
        let (asked, longest) = (ttl, self.longest);
        let ttl = match asked {
            Duration::ZERO => self.usual(),
            asked if asked > longest => return Err(SignError::TooLong { asked, longest }),
            asked => asked,
        };
        if now >= self.not_after {
            return Err(SignError::Expired(seconds(self.not_after)?));
        }
        let mut params = template(now, (now + ttl).min(self.not_after))?;
        params.subject_alt_names = names(id, hosts)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        if is_rsa {
            // TLS 1.2 with RSA key exchange; an ECDSA key cannot.
            params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
        }
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        Ok(params.signed_by(key, &self.issuer)?.der().clone())
    }

    /// Issues a certificate and verifies it: so it is known that the key is the certificate's, that it may sign, and that
    /// the chain leads to a root.
    fn tried(&self, now: SystemTime) -> Result<(), String> {
        let id = format!("spiffe://{}/trial", self.trust_domain);
        let id = id.parse().map_err(|error| format!("{error}"))?;
        let key = Secret::generate().map_err(|error| error.to_string())?;
        let leaf = self.leaf(&key, false, &id, &[], Duration::from_secs(60), now);
        let leaf = leaf.map_err(|error| error.to_string())?;
        let verified = || {
            let anchors: Result<Vec<_>, _> =
                self.roots.iter().map(anchor_from_trusted_cert).collect();
            EndEntityCert::try_from(&leaf)?.verify_for_usage(
                ALL_VERIFICATION_ALGS,
                &anchors?,
                &self.above,
                UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap_or_default()),
                KeyUsage::client_auth(),
                None,
                None,
            )?;
            Ok::<(), webpki::Error>(())
        };
        verified().map_err(|error| {
            format!("a certificate signed by it for a trial does not lead to a root: {error}")
        })
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("trust_domain", &self.trust_domain)
            .field("above", &self.above.len())
            .field("roots", &self.roots.len())
            .field("longest", &self.longest)
            .finish_non_exhaustive()
    }
}

/// The certificate of a root.
fn root(
    trust_domain: &TrustDomain,
    key: &Secret,
    now: SystemTime,
) -> Result<CertificateDer<'static>, SignError> {
    let mut params = template(now, now + ROOT_TTL)?;
    let name = trust_domain.as_str();
    params
        .distinguished_name
        .push(DnType::OrganizationName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params.self_signed(key)?.der().clone())
}

/// The id, and what a server is called by.
fn names(id: &SpiffeId, hosts: &[String]) -> Result<Vec<SanType>, SignError> {
    let mut names = vec![SanType::URI(id.as_str().try_into()?)];
    for host in hosts {
        names.push(match host.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(host.as_str().try_into()?),
        });
    }
    Ok(names)
}

/// A certificate without any names.
fn template(now: SystemTime, not_after: SystemTime) -> Result<CertificateParams, SignError> {
    let mut serial = [0; SERIAL];
    rand::fill(&mut serial).map_err(|_| SignError::Crypto("no random bits".to_owned()))?;
    serial[0] &= 0x7f;
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.not_before = epoch + Duration::from_secs(seconds(now)?) - BACK_DATED;
    params.not_after = epoch + Duration::from_secs(seconds(not_after)?);
    Ok(params)
}

fn seconds(time: SystemTime) -> Result<u64, SignError> {
    let since = time
        .duration_since(UNIX_EPOCH)
        .map_err(|_| SignError::Clock)?;
    match since.as_secs() {
        seconds @ ..=LAST => Ok(seconds),
        _ => Err(SignError::Clock),
    }
}

fn not_after(certificate: &CertificateDer<'static>) -> Result<SystemTime, String> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
    let end = parsed.validity().not_after.timestamp();
    let end = Duration::from_secs(u64::try_from(end).unwrap_or(0));
    UNIX_EPOCH
        .checked_add(end)
        .ok_or_else(|| "it never expires".to_owned())
}
