//! `DestinationRule`: how a host is called: subsets and load balancing.

use std::collections::BTreeSet;

use crate::decode::{Fields, Labels, Schema, Sink};
use crate::host;
use crate::yaml::Value;

use super::ExportTo;

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

/// `trafficPolicy`, as far as it is served.
#[derive(Debug, Clone, Default)]
pub(crate) struct Policy {
    pub(crate) balancer: Option<Balancer>,
    /// By port number. An entry without a balancer has Istio's default, not that of the policy above it.
    pub(crate) ports: Vec<(u32, Option<Balancer>)>,
}

impl Policy {
    /// The balancer that this policy gives to a port: the outer nothing where it says nothing of it.
    pub(crate) fn balancer(&self, port: u32) -> Option<Option<Balancer>> {
        let of_port = self
            .ports
            .iter()
            .find(|(number, _)| *number == port)
            .map(|(_, balancer)| *balancer);
        of_port.or_else(|| self.balancer.map(Some))
    }
}

/// `loadBalancer.simple`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Balancer {
    #[default]
    LeastRequest,
    RoundRobin,
    Random,
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
const POLICY: Schema = Schema {
    served: &["loadBalancer", "tls", "portLevelSettings"],
    unserved: &[
        "connectionPool",
        "outlierDetection",
        "tunnel",
        "proxyProtocol",
        "retryBudget",
    ],
};
const PORT_POLICY: Schema = Schema {
    served: &["port", "loadBalancer", "tls"],
    unserved: &["connectionPool", "outlierDetection"],
};
const PORT: Schema = Schema {
    served: &["number"],
    unserved: &[],
};
const LOAD_BALANCER: Schema = Schema {
    served: &["simple"],
    unserved: &[
        "consistentHash",
        "localityLbSetting",
        "warmupDurationSecs",
        "warmup",
    ],
};
const TLS: Schema = Schema {
    served: &["mode"],
    unserved: &[
        "clientCertificate",
        "privateKey",
        "caCertificates",
        "credentialName",
        "subjectAltNames",
        "sni",
        "insecureSkipVerify",
        "caCrl",
    ],
};

pub(crate) fn decode(spec: &Value, sink: &mut Sink) -> Option<DestinationRule> {
    let fields = Fields::open(spec, "spec", SPEC, sink)?;
    let name = fields.string("host", sink).unwrap_or_default();
    if fields.get("host").is_none() || name.is_empty() {
        sink.error(fields.at, "spec.host is missing");
    } else if let Err(reason) = host::check_wildcard(&name) {
        sink.error(fields.place("host"), format!("spec.host: {reason}"));
    }
    let traffic = fields
        .get("trafficPolicy")
        .and_then(|v| policy(v, "spec.trafficPolicy", sink));
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
            .and_then(|v| policy(v, &format!("{path}.trafficPolicy"), sink));
        subsets.push(Subset {
            name,
            labels,
            policy: of_subset,
        });
    }
    subsets
}

fn policy(value: &Value, path: &str, sink: &mut Sink) -> Option<Policy> {
    let fields = Fields::open(value, path, POLICY, sink)?;
    tls(&fields, sink);
    let balancer = balancer(&fields, sink);
    let mut ports = Vec::new();
    for (i, item) in fields.list("portLevelSettings", sink).iter().enumerate() {
        let path = format!("{path}.portLevelSettings[{i}]");
        let Some(settings) = Fields::open(item, path, PORT_POLICY, sink) else {
            continue;
        };
        tls(&settings, sink);
        let of_port = self::balancer(&settings, sink);
        let port = settings
            .get("port")
            .and_then(|v| Fields::open(v, settings.path_of("port"), PORT, sink));
        let Some(port) = port else {
            if settings.get("port").is_none() {
                sink.error(
                    settings.at,
                    format!("{}.port.number is missing", settings.path),
                );
            }
            continue;
        };
        ports.extend(port.port("number", sink).map(|number| (number, of_port)));
    }
    Some(Policy { balancer, ports })
}

fn balancer(fields: &Fields<'_>, sink: &mut Sink) -> Option<Balancer> {
    let value = fields.get("loadBalancer")?;
    let fields = Fields::open(value, fields.path_of("loadBalancer"), LOAD_BALANCER, sink)?;
    let allowed = &[
        "UNSPECIFIED",
        "LEAST_REQUEST",
        "ROUND_ROBIN",
        "RANDOM",
        "LEAST_CONN",
        "PASSTHROUGH",
    ];
    match fields.word("simple", allowed, sink)? {
        "ROUND_ROBIN" => Some(Balancer::RoundRobin),
        "RANDOM" => Some(Balancer::Random),
        "PASSTHROUGH" => {
            let path = fields.path_of("simple");
            sink.note(
                fields.place("simple"),
                format!("{path} PASSTHROUGH: the default, LEAST_REQUEST, is used"),
            );
            None
        }
        _ => Some(Balancer::LeastRequest),
    }
}

/// Anything but `DISABLE` demands TLS.
fn tls(fields: &Fields<'_>, sink: &mut Sink) {
    let Some(value) = fields.get("tls") else {
        return;
    };
    let Some(tls) = Fields::open(value, fields.path_of("tls"), TLS, sink) else {
        return;
    };
    let mode = tls.word(
        "mode",
        &["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"],
        sink,
    );
    if let Some(mode) = mode.filter(|mode| *mode != "DISABLE") {
        sink.refuse(
            tls.place("mode"),
            &format!("{} {mode}", tls.path_of("mode")),
            "TLS",
        );
    }
}
