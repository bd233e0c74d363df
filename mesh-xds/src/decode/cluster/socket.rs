//! `transport_socket`: whether connections are secured, and on what terms.

use envoy_types::pb::envoy::config::cluster::v3 as pb;
use envoy_types::pb::envoy::config::core::v3::{TransportSocket, transport_socket::ConfigType};
use envoy_types::pb::google::protobuf::value::Kind;
use mesh_core::cluster::{IstioName, Transport};

use super::Invalid;
use super::options::Options;
use crate::decode::tls::{self, Around, Unfit};

const RAW_BUFFER: &str = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";

/// Anything but the raw buffer secures the connection in some way, so what is not served is never skipped.
pub(super) fn transport(
    socket: Option<&TransportSocket>,
    who: &str,
    cluster: &pb::Cluster,
    options: Options,
) -> Result<Transport, Invalid> {
    let Some(socket) = socket else {
        return Ok(Transport::Plaintext);
    };
    let name = &socket.name;
    let refused = |why: &str| Ok(Transport::Refused(format!("{who} ({name}: {why})").into()));
    // Envoy looks at the type of the configuration first, and at the name only without it.
    let is_raw = name == "envoy.transport_sockets.raw_buffer";
    let Some(ConfigType::TypedConfig(any)) = &socket.config_type else {
        return match is_raw {
            true => Ok(Transport::Plaintext),
            false => refused("its configuration is missing"),
        };
    };
    match any.type_url.rsplit('/').next() {
        Some(RAW_BUFFER) if is_raw => Ok(Transport::Plaintext),
        Some(tls::UPSTREAM) if options.header_sni => {
            refused("override_auto_sni_header is not served")
        }
        Some(tls::UPSTREAM) => match tls::upstream(&any.value, around(cluster, who, options)) {
            Ok(terms) => Ok(Transport::Tls(terms.into())),
            Err(Unfit::NotServed(what)) => refused(&what),
            Err(Unfit::Malformed(error)) => Err(error.within("transport_socket.typed_config")),
        },
        _ => refused(&format!("{:?} is not served", any.type_url)),
    }
}

fn around<'a>(cluster: &'a pb::Cluster, who: &'a str, options: Options) -> Around<'a> {
    let metadata = cluster.metadata.as_ref();
    let istio = metadata.and_then(|all| all.filter_metadata.get("istio"));
    let told = istio.and_then(|istio| istio.fields.get("alpn_override"));
    // Istio writes the flag as a text.
    let is_off = told
        .is_some_and(|told| matches!(&told.kind, Some(Kind::StringValue(text)) if text == "false"));
    Around {
        who,
        host: host(cluster),
        auto_sni: options.auto_sni,
        auto_san: options.auto_san,
        istio_alpn: !is_off,
    }
}

/// The host of `metadata.filter_metadata.istio.services[0]`, else the one in Istio's name for the cluster.
fn host(cluster: &pb::Cluster) -> Option<&str> {
    let told = || {
        let istio = cluster.metadata.as_ref()?.filter_metadata.get("istio")?;
        let Some(Kind::ListValue(services)) = &istio.fields.get("services")?.kind else {
            return None;
        };
        let Some(Kind::StructValue(first)) = &services.values.first()?.kind else {
            return None;
        };
        match &first.fields.get("host")?.kind {
            Some(Kind::StringValue(host)) if !host.is_empty() => Some(&**host),
            _ => None,
        }
    };
    told().or_else(|| IstioName::parse(&cluster.name).map(|name| name.host))
}
