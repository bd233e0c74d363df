//! `DestinationRule`: how a host is called, and its subsets.

use std::collections::BTreeSet;

use crate::decode::{Fields, Labels, Schema, Sink};
use crate::host;
use crate::yaml::Value;

use super::ExportTo;
use super::traffic_policy::{self, Policy};

/// A checked `DestinationRule`.
#[derive(Debug, Clone)]
pub(crate) struct DestinationRule {
    /// As written; a short name is of the rule's namespace.
    pub(crate) host: String,
    pub(crate) policy: Option<Policy>,
    pub(crate) subsets: Vec<Subset>,
    pub(crate) export_to: ExportTo,
    /// The clients that it is for, by their labels.
    pub(crate) selector: Option<Labels>,
}

/// A named part of the endpoints.
#[derive(Debug, Clone)]
pub(crate) struct Subset {
    pub(crate) name: String,
    pub(crate) labels: Labels,
    pub(crate) policy: Option<Policy>,
}

const SPEC: Schema = Schema {
    served: &[
        "host",
        "trafficPolicy",
        "subsets",
        "exportTo",
        "workloadSelector",
    ],
    unserved: &[],
};
const SELECTOR: Schema = Schema {
    served: &["matchLabels"],
    unserved: &[],
};
const SUBSET: Schema = Schema {
    served: &["name", "labels", "trafficPolicy"],
    unserved: &[],
};
pub(crate) fn decode(spec: &Value, sink: &mut Sink) -> Option<DestinationRule> {
    let fields = Fields::open(spec, "spec", SPEC, sink)?;
    let name = fields.string("host", sink).unwrap_or_default();
    if fields.get("host").is_none() || name.is_empty() {
        fields.lacks("host", fields.at, "spec.host is missing", sink);
    } else if let Err(reason) = host::check_wildcard(&name) {
        sink.error(fields.place("host"), format!("spec.host: {reason}"));
    }
    let traffic = fields
        .get("trafficPolicy")
        .and_then(|v| traffic_policy::decode(v, "spec.trafficPolicy", sink));
    let selector = fields.get("workloadSelector").and_then(|v| {
        let selector = Fields::open(v, "spec.workloadSelector", SELECTOR, sink)?;
        Some(selector.labels("matchLabels", sink))
    });
    let export_to = ExportTo::decode(&fields, sink);
    let subsets = subsets(&fields, sink);
    Some(DestinationRule {
        host: name.to_ascii_lowercase(),
        policy: traffic,
        subsets,
        export_to,
        selector,
    })
}

fn subsets(fields: &Fields<'_>, sink: &mut Sink) -> Vec<Subset> {
    let (mut names, mut subsets) = (BTreeSet::new(), Vec::new());
    for (i, item) in fields.list("subsets", sink).iter().enumerate() {
        let Some(subset) = Fields::open(item, format!("spec.subsets[{i}]"), SUBSET, sink) else {
            continue;
        };
        let name = subset.string("name", sink).unwrap_or_default();
        let path = &subset.path;
        if name.is_empty() {
            sink.error(
                subset.place("name"),
                format!("{path}.name must be given and not be empty"),
            );
        } else if let Err(reason) = host::check_label(&name) {
            sink.error(
                subset.place("name"),
                format!("{path}.name {name:?}: {reason}"),
            );
        } else if !names.insert(name.clone()) {
            sink.error(
                subset.place("name"),
                format!("{path}.name: there is another subset {name:?} in this rule"),
            );
        }
        let labels = subset.labels("labels", sink);
        let of_subset = subset
            .get("trafficPolicy")
            .and_then(|v| traffic_policy::decode(v, &format!("{path}.trafficPolicy"), sink));
        subsets.push(Subset {
            name,
            labels,
            policy: of_subset,
        });
    }
    subsets
}
