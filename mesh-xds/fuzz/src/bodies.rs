//! The bodies of the fuzz targets: each holds for every input.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::{address::Address, socket_address::PortSpecifier};
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, LbEndpoint, lb_endpoint::HostIdentifier,
};
use envoy_types::pb::envoy::config::route::v3::{RouteConfiguration, route_match::PathSpecifier};
use envoy_types::pb::google::protobuf::Any;
use mesh_xds::{Bootstrap, Dialect, ResourceType};
use prost::Message;
use rand::TryRng;

use crate::histories::{Defect, Kind, compared};
use crate::rig::Rig;
use crate::wire::{self, CDS, EDS, RDS};

/// Whether a resource in the place of a good one was taken. Refused, it has a reason, and what was there stays.
fn taken(rig: &mut Rig, of: ResourceType, input: &[u8], is_same: bool) -> Result<bool, String> {
    let any = Any {
        type_url: of.type_url().to_owned(),
        value: input.to_vec(),
    };
    let answer = rig.answer(of, "2", vec![any]);
    let Some(error) = answer.error_detail else {
        return Ok(true);
    };
    if error.message.is_empty() {
        return Err("a NACK without a reason".to_owned());
    }
    if is_same && rig.ports("a") != [Some(1)] {
        return Err(format!("refused, and yet {:?}", rig.ports("a")));
    }
    Ok(false)
}

/// A cluster that is taken is one by the plain rules, and a refused one leaves what was there.
pub fn cluster(input: &[u8]) -> Result<(), String> {
    cluster_by(input, |policy| (0..=7).contains(&policy) && policy != 4)
}

/// The control: plain rules that know ROUND_ROBIN only.
pub fn cluster_broken(input: &[u8]) -> Result<(), String> {
    cluster_by(input, |policy| policy == 0)
}

fn cluster_by(input: &[u8], is_policy: fn(i32) -> bool) -> Result<(), String> {
    let message = Cluster::decode(input).ok().filter(|it| it.name == "one");
    let mut rig = Rig::configured();
    let is_taken = taken(&mut rig, CDS, input, message.is_some())?;
    let Some(message) = message else {
        // Of another name: it is not looked into.
        return Ok(());
    };
    let timeout = message.connect_timeout;
    let is_timeout = timeout.is_none_or(|time| time.seconds > 0 || time.nanos > 0);
    let outlier = message.outlier_detection.unwrap_or_default();
    let percents = [
        outlier.max_ejection_percent,
        outlier.enforcing_consecutive_5xx,
        outlier.failure_percentage_threshold,
    ];
    let are_percents = percents
        .iter()
        .flatten()
        .all(|percent| percent.value <= 100);
    let has_extension = message.load_balancing_policy.is_some();
    let is_plain = is_timeout && are_percents && (has_extension || is_policy(message.lb_policy));
    match is_taken && !is_plain {
        true => Err("taken, against the plain rules".to_owned()),
        false => Ok(()),
    }
}

/// The endpoints of a load assignment that is taken are those that it names, each once.
pub fn endpoints(input: &[u8]) -> Result<(), String> {
    endpoints_by(input, |addresses| {
        let each: BTreeSet<_> = addresses.iter().copied().collect();
        each.into_iter().collect()
    })
}

/// The control: the same with every endpoint.
pub fn endpoints_broken(input: &[u8]) -> Result<(), String> {
    endpoints_by(input, |addresses| {
        let mut all: Vec<_> = addresses.to_vec();
        all.sort_unstable();
        all
    })
}

fn endpoints_by(
    input: &[u8],
    collected: fn(&[SocketAddr]) -> Vec<SocketAddr>,
) -> Result<(), String> {
    let message = ClusterLoadAssignment::decode(input).ok();
    let message = message.filter(|it| it.cluster_name == "one");
    let mut rig = Rig::configured();
    let is_taken = taken(&mut rig, EDS, input, true)?;
    let Some(message) = message.filter(|_| is_taken) else {
        return Ok(());
    };
    let mut all = Vec::new();
    for group in &message.endpoints {
        if group.priority > 128 {
            return Err(format!("taken with priority {}", group.priority));
        }
        for endpoint in &group.lb_endpoints {
            all.push(address(endpoint).ok_or_else(|| format!("taken: {endpoint:?}"))?);
        }
    }
    let expected = collected(&all);
    let target = rig.target("a").ok_or("no target")?;
    let cluster = target.clusters.first().and_then(Option::as_ref);
    let cluster = cluster.ok_or("no cluster")?;
    let mut found: Vec<SocketAddr> = cluster.endpoints.iter().map(|it| it.address).collect();
    found.sort_unstable();
    match found == expected {
        true => Ok(()),
        false => Err(format!("{found:?}, expected {expected:?}")),
    }
}

fn address(endpoint: &LbEndpoint) -> Option<SocketAddr> {
    let weight = endpoint.load_balancing_weight;
    let Some(HostIdentifier::Endpoint(host)) = &endpoint.host_identifier else {
        return None;
    };
    let Address::SocketAddress(socket) = host.address.as_ref()?.address.as_ref()? else {
        return None;
    };
    let Some(PortSpecifier::PortValue(port)) = socket.port_specifier else {
        return None;
    };
    let ip: IpAddr = socket.address.parse().ok()?;
    let port = u16::try_from(port).ok()?;
    weight
        .is_none_or(|weight| weight.value > 0)
        .then(|| SocketAddr::new(ip, port))
}

/// A route configuration that is taken is one by the plain rules.
pub fn route(input: &[u8]) -> Result<(), String> {
    route_by(input, |_| true)
}

/// The control: plain rules that know prefixes only.
pub fn route_broken(input: &[u8]) -> Result<(), String> {
    route_by(input, |path| matches!(path, PathSpecifier::Prefix(_)))
}

fn route_by(input: &[u8], is_path: fn(&PathSpecifier) -> bool) -> Result<(), String> {
    let message = RouteConfiguration::decode(input).ok();
    let message = message.filter(|it| it.name == "9080");
    let mut rig = Rig::configured();
    let is_taken = taken(&mut rig, RDS, input, true)?;
    let Some(message) = message.filter(|_| is_taken) else {
        return Ok(());
    };
    let mut domains = BTreeSet::new();
    for host in &message.virtual_hosts {
        if host.name.is_empty() || host.domains.is_empty() {
            return Err(format!("taken: {host:?}"));
        }
        if let Some(twice) = host.domains.iter().find(|domain| !domains.insert(*domain)) {
            return Err(format!("taken with {twice:?} twice"));
        }
        for route in &host.routes {
            let path = route
                .r#match
                .as_ref()
                .and_then(|it| it.path_specifier.as_ref());
            if route.action.is_none() || !path.is_some_and(is_path) {
                return Err(format!("taken: {route:?}"));
            }
        }
    }
    Ok(())
}

/// A bootstrap that is taken is JSON and names as many servers as are used; of another it is said where it is from.
pub fn bootstrap(input: &[u8]) -> Result<(), String> {
    bootstrap_by(input, |listed| listed)
}

/// The control: only the first server counts.
pub fn bootstrap_broken(input: &[u8]) -> Result<(), String> {
    bootstrap_by(input, |listed| listed.min(1))
}

fn bootstrap_by(input: &[u8], used: fn(usize) -> usize) -> Result<(), String> {
    let text = String::from_utf8_lossy(input);
    let json: Result<serde_json::Value, _> = serde_json::from_str(&text);
    match (Bootstrap::parse(&text, "the fuzzer"), json) {
        (Err(error), _) if error.to_string().contains("the fuzzer") => Ok(()),
        (Err(error), _) => Err(format!("says not where it is from: {error}")),
        (Ok(_), Err(error)) => Err(format!("taken, and no JSON: {error}")),
        (Ok(bootstrap), Ok(json)) => {
            let listed = json["xds_servers"].as_array().map_or(0, Vec::len);
            match bootstrap.servers().count() == used(listed) {
                true => Ok(()),
                false => Err(format!(
                    "{listed} servers, of which {bootstrap:?} has others"
                )),
            }
        }
    }
}

/// A history, chosen by the input, with load assignments that are refused, ends alike in both variants of the protocol.
pub fn ads(input: &[u8]) -> Result<(), String> {
    let seen = compared(
        &mut Bytes(input),
        Dialect::Sidecar,
        Kind::Faulty(0.1),
        Defect::None,
    );
    seen.difference.map_or(Ok(()), Err)
}

/// The control: a delta server that does not say what it has removed.
pub fn ads_broken(input: &[u8]) -> Result<(), String> {
    let seen = compared(
        &mut Bytes(input),
        Dialect::Sidecar,
        Kind::Faulty(0.1),
        Defect::HidesRemovals,
    );
    seen.difference.map_or(Ok(()), Err)
}

/// Chances by the bytes of an input, then zeros.
struct Bytes<'a>(&'a [u8]);

impl TryRng for Bytes<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        // A byte decides: most choices are between few things.
        let Some((first, rest)) = self.0.split_first() else {
            return Ok(0);
        };
        self.0 = rest;
        Ok(u32::from_le_bytes([*first; 4]))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let all = [self.try_next_u32()?, self.try_next_u32()?];
        Ok(u64::from(all[0]) << 32 | u64::from(all[1]))
    }

    fn try_fill_bytes(&mut self, all: &mut [u8]) -> Result<(), Infallible> {
        for byte in all {
            *byte = self.try_next_u32()? as u8;
        }
        Ok(())
    }
}

/// What the corpora are written from.
pub mod corpus {
    use super::*;
    use envoy_types::pb::envoy::config::cluster::v3::{
        CircuitBreakers, OutlierDetection, cluster::LbPolicy,
    };
    use envoy_types::pb::google::protobuf::{Duration, UInt32Value};

    pub fn clusters() -> Vec<Vec<u8>> {
        let good = || wire::cluster_message("one", "");
        let number = |value| Some(UInt32Value { value });
        let time = |seconds| Some(Duration { seconds, nanos: 0 });
        let all = [
            good(),
            wire::cluster_message("one", "other"),
            Cluster {
                lb_policy: LbPolicy::LeastRequest.into(),
                connect_timeout: time(3),
                ..good()
            },
            Cluster {
                outlier_detection: Some(OutlierDetection {
                    interval: time(5),
                    max_ejection_percent: number(50),
                    enforcing_consecutive_5xx: number(100),
                    ..OutlierDetection::default()
                }),
                circuit_breakers: Some(CircuitBreakers::default()),
                ..good()
            },
            Cluster {
                cluster_discovery_type: None,
                eds_cluster_config: None,
                load_assignment: Some(wire::assignment("one", &[wire::addr(1)])),
                ..good()
            },
        ];
        all.iter().map(Message::encode_to_vec).collect()
    }

    pub fn endpoints() -> Vec<Vec<u8>> {
        let two = wire::assignment("one", &[wire::addr(1), wire::addr(2)]);
        let mut twice = wire::assignment("one", &[wire::addr(7), wire::addr(7)]);
        twice.endpoints[0].priority = 3;
        let none = wire::assignment("one", &[]);
        let mut several = two.clone();
        several.endpoints.extend(twice.endpoints.clone());
        let all = [two, twice, none, several];
        all.iter().map(Message::encode_to_vec).collect()
    }

    pub fn routes() -> Vec<Vec<u8>> {
        let plain = wire::routes("9080", vec![wire::host("a", &["one"])]);
        let hosts = vec![wire::host("a", &["one", "two"]), wire::host("b", &["two"])];
        let mut path = wire::host("a", &["one"]);
        if let Some(matched) = &mut path.routes[0].r#match {
            matched.path_specifier = Some(PathSpecifier::Path("/p".to_owned()));
        }
        let all = [
            plain,
            wire::routes("9080", hosts),
            wire::routes("9080", vec![path]),
        ];
        all.into_iter().map(|any| any.value).collect()
    }

    pub fn bootstraps() -> Vec<Vec<u8>> {
        let server = |port| {
            format!(
                r#"{{"server_uri":"127.0.0.1:{port}","channel_creds":[{{"type":"insecure"}}],"server_features":["xds_v3"]}}"#
            )
        };
        let node = r#""node":{"id":"sidecar~10.0.0.1~a.default~default.svc.cluster.local","metadata":{"A":1}}"#;
        let one = format!(r#"{{"xds_servers":[{}],{node}}}"#, server(1));
        let two = format!(r#"{{"xds_servers":[{},{}],{node}}}"#, server(1), server(2));
        let none = format!(r#"{{"xds_servers":[],{node}}}"#);
        [one, two, none].map(String::into_bytes).into()
    }

    pub fn histories() -> Vec<Vec<u8>> {
        // Any bytes are a history; these are long enough that all of its parts are chosen by them.
        let bytes = |seed: u32| {
            let byte =
                move |at: u32| (at.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 24) as u8;
            (0..700).map(byte).collect()
        };
        (1..6).map(|seed| bytes(seed * 7919)).collect()
    }
}
