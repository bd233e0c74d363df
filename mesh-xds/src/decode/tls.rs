//! `envoy.extensions.transport_sockets.tls.v3`: terms of connections.
//!
//! What is malformed refuses the resource. What is understood and cannot be honoured, and what is not understood, leaves
//! terms that nobody gets a connection by: a condition that is passed over would be a peer that nobody meant. Where Envoy
//! has a default that takes anybody, there is none here.

mod common;
mod san;

use std::net::IpAddr;
use std::sync::Arc;

use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as pb;
use mesh_core::identity::PeerRule;
use mesh_core::tls::{Alpn, ClientAuth, ClientTerms, ClientTls, RootName, ServerTerms, ServerTls};
use pb::downstream_tls_context::OcspStaplePolicy;
use prost::Message;

use super::{Invalid, message};
use common::Common;

/// The type of a client's terms.
pub(super) const UPSTREAM: &str = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
/// The type of a server's terms.
pub(super) const DOWNSTREAM: &str =
    "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";

/// Names that Istio has for what it speaks; by them its servers know a peer of the mesh.
const ISTIO: [&str; 5] = [
    "istio",
    "istio-peer-exchange",
    "istio-http/1.0",
    "istio-http/1.1",
    "istio-h2",
];
/// The common names of HTTP.
const HTTP: [&str; 3] = ["h2", "http/1.1", "http/1.0"];

/// Terms that lead to no connection.
#[derive(Debug)]
pub(super) enum Unfit {
    /// They are not what their type says: the resource is refused.
    Malformed(Invalid),
    /// They ask for what is not done here, which is this.
    NotServed(String),
}

impl From<Invalid> for Unfit {
    fn from(error: Invalid) -> Self {
        Self::Malformed(error)
    }
}

impl Unfit {
    fn not_served<T>(what: impl Into<String>) -> Result<T, Self> {
        Err(Self::NotServed(what.into()))
    }

    fn within(self, parent: &str) -> Self {
        match self {
            Self::Malformed(error) => Self::Malformed(error.within(parent)),
            Self::NotServed(what) => Self::NotServed(format!("{parent}.{what}")),
        }
    }
}

/// What a client's terms take from the cluster around them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Around<'a> {
    /// Whose terms they are, for errors.
    pub(super) who: &'a str,
    /// The host of the service that the cluster stands for, where there is one.
    pub(super) host: Option<&'a str>,
    /// `upstream_http_protocol_options.auto_sni`
    pub(super) auto_sni: bool,
    /// `upstream_http_protocol_options.auto_san_validation`
    pub(super) auto_san: bool,
    /// Metadata `istio.alpn_override`: whether Istio's filter puts its own names in the place of `alpn_protocols`.
    pub(super) istio_alpn: bool,
}

/// Reads an `UpstreamTlsContext`.
pub(super) fn upstream(bytes: &[u8], around: Around<'_>) -> Result<ClientTls, Unfit> {
    let wire: pb::UpstreamTlsContext = whole(bytes)?;
    if wire.sni.len() > 255 {
        return Err(Invalid::new("sni", "is longer than 255 bytes").into());
    }
    if wire.auto_host_sni {
        return Unfit::not_served("auto_host_sni is not served");
    }
    let common = common::decode(wire.common_tls_context.unwrap_or_default())
        .map_err(|unfit| unfit.within("common_tls_context"))?;
    let sni: Option<Arc<str>> = match (&*wire.sni, around.auto_sni) {
        ("", true) => Some(host(around, "auto_sni")?.into()),
        ("", false) => None,
        (sni, _) => Some(sni.into()),
    };
    let Some(roots) = common.roots else {
        return Unfit::not_served(
            "common_tls_context names no authorities, so that any server would be believed (insecureSkipVerify)",
        );
    };
    let peer = if around.auto_san {
        PeerRule::Host(host(around, "auto_san_validation")?.into())
    } else if wire.auto_sni_san_validation
        && let Some(sni) = &sni
    {
        PeerRule::Host(Arc::clone(sni))
    } else {
        match (common.peer, &roots, &sni) {
            (Some(peer), ..) => peer,
            (None, RootName::Workload, _) => PeerRule::InMesh,
            // Envoy would take any certificate that these authorities gave to anybody.
            (None, _, Some(sni)) => PeerRule::Host(Arc::clone(sni)),
            (None, _, None) => {
                PeerRule::Host(host(around, "no match_typed_subject_alt_names")?.into())
            }
        }
    };
    Ok(ClientTls::from(ClientTerms {
        who: around.who.into(),
        identity: common.identity,
        roots,
        peer,
        // An address is no server name (RFC 6066, 3).
        sni: sni.filter(|sni| sni.parse::<IpAddr>().is_err()),
        alpn: offered(&common.alpn, around.istio_alpn),
        min: common.min,
    }))
}

/// The host that a cluster stands for, where there is one and it is one.
fn host<'a>(around: Around<'a>, for_what: &str) -> Result<&'a str, Unfit> {
    match around.host {
        Some(host) if !host.contains('*') => Ok(host),
        Some(host) => Unfit::not_served(format!(
            "{for_what}: {host:?} is not the name of one host to check a certificate by"
        )),
        None => Unfit::not_served(format!(
            "{for_what}: the cluster names no host to check a certificate by"
        )),
    }
}

/// `alpn_protocols`. Of an HTTP client Envoy offers the name of the protocol where there is none, and Istio's filter
/// `istio.alpn` its own names in the place of those of the mesh.
fn offered(wire: &[String], istio_alpn: bool) -> Alpn {
    let is_any = |known: &[&str]| wire.iter().any(|name| known.contains(&&**name));
    let is_all = |known: &[&str]| wire.iter().all(|name| known.contains(&&**name));
    if is_any(&ISTIO) && istio_alpn {
        Alpn::Istio
    } else if is_all(&HTTP) {
        Alpn::OfProtocol
    } else {
        Alpn::Exactly(wire.iter().map(|name| name.as_bytes().into()).collect())
    }
}

/// Who comes in by terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clients {
    /// Workloads: each must be named.
    OfTheMesh,
    /// Those of a gateway, who have names of the user's own, or none (Istio's `MUTUAL`).
    Outside,
}

/// Reads a `DownstreamTlsContext`. `alpn_protocols` decides nothing: what can be served is what is accepted.
pub(super) fn downstream(bytes: &[u8], who: &str, clients: Clients) -> Result<ServerTls, Unfit> {
    let wire: pb::DownstreamTlsContext = whole(bytes)?;
    let is_set = |flag: Option<envoy_types::pb::google::protobuf::BoolValue>| {
        flag.is_some_and(|flag| flag.value)
    };
    let stapling = OcspStaplePolicy::try_from(wire.ocsp_staple_policy).map_err(|_| {
        let reason = format_args!("{} is no policy", wire.ocsp_staple_policy);
        Invalid::new("ocsp_staple_policy", reason)
    })?;
    if stapling != OcspStaplePolicy::LenientStapling {
        return Unfit::not_served("ocsp_staple_policy is not served");
    }
    if is_set(wire.require_sni) {
        return Unfit::not_served("require_sni is not served");
    }
    let Common {
        identity,
        roots,
        peer,
        alpn: _,
        min,
        max,
    } = common::decode(wire.common_tls_context.unwrap_or_default())
        .map_err(|unfit| unfit.within("common_tls_context"))?;
    let Some(identity) = identity else {
        return Unfit::not_served("common_tls_context names no certificate for the server");
    };
    let is_required = is_set(wire.require_client_certificate);
    let client = client(is_required, (roots, peer), clients)?;
    Ok(ServerTls::from(ServerTerms {
        who: who.into(),
        identity,
        client,
        alpn: Alpn::accepted(),
        min,
        max,
    }))
}

/// What a client must show.
fn client(
    is_required: bool,
    by: (Option<RootName>, Option<PeerRule>),
    clients: Clients,
) -> Result<ClientAuth, Unfit> {
    Ok(match (is_required, by.0, by.1) {
        (false, None, None) => ClientAuth::None,
        (false, ..) => {
            return Unfit::not_served(
                "require_client_certificate is false, and there is that to check certificates by: one that may be left out proves nothing",
            );
        }
        (true, None, _) => {
            return Unfit::not_served(
                "require_client_certificate: common_tls_context names no authorities to check certificates by",
            );
        }
        (true, Some(roots), Some(peer)) => ClientAuth::Required { roots, peer },
        (true, Some(roots @ RootName::Workload), None) => ClientAuth::Required {
            roots,
            peer: PeerRule::InMesh,
        },
        // Of a file that is the user's: what any authority of the platform has signed proves nothing.
        (true, Some(roots @ RootName::File(_)), None) if clients == Clients::Outside => {
            ClientAuth::Required {
                roots,
                peer: PeerRule::Vouched,
            }
        }
        (true, Some(_), None) => {
            return Unfit::not_served(
                "no match_typed_subject_alt_names: anybody with a certificate of these authorities would be let in",
            );
        }
    })
}

/// A message of which each field is known: what a newer protocol adds may be a condition.
fn whole<M: Message + Default>(bytes: &[u8]) -> Result<M, Unfit> {
    let decoded: M = message(bytes)?;
    match decoded.encoded_len() < bytes.len() {
        true => Unfit::not_served("it has fields that this version does not know"),
        false => Ok(decoded),
    }
}
