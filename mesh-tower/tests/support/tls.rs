//! An authority of the test's own, and TLS servers with its certificates.

use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair,
    SanType,
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use super::outside::Server;

/// A certificate with its key.
pub(crate) struct Leaf {
    pub(crate) certificate: Certificate,
    pub(crate) key: KeyPair,
}

impl Leaf {
    pub(crate) fn self_signed(params: &CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate, key }
    }

    pub(crate) fn der(
        &self,
    ) -> (
        Vec<rustls::pki_types::CertificateDer<'static>>,
        PrivateKeyDer<'static>,
    ) {
        let key = PrivatePkcs8KeyDer::from(self.key.serialize_der());
        (vec![self.certificate.der().clone()], key.into())
    }
}

pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        Self::called("the test's authority")
    }

    pub(crate) fn called(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// Writes a workload's certificate as Istio's agent does, with these roots.
    pub(crate) fn write_workload(&self, folder: &Path, id: &str, roots: &[&Self]) {
        let key = KeyPair::generate().unwrap();
        let certificate = workload(id).signed_by(&key, &self.0).unwrap();
        let roots: String = roots.iter().map(|root| root.pem()).collect();
        for (name, text) in [
            ("cert-chain.pem", certificate.pem()),
            ("key.pem", key.serialize_pem()),
            ("root-cert.pem", roots),
        ] {
            std::fs::write(folder.join(name), text).unwrap();
        }
    }

    /// A server with the certificate of a workload, for clients of the same authority alone.
    pub(crate) async fn mutual_server(&self, id: &str, protocols: &[&str]) -> Server {
        let key = KeyPair::generate().unwrap();
        let certificate = workload(id).signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let clients =
            WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider));
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients.build().unwrap())
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        serve(config, protocols).await
    }

    pub(crate) fn der(&self) -> rustls::pki_types::CertificateDer<'static> {
        self.0.der().clone()
    }

    /// A certificate by this authority, as a server or a client shows it.
    pub(crate) fn issue(&self, params: &CertificateParams) -> Leaf {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Leaf { certificate, key }
    }

    /// A certificate for a key that somebody else has.
    pub(crate) fn sign(
        &self,
        params: &CertificateParams,
        key: &impl rcgen::PublicKeyData,
    ) -> Certificate {
        params.signed_by(key, &self.0).unwrap()
    }

    /// A server with a certificate for a name, which agrees to these protocols.
    pub(crate) async fn server(&self, name: &str, protocols: &[&str]) -> Server {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        serve(config, protocols).await
    }
}

async fn serve(mut config: ServerConfig, protocols: &[&str]) -> Server {
    let names = protocols.iter().map(|name| name.as_bytes().to_vec());
    config.alpn_protocols = names.collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    Server::start(move |stream| {
        let accepting = acceptor.accept(stream);
        async { accepting.await.ok() }
    })
    .await
}

pub(crate) fn workload(id: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
    params
}
