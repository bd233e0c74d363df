//! What a builder says of the link to the control plane.

use std::path::PathBuf;
#[cfg(feature = "tls")]
use std::sync::Arc;

use mesh_xds::ads::Server;

use super::{Builder, StartError};
use crate::control::Source;
use crate::security::Security;
#[cfg(feature = "tls")]
use crate::tls;

/// It is for each control plane of the list.
#[derive(Debug, Clone, Default)]
pub(super) struct Link {
    /// The file of the authorities.
    ca: Option<PathBuf>,
    name: Option<String>,
    token: Option<PathBuf>,
}

impl Builder {
    /// By whose authorities the certificate of a control plane is judged that is reached over TLS: a PEM file, as
    /// `/var/run/secrets/istio/root-cert.pem` of Istio's pods. It is looked at again for each connection. A bootstrap that
    /// names its own (`ca_certificate_file`) is judged by that.
    ///
    /// By default those are believed that come with the workload's certificate ([`Self::certificates`]), as istiod's own
    /// is signed by the authority that it is; without a provider, and for a bootstrap that names none (gRPC A65), those of
    /// the platform.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn control_plane_ca(mut self, file: impl Into<PathBuf>) -> Self {
        self.link.ca = Some(file.into());
        self
    }

    /// The name that the certificate of a control plane must have, and that is sent as SNI, where it is not the host of
    /// its address: `istiod.istio-system.svc` behind a forwarded port. It is for each control plane of the list.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn control_plane_name(mut self, name: impl Into<String>) -> Self {
        self.link.name = Some(name.into());
        self
    }

    /// A file with the bearer token by which a control plane knows us, as `/var/run/secrets/tokens/istio-token` of Istio's
    /// pods. It is sent with each stream, read anew each time, and only over TLS to a server that has proven its name;
    /// with a control plane that is reached otherwise the mesh does not start. A bootstrap that names its own (`call_creds`)
    /// has that. By default there is none; [`Self::from_env`] takes the file that `MESH_TOKEN_FILE` names.
    #[must_use]
    pub fn token_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.link.token = Some(file.into());
        self
    }
}

/// What TLS to a control plane is made of.
#[cfg(feature = "tls")]
pub(super) type Tls<'a> = (&'a Arc<tls::Store>, bool);
#[cfg(not(feature = "tls"))]
pub(super) type Tls<'a> = std::marker::PhantomData<&'a ()>;

impl Link {
    /// The source whose control planes are reached as the builder says, or why they cannot be.
    pub(super) fn through(
        &self,
        source: Source,
        security: Security,
        tls: &Tls<'_>,
    ) -> Result<Source, StartError> {
        source.through(|server| self.to(server, security, tls))
    }

    fn to(&self, server: Server, security: Security, tls: &Tls<'_>) -> Result<Server, StartError> {
        if security == Security::Required && server.is_plaintext() {
            return Err(StartError::PlaintextControlPlane(server.uri().to_string()));
        }
        let server = match &self.token {
            Some(file) => server.with_token_file(file)?,
            None => server,
        };
        let server = match &self.name {
            Some(name) => server.with_server_name(name),
            None => server,
        };
        self.secured(server, tls)
    }

    #[cfg(feature = "tls")]
    fn secured(&self, server: Server, (store, is_fed): &Tls<'_>) -> Result<Server, StartError> {
        let Some(terms) = server.terms() else {
            return Ok(server);
        };
        let believed = match &self.ca {
            Some(file) => tls::Believed::File(file),
            None if *is_fed => tls::Believed::Workload,
            None => tls::Believed::System,
        };
        let link = tls::Link::new(terms, believed, store);
        let link = link.map_err(|error| StartError::ControlPlaneTls(error.to_string()))?;
        Ok(server.secured(|_| Arc::new(link)))
    }

    #[cfg(not(feature = "tls"))]
    fn secured(&self, server: Server, _: &Tls<'_>) -> Result<Server, StartError> {
        match server.terms() {
            Some(_) => Err(StartError::ControlPlaneTls(format!(
                "the control plane {} is reached over TLS, and this program was built without the feature `tls` of mesh-tower; build it with it",
                server.uri()
            ))),
            None => Ok(server),
        }
    }
}
