//! `envoy.config.route.v3.RouteConfiguration`: hosts.

mod action;
mod clusters;
mod direct_response;
mod fault;
mod fraction;
mod grpc;
mod hash;
mod headers;
mod ignored;
mod matches;
mod mirror;
mod one;
mod own_rules;
mod redirect;
mod rewrite;
mod timeout;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use envoy_types::pb::envoy::config::route::v3 as pb;
use envoy_types::pb::envoy::r#type::matcher::v3::RegexMatchAndSubstitute;
use mesh_core::matcher::Substitution;
use mesh_core::route::{Domain, Fault, RouteMatch, VirtualHost};
use prost::Message;

use super::{Faults, Invalid, message};
use clusters::Clusters;
use headers::Changes;
use ignored::Ignored;
use matches::Matched;
pub(crate) use timeout::Timing;

/// `max_direct_response_body_size_bytes` when it is not set.
const LARGEST_BODY: usize = 4096;

/// A match that is not a route's. All of it can be looked at, and it does not hang on chance.
pub(super) fn whole_match(wire: &pb::RouteMatch) -> Result<RouteMatch, Invalid> {
    let unserved = |field| Invalid::new(field, "is not served here");
    match matches::decode(wire)? {
        Matched::By(matched) if matched.fraction.is_none() => Ok(matched),
        Matched::By(_) => Err(unserved("runtime_fraction")),
        Matched::Unknowable(what) => Err(unserved(what)),
    }
}

/// A route configuration, host by host.
#[derive(Debug, Clone)]
pub(crate) struct RouteResource {
    pub(crate) name: Arc<str>,
    pub(crate) ignore_port: bool,
    /// Each host with its wire form, by which an unchanged host is known again.
    pub(crate) hosts: Vec<(Arc<VirtualHost>, Vec<u8>)>,
    /// What is in it and has no effect here, in words.
    pub(crate) ignored: Vec<String>,
}

/// What the routes of a configuration have in common.
struct Common {
    changes: Changes,
    /// `most_specific_header_mutations_wins`
    most_specific_wins: bool,
    largest_body: usize,
    timing: Timing,
    fault: Option<Arc<Fault>>,
    mirrors: Vec<mirror::Policy>,
    /// The filter that is told rules for all routes here.
    own_rules: Option<Box<str>>,
    /// The wire form of all this: with another, every host is another.
    wire: Vec<u8>,
}

/// With these rules of time, in which the dialects differ.
pub(crate) fn decode(bytes: &[u8], timing: Timing) -> Result<RouteResource, (Arc<str>, Invalid)> {
    let mut configuration: pb::RouteConfiguration =
        message(bytes).map_err(|error| ("".into(), error))?;
    let name: Arc<str> = configuration.name.as_str().into();
    if name.is_empty() {
        return Err((name, Invalid::new("name", "is empty")));
    }
    let mut ignored = Ignored::default();
    ignored.at("the route configuration");
    ignored.unknown_fields(&configuration, bytes);
    let mut faults = Faults::default();
    if timing != Timing::Envoy {
        faults.take(grpc::check(&configuration));
    }
    let virtual_hosts = std::mem::take(&mut configuration.virtual_hosts);
    let common = faults.take(common(&configuration, timing, &mut ignored));
    let Some(common) = common else {
        return Err((name, faults.or(None::<()>).err().unwrap_or_else(nothing)));
    };
    let mut hosts = Vec::with_capacity(virtual_hosts.len());
    let mut seen = Seen::default();
    for (at, host) in virtual_hosts.iter().enumerate() {
        let unique = seen.check(host);
        let decoded = virtual_host(host, seen.name(&host.name), &common, &mut ignored);
        let within = |error: Invalid| error.within(format_args!("virtual_hosts[{at}]"));
        faults.take(unique.map_err(within));
        if let Some(decoded) = faults.take(decoded.map_err(within)) {
            let mut wire = host.encode_to_vec();
            wire.extend_from_slice(&common.wire);
            hosts.push((Arc::new(decoded), wire));
        }
    }
    let resource = RouteResource {
        name: Arc::clone(&name),
        ignore_port: configuration.ignore_port_in_host_matching,
        hosts,
        ignored: ignored.told(),
    };
    faults.or(Some(resource)).map_err(|error| (name, error))
}

fn nothing() -> Invalid {
    Invalid::new("", "could not be decoded")
}

fn common(
    configuration: &pb::RouteConfiguration,
    timing: Timing,
    ignored: &mut Ignored,
) -> Result<Common, Invalid> {
    ignored.configuration(configuration);
    let largest = configuration.max_direct_response_body_size_bytes;
    let largest = largest.map_or(LARGEST_BODY, |bytes| {
        usize::try_from(bytes.value).unwrap_or(usize::MAX)
    });
    let mut faults = Faults::default();
    let changes = faults.take(Changes::decode(
        (
            &configuration.request_headers_to_add,
            &configuration.request_headers_to_remove,
        ),
        (
            &configuration.response_headers_to_add,
            &configuration.response_headers_to_remove,
        ),
        ignored,
    ));
    let fault = faults.take(fault::decode(
        &configuration.typed_per_filter_config,
        ignored,
    ));
    let mirrors = faults.take(mirror::decode(
        &configuration.request_mirror_policies,
        ignored,
    ));
    let ((changes, fault), mirrors) = faults.or(changes.zip(fault).zip(mirrors))?;
    Ok(Common {
        changes,
        fault,
        mirrors,
        own_rules: own_rules::of_level(&configuration.typed_per_filter_config).map(Into::into),
        most_specific_wins: configuration.most_specific_header_mutations_wins,
        largest_body: largest,
        timing,
        wire: pb::RouteConfiguration {
            name: String::new(),
            ..configuration.clone()
        }
        .encode_to_vec(),
    })
}

/// The names and domains of the hosts so far.
#[derive(Default)]
struct Seen {
    names: HashMap<String, usize>,
    domains: HashSet<Domain>,
}

impl Seen {
    /// Every domain belongs to one host, and only once.
    fn check(&mut self, host: &pb::VirtualHost) -> Result<(), Invalid> {
        let mut faults = Faults::default();
        for (at, text) in host.domains.iter().enumerate() {
            // A malformed one is told elsewhere.
            let Ok(domain) = Domain::parse(text) else {
                continue;
            };
            if !self.domains.insert(domain) {
                faults.add(Invalid::new(
                    format!("domains[{at}]"),
                    format_args!("{text:?} is there twice; it belongs to one virtual host, once"),
                ));
            }
        }
        faults.or(Some(()))
    }

    /// Envoy takes two hosts of one name. Here the name is the host's key, so the second gets a number.
    fn name(&mut self, name: &str) -> Arc<str> {
        let count = self.names.entry(name.to_owned()).or_default();
        *count += 1;
        match *count {
            1 => name.into(),
            count => format!("{name} ({count})").into(),
        }
    }
}

fn virtual_host(
    host: &pb::VirtualHost,
    name: Arc<str>,
    common: &Common,
    ignored: &mut Ignored,
) -> Result<VirtualHost, Invalid> {
    let mut faults = Faults::default();
    if host.name.is_empty() {
        faults.add(Invalid::new("name", "is empty"));
    }
    if host.domains.is_empty() {
        faults.add(Invalid::new("domains", "is empty"));
    }
    let domains: Vec<Domain> = (0..)
        .zip(&host.domains)
        .filter_map(|(at, text): (usize, _)| {
            let domain = Domain::parse(text);
            faults.take(domain.map_err(|error| Invalid::new(format!("domains[{at}]"), error)))
        })
        .collect();
    ignored.virtual_host(host);
    let changes = faults.take(Changes::decode(
        (
            &host.request_headers_to_add,
            &host.request_headers_to_remove,
        ),
        (
            &host.response_headers_to_add,
            &host.response_headers_to_remove,
        ),
        ignored,
    ));
    let changes = changes.unwrap_or_default();
    let fault = faults.take(fault::decode(&host.typed_per_filter_config, ignored));
    let fault = fault.flatten().or_else(|| common.fault.clone());
    let mirrors = faults.take(mirror::decode(&host.request_mirror_policies, ignored));
    let mirrors = mirrors.filter(|_| !host.request_mirror_policies.is_empty());
    let mut clusters = Clusters::default();
    let mut routes = Vec::with_capacity(host.routes.len());
    for (at, route) in host.routes.iter().enumerate() {
        let mut around = one::Around {
            common,
            host: &changes,
            fault: fault.as_ref(),
            mirrors: mirrors.as_ref().unwrap_or(&common.mirrors),
            own_rules: own_rules::of_level(&host.typed_per_filter_config)
                .or(common.own_rules.as_deref()),
            clusters: &mut clusters,
            ignored,
        };
        let decoded = one::decode(route, &mut around);
        routes.extend(
            faults
                .take(decoded.map_err(|error| error.within(format_args!("routes[{at}]"))))
                .flatten(),
        );
    }
    let requires_tls = faults.take(requires_tls(host));
    let decoded = VirtualHost::new(name, domains, clusters.into_names(), routes);
    faults.or(requires_tls.map(|requires| match requires {
        true => decoded.requiring_tls(),
        false => decoded,
    }))
}

/// `require_tls`. Who is outside is not known here, so that `EXTERNAL_ONLY` counts for everybody.
fn requires_tls(host: &pb::VirtualHost) -> Result<bool, Invalid> {
    use pb::virtual_host::TlsRequirementType as Requirement;
    match Requirement::try_from(host.require_tls) {
        Ok(requirement) => Ok(requirement != Requirement::None),
        Err(_) => {
            let reason = format_args!("{} is no requirement", host.require_tls);
            Err(Invalid::new("require_tls", reason))
        }
    }
}

/// Envoy refuses texts that would break a line of a message.
fn one_line(field: &str, text: &str) -> Result<(), Invalid> {
    if text.contains(['\0', '\r', '\n']) {
        return Err(Invalid::new(
            field,
            format_args!("{text:?} holds a line break or a null byte"),
        ));
    }
    Ok(())
}

fn substitution(field: &str, rewrite: &RegexMatchAndSubstitute) -> Result<Substitution, Invalid> {
    one_line(field, &rewrite.substitution)?;
    let pattern = rewrite.pattern.as_ref();
    let pattern = pattern.filter(|pattern| !pattern.regex.is_empty());
    let pattern = pattern.ok_or_else(|| Invalid::new(format!("{field}.pattern"), "is missing"))?;
    Substitution::new(&pattern.regex, &rewrite.substitution)
        .map_err(|error| Invalid::new(format!("{field}.pattern"), error))
}
