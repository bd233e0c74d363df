//! Reads a client's hello, whatever it comes by. The fuzz target `hello` is made of this file.

use std::io;

use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

/// How many of the protocols that a client offers are kept: one hello has room for 32,000.
const MOST_OFFERED: usize = 16;

/// What a client offers, before it is said on which terms it is served.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Offered {
    /// Its protocols, the dearest first; not more than the first few.
    pub(crate) alpn: Box<[Box<[u8]>]>,
    /// The server that it means, in lower case.
    pub(crate) sni: Option<Box<str>>,
}

/// Waits for the hello that has begun.
pub(crate) async fn hello<Io>(io: Io) -> io::Result<(StartHandshake<Io>, Offered)>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    let start = LazyConfigAcceptor::new(Acceptor::default(), io).await?;
    let hello = start.client_hello();
    let alpn = hello.alpn().into_iter().flatten();
    let offered = Offered {
        alpn: alpn.take(MOST_OFFERED).map(Into::into).collect(),
        sni: hello.server_name().map(Into::into),
    };
    Ok((start, offered))
}
