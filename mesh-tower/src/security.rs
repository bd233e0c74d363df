//! Whether plaintext may be spoken. The permit for it is made here alone, and connections without TLS cannot be made
//! without one.

use std::sync::Arc;

use mesh_core::cluster::Transport;

#[cfg(feature = "tls")]
use crate::tls;

#[cfg(test)]
#[cfg(feature = "tls")]
mod histories;

/// What a mesh demands of its connections beside what the configuration says. By default
/// [`Security::AsConfigured`].
///
/// It is about calls, about what is served and about the link to the control plane. DNS, the admin port and
/// [`Mesh::health`](crate::Mesh::health) are no part of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Security {
    /// No plaintext, whatever the configuration says: a call that it sends in plaintext fails, also one to a host outside
    /// of the mesh, and so does a connection that comes in without TLS. With a control plane that is reached in plaintext
    /// the mesh does not start; a socket of this machine is none.
    Required,
    /// TLS where the configuration says so (`PeerAuthentication`, `DestinationRule`, Istio's auto mTLS). What it says and
    /// what cannot be done fails; plaintext never takes its place.
    #[default]
    AsConfigured,
    /// No TLS inside of the mesh. What the configuration demands is refused, not passed over. `https` to hosts outside of
    /// the mesh is left as it is.
    Disabled,
}

/// The permit to speak plaintext on a connection.
#[derive(Debug, Clone)]
pub(crate) struct Plaintext(());

/// What a client with connections of its own speaks to a host outside of the mesh.
#[derive(Debug, Clone)]
pub(crate) enum Beyond {
    /// The caller's own TLS, by `https`.
    Tls,
    Plaintext(Plaintext),
}

/// How an endpoint is reached.
#[derive(Debug, Clone)]
pub(crate) enum Via {
    Plaintext(Plaintext),
    #[cfg(feature = "tls")]
    Tls(Arc<tls::Client>),
}

/// What decides how connections are made.
#[derive(Debug, Clone)]
pub(crate) struct Permits {
    security: Security,
    #[cfg(feature = "tls")]
    store: Arc<tls::Store>,
}

impl Security {
    /// For a connection that comes in; `who` says that it may be plaintext.
    pub(crate) fn inbound(self, who: &str) -> Result<Plaintext, Arc<str>> {
        self.permit(format_args!("the {who} lets plaintext in"))
    }

    /// For a call of a client that finds hosts outside of the mesh itself; `secure` where it is by `https`.
    pub(crate) fn crosses(self, secure: bool) -> Result<Beyond, Arc<str>> {
        match secure {
            true => Ok(Beyond::Tls),
            false => self.beyond().map(Beyond::Plaintext),
        }
    }

    /// For a call to a host outside of the mesh.
    pub(crate) fn beyond(self) -> Result<Plaintext, Arc<str>> {
        self.permit(format_args!(
            "a call by http that leaves the mesh is plaintext"
        ))
    }

    fn permit(self, what: std::fmt::Arguments<'_>) -> Result<Plaintext, Arc<str>> {
        match self {
            Self::AsConfigured | Self::Disabled => Ok(Plaintext(())),
            Self::Required => Err(format!(
                "{what}, and Builder::security(Security::Required) permits none"
            )
            .into()),
        }
    }
}

impl Permits {
    pub(crate) const fn new(
        security: Security,
        #[cfg(feature = "tls")] store: Arc<tls::Store>,
    ) -> Self {
        Self {
            security,
            #[cfg(feature = "tls")]
            store,
        }
    }

    /// How an endpoint is reached, or why it is not.
    pub(crate) fn outbound(&self, transport: &Transport) -> Result<Via, Arc<str>> {
        match (transport, self.security) {
            (Transport::Refused(_), _) => Err(transport.refusal().unwrap_or_default().into()),
            (Transport::Plaintext, security) => {
                let permit = security.permit(format_args!(
                    "the configuration has this endpoint called in plaintext"
                ));
                permit.map(Via::Plaintext)
            }
            (Transport::Tls(terms), Security::Disabled) => Err(format!(
                "TLS is demanded by the {}, and Builder::security(Security::Disabled) has none; plaintext is never used in its place",
                terms.terms().who
            )
            .into()),
            #[cfg(feature = "tls")]
            (Transport::Tls(terms), _) => match tls::Client::new(terms, &self.store) {
                Ok(client) => Ok(Via::Tls(Arc::new(client))),
                Err(error) => Err(error.to_string().into()),
            },
            #[cfg(not(feature = "tls"))]
            (Transport::Tls(terms), _) => Err(format!(
                "TLS is demanded by the {}, and this program was built without the feature `tls` of mesh-tower",
                terms.terms().who
            )
            .into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Component, Path, PathBuf};

    fn sources(folder: &Path, all: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, all);
            } else {
                all.push(path);
            }
        }
    }

    /// Where a connection of a call begins is where its permit is looked at.
    #[test]
    fn connections_begin_in_two_places() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut all = Vec::new();
        sources(&root, &mut all);
        let is_test = |part: Component<'_>| {
            let name = part.as_os_str();
            name == "tests" || name == "histories"
        };
        for (what, places) in [
            (
                "TcpStream::connect(",
                // The third is the link to control planes and authorities; no call of an application goes there.
                vec!["outside/dial.rs", "pool/connect.rs", "tls/link.rs"],
            ),
            ("Open::plain(", vec!["outside/dial.rs", "pool/connect.rs"]),
            // Where it is a pattern, and where the one constructor is.
            ("Stream::Plain(", vec!["pool/connect.rs", "pool/stream.rs"]),
        ] {
            let mut found: Vec<String> = all
                .iter()
                .filter(|path| !path.components().any(is_test))
                .filter(|path| !path.ends_with("security.rs"))
                .filter(|path| std::fs::read_to_string(path).unwrap().contains(what))
                .map(|path| {
                    path.strip_prefix(&root)
                        .unwrap()
                        .to_string_lossy()
                        .into_owned()
                })
                .collect();
            found.sort();
            assert_eq!(found, places, "{what}");
        }
    }
}
