//! Envoy's configuration by hand, in the shape that istiod gives to a sidecar: certificates by file in the place of SDS, and
//! ports of this machine in the place of redirected ones. istiod's own filters, which a stock Envoy does not have, are left out.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};

use crate::proxy::{address, free, typed};

const TLS: &str = "envoy.transport_sockets.tls";

/// A workload's certificate, and whom it takes.
#[derive(Clone, Copy)]
pub(crate) struct Certificate<'a> {
    /// Where `Authority::write_workload` has put it.
    pub(crate) folder: &'a Path,
}

impl Certificate<'_> {
    /// With it, if it is shown, for peers whose URI name is like this.
    fn context(&self, is_shown: bool, peer: &Value, alpn: &[&str]) -> Value {
        let file = |name| json!({ "filename": self.folder.join(name) });
        let mut context = json!({
            "tls_params": {
                "tls_minimum_protocol_version": "TLSv1_2",
                "tls_maximum_protocol_version": "TLSv1_3",
            },
            "alpn_protocols": alpn,
            "validation_context": {
                "trusted_ca": file("root-cert.pem"),
                "match_typed_subject_alt_names": [{ "san_type": "URI", "matcher": peer }],
            },
        });
        if is_shown {
            let (chain, key) = (file("cert-chain.pem"), file("key.pem"));
            let pair = json!({ "certificate_chain": chain, "private_key": key });
            context["tls_certificates"] = json!([pair]);
        }
        context
    }
}

/// An inbound listener of a workload, before its application. In the mode STRICT it has the way in for TLS alone.
pub(crate) fn inbound(name: &str, is_strict: bool, own: Certificate<'_>, cluster: &str) -> Value {
    let context = own.context(
        true,
        &json!({ "prefix": "spiffe://cluster.local/" }),
        &["h2", "http/1.1"],
    );
    let fields = json!({ "common_tls_context": context, "require_client_certificate": true });
    let socket = typed("transport_sockets.tls.v3.DownstreamTlsContext", fields);
    let offered = [
        "istio",
        "istio-peer-exchange",
        "istio-http/1.0",
        "istio-http/1.1",
        "istio-h2",
    ];
    let manager = json!({
        "forward_client_cert_details": "APPEND_FORWARD",
        "set_current_client_cert_details": { "subject": true, "dns": true, "uri": true },
        "use_remote_address": false,
        "server_name": "istio-envoy",
        "normalize_path": true,
    });
    let hosts = [("*", cluster)];
    let mut secured = json!({
        "filter_chain_match": { "transport_protocol": "tls" },
        "filters": [http(manager.clone(), &hosts)],
        "transport_socket": { "name": TLS, "typed_config": socket },
    });
    let mut ways = Vec::new();
    if !is_strict {
        secured["filter_chain_match"]["application_protocols"] = json!(offered);
        ways.push(json!({
            "filter_chain_match": { "transport_protocol": "raw_buffer" },
            "filters": [http(manager, &hosts)],
        }));
    }
    ways.push(secured);
    let inspector = typed("filters.listener.tls_inspector.v3.TlsInspector", json!({}));
    json!({
        "name": name,
        "address": address(free()),
        "traffic_direction": "INBOUND",
        "listener_filters": [{ "name": "envoy.filters.listener.tls_inspector", "typed_config": inspector }],
        "filter_chains": ways,
    })
}

/// An outbound listener: where the requests for these hosts go.
pub(crate) fn outbound(name: &str, hosts: &[(&str, &str)]) -> Value {
    json!({
        "name": name,
        "address": address(free()),
        "traffic_direction": "OUTBOUND",
        "filter_chains": [{ "filters": [http(json!({}), hosts)] }],
    })
}

fn http(mut manager: Value, hosts: &[(&str, &str)]) -> Value {
    let host = |(domain, cluster): &(&str, &str)| {
        let route =
            json!({ "match": { "prefix": "/" }, "route": { "cluster": cluster, "timeout": "0s" } });
        json!({ "name": domain, "domains": [domain], "routes": [route] })
    };
    let hosts: Vec<Value> = hosts.iter().map(host).collect();
    let router = typed("filters.http.router.v3.Router", json!({}));
    manager["stat_prefix"] = json!("x");
    manager["route_config"] = json!({ "virtual_hosts": hosts });
    manager["http_filters"] =
        json!([{ "name": "envoy.filters.http.router", "typed_config": router }]);
    let kind = "filters.network.http_connection_manager.v3.HttpConnectionManager";
    let name = "envoy.filters.network.http_connection_manager";
    json!({ "name": name, "typed_config": typed(kind, manager) })
}

/// Who is spoken to, and how.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
    /// As the caller has asked.
    AsAsked,
}

/// A cluster in plaintext.
pub(crate) fn cluster(name: &str, protocol: Protocol, endpoint: SocketAddr) -> Value {
    let options = match protocol {
        Protocol::Http1 => json!({ "explicit_http_config": { "http_protocol_options": {} } }),
        Protocol::Http2 => json!({ "explicit_http_config": { "http2_protocol_options": {} } }),
        Protocol::AsAsked => {
            json!({ "use_downstream_protocol_config": { "http2_protocol_options": {} } })
        }
    };
    let endpoint = json!({ "endpoint": { "address": address(endpoint) } });
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "10s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions":
                typed("upstreams.http.v3.HttpProtocolOptions", options),
        },
        "load_assignment": { "cluster_name": name, "endpoints": [{ "lb_endpoints": [endpoint] }] },
    })
}

/// The same under auto mTLS, for an endpoint of this SPIFFE id; without a certificate of its own if none is shown.
pub(crate) fn mutual(
    name: &str,
    protocol: Protocol,
    endpoint: SocketAddr,
    own: Certificate<'_>,
    is_shown: bool,
    peer: &str,
) -> Value {
    let mut alpn = vec!["istio-peer-exchange", "istio"];
    if protocol == Protocol::Http2 {
        alpn.push("h2");
    }
    let sni = format!(
        "outbound_.{}_._.reviews.default.svc.cluster.local",
        endpoint.port()
    );
    let context = own.context(is_shown, &json!({ "exact": peer }), &alpn);
    let fields = json!({ "common_tls_context": context, "sni": sni });
    let socket = typed("transport_sockets.tls.v3.UpstreamTlsContext", fields);
    let mut cluster = cluster(name, protocol, endpoint);
    cluster["transport_socket"] = json!({ "name": TLS, "typed_config": socket });
    cluster
}
