//! Opens a connection to a host outside of the mesh: its name, then its addresses, then TLS, all
//! within one `connect_timeout`, as Envoy counts it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use mesh_core::cluster::Protocol;
use mesh_xds::dns::Resolver;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::resolve::Addresses;
use crate::pool::Open;
use crate::security::Plaintext;

/// How long an address is tried before the next one is tried beside it (RFC 8305, section 5).
const HEAD_START: Duration = Duration::from_millis(250);

/// Whom to connect to, and how.
#[derive(Debug)]
pub(crate) struct Dial {
    host: Box<str>,
    port: u16,
    connect_timeout: Duration,
    addresses: Addresses,
    security: Security,
    /// Which HTTP the other side speaks over TLS, once known: 1 or 2, and 0 before.
    spoken: AtomicU8,
}

/// What is put between TCP and HTTP.
#[derive(Debug)]
pub(super) enum Security {
    /// If it may be spoken.
    Plaintext(Result<Plaintext, Arc<str>>),
    #[cfg(feature = "tls")]
    Tls(Arc<crate::tls::Outbound>),
    /// TLS is asked for and this build has none; there is no connection then.
    #[cfg(not(feature = "tls"))]
    Unavailable,
}

/// Why a host outside of the mesh could not be reached. Each names the host.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("cannot resolve {0:?}: {1}")]
    Resolve(Box<str>, #[source] Arc<io::Error>),
    #[error("cannot resolve {0:?} within {1:?}")]
    ResolveTimeout(Box<str>, Duration),
    #[error("cannot connect to {0:?} at {1}: {2}")]
    Tcp(Box<str>, SocketAddr, #[source] io::Error),
    #[error("cannot connect to {0:?} within {1:?}; tried were {2:?}")]
    Timeout(Box<str>, Duration, Arc<[SocketAddr]>),
    #[error("no TLS with {0:?} at {1}: {2}")]
    Tls(Box<str>, SocketAddr, #[source] io::Error),
    #[error("{0:?} is not called: {1}")]
    Forbidden(Box<str>, Arc<str>),
    #[cfg(feature = "tls")]
    #[error("no TLS with {0:?} at {1} within {2:?}")]
    TlsTimeout(Box<str>, SocketAddr, Duration),
    #[error(
        "{0:?} at {1} spoke {name} before and does not agree to it any more; the next call asks it again what it speaks",
        name = name(*.2)
    )]
    Changed(Box<str>, SocketAddr, Protocol),
}

impl Dial {
    pub(super) fn new(
        host: &str,
        port: u16,
        connect_timeout: Duration,
        resolver: Resolver,
        security: Security,
    ) -> Self {
        Self {
            host: host.into(),
            port,
            connect_timeout,
            addresses: Addresses::new(host, port, resolver),
            security,
            spoken: AtomicU8::new(0),
        }
    }

    pub(crate) const fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// Which HTTP the other side has chosen; `None` while unknown, and always without TLS.
    pub(super) fn spoken(&self) -> Option<Protocol> {
        match self.spoken.load(Ordering::Relaxed) {
            1 => Some(Protocol::Http1),
            2 => Some(Protocol::Http2),
            _ => None,
        }
    }

    /// A connection on which this version of HTTP is spoken.
    pub(crate) async fn open(&self, protocol: Protocol) -> Result<Open, DialError> {
        let (open, chosen) = self.dial(Some(protocol)).await?;
        if chosen == protocol {
            return Ok(open);
        }
        // A server without ALPN took the place of one with it.
        self.spoken.store(0, Ordering::Relaxed);
        Err(DialError::Changed(
            self.host.clone(),
            open.address,
            protocol,
        ))
    }

    /// A connection on which the other side chooses the version, which is remembered.
    pub(super) async fn negotiate(&self) -> Result<(Open, Protocol), DialError> {
        let (open, chosen) = self.dial(None).await?;
        let number = match chosen {
            Protocol::Http1 => 1,
            Protocol::Http2 => 2,
        };
        self.spoken.store(number, Ordering::Relaxed);
        Ok((open, chosen))
    }

    async fn dial(&self, offer: Option<Protocol>) -> Result<(Open, Protocol), DialError> {
        if let Security::Plaintext(Err(reason)) = &self.security {
            return Err(DialError::Forbidden(self.host.clone(), Arc::clone(reason)));
        }
        let (limit, host) = (self.connect_timeout, || self.host.clone());
        let deadline = Instant::now() + limit;
        let addresses = match timeout_at(deadline, self.addresses.get()).await {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(error)) => return Err(DialError::Resolve(host(), error)),
            Err(_) => return Err(DialError::ResolveTimeout(host(), limit)),
        };
        let connected = match timeout_at(deadline, race(&addresses)).await {
            Ok(Ok(connected)) => Ok(connected),
            Ok(Err((address, error))) => Err(DialError::Tcp(host(), address, error)),
            Err(_) => Err(DialError::Timeout(host(), limit, addresses)),
        };
        let (stream, address) = match connected {
            Ok(connected) => connected,
            Err(error) => {
                self.addresses.forget().await;
                return Err(error);
            }
        };
        self.secured(stream, address, offer, deadline).await
    }

    #[cfg_attr(
        not(feature = "tls"),
        expect(clippy::unused_async, reason = "TLS waits")
    )]
    async fn secured(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        offer: Option<Protocol>,
        #[cfg_attr(
            not(feature = "tls"),
            expect(unused_variables, reason = "TLS takes time")
        )]
        deadline: Instant,
    ) -> Result<(Open, Protocol), DialError> {
        match &self.security {
            Security::Plaintext(Ok(permit)) => {
                let protocol = offer.unwrap_or(Protocol::Http1);
                Ok((Open::plain(stream, address, permit), protocol))
            }
            Security::Plaintext(Err(reason)) => {
                Err(DialError::Forbidden(self.host.clone(), Arc::clone(reason)))
            }
            #[cfg(not(feature = "tls"))]
            Security::Unavailable => {
                let error = io::Error::other("this build has no TLS");
                Err(DialError::Tls(self.host.clone(), address, error))
            }
            #[cfg(feature = "tls")]
            Security::Tls(tls) => {
                let (limit, host) = (self.connect_timeout, || self.host.clone());
                let secured = timeout_at(deadline, tls.connect(&self.host, offer, stream));
                match secured.await {
                    Ok(Ok((stream, chosen))) => Ok((Open::tls(stream, address), chosen)),
                    Ok(Err(error)) => {
                        // It may have been replaced by one that speaks another version.
                        self.spoken.store(0, Ordering::Relaxed);
                        Err(DialError::Tls(host(), address, error))
                    }
                    Err(_) => Err(DialError::TlsTimeout(host(), address, limit)),
                }
            }
        }
    }
}

/// The first address that answers. One that keeps us waiting gets company, one that refuses a successor.
async fn race(
    addresses: &[SocketAddr],
) -> Result<(TcpStream, SocketAddr), (SocketAddr, io::Error)> {
    let mut untried = addresses.iter().copied();
    let mut running = JoinSet::new();
    let mut failed = None;
    loop {
        let next = untried.next();
        let is_last = next.is_none();
        if let Some(address) = next {
            running.spawn(async move { (address, TcpStream::connect(address).await) });
        }
        loop {
            let joined = if is_last {
                running.join_next().await
            } else {
                match timeout(HEAD_START, running.join_next()).await {
                    Ok(joined) => joined,
                    Err(_) => break,
                }
            };
            match joined {
                Some(Ok((address, Ok(stream)))) => return Ok((stream, address)),
                Some(Ok((address, Err(error)))) => failed = Some((address, error)),
                Some(Err(_)) => {}
                None if is_last => return Err(failed.unwrap_or_else(nothing_to_try)),
                None => break,
            }
            if !is_last {
                break;
            }
        }
    }
}

/// Addresses are never empty; a runtime that shuts down ends attempts without an outcome.
fn nothing_to_try() -> (SocketAddr, io::Error) {
    let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
    (nowhere, io::Error::other("the attempt was given up"))
}

const fn name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http1 => "HTTP/1.1",
        Protocol::Http2 => "HTTP/2",
    }
}

/// `host:port`
impl fmt::Display for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}:{}\"", self.host, self.port)
    }
}
