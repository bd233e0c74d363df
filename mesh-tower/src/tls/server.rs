//! Opens connections that workloads make to us: plaintext or TLS by the first byte, then what the client offers, then the
//! handshake, all within one deadline.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mesh_core::tls::{ClientAuth, ServerTls};
use rustls::ServerConfig;
use rustls::server::{Acceptor, NoServerSessionStorage};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::{LazyConfigAcceptor, StartHandshake, server::TlsStream};

use super::crypto::Crypto;
use super::error::TlsError;
use super::proof::Proof;
use super::store::{Shown, Store};
use super::verify::{Clients, Judge, Refused, Role};

/// How long a client may take from the connection to the end of the handshake.
pub(crate) const OPENING: Duration = Duration::from_secs(10);
/// The type of a TLS record that carries a handshake (RFC 8446, 5.1); no method of HTTP begins with it.
const HANDSHAKE: u8 = 0x16;

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
    alpn: Box<[Box<[u8]>]>,
    sni: Option<Box<str>>,
    deadline: Instant,
}

/// One for each set of terms. What it shows and believes is the store's at each handshake.
pub(crate) struct Server {
    who: Arc<str>,
    store: Arc<Store>,
    crypto: Crypto,
    /// None: clients stay anonymous.
    judge: Option<Judge>,
    config: Arc<ServerConfig>,
}

/// Waits for the first byte, and for the hello that it may begin.
pub(crate) async fn arrival(tcp: TcpStream) -> Result<Arrived, TlsError> {
    let deadline = Instant::now() + OPENING;
    let arriving = timeout_at(deadline, arrived(tcp, deadline)).await;
    arriving.unwrap_or(Err(TlsError::Late(OPENING)))
}

async fn arrived(tcp: TcpStream, deadline: Instant) -> Result<Arrived, TlsError> {
    let mut first = [0];
    match tcp.peek(&mut first).await {
        Ok(0) | Err(_) => return Err(TlsError::Silent),
        Ok(_) if first != [HANDSHAKE] => return Ok(Arrived::Plaintext(tcp)),
        Ok(_) => {}
    }
    let start = LazyConfigAcceptor::new(Acceptor::default(), tcp);
    let start = start.await.map_err(TlsError::NoHello)?;
    let hello = start.client_hello();
    let alpn = hello.alpn().into_iter().flatten().map(Into::into).collect();
    let sni = hello.server_name().map(Into::into);
    Ok(Arrived::Tls(Box::new(Hello {
        start,
        alpn,
        sni,
        deadline,
    })))
}

impl Hello {
    /// The protocols that the client offers, the dearest first.
    pub(crate) const fn alpn(&self) -> &[Box<[u8]>] {
        &self.alpn
    }

    /// The server that the client means.
    pub(crate) fn sni(&self) -> Option<&str> {
        self.sni.as_deref()
    }
}

impl Server {
    pub(crate) fn new(tls: &ServerTls, store: &Arc<Store>) -> Result<Self, TlsError> {
        let terms = tls.terms();
        let crypto = store.crypto();
        let crypto = crypto.map_err(|no| TlsError::NoCrypto(Arc::clone(&terms.who), no))?;
        let judge = match &terms.client {
            ClientAuth::None => None,
            ClientAuth::Required { roots: _, peer } => Some(Judge {
                store: Arc::clone(store),
                crypto: crypto.clone(),
                rule: peer.clone(),
            }),
        };
        let mut config = base(store, crypto, judge.as_ref())
            .map_err(|error| TlsError::Cryptography(Arc::clone(&terms.who), error))?;
        config.alpn_protocols = terms.alpn.iter().map(|name| name.to_vec()).collect();
        Ok(Self {
            who: Arc::clone(&terms.who),
            store: Arc::clone(store),
            crypto: crypto.clone(),
            judge,
            config: Arc::new(config),
        })
    }

    /// The handshake, within what is left of the time.
    pub(crate) async fn accept(
        &self,
        hello: Hello,
    ) -> Result<(TlsStream<TcpStream>, Proof), TlsError> {
        let no_identity = |reason| TlsError::NoIdentity(Arc::clone(&self.who), reason);
        self.store.usable().map_err(no_identity)?;
        let Hello {
            start,
            alpn,
            deadline,
            ..
        } = hello;
        let accepting = start.into_stream(Arc::clone(&self.config));
        let stream = match timeout_at(deadline, accepting).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(self.failed(&alpn, error)),
            Err(_) => return Err(TlsError::Late(OPENING)),
        };
        let required = self.judge.is_some();
        let proof = Proof::of(&self.who, stream.get_ref().1, required, &self.crypto)?;
        Ok((stream, proof))
    }

    /// Whether a connection of before would still come about.
    pub(crate) fn still_takes(&self, proof: &Proof) -> Result<(), Refused> {
        let now = self.store.now().ok_or(Refused::NoRoots)?;
        match &self.judge {
            Some(judge) => proof.again(judge, Role::Client, now),
            None => Ok(()),
        }
    }

    #[cfg(test)]
    pub(super) const fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    /// rustls says that there is no protocol in common, and not which there were.
    fn failed(&self, offered: &[Box<[u8]>], error: std::io::Error) -> TlsError {
        let accepted = &self.config.alpn_protocols;
        let mut offers = offered.iter();
        let common = offers.any(|name| accepted.iter().any(|ours| ours[..] == name[..]));
        match offered.is_empty() || accepted.is_empty() || common {
            true => TlsError::of(&self.who, error),
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

/// rustls would keep sessions and send tickets by itself, and a resumed session shows a certificate that nobody judges
/// again.
fn base(
    store: &Arc<Store>,
    crypto: &Crypto,
    judge: Option<&Judge>,
) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::clone(&crypto.provider);
    let builder = ServerConfig::builder_with_details(provider, Arc::clone(&store.clock))
        .with_safe_default_protocol_versions()?;
    let builder = match judge {
        Some(judge) => builder.with_client_cert_verifier(Arc::new(Clients(judge.clone()))),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(Shown(Arc::clone(store))));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    // Nothing is said before the client is known.
    config.send_half_rtt_data = false;
    Ok(config)
}

impl fmt::Debug for Hello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hello")
            .field("alpn", &told(self.alpn.iter().map(|name| &**name)))
            .field("sni", &self.sni)
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
