//! Puts TLS on connections that we open to workloads, and to what the configuration names outside of the mesh.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mesh_core::cluster::Protocol;
use mesh_core::identity::PeerRule;
use mesh_core::tls::{Alpn, ClientTls, TlsVersion};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::Stream;
use super::error::TlsError;
use super::moment::{Lacking, Moment, Sources, versions};
use super::proof::Proof;
use super::registry::{Kept, Side};
use super::store::Store;
use super::trust::Role;
use super::verify::{Judge, Refused, Servers};

/// How long a handshake may take, where the connect timeout is not nearer.
const LONGEST: Duration = Duration::from_secs(10);

/// One for each set of terms. What it shows and believes is the store's at each handshake.
pub(crate) struct Client {
    who: Arc<str>,
    sources: Sources,
    rule: Arc<PeerRule>,
    sni: Option<ServerName<'static>>,
    alpn: Alpn,
    min: TlsVersion,
}

impl Client {
    pub(crate) fn new(tls: &ClientTls, store: &Arc<Store>) -> Result<Self, TlsError> {
        let terms = tls.terms();
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
        let sources = Sources::new(store, Some(&terms.roots), terms.identity.as_ref());
        Ok(Self {
            sources: sources.map_err(|no| TlsError::NoCrypto(Arc::clone(&terms.who), no))?,
            rule: Arc::new(terms.peer.clone()),
            who: Arc::clone(&terms.who),
            alpn: terms.alpn.clone(),
            min: terms.min,
            sni,
        })
    }

    /// Puts TLS on a connection that is to speak `protocol`.
    pub(crate) async fn connect(
        &self,
        tcp: TcpStream,
        protocol: Protocol,
    ) -> Result<(Stream, Proof), TlsError> {
        match timeout(LONGEST, self.connecting(tcp, protocol)).await {
            Ok(connected) => connected,
            Err(_) => Err(TlsError::Late(LONGEST)),
        }
    }

    async fn connecting(
        &self,
        tcp: TcpStream,
        protocol: Protocol,
    ) -> Result<(Stream, Proof), TlsError> {
        let lacking = |lacking| TlsError::lacking(&self.who, lacking);
        let moment = self.sources.moment().await.map_err(lacking)?;
        let name = match &self.sni {
            Some(name) => name.clone(),
            // rustls wants one, and does not send an address.
            None => {
                let address = tcp.peer_addr();
                address
                    .map_err(|error| TlsError::of(&self.who, None, error))?
                    .ip()
                    .into()
            }
        };
        let judge = self.judge(&moment).map_err(lacking)?;
        let config = self
            .config(&judge, &moment, protocol)
            .map_err(|error| TlsError::Cryptography(Arc::clone(&self.who), error))?;
        let connector = TlsConnector::from(Arc::new(config));
        let connecting = move || connector.connect(name, tcp);
        let thread = &self.sources.store.thread;
        let stream = thread.shake(Role::Client, connecting).await;
        let stream = stream.map_err(|error| TlsError::of(&self.who, judge.refused(), error))?;
        let session = stream.get_ref().1;
        let proof = Proof::of(
            &self.who,
            session,
            &self.sources.crypto,
            Some(moment.generation),
        )?;
        match proof.protocol() {
            Some(other) if other != protocol => Err(TlsError::OtherProtocol(
                Arc::clone(&self.who),
                other,
                protocol,
            )),
            _ => Ok((stream, proof)),
        }
    }

    /// Whose terms they are.
    pub(super) const fn who(&self) -> &Arc<str> {
        &self.who
    }

    /// [`Self::connect`], and the connection is looked after.
    pub(crate) async fn keep(
        self: &Arc<Self>,
        tcp: TcpStream,
        protocol: Protocol,
    ) -> Result<(Stream, Kept), TlsError> {
        let (stream, proof) = self.connect(tcp, protocol).await?;
        let side = Side::Client(Arc::clone(self));
        Ok((stream, self.sources.store.keep(side, proof)))
    }

    /// Whether a connection of before would still come about.
    pub(crate) fn still_takes(&self, proof: &Proof) -> Result<(), Refused> {
        let now = self.sources.store.now().ok_or(Refused::NoClock)?;
        let judge = self.judge(&self.sources.judging()?)?;
        proof.again(&judge, Role::Server, now)
    }

    fn judge(&self, moment: &Moment) -> Result<Arc<Judge>, Lacking> {
        let judge = Judge::new(&self.sources.crypto, &self.rule, moment);
        judge.ok_or_else(|| Lacking::Roots("the terms name none".into()))
    }

    #[cfg(test)]
    pub(super) async fn configured(&self, protocol: Protocol) -> Arc<ClientConfig> {
        let moment = self.sources.moment().await.unwrap();
        let judge = self.judge(&moment).unwrap();
        Arc::new(self.config(&judge, &moment, protocol).unwrap())
    }

    /// Nothing is resumed: a resumed session shows what was judged by roots and rules of another time.
    fn config(
        &self,
        judge: &Arc<Judge>,
        moment: &Moment,
        protocol: Protocol,
    ) -> Result<ClientConfig, rustls::Error> {
        let provider = Arc::clone(&self.sources.crypto.provider);
        let clock = Arc::clone(&self.sources.store.clock);
        let builder = ClientConfig::builder_with_details(provider, clock)
            .with_protocol_versions(versions(self.min, TlsVersion::V1_3))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Servers(Arc::clone(judge))));
        let mut config = match moment.shown() {
            Some(shown) => builder.with_client_cert_resolver(shown),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.alpn.offered(protocol);
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        Ok(config)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("who", &self.who)
            .field("sni", &self.sni)
            .finish_non_exhaustive()
    }
}
