//! Authorities, and certificates with one thing or another wrong with them.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;

use crate::tls::crypto::Crypto;
use crate::tls::{Identity, Material, PrivateKey, Roots};

pub(crate) const REVIEWS: &str = "spiffe://cluster.local/ns/default/sa/reviews";

pub(super) fn crypto() -> Crypto {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    Crypto::of(Some(Arc::new(provider))).unwrap()
}

pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let params = Self::params(name, IsCa::Ca(BasicConstraints::Unconstrained));
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn params(name: &str, is_ca: IsCa) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = is_ca;
        params
    }

    /// An issuer below this one, which may be no authority.
    pub(super) fn below(&self, name: &str, is_ca: IsCa) -> Self {
        self.below_until(name, is_ca, 4096)
    }

    pub(super) fn below_until(&self, name: &str, is_ca: IsCa, year: i32) -> Self {
        let mut params = Self::params(name, is_ca);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::signed_by(params, key, &self.0).unwrap())
    }

    /// An authority below this one.
    pub(super) fn below_with(&self, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = Self::params("between", IsCa::Ca(BasicConstraints::Unconstrained));
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::signed_by(params, key, &self.0).unwrap())
    }

    pub(super) fn der(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    pub(super) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(super) fn issue(&self, params: &CertificateParams) -> Leaf {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Leaf {
            chain: vec![certificate.der().clone()],
            pem: certificate.pem(),
            key,
        }
    }

    pub(crate) fn workload(&self, uri: &str) -> Leaf {
        self.issue(&named(&[uri]))
    }
}

/// A certificate as a peer shows it.
pub(crate) struct Leaf {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) pem: String,
    pub(super) key: KeyPair,
}

impl Leaf {
    pub(super) fn with(mut self, issuer: &Authority) -> Self {
        self.chain.push(issuer.der());
        self.pem.push_str(&issuer.pem());
        self
    }

    pub(super) fn with_key_of(mut self, other: Self) -> Self {
        self.key = other.key;
        self
    }

    pub(super) fn self_signed(params: &CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self {
            chain: vec![certificate.der().clone()],
            pem: certificate.pem(),
            key,
        }
    }

    /// For rustls; nobody asks whether the key belongs.
    pub(super) fn certified(&self) -> Arc<CertifiedKey> {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let key = crypto()
            .provider
            .key_provider
            .load_private_key(key)
            .unwrap();
        Arc::new(CertifiedKey::new(self.chain.clone(), key))
    }

    pub(crate) fn material(&self, roots: &[&Authority]) -> Material {
        let roots: String = roots.iter().map(|root| root.pem()).collect();
        let key = PrivateKey::from_pem(self.key.serialize_pem().as_bytes()).unwrap();
        Material::new(
            Identity::from_pem(self.pem.as_bytes(), key).unwrap(),
            Roots::from_pem(roots.as_bytes()).unwrap(),
            "the test's files",
        )
    }
}

/// What Istio's agent asks for: no subject, URI names, both uses.
pub(super) fn named(uris: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.subject_alt_names = uris.iter().map(|uri| self::uri(uri)).collect();
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params
}

pub(super) fn uri(name: &str) -> SanType {
    SanType::URI(name.try_into().unwrap())
}

pub(super) fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

pub(super) fn changed(change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = named(&[REVIEWS]);
    change(&mut params);
    params
}

/// Alternative names in DER, byte by byte; each has its tag.
pub(super) fn raw_names(names: &[(u8, &[u8])]) -> CustomExtension {
    let mut all = Vec::new();
    for (tag, name) in names {
        all.extend([*tag, u8::try_from(name.len()).unwrap()]);
        all.extend(*name);
    }
    let mut der = vec![0x30, u8::try_from(all.len()).unwrap()];
    der.extend(all);
    CustomExtension::from_oid_content(&[2, 5, 29, 17], der)
}
