//! The names of the listeners that gRPC's dialect begins with.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use mesh_core::request::split_port;
use mesh_core::snapshot::TableKey;

use crate::server_listener::ServerListener;

/// The longest host of DNS.
const LONGEST_HOST: usize = 255;

/// The name of a client's `Listener`: `host:port`, as the target of a call spells the host (istiod's generator `grpc`;
/// gRPC A27 with its default template `%s`). In lower case, as hosts are compared.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerName {
    name: Arc<str>,
    /// How much of it is the host.
    host: usize,
    port: u16,
}

impl ListenerName {
    /// The listener of this host (without a port) and port.
    ///
    /// # Errors
    /// When the host is empty, longer than 255 bytes, or holds what no host's name does: it goes to the control plane
    /// as a name, where a `*` is a pattern.
    pub fn new(host: &str, port: u16) -> Result<Self, InvalidListenerName> {
        let is_strange =
            |c: char| c.is_whitespace() || c.is_control() || matches!(c, '*' | '/' | '@');
        if host.is_empty() || host.len() > LONGEST_HOST || host.contains(is_strange) {
            return Err(InvalidListenerName(format!("{host}:{port}")));
        }
        let name = format!("{}:{port}", host.to_ascii_lowercase());
        Ok(Self {
            name: name.into(),
            host: host.len(),
            port,
        })
    }

    /// The whole name.
    pub const fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The host, without the port.
    pub fn host(&self) -> &str {
        self.name.get(..self.host).unwrap_or_default()
    }

    /// The port.
    pub const fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for ListenerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl FromStr for ListenerName {
    type Err = InvalidListenerName;

    fn from_str(name: &str) -> Result<Self, InvalidListenerName> {
        match split_port(name) {
            (host, Some(port)) => Self::new(host, port),
            (_, None) => Err(InvalidListenerName(name.to_owned())),
        }
    }
}

/// What is no `host:port`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("listener {0:?}: expected host:port, with the name or the address of one host")]
pub struct InvalidListenerName(String);

/// What a call needs and a client asks its control plane for: by port in the dialect of sidecars, by host and port in
/// gRPC's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// A route table.
    Table(TableKey),
    /// A listener, and what it leads to.
    Listener(ListenerName),
    /// How connections that come in are to be treated, in the dialect of sidecars; asked for by servers alone.
    Inbound,
    /// The same in gRPC's, of one address.
    Server(ServerListener),
}

impl From<TableKey> for Wanted {
    fn from(table: TableKey) -> Self {
        Self::Table(table)
    }
}

impl From<ListenerName> for Wanted {
    fn from(name: ListenerName) -> Self {
        Self::Listener(name)
    }
}

impl From<ServerListener> for Wanted {
    fn from(listener: ServerListener) -> Self {
        Self::Server(listener)
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(table) => write!(f, "route configuration {:?} (RDS)", table.to_string()),
            Self::Listener(name) => write!(f, "listener {:?} (LDS)", &**name.name()),
            Self::Server(listener) => write!(f, "listener {:?} (LDS)", &**listener.name()),
            Self::Inbound => f.write_str("the listener of inbound connections (LDS)"),
        }
    }
}
