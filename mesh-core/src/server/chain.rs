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

/// A way in that the configuration has and that is not served here, such as one for what is no HTTP, or one whose terms
/// cannot be honoured. It is kept, as those for whom it is must not come in by another.
#[derive(Debug, Clone)]
pub struct Shut {
    /// Its name, for what is shown.
    pub name: Arc<str>,
    /// Whom it is for.
    pub demand: Demand,
    /// Whether it is for TLS.
    pub is_tls: bool,
    /// Why it is not served.
    pub reason: Arc<str>,
}

/// What Envoy's `http_inspector` finds in plaintext.
const HTTP: [&[u8]; 3] = [HTTP_1_0, b"http/1.1", b"h2c"];
/// istiod lists it only when it is told to (`PILOT_HTTP10`).
const HTTP_1_0: &[u8] = b"http/1.0";

impl Demand {
    /// How well it names a server: by how many bytes, and exactly before by a wildcard. `None` when it names others alone.
    /// Case of ASCII letters is ignored.
    pub(super) fn named(&self, sni: Option<&str>) -> Option<(bool, usize)> {
        if self.server_names.is_empty() {
            return Some((false, 0));
        }
        let sni = sni?;
        let names = self.server_names.iter();
        names.filter_map(|name| matched(name, sni)).max()
    }

    /// Whether plaintext HTTP is asked for by its name.
    pub(super) fn is_http(&self) -> bool {
        self.alpn.iter().any(|name| HTTP.contains(&&**name))
    }

    /// Whether it tells plaintext apart by the version of HTTP, which nobody here looks at before a way is chosen. HTTP/1.0
    /// may be left out.
    pub fn asks_version(&self) -> bool {
        let lists = |name: &[u8]| self.alpn.iter().any(|listed| **listed == *name);
        let mut all = HTTP.into_iter().filter(|name| *name != HTTP_1_0);
        !self.alpn.is_empty() && !all.all(lists)
    }
}

fn matched(name: &str, sni: &str) -> Option<(bool, usize)> {
    let Some(parent) = name.strip_prefix('*') else {
        return name.eq_ignore_ascii_case(sni).then_some((true, name.len()));
    };
    let at = sni.len().checked_sub(parent.len()).filter(|at| *at > 0)?;
    let end = sni.as_bytes().get(at..)?;
    end.eq_ignore_ascii_case(parent.as_bytes())
        .then_some((false, name.len()))
}
