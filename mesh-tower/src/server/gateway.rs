//! A gateway's listener: it stands for a port of a `Gateway`, and its requests take the routes of the chain that let them in.

use std::fmt;
use std::sync::Arc;

use http::header::{CONNECTION, UPGRADE};
use http::{Extensions, HeaderMap, HeaderValue, Request, Version};
use mesh_core::server::{Gateway, Pipeline};
use mesh_core::snapshot::TableKey;

use super::listener::MeshListener;
use super::refusal::Refusal;

impl MeshListener {
    /// The same as port `port` of a `Gateway`, whatever port is bound: by it the configuration tells who is let in, and
    /// policies with `ports` know it by this number. The mesh's node is to be a [`Node::router`](crate::Node::router).
    ///
    /// Each request that is let in by a filter chain carries a [`GatewayChain`], and a client of
    /// [`Mesh::gateway`](crate::Mesh::gateway) takes that chain's routes. One for a host whose own chain asks for a
    /// certificate that its connection has not shown is answered with 421 (RFC 9110, 15.5.20).
    ///
    /// ```no_run
    /// # async fn example(mesh: mesh_tower::Mesh, proxy: axum::Router) -> Result<(), Box<dyn std::error::Error>> {
    /// let listener = mesh.listen("0.0.0.0:443").await?.as_gateway_port(8443);
    /// listener.serve(proxy).await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub const fn as_gateway_port(mut self, port: u16) -> Self {
        self.stands_for = Some(port);
        self
    }
}

/// The filter chain of a gateway's listener that let a request in; in the extensions of each such request, behind
/// [`Mesh::inbound`](crate::Mesh::inbound). A request that asks for another protocol (`Upgrade`) than the chain's
/// `upgrade_configs` allow has been answered with 403, as Envoy does.
#[derive(Clone)]
pub struct GatewayChain(Arc<Pipeline>);

impl GatewayChain {
    /// Says of a request which chain let it in; none of a workload's.
    pub(super) fn tell(pipeline: &Arc<Pipeline>, extensions: &mut Extensions) {
        if pipeline.gateway.is_some() {
            extensions.insert(Self(Arc::clone(pipeline)));
        }
    }

    /// The table of its requests.
    pub(crate) fn routes(&self) -> Option<&TableKey> {
        self.0.gateway.as_ref().map(|gateway| &gateway.routes)
    }

    /// The protocol that a request asks to change to, which is one that the chain allows: whoever sends the request on sends
    /// the wish along, or leaves it out.
    pub fn upgrade<'a, B>(&self, request: &'a Request<B>) -> Option<&'a HeaderValue> {
        let (version, headers) = (request.version(), request.headers());
        let gateway = self.0.gateway.as_ref();
        let allowed = gateway.is_none_or(|it| may_upgrade(it, version, headers).is_ok());
        upgrade(version, headers).filter(|_| allowed)
    }

    /// The name of the route configuration that its requests take (`rds.route_config_name`), as `http.8080`.
    pub fn route_config_name(&self) -> String {
        self.routes().map(ToString::to_string).unwrap_or_default()
    }
}

impl fmt::Debug for GatewayChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewayChain")
            .field("name", &self.0.name)
            .field("gateway", &self.0.gateway)
            .finish()
    }
}

/// The protocol that a request of HTTP/1 asks to change to (RFC 9110, 7.8). `h2c` is none: like Envoy we speak HTTP/2 in
/// plaintext with who begins with it, and who asks for it is answered in HTTP/1.
pub(crate) fn upgrade(version: Version, headers: &HeaderMap) -> Option<&HeaderValue> {
    if version != Version::HTTP_11 {
        return None;
    }
    let is_named = headers.get_all(CONNECTION).iter().any(|value| {
        let mut tokens = value.as_bytes().split(|byte| *byte == b',');
        tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
    });
    let protocol = headers.get(UPGRADE).filter(|_| is_named)?;
    Some(protocol).filter(|it| !it.is_empty() && !it.as_bytes().eq_ignore_ascii_case(b"h2c"))
}

/// Whether a request may ask for the protocol that it asks for.
pub(super) fn may_upgrade(
    gateway: &Gateway,
    version: Version,
    headers: &HeaderMap,
) -> Result<(), Refusal> {
    let Some(protocol) = upgrade(version, headers) else {
        return Ok(());
    };
    let is_one = headers.get_all(UPGRADE).iter().count() == 1;
    let protocol = protocol.to_str().ok().filter(|_| is_one);
    match protocol.is_some_and(|protocol| gateway.upgrades_to(protocol)) {
        true => Ok(()),
        false => Err(Refusal::upgrade()),
    }
}
