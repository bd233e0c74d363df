//! `envoy.config.route.v3.RouteAction`.

use envoy_types::pb::envoy::config::route::v3::{
    self as pb,
    route_action::{ClusterNotFoundResponseCode, ClusterSpecifier},
    weighted_cluster::{ClusterWeight, RandomValueSpecifier, cluster_weight},
};
use http::uri::Authority;
use http::{HeaderName, StatusCode};
use mesh_core::matcher::PathMatcher;
use mesh_core::route::{Choice, Forward, HostRewrite, Mirror, Split, SplitBy};

use super::headers::level;
use super::ignored::Ignored;
use super::one::{Around, Levels, Skipped};
use super::{fault, hash, mirror, rewrite, timeout};
use crate::decode::{Faults, Invalid};

pub(super) fn decode(
    action: &pb::RouteAction,
    path: &PathMatcher,
    levels: &Levels,
    around: &mut Around<'_>,
) -> Result<Result<Forward, Skipped>, Invalid> {
    let mut faults = Faults::default();
    let host = faults.take(rewrite::host(action, around.ignored));
    let host = host.unwrap_or_default();
    let append = action.append_x_forwarded_host;
    let split = faults.take(clusters(action, levels, &host, append, around));
    let path = faults.take(rewrite::path(action, path, around.ignored));
    let timeouts = faults.take(timeout::decode(action, around.common.timing));
    let hash = faults.take(hash::decode(&action.hash_policy, around.ignored));
    let mirrors = faults.take(mirrors(action, around));
    let not_found = faults.take(cluster_not_found(action.cluster_not_found_response_code));
    let all = split.zip(path).zip(timeouts.zip(hash));
    let all = all.zip(mirrors.zip(not_found));
    let (((split, path), (timeouts, hash)), (mirrors, cluster_not_found)) = faults.or(all)?;
    Ok(split.map(|(split, by)| {
        Forward {
            by,
            path,
            hash,
            mirrors,
            cluster_not_found,
            ..Forward::split(split)
        }
        .with_timeouts(timeouts)
    }))
}

fn cluster_not_found(code: i32) -> Result<StatusCode, Invalid> {
    match ClusterNotFoundResponseCode::try_from(code) {
        Ok(code) => Ok(match code {
            ClusterNotFoundResponseCode::ServiceUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            ClusterNotFoundResponseCode::NotFound => StatusCode::NOT_FOUND,
            ClusterNotFoundResponseCode::InternalServerError => StatusCode::INTERNAL_SERVER_ERROR,
        }),
        Err(_) => Err(Invalid::new(
            "cluster_not_found_response_code",
            format_args!("is {code}, which is none of its values"),
        )),
    }
}

/// Those of the route, else those of the virtual host, else those of the route configuration: Envoy merges none.
fn mirrors(action: &pb::RouteAction, around: &mut Around<'_>) -> Result<Box<[Mirror]>, Invalid> {
    let own = mirror::decode(&action.request_mirror_policies, around.ignored)?;
    let policies = match action.request_mirror_policies.is_empty() {
        true => around.mirrors,
        false => &own,
    };
    mirror::mirrors(policies, around.clusters)
}

type SplitOrSkipped = Result<(Split<Choice>, SplitBy), Skipped>;

fn clusters(
    action: &pb::RouteAction,
    levels: &Levels,
    host: &HostRewrite,
    append_forwarded_host: bool,
    around: &mut Around<'_>,
) -> Result<SplitOrSkipped, Invalid> {
    let plain = |cluster| Choice {
        host: host.clone(),
        append_forwarded_host,
        ..Choice::plain(cluster)
    };
    match &action.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) if name.is_empty() => {
            Err(Invalid::new("cluster", "is empty"))
        }
        Some(ClusterSpecifier::Cluster(name)) => {
            let choice = Choice {
                request_headers: levels.request(None),
                response_headers: levels.response(None),
                ..plain(around.clusters.index(name)?)
            };
            Ok(Ok((Split::one(choice), SplitBy::Random)))
        }
        Some(ClusterSpecifier::WeightedClusters(weighted)) => {
            split(weighted, levels, plain, around).map_err(|e| e.within("weighted_clusters"))
        }
        Some(ClusterSpecifier::ClusterHeader(_)) => Ok(Err(Skipped("cluster_header"))),
        Some(_) => Ok(Err(Skipped("cluster specifier plugin"))),
        None => Err(Invalid::new("cluster_specifier", "is missing")),
    }
}

fn split(
    weighted: &pb::WeightedCluster,
    levels: &Levels,
    plain: impl Fn(mesh_core::route::ClusterIndex) -> Choice,
    around: &mut Around<'_>,
) -> Result<SplitOrSkipped, Invalid> {
    let mut faults = Faults::default();
    let mut weights = Vec::with_capacity(weighted.clusters.len());
    let mut by_header = false;
    for (at, entry) in weighted.clusters.iter().enumerate() {
        match share(entry, levels, &plain, around) {
            Ok(Some(share)) => weights.push(share),
            Ok(None) => by_header = true,
            Err(error) => faults.add(error.within(format_args!("clusters[{at}]"))),
        }
    }
    let by = faults.take(decided_by(weighted));
    if by_header {
        faults.or(Some(()))?;
        return Ok(Err(Skipped("cluster_header")));
    }
    let by = faults.or(by)?;
    let split = Split::new(weights).map_err(|error| Invalid::new("", error))?;
    Ok(Ok((split, by)))
}

/// `None` for a cluster that a header names.
fn share(
    entry: &ClusterWeight,
    levels: &Levels,
    plain: impl Fn(mesh_core::route::ClusterIndex) -> Choice,
    around: &mut Around<'_>,
) -> Result<Option<(Choice, u32)>, Invalid> {
    let mut faults = Faults::default();
    match (entry.name.is_empty(), entry.cluster_header.is_empty()) {
        (true, true) => faults.add(Invalid::new("name", "is empty")),
        (false, false) => faults.add(Invalid::new("cluster_header", "is set together with name")),
        _ => {}
    }
    if entry.weight.is_none() {
        faults.add(Invalid::new("weight", "is missing"));
    }
    let request = faults.take(level(
        "request",
        (
            &entry.request_headers_to_add,
            &entry.request_headers_to_remove,
        ),
        around.ignored,
    ));
    let response = faults.take(level(
        "response",
        (
            &entry.response_headers_to_add,
            &entry.response_headers_to_remove,
        ),
        around.ignored,
    ));
    around.ignored.filters(&entry.typed_per_filter_config);
    let fault = fault::decode(&entry.typed_per_filter_config, around.ignored);
    let fault = faults.take(fault);
    let ((request, response), fault) = faults.or(request.zip(response).zip(fault))?;
    if entry.name.is_empty() {
        return Ok(None);
    }
    let weight = entry.weight.map_or(0, |weight| weight.value);
    if weight == 0 {
        // Nothing goes there, so the cluster is not asked for.
        return Ok(Some((plain(mesh_core::route::ClusterIndex(0)), 0)));
    }
    let request = match host(entry, around.ignored)? {
        None => request,
        Some(host) => request.with_host(host),
    };
    let choice = Choice {
        request_headers: levels.request(Some(request)),
        response_headers: levels.response(Some(response)),
        fault,
        ..plain(around.clusters.index(&entry.name)?)
    };
    Ok(Some((choice, weight)))
}

fn host(entry: &ClusterWeight, ignored: &mut Ignored) -> Result<Option<Authority>, Invalid> {
    match &entry.host_rewrite_specifier {
        Some(cluster_weight::HostRewriteSpecifier::HostRewriteLiteral(text)) => {
            rewrite::literal(text, ignored)
        }
        None => Ok(None),
    }
}

fn decided_by(weighted: &pb::WeightedCluster) -> Result<SplitBy, Invalid> {
    Ok(match &weighted.random_value_specifier {
        Some(RandomValueSpecifier::HeaderName(name)) => {
            super::one_line("header_name", name)?;
            // A name that no request has leaves the draw.
            HeaderName::try_from(name.as_str()).map_or(SplitBy::Random, SplitBy::Header)
        }
        Some(RandomValueSpecifier::UseHashPolicy(yes)) if yes.value => SplitBy::Hash,
        _ => SplitBy::Random,
    })
}
