//! Opens connections that workloads make to us: plaintext or TLS by the first byte, then what the client offers, then the
//! handshake, all within one deadline.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mesh_core::identity::PeerRule;
use mesh_core::server::First;
use mesh_core::tls::{ClientAuth, ServerTls, TlsVersion};
use rustls::ServerConfig;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::{StartHandshake, server::TlsStream};

use super::error::TlsError;
use super::hello::{self, Offered};
use super::moment::{Moment, Sources, versions};
use super::proof::Proof;
use super::store::Store;
use super::trust::Role;
use super::verify::{Clients, Judge, Refused};

/// How long a client may take from the connection to the end of the handshake.
pub(crate) const OPENING: Duration = Duration::from_secs(10);

/// What a client began with.
#[derive(Debug)]
pub(crate) enum Arrived {
    /// Not TLS. Not a byte of it is taken.
    Plaintext(TcpStream),
    /// TLS: it is accepted or closed, and never read as anything else.
    Tls(Box<Hello>),
}

/// A client that wants TLS, before it is said on which terms.
pub(crate) struct Hello {
    start: StartHandshake<TcpStream>,
    offered: Offered,
    deadline: Instant,
}

/// One for each set of terms. What it shows and believes is the store's at each handshake.
pub(crate) struct Server {
    who: Arc<str>,
    sources: Sources,
    /// None: clients stay anonymous.
    rule: Option<Arc<PeerRule>>,
    /// Whether they may leave a certificate out.
    takes_anonymous: bool,
    alpn: Box<[Box<[u8]>]>,
    min: TlsVersion,
    max: TlsVersion,
}

/// Waits for the first byte, and for the hello that it may begin.
pub(crate) async fn arrival(tcp: TcpStream) -> Result<Arrived, TlsError> {
    let deadline = Instant::now() + OPENING;
    let arriving = timeout_at(deadline, arrived(tcp, deadline)).await;
    arriving.unwrap_or(Err(TlsError::Late(OPENING)))
}

async fn arrived(tcp: TcpStream, deadline: Instant) -> Result<Arrived, TlsError> {
    let mut first = [0];
    let peeked = tcp.peek(&mut first).await.unwrap_or(0);
    match first.get(..peeked).and_then(First::of) {
        None => return Err(TlsError::Silent),
        Some(First::Plaintext) => return Ok(Arrived::Plaintext(tcp)),
        Some(First::Tls) => {}
    }
    let (start, offered) = hello::hello(tcp).await.map_err(TlsError::NoHello)?;
    Ok(Arrived::Tls(Box::new(Hello {
        start,
        offered,
        deadline,
    })))
}

impl Hello {
    /// What the client offers.
    pub(crate) const fn offered(&self) -> &Offered {
        &self.offered
    }

    /// Closes it by an alert, `access_denied`, so that the client can say that it was refused.
    pub(crate) async fn refuse(self, store: &Store) {
        let Ok(crypto) = store.crypto() else { return };
        let builder = ServerConfig::builder_with_details(
            Arc::clone(&crypto.provider),
            Arc::clone(&store.clock),
        );
        let Ok(builder) = builder.with_safe_default_protocol_versions() else {
            return;
        };
        let nobody = builder
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Nobody));
        // It fails, and that is what is told.
        drop(timeout_at(self.deadline, self.start.into_stream(Arc::new(nobody))).await);
    }

    /// Closes it by the alert `internal_error`: there is nothing that the client could mend.
    async fn fail(self) {
        let mut tcp = self.start.io;
        let told = async {
            tcp.write_all(&INTERNAL_ERROR).await?;
            tcp.shutdown().await
        };
        // The reason is told by whoever had to close it.
        drop(timeout_at(self.deadline, told).await);
    }
}

/// The record of that alert before anything is encrypted (RFC 8446, 5.1 and 6: type, version, length, level, description);
/// rustls sends none of its own where there is nothing to begin a handshake with.
const INTERNAL_ERROR: [u8; 7] = [21, 3, 3, 0, 2, 2, 80];

/// Shows nothing.
#[derive(Debug)]
struct Nobody;

impl ResolvesServerCert for Nobody {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}

impl Server {
    pub(crate) fn new(tls: &ServerTls, store: &Arc<Store>) -> Result<Self, TlsError> {
        let terms = tls.terms();
        let (roots, rule) = match &terms.client {
            ClientAuth::None => (None, None),
            ClientAuth::Required { roots, peer } | ClientAuth::Optional { roots, peer } => {
                (Some(roots), Some(Arc::new(peer.clone())))
            }
        };
        let sources = Sources::new(store, roots, Some(&terms.identity));
        Ok(Self {
            sources: sources.map_err(|no| TlsError::NoCrypto(Arc::clone(&terms.who), no))?,
            who: Arc::clone(&terms.who),
            rule,
            takes_anonymous: !matches!(terms.client, ClientAuth::Required { .. }),
            alpn: terms.alpn.clone(),
            min: terms.min,
            max: terms.max,
        })
    }

    /// The handshake, within what is left of the time. It runs on the mesh's thread for TLS.
    pub(crate) async fn accept(
        &self,
        hello: Hello,
    ) -> Result<(TlsStream<TcpStream>, Proof), TlsError> {
        let moment = match self.sources.moment().await {
            Ok(moment) => moment,
            Err(lacking) => {
                hello.fail().await;
                return Err(TlsError::lacking(&self.who, lacking));
            }
        };
        let judge = self.judge(&moment);
        let config = self.config(&moment, judge.as_ref());
        let config =
            config.map_err(|error| TlsError::Cryptography(Arc::clone(&self.who), error))?;
        let Hello {
            start,
            offered,
            deadline,
        } = hello;
        let accepting = move || start.into_stream(Arc::new(config));
        let accepting = self.sources.store.thread.shake(Role::Server, accepting);
        let stream = match timeout_at(deadline, accepting).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                let refused = judge.as_ref().and_then(|judge| judge.refused());
                return Err(self.failed(&offered.alpn, refused, error));
            }
            Err(_) => return Err(TlsError::Late(OPENING)),
        };
        let session = stream.get_ref().1;
        let stays_anonymous = self.takes_anonymous && session.peer_certificates().is_none();
        let judge = judge.filter(|_| !stays_anonymous);
        let generation = judge.map(|_| moment.generation);
        let proof = Proof::of(&self.who, session, &self.sources.crypto, generation)?;
        Ok((stream, proof))
    }

    /// Whose terms they are.
    pub(super) const fn who(&self) -> &Arc<str> {
        &self.who
    }

    /// Whether a connection of before would still come about.
    pub(crate) fn still_takes(&self, proof: &Proof) -> Result<(), Refused> {
        if self.rule.is_none() || (self.takes_anonymous && !proof.is_proven()) {
            return Ok(());
        }
        let now = self.sources.store.now().ok_or(Refused::NoClock)?;
        match self.judge(&self.sources.judging()?) {
            Some(judge) => proof.again(&judge, Role::Client, now),
            None => Err(Refused::NoRoots("the terms name none".into())),
        }
    }

    fn judge(&self, moment: &Moment) -> Option<Arc<Judge>> {
        Judge::new(&self.sources.crypto, self.rule.as_ref()?, moment)
    }

    /// rustls would keep sessions and send tickets by itself, and a resumed session shows a certificate that nobody judges
    /// again.
    fn config(
        &self,
        moment: &Moment,
        judge: Option<&Arc<Judge>>,
    ) -> Result<ServerConfig, rustls::Error> {
        let provider = Arc::clone(&self.sources.crypto.provider);
        let clock = Arc::clone(&self.sources.store.clock);
        let builder = ServerConfig::builder_with_details(provider, clock)
            .with_protocol_versions(versions(self.min, self.max))?;
        let builder = match (&self.rule, judge) {
            (None, _) => builder.with_no_client_auth(),
            (Some(_), Some(judge)) => {
                let clients = Clients(Arc::clone(judge), !self.takes_anonymous);
                builder.with_client_cert_verifier(Arc::new(clients))
            }
            // Never less than what the terms demand.
            (Some(_), None) => return Err(rustls::Error::General("no authorities".to_owned())),
        };
        let shown: Arc<dyn ResolvesServerCert> = match moment.shown() {
            Some(shown) => shown,
            None => Arc::new(Nobody),
        };
        let mut config = builder.with_cert_resolver(shown);
        config.alpn_protocols = self.alpn.iter().map(|name| name.to_vec()).collect();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        // Nothing is said before the client is known.
        config.send_half_rtt_data = false;
        Ok(config)
    }

    #[cfg(test)]
    pub(super) async fn configured(&self) -> Arc<ServerConfig> {
        let moment = self.sources.moment().await.ok();
        let config = moment.map(|it| self.config(&it, self.judge(&it).as_ref()));
        Arc::new(config.and_then(Result::ok).unwrap())
    }

    /// rustls says that there is no protocol in common, and not which there were.
    fn failed(
        &self,
        offered: &[Box<[u8]>],
        refused: Option<&Refused>,
        error: std::io::Error,
    ) -> TlsError {
        let accepted = &self.alpn;
        let mut offers = offered.iter();
        let common = offers.any(|name| accepted.iter().any(|ours| ours[..] == name[..]));
        match offered.is_empty() || accepted.is_empty() || common {
            true => TlsError::of(&self.who, refused, error),
            false => TlsError::NoProtocol(
                Arc::clone(&self.who),
                told(offered.iter().map(|name| &**name)),
                told(accepted.iter().map(|name| &**name)),
            ),
        }
    }
}

/// The first few names of a list, escaped.
fn told<'a>(names: impl Iterator<Item = &'a [u8]>) -> String {
    let all: Vec<String> = names
        .take(8)
        .map(|name| name.escape_ascii().to_string())
        .collect();
    format!("[{}]", all.join(", "))
}

impl fmt::Debug for Hello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hello")
            .field("alpn", &told(self.offered.alpn.iter().map(|name| &**name)))
            .field("sni", &self.offered.sni)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("who", &self.who)
            .finish_non_exhaustive()
    }
}
