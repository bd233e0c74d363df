//! The worlds between which a call is compared: what the control plane says in each.

use std::net::SocketAddr;

use clap::ValueEnum;
use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::r#type::matcher::v3 as matcher;
use mesh_xds::{ResourceType, Resources};

use crate::resources::{assignment, eds, leading, named, of_path, to};

/// The port whose route configuration holds all virtual hosts.
pub(super) const PORT: u16 = 9080;
/// The host that is called: in the middle of the others.
pub(super) const CALLED: &str = "service-050000.default.svc.cluster.local";
/// Taken by the last route alone, in every world.
pub(super) const PATH: &str = "/shop/999/item";
/// Sent with every call, so that the calls of all worlds are the same.
pub(super) const HEADER: (&str, &str) = ("x-item", "999");
/// The name of the route that must take the calls.
pub(super) const LAST_ROUTE: &str = "route-999";

const HOSTS: usize = 100_000;
const ROUTES: usize = 1_000;
/// Where the called host stands among [`HOSTS`].
const MIDDLE: usize = 50_000;
/// The cluster of the called host.
const CALLED_CLUSTER: &str = "outbound|9080||called";
/// The clusters that the other hosts lead to; a cluster for each would only make the start longer.
const OTHERS: usize = 8;

/// What is configured beside the one route that the calls take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum World {
    /// Nothing.
    One,
    /// 100,000 hosts, 1,000 routes told apart by path: prefixes, exact paths, path-separated prefixes.
    Many,
    /// 1,000 routes of one prefix, told apart by a header.
    Headers,
    /// 100,000 hosts, 1,000 routes told apart by regex, which no index over texts can find: they are
    /// tried in order.
    Regex,
}

impl World {
    /// As on the command line.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Many => "many",
            Self::Headers => "headers",
            Self::Regex => "regex",
        }
    }

    /// In words.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::One => "1 virtual host, 1 route",
            Self::Many => "100,000 virtual hosts, 1,000 routes by path",
            Self::Headers => "1 virtual host, 1,000 routes by header",
            Self::Regex => "100,000 virtual hosts, 1,000 routes by regex",
        }
    }

    /// All that a control plane has to say in this world.
    pub(super) fn resources(self, backend: SocketAddr) -> Resources {
        let others = (0..OTHERS).map(other);
        let names: Vec<String> = others.chain([CALLED_CLUSTER.to_owned()]).collect();
        let table = self.table();
        let of = ResourceType::Cluster.type_url();
        let clusters = names.iter().map(|name| named(of, name, &eds(name)));
        let of = ResourceType::Endpoints.type_url();
        let endpoints = names
            .iter()
            .map(|name| named(of, name, &assignment(name, backend)));
        let routes = named(ResourceType::Route.type_url(), &table.name, &table);
        Resources {
            clusters: clusters.collect(),
            endpoints: endpoints.collect(),
            routes: [routes].into(),
            ..Resources::default()
        }
    }

    fn table(self) -> route::RouteConfiguration {
        let hosts = match self {
            Self::Many | Self::Regex => 0..HOSTS,
            Self::One | Self::Headers => MIDDLE..MIDDLE + 1,
        };
        route::RouteConfiguration {
            name: PORT.to_string(),
            virtual_hosts: hosts.map(|at| self.host(at)).collect(),
            // As istiod sends it to sidecars.
            ignore_port_in_host_matching: true,
            ..Default::default()
        }
    }

    fn host(self, at: usize) -> route::VirtualHost {
        let domain = format!("service-{at:06}.default.svc.cluster.local");
        let routes = if at == MIDDLE {
            self.routes()
        } else {
            vec![leading(at, by_path(0), to(&other(at % OTHERS)))]
        };
        route::VirtualHost {
            name: format!("{domain}:{PORT}"),
            domains: vec![domain],
            routes,
            ..Default::default()
        }
    }

    /// The routes of the called host.
    fn routes(self) -> Vec<route::Route> {
        let last = ROUTES - 1;
        let all = match self {
            Self::One => last..ROUTES,
            _ => 0..ROUTES,
        };
        let matching = |at| match self {
            Self::One | Self::Many => by_path(at),
            Self::Headers => by_header(at),
            Self::Regex => by_regex(at),
        };
        all.map(|at| leading(at, matching(at), to(CALLED_CLUSTER)))
            .collect()
    }
}

fn other(at: usize) -> String {
    format!("outbound|9080||other-{at}")
}

/// The three kinds in turn; the last of 1,000 is a prefix.
fn by_path(at: usize) -> route::RouteMatch {
    use route::route_match::PathSpecifier;
    of_path(match at % 3 {
        0 => PathSpecifier::Prefix(format!("/shop/{at}/")),
        1 => PathSpecifier::Path(format!("/shop/{at}/item")),
        _ => PathSpecifier::PathSeparatedPrefix(format!("/shop/{at}")),
    })
}

fn by_header(at: usize) -> route::RouteMatch {
    use matcher::string_matcher::MatchPattern;
    use route::header_matcher::HeaderMatchSpecifier;
    let value = matcher::StringMatcher {
        match_pattern: Some(MatchPattern::Exact(at.to_string())),
        ..Default::default()
    };
    let header = route::HeaderMatcher {
        name: HEADER.0.to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(value)),
        ..Default::default()
    };
    route::RouteMatch {
        headers: vec![header],
        ..of_path(route::route_match::PathSpecifier::Prefix(
            "/shop/".to_owned(),
        ))
    }
}

fn by_regex(at: usize) -> route::RouteMatch {
    let regex = matcher::RegexMatcher {
        regex: format!("/shop/{at}/.*"),
        ..Default::default()
    };
    of_path(route::route_match::PathSpecifier::SafeRegex(regex))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_called_host_stands_in_the_middle_and_its_last_route_is_the_called_one() {
        let table = World::Many.table();
        assert_eq!(table.virtual_hosts.len(), HOSTS);
        let called = &table.virtual_hosts[MIDDLE];
        assert_eq!(called.domains, [CALLED]);
        assert_eq!(called.routes.len(), ROUTES);
        assert_eq!(called.routes[ROUTES - 1].name, LAST_ROUTE);
    }

    #[test]
    fn the_one_route_is_the_last_of_the_many() {
        let one = World::One.table();
        assert_eq!(one.virtual_hosts.len(), 1);
        assert_eq!(one.virtual_hosts[0].domains, [CALLED]);
        let last = World::Many.routes().pop();
        assert_eq!(one.virtual_hosts[0].routes.last(), last.as_ref());
        assert_eq!(one.virtual_hosts[0].routes.len(), 1);
    }
}
