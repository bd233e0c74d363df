//! What is known of one request when it is judged.

use std::net::{IpAddr, SocketAddr};

use super::claims::Value;
use crate::identity::Peer;
use crate::request::Seen;

/// One request and the connection that it came by. Making it allocates nothing.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The head as it was admitted, which is how the application sees it.
    pub seen: Seen<'a>,
    /// Who is at the other end of the connection.
    pub peer: &'a Peer,
    /// Our end of the connection.
    pub local: SocketAddr,
    /// The other end of the connection.
    pub direct: IpAddr,
    /// Where the request began, if somebody before is believed about it (`x-forwarded-for`), or else [`Self::direct`].
    pub remote: IpAddr,
    /// The server name that the client asked for in TLS, in lower case (as Envoy's inspector hands it on).
    pub sni: Option<&'a str>,
    /// What a token said.
    pub claims: Claims<'a>,
}

/// What the filter `envoy.filters.http.jwt_authn` wrote of the request.
#[derive(Debug, Clone, Copy)]
pub enum Claims<'a> {
    /// There is no such filter before the policy, so that nobody knows whether a token would say what is asked: istiod's
    /// gRPC dialect sends such policies.
    NoFilter,
    /// The request has no token.
    None,
    /// The object that the filter wrote. A token's claims are in it under the name that the filter's configuration gives
    /// (`payload_in_metadata`; istiod's is `payload`).
    Verified(&'a Value),
}
