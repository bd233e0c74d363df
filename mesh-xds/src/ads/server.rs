//! The address of a control plane, and how it is connected to.

use std::sync::Arc;
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

use super::peer::{Features, Peer, Variant};

/// How long connecting to the control plane may take (gRPC's minimum connect timeout is 20 s; a
/// control plane is near).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Finds half-open connections: without it a client can sit on stale endpoints for ever.
const KEEPALIVE: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// A control plane's address.
#[derive(Debug, Clone)]
pub struct Server {
    uri: Arc<str>,
    endpoint: Endpoint,
    variant: Variant,
    features: Features,
}

impl Server {
    /// Parses `host:port` or `http://host:port`.
    ///
    /// # Errors
    /// When it is neither. TLS (`https`) is refused: it is not served yet, and must not become plaintext.
    pub fn parse(uri: &str) -> Result<Self, InvalidServer> {
        let error = |reason: String| InvalidServer {
            uri: uri.to_owned(),
            reason,
        };
        let full = match scheme(uri) {
            Some("http") => uri.to_owned(),
            // Before it is parsed: those of sockets and resolvers are no URIs to `http`.
            Some(scheme) => {
                return Err(error(format!(
                    "{scheme:?} is not served yet, and plaintext TCP in its place would be unsafe"
                )));
            }
            None => format!("http://{uri}"),
        };
        let parsed: http::Uri = full
            .parse()
            .map_err(|e: http::uri::InvalidUri| error(e.to_string()))?;
        if parsed.port_u16().is_none_or(|port| port == 0) {
            return Err(error("it has no port from 1 to 65535".to_owned()));
        }
        let endpoint = Endpoint::from_shared(full)
            .map_err(|e| error(e.to_string()))?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
        Ok(Self {
            uri: uri.into(),
            endpoint,
            variant: Variant::StateOfTheWorld,
            features: Features::default(),
        })
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

    /// What a [`Machine`](super::Machine) must know of it.
    pub fn peer(&self) -> Peer {
        Peer {
            name: Arc::clone(&self.uri),
            variant: self.variant,
            features: self.features,
        }
    }

    pub(super) fn connect_lazy(&self) -> Channel {
        self.endpoint.connect_lazy()
    }

    /// The address as it was given.
    pub fn uri(&self) -> &Arc<str> {
        &self.uri
    }
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
#[error("control plane {uri:?}: {reason}; expected host:port or http://host:port")]
pub struct InvalidServer {
    uri: String,
    reason: String,
}

/// One server is a list of one.
impl IntoIterator for Server {
    type Item = Self;
    type IntoIter = std::iter::Once<Self>;

    fn into_iter(self) -> Self::IntoIter {
        std::iter::once(self)
    }
}
