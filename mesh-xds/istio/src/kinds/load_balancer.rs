//! `loadBalancer` of a `DestinationRule`: how one endpoint of several is chosen.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::decode::{Fields, Schema, Sink};
use crate::yaml::Value;

use super::locality::{self, LocalityLb};

/// A checked `LoadBalancerSettings`.
#[derive(Debug, Clone, Default)]
pub(crate) struct LoadBalancer {
    pub(crate) algorithm: Algorithm,
    pub(crate) locality: Option<LocalityLb>,
    pub(crate) warmup: Option<Warmup>,
}

impl LoadBalancer {
    pub(crate) fn hash(&self) -> Option<&ConsistentHash> {
        match &self.algorithm {
            Algorithm::Hash(hash) => Some(hash),
            _ => None,
        }
    }
}

/// `simple` or `consistentHash`.
#[derive(Debug, Clone, Default)]
pub(crate) enum Algorithm {
    /// Not said, or `UNSPECIFIED`: the dialect's default.
    #[default]
    Unspecified,
    LeastRequest,
    /// The older word for `LEAST_REQUEST`, which istiod does not know in gRPC's dialect.
    LeastConn,
    RoundRobin,
    Random,
    /// The address that the caller dialled.
    Passthrough,
    Hash(ConsistentHash),
}

/// `consistentHash`.
#[derive(Debug, Clone)]
pub(crate) struct ConsistentHash {
    /// What of a request is hashed; nothing leaves each request to chance.
    pub(crate) key: Option<HashKey>,
    pub(crate) table: Table,
}

/// The part of a request that is hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HashKey {
    Header(String),
    Cookie(Cookie),
    SourceIp(bool),
    QueryParameter(String),
}

/// `httpCookie`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cookie {
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) ttl: Option<Duration>,
    /// Names with values.
    pub(crate) attributes: Vec<(String, String)>,
}

/// What hashes are looked up in. Zero leaves the size to Envoy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    Ring { minimum: u64 },
    Maglev { size: u64 },
}

/// `warmup`, or the older `warmupDurationSecs`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Warmup {
    pub(crate) window: Duration,
    /// Aggression and the least weight in percent; the older field says neither.
    pub(crate) ramp: Option<(f64, f64)>,
}

const SPEC: Schema = Schema {
    served: &[
        "simple",
        "consistentHash",
        "localityLbSetting",
        "warmup",
        "warmupDurationSecs",
    ],
    unserved: &["zoneAwareLbSetting"],
};
const HASH: Schema = Schema {
    served: &[
        "httpHeaderName",
        "httpCookie",
        "useSourceIp",
        "httpQueryParameterName",
        "ringHash",
        "maglev",
        "minimumRingSize",
    ],
    unserved: &[],
};
const COOKIE: Schema = Schema {
    served: &["name", "path", "ttl", "attributes"],
    unserved: &[],
};
const ATTRIBUTE: Schema = Schema {
    served: &["name", "value"],
    unserved: &[],
};
const RING: Schema = Schema {
    served: &["minimumRingSize"],
    unserved: &[],
};
const MAGLEV: Schema = Schema {
    served: &["tableSize"],
    unserved: &[],
};
const WARMUP: Schema = Schema {
    served: &["duration", "minimumPercent", "aggression"],
    unserved: &[],
};

/// The least ring of the deprecated `consistentHash.minimumRingSize`.
const RING_SIZE: u64 = 1024;
/// Envoy's bound of a ring.
const MAX_RING: u32 = 8 << 20;
/// Envoy's bound of a Maglev table, which is a prime.
const MAX_MAGLEV: u32 = 5_000_011;

pub(crate) fn decode(parent: &Fields<'_>, sink: &mut Sink) -> Option<LoadBalancer> {
    let fields = parent.sub("loadBalancer", SPEC, sink)?;
    fields.at_most_one(&["simple", "consistentHash"], sink);
    fields.at_most_one(&["warmup", "warmupDurationSecs"], sink);
    let algorithm = match fields.sub("consistentHash", HASH, sink) {
        Some(hash) => Algorithm::Hash(consistent_hash(&hash, sink)),
        None => simple(&fields, sink),
    };
    Some(LoadBalancer {
        algorithm,
        locality: locality::decode(&fields, sink),
        warmup: warmup(&fields, sink),
    })
}

fn simple(fields: &Fields<'_>, sink: &mut Sink) -> Algorithm {
    let allowed = &[
        "UNSPECIFIED",
        "LEAST_REQUEST",
        "ROUND_ROBIN",
        "RANDOM",
        "LEAST_CONN",
        "PASSTHROUGH",
    ];
    match fields.word("simple", allowed, sink) {
        Some("ROUND_ROBIN") => Algorithm::RoundRobin,
        Some("RANDOM") => Algorithm::Random,
        Some("PASSTHROUGH") => Algorithm::Passthrough,
        Some("LEAST_REQUEST") => Algorithm::LeastRequest,
        Some("LEAST_CONN") => Algorithm::LeastConn,
        _ => Algorithm::Unspecified,
    }
}

fn consistent_hash(fields: &Fields<'_>, sink: &mut Sink) -> ConsistentHash {
    let keys = [
        "httpHeaderName",
        "httpCookie",
        "useSourceIp",
        "httpQueryParameterName",
    ];
    fields.at_most_one(&keys, sink);
    fields.at_most_one(&["minimumRingSize", "ringHash", "maglev"], sink);
    let name = |key: &str, sink: &mut Sink| {
        let name = fields.string(key, sink)?;
        if name.is_empty() {
            let message = format!("{} must not be empty", fields.path_of(key));
            sink.error(fields.place(key), message);
        }
        Some(name)
    };
    let key = name("httpHeaderName", sink)
        .map(HashKey::Header)
        .or_else(|| cookie(fields, sink).map(HashKey::Cookie))
        .or_else(|| name("httpQueryParameterName", sink).map(HashKey::QueryParameter))
        .or_else(|| fields.flag("useSourceIp", sink).map(HashKey::SourceIp));
    let older = fields.integer("minimumRingSize", 0, MAX_RING, sink);
    let table = if let Some(maglev) = fields.sub("maglev", MAGLEV, sink) {
        Table::Maglev {
            size: maglev_size(&maglev, sink),
        }
    } else if let Some(ring) = fields.sub("ringHash", RING, sink) {
        let minimum = ring.integer("minimumRingSize", 0, MAX_RING, sink);
        Table::Ring {
            minimum: minimum.unwrap_or_default().into(),
        }
    } else {
        let older = older.filter(|size| *size > 0);
        Table::Ring {
            minimum: older.map_or(RING_SIZE, u64::from),
        }
    };
    ConsistentHash { key, table }
}

fn maglev_size(fields: &Fields<'_>, sink: &mut Sink) -> u64 {
    let Some(size) = fields.integer("tableSize", 1, MAX_MAGLEV - 1, sink) else {
        if fields.get("tableSize").is_none() {
            let message = format!("{} is missing", fields.path_of("tableSize"));
            sink.error(fields.at, message);
        }
        return 0;
    };
    let root = size.isqrt();
    if size == 1 || (2..=root).any(|factor| size % factor == 0) {
        let message = format!(
            "{} must be a prime, not {size}",
            fields.path_of("tableSize")
        );
        sink.error(fields.place("tableSize"), message);
    }
    size.into()
}

fn cookie(parent: &Fields<'_>, sink: &mut Sink) -> Option<Cookie> {
    let fields = parent.sub("httpCookie", COOKIE, sink)?;
    let name = fields.string("name", sink).unwrap_or_default();
    if name.is_empty() {
        let message = format!("{} must be given and not be empty", fields.path_of("name"));
        sink.error(fields.place("name"), message);
    }
    let (mut names, mut attributes) = (BTreeSet::new(), Vec::new());
    for (i, item) in fields.list("attributes", sink).iter().enumerate() {
        attributes.extend(attribute(&fields, i, item, &mut names, sink));
    }
    Some(Cookie {
        name,
        path: fields.string("path", sink).unwrap_or_default(),
        ttl: fields.duration("ttl", sink),
        attributes,
    })
}

fn attribute(
    cookie: &Fields<'_>,
    at: usize,
    item: &Value,
    names: &mut BTreeSet<String>,
    sink: &mut Sink,
) -> Option<(String, String)> {
    let path = format!("{}.attributes[{at}]", cookie.path);
    let fields = Fields::open(item, path, ATTRIBUTE, sink)?;
    let name = fields.string("name", sink).unwrap_or_default();
    let path = fields.path_of("name");
    if name.is_empty() {
        let message = format!("{path} must be given and not be empty");
        sink.error(fields.place("name"), message);
    } else if !names.insert(name.clone()) {
        let message = format!("{path}: there is another attribute {name:?}");
        sink.error(fields.place("name"), message);
    }
    Some((name, fields.string("value", sink).unwrap_or_default()))
}

fn warmup(parent: &Fields<'_>, sink: &mut Sink) -> Option<Warmup> {
    if let Some(window) = parent.duration("warmupDurationSecs", sink) {
        return Some(Warmup { window, ramp: None });
    }
    let fields = parent.sub("warmup", WARMUP, sink)?;
    let minimum = fields.number("minimumPercent", 0.0, 100.0, sink);
    let aggression = fields.number("aggression", 1.0, f64::MAX, sink);
    if fields.get("duration").is_none() {
        sink.error(
            fields.at,
            format!("{} is missing", fields.path_of("duration")),
        );
    }
    Some(Warmup {
        window: fields.milliseconds("duration", sink)?,
        // istiod's defaults, which are Envoy's.
        ramp: Some((aggression.unwrap_or(1.0), minimum.unwrap_or(10.0))),
    })
}
