//! One way in (`envoy.config.listener.v3.FilterChain`).

use std::sync::Arc;

use super::pipeline::Pipeline;
use crate::tls::ServerTls;

/// What a client began with: all that is known before its terms are chosen.
#[derive(Debug, Clone, Copy)]
pub enum Opening<'a> {
    /// Not TLS.
    Plaintext,
    /// A ClientHello.
    Tls {
        /// The protocols that the client offers, the dearest first.
        alpn: &'a [Box<[u8]>],
        /// The server that it means.
        sni: Option<&'a str>,
    },
}

/// Whom a chain is for (`FilterChainMatch`), its port aside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Demand {
    /// `server_names`, in lower case; empty asks for nothing. `*.example.com` stands for one label and more.
    pub server_names: Box<[Box<str>]>,
    /// `application_protocols`; empty asks for nothing.
    pub alpn: Box<[Box<[u8]>]>,
}

/// One way in.
#[derive(Debug, Clone)]
pub struct Chain {
    /// Its name, for what is shown.
    pub name: Arc<str>,
    /// Whom it is for.
    pub demand: Demand,
    /// The terms of its connections; without them it is for plaintext.
    pub tls: Option<Arc<ServerTls>>,
    /// What each of its requests has to pass.
    pub pipeline: Arc<Pipeline>,
}
