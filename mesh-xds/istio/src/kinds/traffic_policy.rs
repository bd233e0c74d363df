//! `trafficPolicy`: the blocks of settings that hold for a host, a subset or a port of either.

use std::time::Duration;

use crate::decode::{Fields, Schema, Sink};
use crate::yaml::Value;

use super::connection_pool::{self, ConnectionPool};
use super::load_balancer::{self, ConsistentHash, LoadBalancer};
use super::tls_settings::{self, ClientTls};

/// A checked `TrafficPolicy`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Policy {
    blocks: Blocks,
    retry_budget: Option<RetryBudget>,
    /// By port number. A block that an entry leaves out has Istio's default, not what the policy around it says.
    ports: Vec<(u32, Blocks)>,
}

/// What can be said for a port alone as well.
#[derive(Debug, Clone, Default)]
struct Blocks {
    balancer: Option<LoadBalancer>,
    pool: Option<ConnectionPool>,
    outlier: Option<OutlierDetection>,
    tls: Option<ClientTls>,
}

/// `retryBudget`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RetryBudget {
    pub(crate) percent: Option<f64>,
    /// 0 where it is not said.
    pub(crate) concurrency: u32,
    pub(crate) interval: Option<Duration>,
}

/// `outlierDetection`.
#[derive(Debug, Clone, Default)]
pub(crate) struct OutlierDetection {
    pub(crate) consecutive_5xx: Option<u32>,
    pub(crate) consecutive_gateway: Option<u32>,
    /// `splitExternalLocalOriginErrors`; inside, `consecutiveLocalOriginFailures`.
    pub(crate) local_origin: Option<Option<u32>>,
    pub(crate) interval: Option<Duration>,
    pub(crate) base_ejection_time: Option<Duration>,
    /// 0 where it is not said.
    pub(crate) max_ejection_percent: u32,
    /// 0 where it is not said: no panic.
    pub(crate) min_health_percent: u32,
}

/// What holds for one port of a host or a subset.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Effective<'a> {
    pub(crate) balancer: Option<&'a LoadBalancer>,
    pub(crate) pool: Option<&'a ConnectionPool>,
    pub(crate) outlier: Option<&'a OutlierDetection>,
    pub(crate) retry_budget: Option<RetryBudget>,
    pub(crate) tls: Option<&'a ClientTls>,
}

impl<'a> Effective<'a> {
    /// The rule's policy with the subset's over it, block by block; an entry for the port takes the place of all
    /// blocks of its policy, those included that it leaves out.
    pub(crate) fn of(rule: Option<&'a Policy>, subset: Option<&'a Policy>, port: u32) -> Self {
        let (outer, _) = rule.map(|policy| policy.on(port)).unwrap_or_default();
        let Some((inner, of_port)) = subset.map(|policy| policy.on(port)) else {
            return outer;
        };
        if of_port {
            let retry_budget = outer.retry_budget;
            return Self {
                retry_budget,
                ..inner
            };
        }
        Self {
            balancer: inner.balancer.or(outer.balancer),
            pool: inner.pool.or(outer.pool),
            outlier: inner.outlier.or(outer.outlier),
            retry_budget: inner.retry_budget.or(outer.retry_budget),
            tls: inner.tls.or(outer.tls),
        }
    }
}

impl Policy {
    /// What it says for a port, and whether by an entry of the port's own.
    fn on(&self, port: u32) -> (Effective<'_>, bool) {
        let of_port = self.ports.iter().find(|(number, _)| *number == port);
        let blocks = of_port.map_or(&self.blocks, |(_, blocks)| blocks);
        let effective = Effective {
            balancer: blocks.balancer.as_ref(),
            pool: blocks.pool.as_ref(),
            outlier: blocks.outlier.as_ref(),
            retry_budget: self.retry_budget.filter(|_| of_port.is_none()),
            tls: blocks.tls.as_ref(),
        };
        (effective, of_port.is_some())
    }

    /// What it says of TLS for a port: the port's own entry, else what holds for all. Unlike what connections are made
    /// of, endpoints are told apart by this (istiod's check of mTLS).
    pub(crate) fn tls(&self, port: u32) -> Option<&ClientTls> {
        let entries = self.ports.iter().filter(|(number, _)| *number == port);
        let mut own = entries.filter_map(|(_, blocks)| blocks.tls.as_ref());
        own.next().or(self.blocks.tls.as_ref())
    }

    /// What requests are hashed by: as istiod has it, a port's entry that says no hash does not take the policy's away.
    pub(crate) fn hash(&self) -> Option<&ConsistentHash> {
        self.blocks.balancer.as_ref().and_then(LoadBalancer::hash)
    }

    /// The same from a port's own entry.
    pub(crate) fn hash_of_port(&self, port: u32) -> Option<&ConsistentHash> {
        let (_, blocks) = self.ports.iter().find(|(number, _)| *number == port)?;
        blocks.balancer.as_ref().and_then(LoadBalancer::hash)
    }
}

const POLICY: Schema = Schema {
    served: &[
        "loadBalancer",
        "tls",
        "portLevelSettings",
        "connectionPool",
        "outlierDetection",
        "retryBudget",
    ],
    unserved: &["tunnel", "proxyProtocol"],
};
const PORT_POLICY: Schema = Schema {
    served: &[
        "port",
        "loadBalancer",
        "tls",
        "connectionPool",
        "outlierDetection",
    ],
    unserved: &[],
};
const PORT: Schema = Schema {
    served: &["number"],
    unserved: &[],
};
const BUDGET: Schema = Schema {
    served: &["percent", "minRetryConcurrency", "budgetInterval"],
    unserved: &[],
};
const OUTLIER: Schema = Schema {
    served: &[
        "splitExternalLocalOriginErrors",
        "consecutiveLocalOriginFailures",
        "consecutiveGatewayErrors",
        "consecutive5xxErrors",
        "interval",
        "baseEjectionTime",
        "maxEjectionPercent",
        "minHealthPercent",
    ],
    unserved: &["consecutiveErrors", "outlierDetectionHttpErrorCodes"],
};
pub(crate) fn decode(value: &Value, path: &str, sink: &mut Sink) -> Option<Policy> {
    let fields = Fields::open(value, path, POLICY, sink)?;
    let blocks = blocks(&fields, sink);
    let mut ports = Vec::new();
    for (i, item) in fields.list("portLevelSettings", sink).iter().enumerate() {
        let path = format!("{path}.portLevelSettings[{i}]");
        let Some(settings) = Fields::open(item, path, PORT_POLICY, sink) else {
            continue;
        };
        let of_port = self::blocks(&settings, sink);
        let Some(port) = settings.sub("port", PORT, sink) else {
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
    let budget = fields.sub("retryBudget", BUDGET, sink);
    let retry_budget = budget.map(|budget| RetryBudget {
        percent: budget.number("percent", 0.0, 100.0, sink),
        concurrency: budget
            .integer("minRetryConcurrency", 0, u32::MAX, sink)
            .unwrap_or_default(),
        interval: budget.duration("budgetInterval", sink),
    });
    Some(Policy {
        blocks,
        retry_budget,
        ports,
    })
}

fn blocks(fields: &Fields<'_>, sink: &mut Sink) -> Blocks {
    Blocks {
        tls: tls_settings::decode(fields, sink),
        balancer: load_balancer::decode(fields, sink),
        pool: connection_pool::decode(fields, sink),
        outlier: outlier(fields, sink),
    }
}

fn outlier(parent: &Fields<'_>, sink: &mut Sink) -> Option<OutlierDetection> {
    let fields = parent.sub("outlierDetection", OUTLIER, sink)?;
    let split = fields.bool("splitExternalLocalOriginErrors", sink);
    let local = fields.integer("consecutiveLocalOriginFailures", 0, u32::MAX, sink);
    if !split && local.is_some_and(|count| count > 0) {
        let path = fields.path_of("consecutiveLocalOriginFailures");
        sink.error(
            fields.place("consecutiveLocalOriginFailures"),
            format!("{path} counts only with splitExternalLocalOriginErrors: true"),
        );
    }
    Some(OutlierDetection {
        consecutive_5xx: fields.integer("consecutive5xxErrors", 0, u32::MAX, sink),
        consecutive_gateway: fields.integer("consecutiveGatewayErrors", 0, u32::MAX, sink),
        local_origin: split.then_some(local.filter(|count| *count > 0)),
        interval: fields.milliseconds("interval", sink),
        base_ejection_time: fields.milliseconds("baseEjectionTime", sink),
        max_ejection_percent: fields
            .integer("maxEjectionPercent", 0, 100, sink)
            .unwrap_or_default(),
        min_health_percent: fields
            .integer("minHealthPercent", 0, 100, sink)
            .unwrap_or_default(),
    })
}
