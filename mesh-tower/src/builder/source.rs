//! Where the rules come from, and why a mesh does not start.

use std::fmt;
use std::path::PathBuf;
#[cfg(feature = "tls")]
use std::sync::Arc;

use mesh_xds::ads::{InvalidServer, Server, Variant};
use mesh_xds::bootstrap::variable;
use mesh_xds::{Bootstrap, BootstrapError};

use super::Builder;
use crate::control::Source;
#[cfg(feature = "tls")]
use crate::tls::CertificateProvider;

/// Where a builder takes its rules from.
#[derive(Debug, Clone)]
pub(super) enum Rules {
    None,
    /// Every call goes where it asks to.
    Direct,
    Xds(String),
    Servers(Box<Server>, Vec<Server>),
    #[cfg(feature = "yaml")]
    Yaml(PathBuf),
}

impl Rules {
    /// Where they come from, with the control planes that stand in for the first; `None` is nowhere.
    pub(super) fn source(
        self,
        fallback: &[String],
        variant: Variant,
    ) -> Result<Option<Source>, StartError> {
        let others: Result<Vec<Server>, _> =
            fallback.iter().map(|uri| Server::parse(uri)).collect();
        Ok(match self {
            Self::None | Self::Direct => None,
            Self::Xds(uri) => Some(Source::xds(Server::parse(&uri)?, others?, variant)),
            Self::Servers(first, mut all) => {
                all.extend(others?);
                Some(Source::xds(*first, all, variant))
            }
            #[cfg(feature = "yaml")]
            Self::Yaml(folder) => Some(Source::folder(folder)?),
        })
    }
}

/// Where a builder takes the workload's certificate from.
#[cfg(feature = "tls")]
#[derive(Clone)]
pub(super) struct Provider(Arc<dyn CertificateProvider>);

#[cfg(feature = "tls")]
impl Provider {
    pub(super) fn new(provider: impl CertificateProvider) -> Self {
        Self(Arc::new(provider))
    }

    pub(super) fn get(&self) -> Arc<dyn CertificateProvider> {
        Arc::clone(&self.0)
    }
}

#[cfg(feature = "tls")]
impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CertificateProvider")
    }
}

/// Where the environment says that rules come from: what [`Mesh::from_env`](crate::Mesh::from_env) goes by. A variable
/// that is empty counts as one that is not set.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RulesFrom {
    /// `MESH=off`: there is no mesh. Any other value of `MESH` says nothing.
    Off,
    /// `GRPC_XDS_BOOTSTRAP` or `GRPC_XDS_BOOTSTRAP_CONFIG`: a control plane.
    Bootstrap,
    /// `MESH_CONFIG`: a folder of Istio YAML.
    Folder(PathBuf),
    /// None of them.
    Nowhere,
}

impl RulesFrom {
    /// Reads the environment; the first of the list that it names.
    pub fn env() -> Self {
        if variable("MESH").is_some_and(|value| value == "off") {
            Self::Off
        } else if Bootstrap::is_named() {
            Self::Bootstrap
        } else if let Some(folder) = variable("MESH_CONFIG") {
            Self::Folder(folder.into())
        } else {
            Self::Nowhere
        }
    }
}

impl Builder {
    /// A builder with the rules, the admin port, the place of the certificates and the token that the environment names, as
    /// [`Mesh::from_env`](crate::Mesh::from_env) has them, to set more: an access log, traces. A bootstrap says who we are, and [`Self::node`] would replace all of
    /// that; a folder does not.
    ///
    /// # Errors
    /// When the environment names neither a control plane nor a folder, or the bootstrap cannot be used.
    pub fn from_env() -> Result<Self, StartError> {
        Self::rules_from_env()?
            .admin_from_env()
            .token_from_env()
            .certificates_from_env()
    }

    /// The same, but [`direct`](Self::direct) where the environment names no rules.
    ///
    /// # Errors
    /// When the bootstrap cannot be used.
    pub fn from_env_or_direct() -> Result<Self, StartError> {
        let builder = match Self::rules_from_env() {
            Err(StartError::NoBootstrap) => Self::new().direct(),
            builder => builder?,
        };
        builder
            .admin_from_env()
            .token_from_env()
            .certificates_from_env()
    }

    /// Takes the rules from the control planes of a bootstrap, who we are, and the files of the workload's certificate if it
    /// names them ([`Bootstrap::certificates`]).
    #[must_use]
    pub fn bootstrap(self, bootstrap: Bootstrap) -> Self {
        let builder = Self {
            rules: Rules::Servers(Box::new(bootstrap.server), bootstrap.fallback),
            node: Some(bootstrap.node),
            ..self.server_listeners(bootstrap.server_listeners.unwrap_or_default())
        };
        #[cfg(feature = "tls")]
        if let Some(files) = bootstrap.certificates {
            return builder.certificates(crate::Files::at(
                files.certificate,
                files.private_key,
                files.ca_certificate,
            ));
        }
        builder
    }

    #[cfg(feature = "tls")]
    fn certificates_from_env(self) -> Result<Self, StartError> {
        let Some(place) = variable("MESH_CERTIFICATES") else {
            return Ok(self);
        };
        let scheme = place.to_str().and_then(|text| text.split_once(':'));
        match scheme {
            Some(("sds", "")) => Ok(self.certificates(crate::Sds::default())),
            Some(("sds", socket)) => Ok(self.certificates(crate::Sds::new(socket))),
            Some(("spiffe", socket)) => self.workload_api(socket),
            _ => Ok(self.certificates(crate::Files::new(PathBuf::from(place)))),
        }
    }

    /// The socket of a SPIFFE agent; with none the one that SPIFFE's own variable names.
    #[cfg(feature = "spiffe")]
    fn workload_api(self, socket: &str) -> Result<Self, StartError> {
        if !socket.is_empty() {
            return Ok(self.certificates(crate::WorkloadApi::new(socket)));
        }
        let named = variable("SPIFFE_ENDPOINT_SOCKET").unwrap_or_default();
        let path = named.to_str().and_then(|uri| uri.strip_prefix("unix:"));
        match path.map(|path| path.strip_prefix("//").unwrap_or(path)) {
            Some(path) => Ok(self.certificates(crate::WorkloadApi::new(path))),
            None => Err(StartError::NoSpiffe(format!(
                "MESH_CERTIFICATES is \"spiffe:\", and SPIFFE_ENDPOINT_SOCKET is {named:?}; set it to unix:///path of the agent's socket, or MESH_CERTIFICATES to spiffe:/path"
            ))),
        }
    }

    #[cfg(all(feature = "tls", not(feature = "spiffe")))]
    fn workload_api(self, socket: &str) -> Result<Self, StartError> {
        Err(StartError::NoSpiffe(format!(
            "MESH_CERTIFICATES names the SPIFFE agent at {socket:?}, and this program was built without the feature `spiffe` of mesh-tower; build it with it, or name a folder or sds:/path"
        )))
    }

    #[cfg(not(feature = "tls"))]
    fn certificates_from_env(self) -> Result<Self, StartError> {
        match variable("MESH_CERTIFICATES") {
            Some(folder) => Err(StartError::NoTls(folder.into())),
            None => Ok(self),
        }
    }

    fn token_from_env(self) -> Self {
        match variable("MESH_TOKEN_FILE") {
            Some(file) => self.token_file(file),
            None => self,
        }
    }

    fn admin_from_env(self) -> Self {
        match variable("MESH_ADMIN") {
            // One that is no text is no address either, and is refused by that name.
            Some(address) => self.admin(address.to_string_lossy()),
            None => self,
        }
    }

    fn rules_from_env() -> Result<Self, StartError> {
        match RulesFrom::env() {
            RulesFrom::Off => Ok(Self::new().direct()),
            RulesFrom::Bootstrap => {
                let bootstrap = Bootstrap::from_env()?.ok_or(StartError::NoBootstrap)?;
                Ok(Self::new().bootstrap(bootstrap))
            }
            #[cfg(feature = "yaml")]
            RulesFrom::Folder(folder) => Ok(Self::new().yaml(folder)),
            #[cfg(not(feature = "yaml"))]
            RulesFrom::Folder(folder) => Err(StartError::NoYaml(folder)),
            RulesFrom::Nowhere => Err(StartError::NoBootstrap),
        }
    }
}

/// Why a mesh did not start.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The environment names no control plane.
    #[error(
        "no xDS bootstrap: set GRPC_XDS_BOOTSTRAP to a file or GRPC_XDS_BOOTSTRAP_CONFIG to its content, MESH_CONFIG to a folder of Istio YAML, or MESH=off to run without a mesh"
    )]
    NoBootstrap,
    /// Two say how TLS is served.
    #[cfg(feature = "tls")]
    #[error(
        "the builder was told how to serve TLS (`serving`), and to take its rules from elsewhere, which say that: leave one of the two out"
    )]
    Serving,
    /// The environment names a folder of rules, which this build cannot read.
    #[cfg(not(feature = "yaml"))]
    #[error(
        "MESH_CONFIG names {0:?}, and this program was built without the feature `yaml` of mesh-tower; build it with it, or unset MESH_CONFIG"
    )]
    NoYaml(PathBuf),
    /// The environment names a folder of certificates, for which this build has no use.
    #[cfg(not(feature = "tls"))]
    #[error(
        "MESH_CERTIFICATES names {0:?}, and this program was built without the feature `tls` of mesh-tower; build it with it, or unset MESH_CERTIFICATES"
    )]
    NoTls(PathBuf),
    /// The environment names a SPIFFE agent that cannot be used.
    #[cfg(feature = "tls")]
    #[error("{0}")]
    NoSpiffe(String),
    /// The bootstrap cannot be used.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    /// The address of the control plane cannot be used.
    #[error(transparent)]
    Server(#[from] InvalidServer),
    /// A control plane that is reached in plaintext, under [`Security::Required`](crate::Security::Required).
    #[error(
        "the control plane {0:?} is reached in plaintext, and Builder::security(Security::Required) does not start with that: give it as https://host:port (istiod's is 15012), by channel_creds of type \"tls\", or as unix:/path of a socket"
    )]
    PlaintextControlPlane(String),
    /// There can be no TLS to the control plane.
    #[error("{0}")]
    ControlPlaneTls(String),
    /// What was asked for is not in the dialect.
    #[error("{0}")]
    Dialect(String),
    /// The folder was rejected.
    #[cfg(feature = "yaml")]
    #[error("configuration folder {folder:?}:\n{rejected}")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What is wrong with it.
        rejected: mesh_istio::Rejected,
    },
    /// The certificates that were given to [`Builder::outside_roots`] cannot be used.
    #[cfg(feature = "tls")]
    #[error("outside_roots: {0}")]
    OutsideRoots(String),
    /// The admin port cannot be bound.
    #[error(
        "cannot listen on admin address {address:?}: {cause}; give a free port, as \"15000\" for one of the loopback interface, or host:port (Builder::admin, MESH_ADMIN)"
    )]
    Admin {
        /// The address as it was given.
        address: String,
        /// What the operating system says.
        #[source]
        cause: std::io::Error,
    },
    /// The operating system gave no thread.
    #[error("cannot start a thread of the mesh: {0}")]
    Thread(#[source] std::io::Error),
}

/// The sentence, not the fields: a `main` that returns the error prints this.
impl fmt::Debug for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
