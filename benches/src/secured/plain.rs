//! rustls by hand: who shows the certificate of a workload, and believes its roots.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, ServerConfig};

use super::authority::{Authority, failed};
use crate::error::BenchError;

/// What the mesh takes, too, where nobody says otherwise.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// A client that shows nothing.
pub(crate) fn onlooker(authorities: &[&Authority]) -> Result<ClientConfig, BenchError> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        let added = roots.add(authority.der().clone());
        added.map_err(|error| failed(&error))?;
    }
    Ok(believing(roots)?.with_no_client_auth())
}

/// A client with the certificate of a folder.
pub(crate) fn client(folder: &Path) -> Result<ClientConfig, BenchError> {
    let (chain, key) = own(folder)?;
    let config = believing(roots(folder)?)?.with_client_auth_cert(chain, key);
    config.map_err(|error| failed(&error))
}

/// A server with the certificate of a folder, for clients that show one by its roots.
pub(crate) fn server(folder: &Path) -> Result<ServerConfig, BenchError> {
    let (chain, key) = own(folder)?;
    let roots = Arc::new(roots(folder)?);
    let clients = WebPkiClientVerifier::builder_with_provider(roots, provider());
    let clients = clients.build().map_err(|error| failed(&error))?;
    ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)
        .map_err(|error| failed(&error))
}

fn believing(
    roots: RootCertStore,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, BenchError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?;
    Ok(builder.with_root_certificates(roots))
}

type Own = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn own(folder: &Path) -> Result<Own, BenchError> {
    let key = PrivateKeyDer::from_pem_file(folder.join("key.pem"));
    let key = key.map_err(|error| failed(&error))?;
    Ok((certificates(&folder.join("cert-chain.pem"))?, key))
}

fn roots(folder: &Path) -> Result<RootCertStore, BenchError> {
    let mut roots = RootCertStore::empty();
    for root in certificates(&folder.join("root-cert.pem"))? {
        roots.add(root).map_err(|error| failed(&error))?;
    }
    Ok(roots)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, BenchError> {
    let all = CertificateDer::pem_file_iter(file).map_err(|error| failed(&error))?;
    all.collect::<Result<_, _>>()
        .map_err(|error| failed(&error))
}
