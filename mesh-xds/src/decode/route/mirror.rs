//! `RouteAction.RequestMirrorPolicy`.

use envoy_types::pb::envoy::config::route::v3::route_action::RequestMirrorPolicy;
use mesh_core::route::{Fraction, Mirror, MirrorHost};

use super::clusters::Clusters;
use super::ignored::Ignored;
use super::{fraction, rewrite};
use crate::decode::{Faults, Invalid};

/// A policy whose cluster has no index yet: those of a virtual host belong to any of its routes.
#[derive(Debug, Clone)]
pub(super) struct Policy {
    cluster: String,
    fraction: Fraction,
    host: MirrorHost,
}

/// The policies of one level, without those by which nothing goes.
pub(super) fn decode(
    wire: &[RequestMirrorPolicy],
    ignored: &mut Ignored,
) -> Result<Vec<Policy>, Invalid> {
    let mut faults = Faults::default();
    let mut policies = Vec::with_capacity(wire.len());
    for (at, policy) in wire.iter().enumerate() {
        let decoded = one(policy, ignored);
        let within = |error: Invalid| error.within(format_args!("request_mirror_policies[{at}]"));
        policies.extend(faults.take(decoded.map_err(within)).flatten());
    }
    faults.or(Some(policies))
}

fn one(wire: &RequestMirrorPolicy, ignored: &mut Ignored) -> Result<Option<Policy>, Invalid> {
    let mut faults = Faults::default();
    match (wire.cluster.is_empty(), wire.cluster_header.is_empty()) {
        (true, true) => faults.add(Invalid::new("cluster", "is empty")),
        (false, false) => {
            faults.add(Invalid::new(
                "cluster_header",
                "is set together with cluster",
            ));
        }
        _ => {}
    }
    let fraction = faults.take(fraction::runtime(wire.runtime_fraction.as_ref()));
    let literal = faults.take(rewrite::literal(&wire.host_rewrite_literal, ignored));
    let (fraction, literal) = faults.or(fraction.zip(literal))?;
    if !wire.request_headers_mutations.is_empty() {
        ignored.add("request_mirror_policies.request_headers_mutations has no effect yet");
    }
    if wire.cluster.is_empty() {
        ignored.add("a request_mirror_policies with cluster_header is skipped");
        return Ok(None);
    }
    let fraction = fraction.unwrap_or(Fraction::ALL);
    let host = match literal {
        Some(host) => MirrorHost::Literal(host),
        None if wire.disable_shadow_host_suffix_append => MirrorHost::Same,
        None => MirrorHost::Marked,
    };
    Ok((fraction.millionths() > 0).then(|| Policy {
        cluster: wire.cluster.clone(),
        fraction,
        host,
    }))
}

/// The mirrors of one route.
pub(super) fn mirrors(
    policies: &[Policy],
    clusters: &mut Clusters,
) -> Result<Box<[Mirror]>, Invalid> {
    let mirror = |policy: &Policy| {
        Ok(Mirror {
            cluster: clusters.index(&policy.cluster)?,
            fraction: policy.fraction,
            host: policy.host.clone(),
        })
    };
    policies.iter().map(mirror).collect()
}
