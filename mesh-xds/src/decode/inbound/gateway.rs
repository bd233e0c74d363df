//! `HttpConnectionManager` of a gateway: where the requests that it lets in go on to.

use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as http;
use http::http_connection_manager::RouteSpecifier;
use mesh_core::server::Gateway;

use crate::decode::ignored::Ignored;

/// Where requests go on to, or why nobody knows.
pub(super) fn decode(
    wire: &http::HttpConnectionManager,
    ignored: &mut Ignored,
) -> Result<Gateway, String> {
    let Some(RouteSpecifier::Rds(rds)) = &wire.route_specifier else {
        return Err("routes of a gateway that are not named (rds) are not served".to_owned());
    };
    let routes = rds.route_config_name.parse();
    let routes = routes.map_err(|error| format!("rds.route_config_name: {error}"))?;
    Ok(Gateway {
        routes,
        upgrades: upgrades(&wire.upgrade_configs, ignored),
    })
}

/// What is allowed without conditions of its own: an upgrade with filters would pass by the chain's.
fn upgrades(
    wire: &[http::http_connection_manager::UpgradeConfig],
    ignored: &mut Ignored,
) -> Box<[Box<str>]> {
    let mut allowed = Vec::new();
    for upgrade in wire {
        let is_enabled = upgrade.enabled.is_none_or(|flag| flag.value);
        let kind = upgrade.upgrade_type.to_ascii_lowercase();
        match (is_enabled, upgrade.filters.is_empty(), &*kind) {
            (false, ..) => {}
            (true, false, _) => {
                ignored.add("an entry of upgrade_configs with filters: its protocol is refused");
            }
            (true, true, "connect" | "connect-udp") => {
                ignored.add(format!("upgrade_configs: {kind:?} is not served"));
            }
            (true, true, _) => allowed.push(kind.into()),
        }
    }
    allowed.into()
}
