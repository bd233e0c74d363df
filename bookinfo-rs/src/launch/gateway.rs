//! The port of the routes that the ingress serves: the number in the folder's `Gateway`
//! (`Gateway.servers[].port.number`), whatever port is listened on.

use mesh_istio::Config;
use mesh_tower::Node;

use super::bootstrap::{GATEWAYS, INGRESS, INGRESS_LABELS};

/// The lowest port of the `Gateway`s that select the ingress: what a router of its labels gets routes for.
pub(crate) fn port(config: &Config) -> Option<u16> {
    let node = Node::router(INGRESS, GATEWAYS, INGRESS_LABELS);
    let routes = config.resources(&node).routes;
    let ports = routes
        .keys()
        .filter_map(|name| name.strip_prefix("http.")?.parse().ok());
    ports.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(selector: &str, ports: &[u16]) -> Option<u16> {
        let servers: String = ports
            .iter()
            .map(|n| format!("  - {{ port: {{ number: {n}, name: http-{n}, protocol: HTTP }}, hosts: ['*'] }}\n"))
            .collect();
        let text = format!(
            "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{ name: g, namespace: default }}\n\
             spec:\n  selector: {{ istio: {selector} }}\n  servers:\n{servers}"
        );
        port(&Config::parse([("g.yaml".into(), text)]).unwrap().config)
    }

    #[test]
    fn the_port_is_that_of_the_gateway_that_selects_the_ingress() {
        assert_eq!(of("ingressgateway", &[80]), Some(80));
        assert_eq!(of("ingressgateway", &[9000, 8080]), Some(8080));
        assert_eq!(of("egressgateway", &[80]), None);
    }
}
