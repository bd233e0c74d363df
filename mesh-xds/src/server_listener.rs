//! The names of the listeners of servers in gRPC's dialect (gRPC A36).

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

/// istiod's, which its agent writes into each bootstrap.
const ISTIOD: &str = "xds.istio.io/grpc/lds/inbound/%s";
const ADDRESS: &str = "%s";

/// `server_listener_resource_name_template` of a bootstrap: the name of a server's listener, with `%s` in the place of the
/// address where it is bound. By default istiod's, `xds.istio.io/grpc/lds/inbound/%s`.
///
/// ```
/// let template = mesh_xds::ServerListenerTemplate::default();
/// let listener = template.at("[::]:9080".parse()?);
/// assert_eq!(&**listener.name(), "xds.istio.io/grpc/lds/inbound/[::]:9080");
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerListenerTemplate(Arc<str>);

impl Default for ServerListenerTemplate {
    fn default() -> Self {
        Self(ISTIOD.into())
    }
}

impl ServerListenerTemplate {
    /// The listener of a server that is bound there.
    pub fn at(&self, bound: SocketAddr) -> ServerListener {
        ServerListener {
            name: self.0.replace(ADDRESS, &bound.to_string()).into(),
            bound,
        }
    }
}

impl FromStr for ServerListenerTemplate {
    type Err = InvalidTemplate;

    fn from_str(text: &str) -> Result<Self, InvalidTemplate> {
        let reason = if !text.contains(ADDRESS) {
            "has no %s for the address, so that all listeners would have one name"
        } else if text.starts_with("xdstp:") {
            "is of a federation (gRPC A47), which is not served"
        } else if text.contains('*') || text.chars().any(char::is_control) {
            "holds a character that no name has"
        } else {
            return Ok(Self(text.into()));
        };
        Err(InvalidTemplate(text.to_owned(), reason))
    }
}

/// A template that makes no names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("server_listener_resource_name_template {0:?} {1}; istiod's is {ISTIOD:?}")]
pub struct InvalidTemplate(String, &'static str);

/// The listener of a server by name, and where the server is bound.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerListener {
    name: Arc<str>,
    bound: SocketAddr,
}

impl ServerListener {
    /// Its name.
    pub const fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Where the server is bound, which is where the listener must say that it is.
    pub const fn bound(&self) -> SocketAddr {
        self.bound
    }
}

impl fmt::Display for ServerListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
