//! `WorkloadEntry`: one workload; the same message stands in `ServiceEntry.endpoints`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::decode::{Fields, Labels, Schema, Sink, integer};
use crate::yaml::Value;

/// A checked workload.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub(crate) address: IpAddr,
    /// Ports by the name of the service's port.
    pub(crate) ports: BTreeMap<String, u32>,
    pub(crate) labels: Labels,
    pub(crate) locality: Locality,
    /// The weight in load balancing; 1 where none is given.
    pub(crate) weight: u32,
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
    ],
    unserved: &["network"],
};

pub(crate) fn decode(spec: &Value, path: &str, sink: &mut Sink) -> Option<Endpoint> {
    let fields = Fields::open(spec, path, SPEC, sink)?;
    let address = fields.string("address", sink);
    let address = match &address {
        Some(text) => {
            let parsed = text.parse::<IpAddr>().ok();
            if parsed.is_none() {
                let at = fields.place("address");
                sink.error(
                    at,
                    format!(
                        "{path}.address must be an IP address, not {text:?}; names are not resolved"
                    ),
                );
            }
            parsed
        }
        None => {
            if fields.get("address").is_none() {
                sink.error(fields.at, format!("{path}.address is missing"));
            }
            None
        }
    };
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
    fields.string("serviceAccount", sink);
    Some(Endpoint {
        address: address?,
        ports,
        labels,
        locality,
        weight,
    })
}
