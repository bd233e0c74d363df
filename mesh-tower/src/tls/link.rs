//! TLS to a control plane and to a certificate authority: the same terms and the same judge as for a host outside of the
//! mesh, and the workload's certificate where there is one.

use std::io;
use std::path::Path;
use std::sync::Arc;

use mesh_core::cluster::Protocol;
use mesh_core::identity::PeerRule;
use mesh_core::tls::{Alpn, CertName, ClientTerms, RootName, TlsVersion};
use mesh_xds::link::{Connecting, CredentialFiles, Credentials, Secure, Secured, Terms};
use tokio::net::TcpStream;

use super::client::Client;
use super::error::TlsError;
use super::store::Store;

/// By whose authorities a server is judged that says none.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Believed<'a> {
    /// Those of a file.
    File(&'a Path),
    /// Those that the provider of the workload's certificate gives.
    Workload,
    /// Those of the platform.
    System,
}

/// Opens connections to one server.
#[derive(Debug, Clone)]
pub(crate) struct Link(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    host: Arc<str>,
    port: u16,
    store: Arc<Store>,
    /// Shows what the terms name, if they name something.
    as_named: Client,
    /// Shows the workload's certificate, for when there is one; until then istiod knows us by the token.
    as_workload: Option<Client>,
}

impl Link {
    pub(crate) fn new(
        terms: &Terms,
        otherwise: Believed<'_>,
        store: &Arc<Store>,
    ) -> Result<Self, TlsError> {
        let (roots, identity) = match &terms.credentials {
            Credentials::Workload => (self::roots(otherwise), None),
            Credentials::Files(files) => {
                let roots = match (&files.ca_certificate, otherwise) {
                    (None, Believed::File(file)) => RootName::File(text(file)),
                    _ => roots_of(files),
                };
                let identity = files.identity.as_ref();
                let identity = identity.map(|(chain, key)| CertName::Files {
                    chain: text(chain),
                    key: text(key),
                });
                (roots, identity)
            }
        };
        let client = |identity| {
            let terms = client_terms("the control plane", terms, &roots, identity);
            Client::new(&terms.into(), store)
        };
        let as_workload = match &terms.credentials {
            Credentials::Workload => Some(client(Some(CertName::Workload))?),
            Credentials::Files(_) => None,
        };
        Ok(Self::of(terms, client(identity)?, as_workload, store))
    }

    /// To a certificate authority that is judged by the file of its terms, or else the platform, showing this.
    #[cfg(feature = "csr")]
    pub(super) fn showing(
        terms: &Terms,
        identity: Option<CertName>,
        store: &Arc<Store>,
    ) -> Result<Self, TlsError> {
        let roots = match &terms.credentials {
            Credentials::Workload => RootName::System,
            Credentials::Files(files) => roots_of(files),
        };
        let shown = client_terms("the certificate authority", terms, &roots, identity);
        let client = Client::new(&shown.into(), store)?;
        Ok(Self::of(terms, client, None, store))
    }

    fn of(
        terms: &Terms,
        as_named: Client,
        as_workload: Option<Client>,
        store: &Arc<Store>,
    ) -> Self {
        Self(Arc::new(Inner {
            as_named,
            as_workload,
            host: Arc::clone(&terms.host),
            port: terms.port,
            store: Arc::clone(store),
        }))
    }
}

/// A bootstrap that names no file speaks of the platform's (A65).
fn roots_of(files: &CredentialFiles) -> RootName {
    match &files.ca_certificate {
        Some(file) => RootName::File(text(file)),
        None => RootName::System,
    }
}

/// `what` is what errors call the server.
fn client_terms(
    what: &str,
    terms: &Terms,
    roots: &RootName,
    identity: Option<CertName>,
) -> ClientTerms {
    let name = &terms.server_name;
    let is_address = name.parse::<std::net::IpAddr>().is_ok();
    ClientTerms {
        who: format!("{what} {}", terms.uri).into(),
        identity,
        roots: roots.clone(),
        peer: PeerRule::Host(Arc::clone(name)),
        // RFC 6066, 3: no addresses.
        sni: (!is_address).then(|| Arc::clone(name)),
        alpn: Alpn::OfProtocol,
        min: TlsVersion::V1_2,
    }
}

fn roots(believed: Believed<'_>) -> RootName {
    match believed {
        Believed::File(file) => RootName::File(text(file)),
        Believed::Workload => RootName::Workload,
        Believed::System => RootName::System,
    }
}

fn text(path: &Path) -> Arc<str> {
    path.to_string_lossy().into()
}

impl Inner {
    fn client(&self) -> &Client {
        let own = self.store.own();
        match &self.as_workload {
            Some(client) if self.store.usable(own.as_ref()).is_ok() => client,
            _ => &self.as_named,
        }
    }

    async fn connect(&self) -> io::Result<Box<dyn Secured>> {
        let (host, port) = (&*self.host, self.port);
        let tcp = TcpStream::connect((host, port)).await;
        let tcp = tcp.map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("cannot connect to {host}:{port}: {error}"),
            )
        })?;
        tcp.set_nodelay(true)?;
        let connecting = self.client().connect(tcp, Protocol::Http2);
        let (stream, _proof) = connecting.await.map_err(io::Error::other)?;
        Ok(Box::new(stream))
    }
}

impl Secure for Link {
    fn connect(&self) -> Connecting {
        let inner = Arc::clone(&self.0);
        Box::pin(async move { inner.connect().await })
    }
}
