//! `localityLbSetting`: which places a caller prefers. It stands in `DestinationRule`s and in `MeshConfig`.

use crate::decode::{Fields, Schema, Sink};
use crate::yaml::{Position, Value};

/// A checked `LocalityLoadBalancerSetting`.
#[derive(Debug, Clone, Default)]
pub(crate) struct LocalityLb {
    /// `enabled: false` turns off what it says, and what the mesh says.
    pub(crate) disabled: bool,
    pub(crate) distribute: Vec<Distribute>,
    /// From region to region.
    pub(crate) failover: Vec<(String, String)>,
    /// Labels, each with the value that counts in place of the caller's own.
    pub(crate) priority: Vec<(String, Option<String>)>,
}

/// The shares of places in the calls from one.
#[derive(Debug, Clone)]
pub(crate) struct Distribute {
    pub(crate) from: String,
    /// With weights, 100 in sum.
    pub(crate) to: Vec<(String, u32)>,
}

const SPEC: Schema = Schema {
    served: &["enabled", "distribute", "failover", "failoverPriority"],
    unserved: &[],
};
const DISTRIBUTE: Schema = Schema {
    served: &["from", "to"],
    unserved: &[],
};
const FAILOVER: Schema = Schema {
    served: &["from", "to"],
    unserved: &[],
};
/// Labels of places, which `failover` decides already.
const TOPOLOGY: &[&str] = &[
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "topology.istio.io/subzone",
];

pub(crate) fn decode(parent: &Fields<'_>, sink: &mut Sink) -> Option<LocalityLb> {
    let fields = parent.sub("localityLbSetting", SPEC, sink)?;
    let disabled = fields.flag("enabled", sink) == Some(false);
    let distribute = distribute(&fields, sink);
    let failover = failover(&fields, sink);
    if !distribute.is_empty() && !failover.is_empty() {
        let message = format!("{} may have distribute or failover, not both", fields.path);
        sink.error(fields.place("failover"), message);
    }
    let mut priority = Vec::new();
    for (text, at) in fields.strings("failoverPriority", sink) {
        let (label, value) = match text.split_once('=') {
            Some((label, value)) => (label.to_owned(), Some(value.to_owned())),
            None => (text, None),
        };
        if !failover.is_empty() && TOPOLOGY.contains(&label.as_str()) {
            let path = fields.path_of("failoverPriority");
            let message =
                format!("{path}: {label} is what failover decides; remove one of the two");
            sink.error(at, message);
        }
        priority.push((label, value));
    }
    Some(LocalityLb {
        disabled,
        distribute,
        failover,
        priority,
    })
}

fn distribute(fields: &Fields<'_>, sink: &mut Sink) -> Vec<Distribute> {
    let (mut from, mut out) = (Vec::new(), Vec::new());
    for (i, item) in fields.list("distribute", sink).iter().enumerate() {
        let path = format!("{}.distribute[{i}]", fields.path);
        let Some(entry) = Fields::open(item, path, DISTRIBUTE, sink) else {
            continue;
        };
        let place = entry.string("from", sink).unwrap_or_default();
        check_place(
            &place,
            &from,
            &entry.path_of("from"),
            entry.place("from"),
            sink,
        );
        from.push(place.clone());
        let (mut names, mut to) = (Vec::new(), Vec::new());
        for share in entry.entries("to", sink) {
            let path = format!("{}.{}", entry.path_of("to"), share.key);
            check_place(&share.key, &names, &path, share.at, sink);
            names.push(share.key.clone());
            let weight = crate::decode::integer(&share.value, &path, 1, 100, sink);
            to.extend(weight.map(|weight| (share.key.clone(), weight)));
        }
        let sum: u32 = to.iter().map(|(_, weight)| *weight).sum();
        if sum != 100 && names.len() == to.len() {
            let message = format!(
                "{}: the weights must be 100 in sum, not {sum}",
                entry.path_of("to")
            );
            sink.error(entry.place("to"), message);
        }
        out.push(Distribute { from: place, to });
    }
    out
}

/// Whether a place is well formed (`*`, `region/*`, `region/zone/subzone`) and meets none before it.
fn check_place(text: &str, before: &[String], path: &str, at: Position, sink: &mut Sink) {
    let early_star = text.strip_suffix('*').unwrap_or(text).contains('*');
    if early_star || text.split('/').any(str::is_empty) || text.split('/').count() > 3 {
        let message = format!(
            "{path}: a place is region, region/zone or region/zone/subzone, with '*' at its end only, not {text:?}"
        );
        return sink.error(at, message);
    }
    let meets = |other: &&String| {
        other.as_str() == "*" || (text != "*" && within(text, other)) || within(other, text)
    };
    if let Some(other) = before.iter().find(|other| text != "*" && meets(other)) {
        sink.error(
            at,
            format!("{path}: {text:?} and {other:?} before it overlap"),
        );
    }
}

/// Whether the first place lies in the second.
fn within(inner: &str, outer: &str) -> bool {
    let parts = |text: &str| -> Vec<String> {
        let parts = text.split('/').filter(|part| *part != "*");
        parts.map(str::to_owned).collect()
    };
    parts(inner).starts_with(&parts(outer))
}

fn failover(fields: &Fields<'_>, sink: &mut Sink) -> Vec<(String, String)> {
    let mut out = Vec::new();
    for (i, item) in fields.list("failover", sink).iter().enumerate() {
        let path = format!("{}.failover[{i}]", fields.path);
        out.extend(regions(item, path, sink));
    }
    out
}

fn regions(item: &Value, path: String, sink: &mut Sink) -> Option<(String, String)> {
    let fields = Fields::open(item, path, FAILOVER, sink)?;
    let from = fields.string("from", sink).unwrap_or_default();
    let to = fields.string("to", sink).unwrap_or_default();
    for (key, region) in [("from", &from), ("to", &to)] {
        if region.contains(['/', '*']) {
            let message = format!(
                "{} is a region without '/' and '*', not {region:?}",
                fields.path_of(key)
            );
            sink.error(fields.place(key), message);
        }
    }
    if from == to {
        let message = format!("{}: from and to must be different regions", fields.path);
        sink.error(fields.at, message);
    }
    Some((from, to))
}
