//! `RouteAction`: to which clusters requests go, how they are rewritten, and who gets a copy.

use envoy_types::pb::envoy::config::route::v3::{
    self as pb,
    route_action::{ClusterSpecifier, HostRewriteSpecifier, RequestMirrorPolicy},
    weighted_cluster::ClusterWeight,
};
use envoy_types::pb::envoy::r#type::matcher::v3::RegexMatchAndSubstitute;

use crate::compile::{cluster_name, hash, matcher, proto};
use crate::kinds::http_route::{Destination, PathRewrite, Policy};

use crate::kinds::virtual_service::Semantics;

use super::{Listener, filters, headers, retry, route_action};

/// The name that istiod gives to what Gateway API lets a route name and is no service; no cluster has it.
const UNKNOWN: &str = "UnknownService";

/// The action of a route with destinations, of which there is at least one.
pub(super) fn action(
    listener: &Listener<'_>,
    policy: &Policy,
    destinations: &[Destination],
) -> pb::RouteAction {
    let clusters = match destinations {
        [only] => ClusterSpecifier::Cluster(cluster_of(listener, only)),
        many => weighted(listener, many),
    };
    let timeout = policy.timeout.unwrap_or_default();
    let default = listener.view.registry.mesh.retries.as_ref();
    let retries = retry::policy(policy.retries.as_ref().or(default));
    let mut out = route_action(clusters, timeout, retries);
    match policy.rewrite.as_ref().and_then(|r| r.path.as_ref()) {
        Some(PathRewrite::Prefix(path)) => out.prefix_rewrite.clone_from(path),
        Some(PathRewrite::Regex {
            pattern,
            substitution,
        }) => {
            out.regex_rewrite = Some(RegexMatchAndSubstitute {
                pattern: Some(matcher::regex_matcher(pattern)),
                substitution: substitution.clone(),
            });
        }
        None => {}
    }
    out.host_rewrite_specifier =
        authority(policy, destinations).map(HostRewriteSpecifier::HostRewriteLiteral);
    let mirror = |(to, share)| RequestMirrorPolicy {
        cluster: cluster_of(listener, to),
        runtime_fraction: Some(filters::runtime(share)),
        trace_sampled: Some(proto::bool_value(false)),
        disable_shadow_host_suffix_append: true,
        ..RequestMirrorPolicy::default()
    };
    out.request_mirror_policies = policy.mirrors.shares().map(mirror).collect();
    if listener.semantics == Semantics::GatewayApi {
        out.cluster_not_found_response_code =
            pb::route_action::ClusterNotFoundResponseCode::InternalServerError.into();
    }
    hash::add(listener.view, policy, destinations, &mut out);
    out
}

/// The host that is written into requests: `rewrite` before `headers` of the route, these before those of the only
/// destination. Of several destinations each has its own.
fn authority(policy: &Policy, destinations: &[Destination]) -> Option<String> {
    let rewrite = policy.rewrite.as_ref().and_then(|r| r.authority.as_ref());
    let route = policy.headers.as_ref().and_then(|h| h.authority.as_ref());
    let only = match destinations {
        [only] => only.headers.as_ref().and_then(|h| h.authority.as_ref()),
        _ => None,
    };
    rewrite.or(route).or(only).cloned()
}

/// Clusters by weight; those of weight 0 are left out.
fn weighted(listener: &Listener<'_>, destinations: &[Destination]) -> ClusterSpecifier {
    let counted = destinations.iter().filter(|to| to.weight > 0);
    let clusters = counted.map(|to| {
        let mut cluster = ClusterWeight {
            name: cluster_of(listener, to),
            weight: Some(proto::uint32(to.weight)),
            ..ClusterWeight::default()
        };
        if let Some(operations) = &to.headers {
            headers::of_cluster(operations, &mut cluster);
        }
        cluster
    });
    ClusterSpecifier::WeightedClusters(pb::WeightedCluster {
        clusters: clusters.collect(),
        ..pb::WeightedCluster::default()
    })
}

/// The cluster of a destination, whether it exists or not: a missing one is found out by the caller (503 NC). Without
/// a port a gateway takes the only one of the service; istiod looks for it among those of the listener's port
/// elsewhere, and so finds that one.
fn cluster_of(listener: &Listener<'_>, to: &Destination) -> String {
    if to.host.is_empty() {
        return UNKNOWN.to_owned();
    }
    let only_port = || {
        let view = listener.view;
        let service = view.registry.service(&to.host, view.namespace)?;
        match &service.ports[..] {
            [port] if listener.is_gateway => Some(port.number),
            _ => None,
        }
    };
    let port = to.port.or_else(only_port).unwrap_or(listener.port);
    cluster_name(port, &to.subset, &to.host)
}
