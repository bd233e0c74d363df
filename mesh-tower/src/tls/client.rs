//! Puts TLS on connections that we open to workloads.

use std::fmt;
use std::sync::Arc;

use mesh_core::cluster::Protocol;
use mesh_core::tls::ClientTls;
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Stream;
use super::error::TlsError;
use super::proof::Proof;
use super::store::{Shown, Store};
use super::verify::{Judge, Refused, Role, Servers};

/// One for each set of terms. What it shows and believes is the store's at each handshake.
pub(crate) struct Client {
    who: Arc<str>,
    judge: Judge,
    sni: Option<ServerName<'static>>,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

impl Client {
    pub(crate) fn new(tls: &ClientTls, store: &Arc<Store>) -> Result<Self, TlsError> {
        let terms = tls.terms();
        let crypto = store.crypto();
        let crypto = crypto.map_err(|no| TlsError::NoCrypto(Arc::clone(&terms.who), no))?;
        let judge = Judge {
            store: Arc::clone(store),
            crypto: crypto.clone(),
            rule: terms.peer.clone(),
        };
        let sni = match &terms.sni {
            None => None,
            Some(name) => match ServerName::try_from(name.to_string()) {
                Ok(dns @ ServerName::DnsName(_)) => Some(dns),
                // RFC 6066, 3: no addresses.
                _ => {
                    let (who, name) = (Arc::clone(&terms.who), Arc::clone(name));
                    return Err(TlsError::ServerName(who, name));
                }
            },
        };
        let base = base(&judge, terms.identity.is_some())
            .map_err(|error| TlsError::Cryptography(Arc::clone(&terms.who), error))?;
        let offering = |protocol| {
            let mut config = base.clone();
            config.alpn_protocols = terms.alpn.offered(protocol);
            Arc::new(config)
        };
        Ok(Self {
            http1: offering(Protocol::Http1),
            http2: offering(Protocol::Http2),
            who: Arc::clone(&terms.who),
            judge,
            sni,
        })
    }

    /// Puts TLS on a connection that is to speak `protocol`.
    /// The caller bounds the time, as that of the whole connect (`connect_timeout`).
    pub(crate) async fn connect(
        &self,
        tcp: TcpStream,
        protocol: Protocol,
    ) -> Result<(Stream, Proof), TlsError> {
        let no_identity = |reason| TlsError::NoIdentity(Arc::clone(&self.who), reason);
        self.judge.store.usable().map_err(no_identity)?;
        let failed = |error| TlsError::of(&self.who, error);
        let name = match &self.sni {
            Some(name) => name.clone(),
            // rustls wants one, and does not send an address.
            None => tcp.peer_addr().map_err(failed)?.ip().into(),
        };
        let connecting = TlsConnector::from(Arc::clone(self.config(protocol))).connect(name, tcp);
        let stream = connecting.await.map_err(failed)?;
        let session = stream.get_ref().1;
        let proof = Proof::of(&self.who, session, true, &self.judge.crypto)?;
        Ok((stream, proof))
    }

    /// Whether a connection of before would still come about.
    pub(crate) fn still_takes(&self, proof: &Proof) -> Result<(), Refused> {
        let now = self.judge.store.now().ok_or(Refused::NoRoots)?;
        proof.again(&self.judge, Role::Server, now)
    }

    const fn config(&self, protocol: Protocol) -> &Arc<ClientConfig> {
        match protocol {
            Protocol::Http1 => &self.http1,
            Protocol::Http2 => &self.http2,
        }
    }
}

/// Nothing is resumed: a resumed session shows what was judged by roots and rules of another time.
fn base(judge: &Judge, identity: bool) -> Result<ClientConfig, rustls::Error> {
    let store = &judge.store;
    let provider = Arc::clone(&judge.crypto.provider);
    let builder = ClientConfig::builder_with_details(provider, Arc::clone(&store.clock))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Servers(judge.clone())));
    let mut config = match identity {
        true => builder.with_client_cert_resolver(Arc::new(Shown(Arc::clone(store)))),
        false => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(config)
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("who", &self.who)
            .field("sni", &self.sni)
            .finish_non_exhaustive()
    }
}
