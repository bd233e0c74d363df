//! `STRICT_DNS` and `LOGICAL_DNS`: endpoints at names that this side looks up.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3 as pb;
use envoy_types::pb::envoy::config::core::v3::SocketAddress;
use envoy_types::pb::google::protobuf::Duration as PbDuration;
use pb::cluster::DnsLookupFamily;

use crate::decode::endpoints::{self, EndpointResource, EndpointsResource};
use crate::decode::ignored::Ignored;
use crate::decode::{Faults, Invalid, duration};

/// Envoy's default of `dns_refresh_rate`.
const REFRESH: Duration = Duration::from_secs(5);
/// The least that Envoy takes for it.
const SHORTEST_REFRESH: Duration = Duration::from_millis(1);

/// A name and the port of what it stands for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Host {
    pub(crate) name: Arc<str>,
    pub(crate) port: u16,
}

/// The endpoints of a cluster before their names are looked up.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) hosts: EndpointsResource<Host>,
    /// `dns_refresh_rate`: how long an answer counts. A time to live, which Envoy can be told to respect, is not known
    /// to the platform's resolver.
    pub(crate) refresh: Duration,
    family: DnsLookupFamily,
    /// `LOGICAL_DNS`: all addresses are one endpoint.
    is_one: bool,
}

pub(super) fn strict(cluster: &pb::Cluster, ignored: &mut Ignored) -> Result<Names, Invalid> {
    names(cluster, false, ignored)
}

/// Envoy: "must have a single locality_lb_endpoint and a single lb_endpoint".
pub(super) fn logical(cluster: &pb::Cluster, ignored: &mut Ignored) -> Result<Names, Invalid> {
    let names = names(cluster, true, ignored)?;
    let sent = cluster.load_assignment.as_ref();
    let groups = sent.map_or(0, |sent| sent.endpoints.len());
    match (groups, names.hosts.endpoints.len()) {
        (1, 1) => Ok(names),
        (groups, endpoints) => Err(Invalid::new(
            "load_assignment.endpoints",
            format_args!(
                "{groups} localities with {endpoints} endpoints; LOGICAL_DNS needs one with one"
            ),
        )),
    }
}

fn names(cluster: &pb::Cluster, is_one: bool, ignored: &mut Ignored) -> Result<Names, Invalid> {
    let mut faults = Faults::default();
    let hosts = match &cluster.load_assignment {
        None => Ok(EndpointsResource::default()),
        Some(assignment) => endpoints::from_proto(assignment, host, ignored)
            .map_err(|e| e.within("load_assignment")),
    };
    let hosts = faults.take(hosts);
    let refresh = faults.take(refresh(cluster));
    let family = faults.take(family(cluster));
    let ((hosts, refresh), family) = faults.or(hosts.zip(refresh).zip(family))?;
    Ok(Names {
        hosts,
        refresh,
        family,
        is_one,
    })
}

fn family(cluster: &pb::Cluster) -> Result<DnsLookupFamily, Invalid> {
    #[allow(deprecated, reason = "it is what is sent")]
    let number = cluster.dns_lookup_family;
    DnsLookupFamily::try_from(number)
        .map_err(|_| Invalid::new("dns_lookup_family", format_args!("{number} is none")))
}

fn refresh(cluster: &pb::Cluster) -> Result<Duration, Invalid> {
    #[allow(deprecated, reason = "it is what is sent")]
    let Some(wire) = &cluster.dns_refresh_rate else {
        return Ok(REFRESH);
    };
    interval("dns_refresh_rate", wire)
}

/// The time between two look-ups.
pub(super) fn interval(field: &'static str, wire: &PbDuration) -> Result<Duration, Invalid> {
    duration(wire)
        .filter(|interval| *interval >= SHORTEST_REFRESH)
        .ok_or_else(|| Invalid::new(field, "must be at least 1 ms, and at most 315576000000 s"))
}

fn host(socket: &SocketAddress) -> Result<Host, Invalid> {
    let mut faults = Faults::default();
    if socket.address.is_empty() {
        faults.add(Invalid::new("address", "is empty"));
    }
    if !socket.resolver_name.is_empty() {
        let reason = format_args!(
            "names the resolver {:?}, which is not there",
            socket.resolver_name
        );
        faults.add(Invalid::new("resolver_name", reason));
    }
    let port = faults.take(endpoints::port(socket));
    Ok(Host {
        name: socket.address.as_str().into(),
        port: faults.or(port)?,
    })
}

impl Host {
    /// The address of a host that is named by it.
    fn literal(&self) -> Option<SocketAddr> {
        let ip: IpAddr = self.name.parse().ok()?;
        Some(SocketAddr::new(ip, self.port))
    }
}

impl Names {
    /// What has to be looked up.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = &Host> {
        let hosts = self.hosts.endpoints.iter().map(|one| &one.address);
        hosts.filter(|host| host.literal().is_none())
    }

    /// The endpoints, with the addresses that each name has.
    pub(crate) fn resolved<'a>(
        &self,
        addresses: impl Fn(&Host) -> &'a [SocketAddr],
    ) -> EndpointsResource {
        let endpoints = self.hosts.endpoints.iter().flat_map(|one| {
            let found = match one.address.literal() {
                Some(literal) => vec![literal],
                None => self.usable(addresses(&one.address)),
            };
            found.into_iter().map(|address| EndpointResource {
                address,
                weight: one.weight,
                priority: one.priority,
                locality: one.locality.clone(),
                health: one.health,
                socket_match: one.socket_match.clone(),
            })
        });
        EndpointsResource {
            endpoints: endpoints.collect(),
            locality_weights: self.hosts.locality_weights.clone(),
            overprovisioning: self.hosts.overprovisioning,
            ignored: Vec::new(),
        }
    }

    /// The addresses that `dns_lookup_family` leaves.
    fn usable(&self, found: &[SocketAddr]) -> Vec<SocketAddr> {
        let (v6, v4): (Vec<_>, Vec<_>) = found.iter().partition(|address| address.is_ipv6());
        let mut usable = match self.family {
            DnsLookupFamily::V4Only => v4,
            DnsLookupFamily::V6Only => v6,
            DnsLookupFamily::V4Preferred if v4.is_empty() => v6,
            DnsLookupFamily::V4Preferred => v4,
            DnsLookupFamily::Auto if v6.is_empty() => v4,
            DnsLookupFamily::Auto => v6,
            DnsLookupFamily::All => found.to_vec(),
        };
        if self.is_one {
            // The first that was told, as in Envoy: all clients of a name together use all of its addresses.
            usable.truncate(1);
        } else {
            usable.sort_unstable();
            usable.dedup();
        }
        usable
    }
}
