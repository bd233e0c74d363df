//! The link to a control plane over TLS: what each side proves on it, and the token that goes over no other.
//!
//! This package knows no TLS. Whoever does is a [`Secure`], made for the [`Terms`] of one server
//! ([`Server::secured`](crate::ads::Server::secured)).

mod local;
mod token;
mod verified;

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

pub use local::{Local, Method};
pub use token::TokenFile;
pub(crate) use verified::{Bounds, Wire};
pub use verified::{Verified, told};

/// What a server must prove and what we show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The address as it was given, which is what errors call the server.
    pub uri: Arc<str>,
    /// The host that is connected to: a name, or an address without brackets.
    pub host: Arc<str>,
    /// Its port.
    pub port: u16,
    /// The name that its certificate must have, which is sent as SNI if it is no address. By default the host.
    pub server_name: Arc<str>,
    /// By what both sides prove themselves.
    pub credentials: Credentials,
}

/// By what both sides of a link prove themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// The workload's certificate and roots, as far as there are any: the server is reached by an `https` address alone.
    Workload,
    /// What a bootstrap says (`channel_creds` of type `tls`, gRPC A65). Only what it names is shown.
    Files(CredentialFiles),
}

/// PEM files; they are read anew for each connection, which is sooner than any `refresh_interval` of A65.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CredentialFiles {
    /// `ca_certificate_file`: the roots. Without it the platform's (A65).
    pub ca_certificate: Option<PathBuf>,
    /// `certificate_file` and `private_key_file`: what we show. Without them nothing.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// A connection on which the server has proven that it is the one of the [`Terms`].
pub trait Secured: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Secured for T {}

/// What [`Secure::connect`] comes to.
pub type Connecting = Pin<Box<dyn Future<Output = io::Result<Box<dyn Secured>>> + Send>>;

/// Opens connections to one server.
pub trait Secure: Send + Sync + 'static {
    /// A new connection that speaks HTTP/2. It must not come about before the server has proven its name: a token may be
    /// the first that is sent on it.
    fn connect(&self) -> Connecting;
}
