//! Places: the weights and priorities of the endpoints of a cluster, as the asking node's own place has them.

use std::collections::{BTreeMap, BTreeSet};

use envoy_types::pb::google::protobuf::value::Kind;
use mesh_xds::{Node, NodeLocality};

use crate::decode::Labels;
use crate::kinds::locality::{Distribute, LocalityLb};
use crate::kinds::workload_entry::{Endpoint, Locality};
use crate::registry::Instance;

use super::endpoints::CLUSTER_ID;

/// The endpoints of one place, or of one priority of it.
#[derive(Clone)]
pub(super) struct Group<'a> {
    pub(super) locality: &'a Locality,
    pub(super) instances: Vec<&'a Instance>,
    pub(super) weight: u32,
    pub(super) priority: u32,
}

impl<'a> Group<'a> {
    fn new(locality: &'a Locality, instances: Vec<&'a Instance>, priority: u32) -> Self {
        let weights = instances.iter().map(|i| i.workload.endpoint.weight);
        Self {
            locality,
            weight: weights.fold(0, u32::saturating_add),
            instances,
            priority,
        }
    }
}

/// Where the asking node is.
pub(crate) struct Place<'a> {
    locality: &'a NodeLocality,
    /// Its labels with those of its place, as istiod adds them.
    labels: Labels,
}

impl<'a> Place<'a> {
    pub(super) fn of(node: &'a Node) -> Self {
        let network = node.metadata.get("NETWORK");
        let network = match network.and_then(|value| value.kind.as_ref()) {
            Some(Kind::StringValue(network)) => network.as_str(),
            _ => "",
        };
        let NodeLocality {
            region,
            zone,
            sub_zone,
        } = &node.locality;
        let labels = augmented(&node.labels, [region, zone, sub_zone], network);
        Self {
            locality: &node.locality,
            labels,
        }
    }
}

fn augmented(labels: &Labels, place: [&str; 3], network: &str) -> Labels {
    let mut out = labels.clone();
    let mut add = |key: &str, value: &str| {
        if !value.is_empty() {
            out.insert(key.to_owned(), value.to_owned());
        }
    };
    let [region, zone, sub_zone] = place;
    add("topology.kubernetes.io/region", region);
    add("topology.kubernetes.io/zone", zone);
    add("topology.istio.io/subzone", sub_zone);
    add("topology.istio.io/cluster", CLUSTER_ID);
    // A label of one's own wins here.
    if labels
        .get("topology.istio.io/network")
        .is_none_or(String::is_empty)
    {
        add("topology.istio.io/network", network);
    }
    out
}

fn labels_of(endpoint: &Endpoint) -> Labels {
    let Locality {
        region,
        zone,
        sub_zone,
    } = &endpoint.locality;
    augmented(
        &endpoint.labels,
        [region, zone, sub_zone],
        &endpoint.network,
    )
}

/// Groups endpoints by place and applies what is said of places.
pub(super) fn groups<'a>(
    instances: impl Iterator<Item = &'a Instance>,
    setting: Option<&LocalityLb>,
    failover: bool,
    place: &Place<'_>,
) -> Vec<Group<'a>> {
    let mut by_place: BTreeMap<&Locality, Vec<&Instance>> = BTreeMap::new();
    for instance in instances {
        let locality = &instance.workload.endpoint.locality;
        by_place.entry(locality).or_default().push(instance);
    }
    let groups = by_place.into_iter();
    let mut groups: Vec<_> = groups.map(|(l, list)| Group::new(l, list, 0)).collect();
    let Some(setting) = setting else {
        return groups;
    };
    if !setting.distribute.is_empty() {
        distribute(&mut groups, &setting.distribute, place.locality);
    } else if failover {
        if !setting.priority.is_empty() {
            groups = prioritized(groups, &setting.priority, &place.labels);
        }
        if setting.priority.is_empty() || !setting.failover.is_empty() {
            by_distance(&mut groups, &setting.failover, place.locality);
        }
    }
    groups
}

/// The first entry from the node's place counts; places that it does not name get nothing.
fn distribute(groups: &mut [Group<'_>], entries: &[Distribute], from: &NodeLocality) {
    let here = [&*from.region, &*from.zone, &*from.sub_zone];
    let Some(entry) = entries.iter().find(|entry| lies_in(here, &entry.from)) else {
        return;
    };
    let mut left: BTreeSet<usize> = (0..groups.len()).collect();
    for (place, share) in &entry.to {
        let fits = |at: &usize| {
            let Locality {
                region,
                zone,
                sub_zone,
            } = groups[*at].locality;
            lies_in([region, zone, sub_zone], place)
        };
        let chosen: Vec<usize> = left.iter().copied().filter(fits).collect();
        let total: f64 = chosen.iter().map(|at| f64::from(groups[*at].weight)).sum();
        for at in chosen {
            left.remove(&at);
            let weight = f64::from(groups[at].weight) * f64::from(*share) / total;
            if weight > 0.0 {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "0 to 100"
                )]
                let weight = weight.ceil() as u32;
                groups[at].weight = weight;
            }
        }
    }
    for at in left {
        groups[at].instances.clear();
    }
}

/// Whether a place matches `region/zone/subzone`, where `*` and what is left out match all.
fn lies_in(place: [&str; 3], rule: &str) -> bool {
    let mut parts = rule.splitn(3, '/');
    let region = parts.next().unwrap_or_default();
    let rest = [parts.next(), parts.next()].map(|part| part.unwrap_or_default());
    (region == "*" || place[0] == region)
        && place[1..]
            .iter()
            .zip(rest)
            .all(|(part, rule)| matches!(rule, "*" | "") || *part == rule)
}

/// `failoverPriority`: the more of its labels an endpoint shares with the node, first to last, the sooner it is called.
fn prioritized<'a>(
    groups: Vec<Group<'a>>,
    labels: &[(String, Option<String>)],
    own: &Labels,
) -> Vec<Group<'a>> {
    let wanted: Vec<(&String, &str)> = labels
        .iter()
        .map(|(label, value)| {
            let of_node = || own.get(label).map_or("", String::as_str);
            (label, value.as_deref().unwrap_or_else(of_node))
        })
        .collect();
    let mut out = Vec::new();
    for group in groups {
        let mut by_priority: BTreeMap<u32, Vec<&Instance>> = BTreeMap::new();
        for instance in group.instances {
            let labels = labels_of(&instance.workload.endpoint);
            let shared = wanted
                .iter()
                .position(|(label, value)| labels.get(*label).map_or("", String::as_str) != *value);
            let priority = shared.map_or(0, |at| wanted.len() - at);
            let priority = u32::try_from(priority).unwrap_or(u32::MAX);
            by_priority.entry(priority).or_default().push(instance);
        }
        let parts = by_priority.into_iter();
        out.extend(parts.map(|(priority, list)| Group::new(group.locality, list, priority)));
    }
    without_gaps(&mut out);
    out
}

/// Sub-zone, zone, region, elsewhere: in this order, but to the region that `failover` names before all others.
fn by_distance(groups: &mut [Group<'_>], failover: &[(String, String)], from: &NodeLocality) {
    for group in &mut *groups {
        let to = group.locality;
        let distance = if to.region != from.region {
            let named = failover.iter().find(|(region, _)| *region == from.region);
            match named {
                Some((_, region)) if *region != to.region => 4,
                _ => 3,
            }
        } else if to.zone != from.zone {
            2
        } else {
            u32::from(to.sub_zone != from.sub_zone)
        };
        // A priority that labels gave stays the weightier: there are five distances.
        group.priority = group.priority.saturating_mul(5).saturating_add(distance);
    }
    without_gaps(groups);
}

/// Envoy refuses priorities that leave one out.
fn without_gaps(groups: &mut [Group<'_>]) {
    let used: BTreeSet<u32> = groups.iter().map(|group| group.priority).collect();
    let ranks: BTreeMap<u32, u32> = used.into_iter().zip(0..).collect();
    for group in groups {
        group.priority = ranks.get(&group.priority).copied().unwrap_or_default();
    }
}
