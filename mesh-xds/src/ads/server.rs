//! The address of a control plane, and how it is connected to.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use http::Uri;
use tonic::transport::Endpoint;

use super::peer::{Features, Peer, Variant};
use crate::link::{
    Connecting, CredentialFiles, Credentials, Secure, Terms, TokenFile, Verified, Wire,
};

/// What can be used; for errors.
const FORMS: &str = "expected https://host:port, host:port or http://host:port in plaintext, or unix:/path of a socket";

/// A control plane's address.
#[derive(Debug, Clone)]
pub struct Server {
    uri: Arc<str>,
    way: Way,
    variant: Variant,
    features: Features,
}

/// How it is reached. A token has no place but beside TLS.
#[derive(Clone)]
enum Way {
    Plaintext(Endpoint),
    /// A socket of this machine: nothing leaves it.
    Socket(Endpoint),
    Tls {
        terms: Terms,
        secure: Arc<dyn Secure>,
        token: Option<TokenFile>,
    },
}

impl Server {
    /// Parses `https://host:port`, which is TLS with the workload's own credentials; `host:port` or `http://host:port`,
    /// which is plaintext; or `unix:/path` and `unix:///path`, a socket of this machine.
    ///
    /// # Errors
    /// When it is none of them.
    pub fn parse(uri: &str) -> Result<Self, InvalidServer> {
        match scheme(uri) {
            Some("https") => Self::tls(uri, Credentials::Workload),
            _ => Self::insecure(uri),
        }
    }

    /// The same without TLS: `channel_creds` of type `insecure`.
    ///
    /// # Errors
    /// When it is `https`, or none of them.
    pub fn insecure(uri: &str) -> Result<Self, InvalidServer> {
        let invalid = |reason: String| InvalidServer::new(uri, reason);
        let full = match scheme(uri) {
            None => format!("http://{uri}"),
            Some("http" | "unix") => uri.to_owned(),
            Some("https") => {
                return Err(invalid(
                    "it asks for TLS, and the credentials are for plaintext; list {\"type\": \"tls\"} in channel_creds".to_owned(),
                ));
            }
            Some(scheme) => {
                return Err(invalid(format!(
                    "{scheme:?} is not served, and plaintext TCP in its place would be unsafe; {FORMS}"
                )));
            }
        };
        let path = full.strip_prefix("unix:");
        let is_socket = path.is_some();
        match path.map(|path| path.trim_start_matches('/')) {
            Some("") => return Err(invalid(format!("it names no socket; {FORMS}"))),
            Some(_) => {}
            None => drop(authority(uri, &full)?),
        }
        let endpoint = Endpoint::from_shared(full).map_err(|e| invalid(e.to_string()))?;
        Ok(Self::new(
            uri,
            match is_socket {
                true => Way::Socket(endpoint),
                false => Way::Plaintext(endpoint),
            },
        ))
    }

    /// `host:port` or `https://host:port`, over TLS with the files that a bootstrap names (gRPC A65).
    ///
    /// # Errors
    /// When it is neither.
    pub fn with_files(uri: &str, files: CredentialFiles) -> Result<Self, InvalidServer> {
        Self::tls(uri, Credentials::Files(files))
    }

    fn tls(uri: &str, credentials: Credentials) -> Result<Self, InvalidServer> {
        let full = match scheme(uri) {
            None => format!("https://{uri}"),
            Some("https") => uri.to_owned(),
            Some(scheme) => {
                let reason =
                    format!("{scheme:?} is not TLS, which its credentials are for; give host:port");
                return Err(InvalidServer::new(uri, reason));
            }
        };
        let (host, port) = authority(uri, &full)?;
        let terms = Terms {
            uri: uri.into(),
            server_name: Arc::clone(&host),
            host,
            port,
            credentials,
        };
        Ok(Self::new(
            uri,
            Way::Tls {
                terms,
                secure: Arc::new(NoTls),
                token: None,
            },
        ))
    }

    fn new(uri: &str, way: Way) -> Self {
        Self {
            uri: uri.into(),
            way,
            variant: Variant::StateOfTheWorld,
            features: Features::default(),
        }
    }

    /// The same server, spoken to in this variant first. By default in the state of the world.
    #[must_use]
    pub fn with_variant(self, variant: Variant) -> Self {
        Self { variant, ..self }
    }

    /// The same server with these `server_features`. By default none.
    #[must_use]
    pub fn with_features(self, features: Features) -> Self {
        Self { features, ..self }
    }

    /// The same server, which must have a certificate for this name instead of its host's: behind a forwarded port
    /// istiod is still `istiod.istio-system.svc`. Without TLS nothing is proven, and this says nothing.
    #[must_use]
    pub fn with_server_name(mut self, name: &str) -> Self {
        if let Way::Tls { terms, .. } = &mut self.way {
            terms.server_name = name.into();
        }
        self
    }

    /// The same server, which is sent the token of this file with each stream, as `authorization: Bearer ...`. The file is
    /// read anew each time. One that it has already, by its bootstrap, stays.
    ///
    /// # Errors
    /// When it is not reached over TLS: whoever listens could take the token and be us.
    pub fn with_token_file(mut self, file: impl Into<PathBuf>) -> Result<Self, InvalidServer> {
        let file = TokenFile::new(file);
        match &mut self.way {
            Way::Tls { token, .. } => {
                token.get_or_insert(file);
                Ok(self)
            }
            Way::Plaintext(_) | Way::Socket(_) => Err(InvalidServer::new(
                &self.uri,
                format!(
                    "the token of {:?} is sent over TLS alone, where the server has proven its name; give the server as https://host:port, or no token",
                    file.path()
                ),
            )),
        }
    }

    /// The same server, with TLS by whoever knows it. Until then no connection to one over TLS comes about; to others
    /// this says nothing.
    #[must_use]
    pub fn secured(mut self, by: impl FnOnce(&Terms) -> Arc<dyn Secure>) -> Self {
        if let Way::Tls { terms, secure, .. } = &mut self.way {
            *secure = by(terms);
        }
        self
    }

    /// Whether what is sent to it can be read on a network: neither TLS nor a socket of this machine.
    pub const fn is_plaintext(&self) -> bool {
        matches!(self.way, Way::Plaintext(_))
    }

    /// What must be proven on the link to it, if it is one over TLS.
    pub const fn terms(&self) -> Option<&Terms> {
        match &self.way {
            Way::Tls { terms, .. } => Some(terms),
            Way::Plaintext(_) | Way::Socket(_) => None,
        }
    }

    /// What a [`Machine`](super::Machine) must know of it.
    pub fn peer(&self) -> Peer {
        Peer {
            name: Arc::clone(&self.uri),
            variant: self.variant,
            features: self.features,
        }
    }

    pub(super) fn connect_lazy(&self) -> Wire {
        match &self.way {
            Way::Plaintext(endpoint) | Way::Socket(endpoint) => Wire::plaintext(endpoint.clone()),
            Way::Tls {
                terms,
                secure,
                token,
            } => Wire::Verified(Verified::new(terms, Arc::clone(secure), token.clone())),
        }
    }

    /// The address as it was given.
    pub fn uri(&self) -> &Arc<str> {
        &self.uri
    }
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plaintext(_) => f.write_str("Plaintext"),
            Self::Socket(_) => f.write_str("Socket"),
            Self::Tls { terms, token, .. } => f
                .debug_struct("Tls")
                .field("terms", terms)
                .field("token", token)
                .finish_non_exhaustive(),
        }
    }
}

/// What a server over TLS has until somebody brings TLS.
struct NoTls;

impl Secure for NoTls {
    fn connect(&self) -> Connecting {
        let reason = "nothing here speaks TLS: Server::secured was not called";
        Box::pin(std::future::ready(Err(io::Error::other(reason))))
    }
}

/// Host, without brackets, and port.
fn authority(uri: &str, full: &str) -> Result<(Arc<str>, u16), InvalidServer> {
    let invalid = |reason: &str| InvalidServer::new(uri, format!("{reason}; {FORMS}"));
    let parsed: Uri = full
        .parse()
        .map_err(|e: http::uri::InvalidUri| invalid(&e.to_string()))?;
    let port = parsed.port_u16().filter(|port| *port != 0);
    let port = port.ok_or_else(|| invalid("it has no port from 1 to 65535"))?;
    let host = parsed.host().unwrap_or_default();
    Ok((mesh_core::request::without_brackets(host).into(), port))
}

/// What precedes `://`, and gRPC's short forms `unix:PATH` and `unix-abstract:NAME`.
fn scheme(uri: &str) -> Option<&str> {
    let short = || {
        uri.split_once(':')
            .filter(|(scheme, _)| matches!(*scheme, "unix" | "unix-abstract"))
    };
    let (scheme, _) = uri.split_once("://").or_else(short)?;
    Some(scheme)
}

/// An address that no control plane can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("control plane {uri:?}: {reason}")]
pub struct InvalidServer {
    uri: String,
    reason: String,
}

impl InvalidServer {
    fn new(uri: &str, reason: String) -> Self {
        Self {
            uri: uri.to_owned(),
            reason,
        }
    }
}

/// One server is a list of one.
impl IntoIterator for Server {
    type Item = Self;
    type IntoIter = std::iter::Once<Self>;

    fn into_iter(self) -> Self::IntoIter {
        std::iter::once(self)
    }
}
