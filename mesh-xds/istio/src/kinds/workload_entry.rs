//! `WorkloadEntry`: one workload; the same message stands in `ServiceEntry.endpoints`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use crate::decode::{Fields, Labels, Schema, Sink, integer};
use crate::host;
use crate::yaml::{Data, Entry, Value};

/// A checked workload.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub(crate) address: Address,
    /// Ports by the name of the service's port.
    pub(crate) ports: BTreeMap<String, u32>,
    pub(crate) labels: Labels,
    pub(crate) locality: Locality,
    /// The weight in load balancing; 1 where none is given.
    pub(crate) weight: u32,
    /// `network`; empty where it is not said.
    pub(crate) network: String,
    /// `serviceAccount`: who it is, with its namespace.
    pub(crate) service_account: Option<String>,
}

/// Where an endpoint is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    Ip(IpAddr),
    /// Whoever calls it looks it up.
    Name(String),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

impl Endpoint {
    /// A host by its name, and nothing known of it.
    pub(crate) fn at(name: &str) -> Self {
        Self {
            address: Address::Name(name.to_owned()),
            ports: BTreeMap::new(),
            labels: Labels::new(),
            locality: Locality::default(),
            weight: 1,
            network: String::new(),
            service_account: None,
        }
    }
}

/// `region/zone/subzone`, each may be empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Locality {
    pub(crate) region: String,
    pub(crate) zone: String,
    pub(crate) sub_zone: String,
}

impl Locality {
    fn parse(text: &str) -> Self {
        let mut parts = text.splitn(3, '/').map(str::to_owned);
        let mut next = || parts.next().unwrap_or_default();
        Self {
            region: next(),
            zone: next(),
            sub_zone: next(),
        }
    }
}

const SPEC: Schema = Schema {
    served: &[
        "address",
        "ports",
        "labels",
        "locality",
        "weight",
        "serviceAccount",
        "network",
    ],
    unserved: &[],
};

/// What an address may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Addresses {
    Ips,
    /// Names as well: `resolution` says that they are looked up.
    Names,
}

pub(crate) fn decode(
    spec: &Value,
    path: &str,
    addresses: Addresses,
    sink: &mut Sink,
) -> Option<Endpoint> {
    let fields = Fields::open(spec, path, SPEC, sink)?;
    let address = address(&fields, path, addresses, sink);
    let mut ports = BTreeMap::new();
    for entry in fields.entries("ports", sink) {
        let number = integer(
            &entry.value,
            &format!("{path}.ports.{}", entry.key),
            1,
            65_535,
            sink,
        );
        if let Some(number) = number {
            ports.insert(entry.key.clone(), number);
        }
    }
    let labels = fields.labels("labels", sink);
    let locality = Locality::parse(&fields.string("locality", sink).unwrap_or_default());
    let weight = fields
        .integer("weight", 0, u32::MAX, sink)
        .unwrap_or(1)
        .max(1);
    let account = fields.string("serviceAccount", sink);
    Some(Endpoint {
        address: address?,
        ports,
        labels,
        locality,
        weight,
        network: fields.string("network", sink).unwrap_or_default(),
        service_account: account.filter(|account| !account.is_empty()),
    })
}

/// The labels of the object count as the workload's, and before those of its spec.
pub(crate) fn add_labels(endpoint: &mut Endpoint, document: &Value) {
    let labels = document.get("metadata").and_then(|m| m.get("labels"));
    let Some(Data::Map(entries)) = labels.map(|labels| &labels.data) else {
        return;
    };
    // What is no string was told with the header.
    let text = |entry: &Entry| Some((entry.key.clone(), entry.value.as_str()?.to_owned()));
    endpoint.labels.extend(entries.iter().filter_map(text));
}

fn address(
    fields: &Fields<'_>,
    path: &str,
    addresses: Addresses,
    sink: &mut Sink,
) -> Option<Address> {
    let Some(text) = fields.string("address", sink) else {
        if fields.get("address").is_none() {
            fields.lacks(
                "address",
                fields.at,
                format!("{path}.address is missing"),
                sink,
            );
        }
        return None;
    };
    if let Ok(ip) = text.parse() {
        return Some(Address::Ip(ip));
    }
    let reason = match addresses {
        Addresses::Ips => format!(
            " must be an IP address, not {text:?}; names are looked up where resolution is DNS"
        ),
        Addresses::Names => match host::check(&text) {
            Ok(()) => return Some(Address::Name(text.to_ascii_lowercase())),
            Err(reason) => format!(": {reason}"),
        },
    };
    sink.error(fields.place("address"), format!("{path}.address{reason}"));
    None
}
