//! `envoy.config.route.v3.RouteConfiguration`: hosts and actions.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::config::route::v3::{
    self as pb, route, route_action::ClusterSpecifier,
};
use http::StatusCode;
use mesh_core::route::{Action, ClusterIndex, DirectResponse, Domain, Route, Split, VirtualHost};
use prost::Message;

use super::route_match::{self, Matched};
use super::{Invalid, message};

/// A route configuration, host by host.
#[derive(Debug)]
pub(crate) struct RouteResource {
    pub(crate) name: Arc<str>,
    pub(crate) ignore_port: bool,
    /// Each host with its wire form, by which an unchanged host is known again.
    pub(crate) hosts: Vec<(Arc<VirtualHost>, Vec<u8>)>,
}

pub(crate) fn decode(bytes: &[u8]) -> Result<RouteResource, (Arc<str>, Invalid)> {
    let configuration: pb::RouteConfiguration =
        message(bytes).map_err(|error| ("".into(), error))?;
    let name: Arc<str> = configuration.name.as_str().into();
    if name.is_empty() {
        return Err((name, Invalid::new("name", "is empty")));
    }
    let mut hosts = Vec::with_capacity(configuration.virtual_hosts.len());
    let (mut names, mut domains) = (HashSet::new(), HashSet::new());
    for (at, host) in configuration.virtual_hosts.iter().enumerate() {
        let checked = virtual_host(host).and_then(|host| {
            if !names.insert(Arc::clone(host.name())) {
                return Err(Invalid::new(
                    "name",
                    format_args!("{:?} is used twice", host.name()),
                ));
            }
            match host
                .domains()
                .iter()
                .find(|domain| !domains.insert((*domain).clone()))
            {
                Some(twice) => Err(Invalid::new(
                    "domains",
                    format_args!("{twice:?} belongs to two virtual hosts"),
                )),
                None => Ok(host),
            }
        });
        match checked {
            Ok(checked) => hosts.push((Arc::new(checked), host.encode_to_vec())),
            Err(error) => return Err((name, error.within(format_args!("virtual_hosts[{at}]")))),
        }
    }
    Ok(RouteResource {
        name,
        ignore_port: configuration.ignore_port_in_host_matching,
        hosts,
    })
}

fn virtual_host(host: &pb::VirtualHost) -> Result<VirtualHost, Invalid> {
    if host.domains.is_empty() {
        return Err(Invalid::new("domains", "is empty"));
    }
    let domains: Vec<Domain> = host
        .domains
        .iter()
        .map(|domain| Domain::parse(domain).map_err(|error| Invalid::new("domains", error)))
        .collect::<Result<_, _>>()?;
    let mut clusters = Clusters::default();
    let mut routes = Vec::with_capacity(host.routes.len());
    for (at, route) in host.routes.iter().enumerate() {
        let decoded =
            one(route, &mut clusters).map_err(|e| e.within(format_args!("routes[{at}]")))?;
        routes.extend(decoded);
    }
    Ok(VirtualHost::new(
        host.name.as_str().into(),
        domains,
        clusters.names,
        routes,
    ))
}

/// `None` when the rule can never be evaluated here; gRPC A28 skips such routes, it does not reject them.
fn one(route: &pb::Route, clusters: &mut Clusters) -> Result<Option<Route>, Invalid> {
    let wanted = route
        .r#match
        .as_ref()
        .ok_or_else(|| Invalid::new("match", "is missing"))?;
    let matches = match route_match::decode(wanted).map_err(|e| e.within("match"))? {
        Matched::By(matches) => matches,
        Matched::Unknowable(what) => {
            tracing::debug!(
                route = route.name,
                "route skipped: {what} in its match is not supported yet"
            );
            return Ok(None);
        }
    };
    let Some(action) = action(route, clusters)? else {
        tracing::debug!(
            route = route.name,
            "route skipped: its cluster specifier is not supported yet"
        );
        return Ok(None);
    };
    let name = if route.name.is_empty() {
        "-"
    } else {
        &route.name
    };
    Ok(Some(Route {
        name: name.into(),
        matches,
        action,
    }))
}

fn action(route: &pb::Route, clusters: &mut Clusters) -> Result<Option<Action>, Invalid> {
    let unsupported = |what: &str| Action::Unsupported(what.into());
    Ok(Some(match &route.action {
        Some(route::Action::Route(action)) => match &action.cluster_specifier {
            Some(ClusterSpecifier::Cluster(name)) if name.is_empty() => {
                return Err(Invalid::new("route.cluster", "is empty"));
            }
            Some(ClusterSpecifier::Cluster(name)) => {
                Action::Forward(Split::one(clusters.index(name)?))
            }
            Some(ClusterSpecifier::WeightedClusters(weighted)) => Action::Forward(
                split(weighted, clusters).map_err(|e| e.within("route.weighted_clusters"))?,
            ),
            _ => return Ok(None),
        },
        Some(route::Action::DirectResponse(direct)) => {
            Action::DirectResponse(direct_response(direct)?)
        }
        Some(route::Action::Redirect(_)) => unsupported("redirect"),
        Some(route::Action::FilterAction(_)) => unsupported("filter_action"),
        Some(route::Action::NonForwardingAction(_)) => unsupported("non_forwarding_action"),
        None => return Err(Invalid::new("action", "is missing")),
    }))
}

fn split(weighted: &pb::WeightedCluster, clusters: &mut Clusters) -> Result<Split, Invalid> {
    let mut weights = Vec::with_capacity(weighted.clusters.len());
    for (at, entry) in weighted.clusters.iter().enumerate() {
        let weight = entry.weight.map_or(0, |weight| weight.value);
        if weight == 0 {
            continue;
        }
        if entry.name.is_empty() {
            return Err(Invalid::new(format!("clusters[{at}].name"), "is empty"));
        }
        weights.push((clusters.index(&entry.name)?, weight));
    }
    Split::new(weights).map_err(|error| Invalid::new("", error))
}

fn direct_response(direct: &pb::DirectResponseAction) -> Result<DirectResponse, Invalid> {
    let status = u16::try_from(direct.status)
        .ok()
        .and_then(|status| StatusCode::from_u16(status).ok());
    let status = status.filter(|status| (200..600).contains(&status.as_u16()));
    let status = status.ok_or_else(|| {
        Invalid::new(
            "direct_response.status",
            format_args!("{} is not in 200..600", direct.status),
        )
    })?;
    let body = match direct
        .body
        .as_ref()
        .and_then(|body| body.specifier.as_ref())
    {
        Some(Specifier::InlineString(text)) => Bytes::copy_from_slice(text.as_bytes()),
        Some(Specifier::InlineBytes(bytes)) => Bytes::copy_from_slice(bytes),
        // A control plane must not make us read files or variables.
        Some(_) => return Err(Invalid::new("direct_response.body", "must be inline")),
        None => Bytes::new(),
    };
    Ok(DirectResponse { status, body })
}

/// The clusters that a virtual host's routes name, each once.
#[derive(Default)]
struct Clusters {
    names: Vec<Arc<str>>,
    indices: HashMap<Arc<str>, ClusterIndex>,
}

impl Clusters {
    fn index(&mut self, name: &str) -> Result<ClusterIndex, Invalid> {
        if let Some(index) = self.indices.get(name) {
            return Ok(*index);
        }
        let index =
            u32::try_from(self.names.len()).map_err(|_| Invalid::new("", "too many clusters"))?;
        let name: Arc<str> = name.into();
        self.names.push(Arc::clone(&name));
        self.indices.insert(name, ClusterIndex(index));
        Ok(ClusterIndex(index))
    }
}
