//! What is asked for of a mesh before it starts.

mod link;
mod source;
mod start;

#[cfg(feature = "yaml")]
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use mesh_core::request::PathNormalization;
use mesh_core::snapshot::TableKey;
use mesh_xds::ads::Variant;
use mesh_xds::dns::{Resolve, Resolver};
use mesh_xds::{Dialect, Node, ServerListenerTemplate};

use crate::mesh::GrpcServers;
use crate::outside;
use crate::security::Security;
use crate::telemetry::{self, AccessLog, Propagation};
#[cfg(feature = "tls")]
use crate::tls::{self, CertificateProvider};
#[cfg(feature = "tls")]
use source::Provider;
use source::Rules;
pub use source::{RulesFrom, StartError};

/// Builds a [`Mesh`](crate::Mesh).
#[derive(Debug, Clone)]
pub struct Builder {
    security: Security,
    #[cfg(feature = "tls")]
    certificates: Option<Provider>,
    #[cfg(feature = "tls")]
    serving: Option<tls::Serving>,
    rules: Rules,
    link: link::Link,
    node: Option<Node>,
    seed: Option<u64>,
    declared: Vec<TableKey>,
    normalization: PathNormalization,
    outside: outside::Settings,
    /// Control planes behind the first.
    fallback: Vec<String>,
    variant: Variant,
    /// `None`: as the node says.
    dialect: Option<Dialect>,
    grpc_servers: GrpcServers,
    admin: Option<String>,
    observe: telemetry::Asked,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            security: Security::default(),
            #[cfg(feature = "tls")]
            certificates: None,
            #[cfg(feature = "tls")]
            serving: None,
            rules: Rules::None,
            link: link::Link::default(),
            node: None,
            seed: None,
            declared: Vec::new(),
            normalization: PathNormalization::Base,
            outside: outside::Settings::default(),
            fallback: Vec::new(),
            variant: Variant::Delta,
            dialect: None,
            grpc_servers: GrpcServers::default(),
            admin: None,
            observe: telemetry::Asked::default(),
        }
    }

    /// Takes the rules from a control plane:
    ///
    /// | address | |
    /// | --- | --- |
    /// | `https://istiod.istio-system.svc:15012` | TLS. The server must have a certificate for that name ([`Self::control_plane_name`]) by the authorities that are believed ([`Self::control_plane_ca`]). The workload's own certificate is shown while there is one; a token is sent after that ([`Self::token_file`]) |
    /// | `istiod.istio-system.svc:15010`, `http://...` | plaintext, which [`Security::Required`] does not start with |
    /// | `unix:///etc/istio/proxy/XDS` | a socket of this machine |
    #[must_use]
    pub fn xds(self, server: impl Into<String>) -> Self {
        Self {
            rules: Rules::Xds(server.into()),
            ..self
        }
    }

    /// A control plane that stands in while those before it cannot be reached and something is wanted that they have
    /// not sent (gRPC A71); its address is as for [`Self::xds`]. The first is taken again when it is back. Several calls
    /// make a list. Beside a folder of YAML it is not used.
    #[must_use]
    pub fn fallback(mut self, server: impl Into<String>) -> Self {
        self.fallback.push(server.into());
        self
    }

    /// Which variant of xDS is spoken. By default [`Variant::Delta`], as Istio's sidecars do; a control plane that
    /// answers UNIMPLEMENTED to it is asked again for the state of the world.
    #[must_use]
    pub fn variant(self, variant: Variant) -> Self {
        Self { variant, ..self }
    }

    /// Which of istiod's two dialects is spoken. By default the node's own ([`Node::dialect`]): [`Dialect::Grpc`] with
    /// the bootstrap of istio-agent, which says `GENERATOR: grpc`, else [`Dialect::Sidecar`].
    ///
    /// In gRPC's dialect a client asks for what it calls, by host and port, and for nothing else. It has less to say:
    /// istiod sends no outlier detection, no limits of connections, nothing for gateways and no policy for hosts
    /// outside of the mesh in it; calls to those and to `https` fail. A folder of YAML is read in the dialect of
    /// sidecars only.
    #[must_use]
    pub fn dialect(self, dialect: Dialect) -> Self {
        Self {
            dialect: Some(dialect),
            ..self
        }
    }

    /// By which names a server asks for its listeners in gRPC's dialect (gRPC A36), one for each address where it listens.
    /// By default istiod's, or what a bootstrap says. An address is served once its listener came, and until it is taken
    /// away; before and after that connections are closed, those of the first 15 s after they waited.
    #[must_use]
    pub fn server_listeners(mut self, template: ServerListenerTemplate) -> Self {
        self.grpc_servers.listeners = template;
        self
    }

    /// Says that it is known what istiod leaves out of a server's policies in gRPC's dialect: ALLOW policies without rules
    /// (which allow nothing), CUSTOM policies and RequestAuthentication; policies that are only tried are enforced. By
    /// default each address that is listened on is warned of, and [`Security::Required`] listens on none.
    #[must_use]
    pub fn accept_grpc_policy_gaps(mut self) -> Self {
        self.grpc_servers.accepts_policy_gaps = true;
        self
    }

    /// Takes the rules from a folder of Istio YAML, without a control plane, and follows its changes.
    #[cfg(feature = "yaml")]
    #[must_use]
    pub fn yaml(self, folder: impl Into<PathBuf>) -> Self {
        Self {
            rules: Rules::Yaml(folder.into()),
            ..self
        }
    }

    /// No mesh: every call goes where it asks to, as a plain client's does, with names resolved by DNS and `https`
    /// verified by the platform's roots. What `MESH=off` gives.
    #[must_use]
    pub fn direct(self) -> Self {
        Self {
            rules: Rules::Direct,
            ..self
        }
    }

    /// Looks up the names of hosts outside of the mesh, and of endpoints that have a name instead of an address
    /// (`STRICT_DNS`, `LOGICAL_DNS`). By default the platform does.
    #[must_use]
    pub fn resolver(mut self, resolver: impl Resolve) -> Self {
        self.outside.resolver = Resolver::new(resolver);
        self
    }

    /// Trusts the certificates of a PEM text, beside the platform's roots, for `https` to hosts outside of the mesh:
    /// a company's own authority. Several calls add up.
    ///
    /// # Errors
    /// When the text holds no certificate, or one that cannot be used.
    #[cfg(feature = "tls")]
    pub fn outside_roots(mut self, pem: impl AsRef<[u8]>) -> Result<Self, StartError> {
        let added = self.outside.tls.add_roots(pem.as_ref());
        added.map_err(StartError::OutsideRoots)?;
        Ok(self)
    }

    /// The cryptography of TLS. By default the process's (`CryptoProvider::install_default`) if it has one, else
    /// what is compiled in: aws-lc-rs, or ring where only that feature is on.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn crypto_provider(mut self, provider: std::sync::Arc<crate::CryptoProvider>) -> Self {
        self.outside.tls.provider = Some(provider);
        self
    }

    /// Where the workload's certificate comes from, by which it proves itself in mutual TLS, and the roots by which it
    /// judges others: [`Files`](crate::Files) is a folder, [`Sds`](crate::Sds) the socket of Istio's agent. By default there
    /// is none, and a call that has to show one fails. [`Self::from_env`] takes what `MESH_CERTIFICATES` names: a folder, or
    /// `sds:/path` of a socket (`sds:` alone is the one of Istio's pods), or `spiffe:/path` of SPIFFE's Workload API, with the
    /// feature `spiffe` (`spiffe:` alone is the one that `SPIFFE_ENDPOINT_SOCKET` names).
    ///
    /// ```
    /// let builder = mesh_tower::Mesh::builder().certificates(mesh_tower::Files::new("/etc/certs"));
    /// # drop(builder);
    /// ```
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn certificates(self, provider: impl CertificateProvider) -> Self {
        Self {
            certificates: Some(Provider::new(provider)),
            ..self
        }
    }

    /// By which other names our trust domain is known (`MeshConfig.trustDomainAliases`). A peer whose rule lists no names must
    /// be a workload of our own trust domain or one of these. By default there are none.
    ///
    /// istiod, and our own control plane, put aliases into each list of names that they send, where they count in any case.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn trust_domain_aliases(
        mut self,
        aliases: impl IntoIterator<Item = crate::TrustDomain>,
    ) -> Self {
        self.outside.tls.aliases = aliases.into_iter().collect();
        self
    }

    /// How soon a connection is over whose peer is believed no longer: its certificate has ended, or a file of authorities that
    /// the configuration names has changed. All are looked at twice in that time; then nothing new begins on it, and what runs
    /// has a quarter of it, at most 10 s. By default 60 s, and not less than 2 s.
    ///
    /// When the authorities change that come with the workload's certificate, connections are looked at at once.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn revocation_within(mut self, within: std::time::Duration) -> Self {
        self.outside.tls.revocation = tls::Revocation::within(within);
        self
    }

    /// How TLS is served by a mesh that has no rules: neither a control plane nor a folder, which would say it. See
    /// [`Serving`](crate::Serving). By default such a mesh serves plaintext.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn serving(self, serving: tls::Serving) -> Self {
        Self {
            serving: Some(serving),
            ..self
        }
    }

    /// What is demanded of connections beside what the configuration says. By default [`Security::AsConfigured`].
    #[must_use]
    pub fn security(self, security: Security) -> Self {
        Self { security, ..self }
    }

    /// Serves pages for operators on `host:port`, or on a port of the loopback interface (`"15000"`; 0 takes a free
    /// one, [`Mesh::admin_addr`](crate::Mesh::admin_addr) tells which). By default there is no admin port. [`Mesh::from_env`](crate::Mesh::from_env) reads the address
    /// from `MESH_ADMIN`.
    ///
    /// | page | |
    /// | --- | --- |
    /// | `/stats/prometheus`, `/metrics` | Istio's request metrics ([`Mesh::prometheus`](crate::Mesh::prometheus)) |
    /// | `/ready` | 200 `LIVE` when all that was declared is configured; 503 with the reasons before that, and while the mesh drains |
    /// | `/config_dump` | JSON: the node, the generation, and each resource with its version, its state and what was wrong with an update that was refused; no contents |
    /// | `/clusters` | Envoy's `cluster::address::stat::value`; with `?format=json` its JSON |
    ///
    /// The pages show what the mesh knows, to whoever can connect: choose another interface than loopback only where
    /// a network policy says who that is. They are read by GET and HEAD and change nothing. On the loopback interface
    /// a request's `Host` must be an address or `localhost`, so that no page of the web reads them through a browser.
    #[must_use]
    pub fn admin(self, address: impl Into<String>) -> Self {
        Self {
            admin: Some(address.into()),
            ..self
        }
    }

    /// Lets traces join: the headers of a trace, and `x-request-id`, of a request behind [`Mesh::inbound`](crate::Mesh::inbound) go on with
    /// the calls that its task makes, unless the application sets them itself. A request or call without
    /// `x-request-id` gets one. By default no header is added.
    ///
    /// That is what Istio asks applications to do; it needs no tracer. A task that the application spawns is another
    /// one: there it has to hand the headers on. See [`Propagation`] for which headers.
    #[must_use]
    pub fn propagation(mut self, propagation: Propagation) -> Self {
        self.observe.propagation = Some(propagation);
        self
    }

    /// Makes OpenTelemetry spans: one for each call of a client with one below it for each attempt, and one for each
    /// request behind [`Mesh::inbound`](crate::Mesh::inbound), which is the current one while the application serves it. By default there
    /// are none. For the process's own provider pass `&opentelemetry::global::tracer_provider()`.
    ///
    /// A span is below the current one of the application (`Context::current()`), else below what the request's
    /// headers say. Its name is `host:port/*`, its attributes are Envoy's and Istio's (`http.url`, `upstream_cluster`,
    /// `response_flags`, `istio.canonical_service`, ...). It lasts until the response has been read, that of an
    /// attempt until the response begins. Failures, statuses from 500 on and calls that nobody waited for are marked
    /// as errors. Implies [`propagation`](Self::propagation).
    #[cfg(feature = "otel")]
    #[must_use]
    pub fn tracer_provider<P>(mut self, provider: &P) -> Self
    where
        P: opentelemetry::trace::TracerProvider,
        P::Tracer: Send + Sync + 'static,
        <P::Tracer as opentelemetry::trace::Tracer>::Span: Send + Sync + 'static,
    {
        self.observe.tracer = Some(telemetry::Tracer::of(provider));
        self
    }

    /// Writes a line for each call and each request, in Istio's format. By default there is no access log.
    #[must_use]
    pub fn access_log(mut self, log: AccessLog) -> Self {
        self.observe.access_log = Some(log);
        self
    }

    /// Who we are. By default a sidecar called `mesh-tower` in namespace `default`.
    #[must_use]
    pub fn node(self, node: Node) -> Self {
        Self {
            node: Some(node),
            ..self
        }
    }

    /// Makes every random decision of this mesh replayable. By default the seed is taken from the time.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self {
            seed: Some(seed),
            ..self
        }
    }

    /// Asks for the routes of a port from the start, so that [`Mesh::ready`](crate::Mesh::ready) waits for them.
    #[must_use]
    pub fn declare(mut self, port: u16) -> Self {
        self.declared.push(TableKey::Port(port));
        self
    }

    /// How the paths of requests are normalised. The rules are matched against the result, and it is what
    /// is sent; the query is left alone. By default `BASE`, as in Istio's
    /// `MeshConfig.pathNormalization`. A mesh without rules, and `https`, whose path a mesh does not
    /// see, leave paths as they are.
    #[must_use]
    pub fn path_normalization(self, normalization: PathNormalization) -> Self {
        Self {
            normalization,
            ..self
        }
    }
}

pub(crate) fn seed_from_time() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    // Truncation keeps the fast-moving low bits, which is what differs between two starts.
    since.as_nanos() as u64 ^ (u64::from(std::process::id()) << 32)
}
