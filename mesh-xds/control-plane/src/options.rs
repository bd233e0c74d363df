//! What a control plane does besides serving a folder.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::ca::Authority;
use crate::ca::service::Signing;
use crate::tls::Tls;

/// What a control plane does besides serving its folder; by default nothing.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use mesh_control_plane::ca::Authority;
/// use mesh_control_plane::{ControlPlane, Options};
///
/// let authority = Authority::kept("ca".as_ref(), &"cluster.local".parse()?, std::time::SystemTime::now())?;
/// let options = Options::default().authority(authority, Some("tokens".into()));
/// let control_plane = ControlPlane::start_with("mesh/", "127.0.0.1:15010".parse()?, options).await?;
/// # drop(control_plane);
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct Options {
    pub(crate) signing: Option<Signing>,
    pub(crate) certificates: bool,
    pub(crate) tls: Option<Tls>,
}

impl Options {
    /// Signs certificates, by `istio.v1.auth.IstioCertificateService` on the port of ADS, for callers who prove who they
    /// are: by one of the [tokens](crate::ca::Tokens) in this file, which is read anew for each call, or over TLS
    /// ([`tls`](Self::tls)) by a certificate of the mesh. A certificate counts before a token. Over plaintext, tokens are
    /// taken from this machine alone: from elsewhere others could read them.
    #[must_use]
    pub fn authority(self, authority: Authority, tokens: Option<PathBuf>) -> Self {
        let signing = Signing {
            authority: Arc::new(authority),
            tokens,
        };
        Self {
            signing: Some(signing),
            certificates: true,
            tls: self.tls,
        }
    }

    /// Serves the same over TLS, on an address of its own.
    #[must_use]
    pub fn tls(self, tls: Tls) -> Self {
        Self {
            tls: Some(tls),
            ..self
        }
    }

    /// Whether workloads have certificates of the mesh, whoever gives them: then `PeerAuthentication` and the `tls` of a
    /// `DestinationRule` are compiled as istiod compiles them ([`mesh_istio::Options::certificates`]). An authority of our
    /// own is a yes.
    #[must_use]
    pub fn certificates(self, certificates: bool) -> Self {
        Self {
            certificates,
            ..self
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("authority", &self.signing.as_ref().map(|it| &it.authority))
            .field("certificates", &self.certificates)
            .field("tls", &self.tls)
            .finish()
    }
}
