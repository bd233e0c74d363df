//! How TLS is served where no rules say it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use mesh_core::identity::PeerRule;
use mesh_core::request::PathNormalization;
use mesh_core::server::{Chain, Demand, Inbound, Pipeline, Port, Remote, Rules, Xfcc};
use mesh_core::tls::{Alpn, CertName, ClientAuth, RootName, ServerTerms, TlsVersion};

/// Whose rules they are, for errors.
const WHO: &str = "builder's rules for TLS (`Builder::serving`)";

/// How a mesh without rules serves TLS ([`Builder::serving`](crate::Builder::serving)): for servers that are no workloads,
/// as control planes. All of its listeners take TLS alone; HTTP/2 and HTTP/1.1 are agreed by ALPN. TLS 1.2 is the oldest
/// version, and no session is resumed.
#[derive(Debug, Clone)]
pub struct Serving {
    shown: CertName,
    asks: bool,
}

impl Serving {
    /// Shows the certificate of [`Builder::certificates`](crate::Builder::certificates).
    pub const fn workload() -> Self {
        Self {
            shown: CertName::Workload,
            asks: false,
        }
    }

    /// Shows the certificate of these PEM files: the certificate with its chain behind it, and its key. They are looked at
    /// again when a connection comes.
    pub fn files(chain: &Path, key: &Path) -> Self {
        let text = |path: &Path| Arc::from(path.to_string_lossy());
        Self {
            shown: CertName::Files {
                chain: text(chain),
                key: text(key),
            },
            asks: false,
        }
    }

    /// Asks clients for a certificate of the same trust domain as that of
    /// [`Builder::certificates`](crate::Builder::certificates), by the roots that came with it. Who has none stays without
    /// a name; who shows one that is no good is closed. [`PeerIdentity::spiffe`](crate::PeerIdentity::spiffe) says who it
    /// is. By default nobody is asked.
    #[must_use]
    pub fn asking(self) -> Self {
        Self { asks: true, ..self }
    }

    /// The rules for connections.
    pub(crate) fn inbound(&self) -> Inbound {
        let terms = ServerTerms {
            who: WHO.into(),
            identity: self.shown.clone(),
            client: match self.asks {
                true => ClientAuth::Optional {
                    roots: RootName::Workload,
                    peer: PeerRule::InMesh,
                },
                false => ClientAuth::None,
            },
            alpn: Alpn::accepted(),
            min: TlsVersion::V1_2,
            max: TlsVersion::V1_3,
        };
        let pipeline = Pipeline {
            name: WHO.into(),
            paths: PathNormalization::None,
            xfcc: Xfcc::Sanitize,
            remote: Remote::Direct,
            gateway: None,
            steps: Box::default(),
        };
        let chain = Chain {
            name: WHO.into(),
            demand: Demand::default(),
            tls: Some(Arc::new(terms.into())),
            pipeline: Arc::new(pipeline),
        };
        let rules = Rules::new(WHO.into(), BTreeMap::new(), Port::new([chain]));
        Inbound::Rules(Arc::new(rules))
    }
}
