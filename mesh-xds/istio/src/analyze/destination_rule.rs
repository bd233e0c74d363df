//! `DestinationRule`s: of which host, with which subsets, and beside which others.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::Tree;
use crate::decode::{Labels, selects};

use super::code::Code;
use super::finding::Report;
use super::mesh::{self, Mesh, Rule};
use super::node::Node;
use super::workload;

pub(super) fn judge(mesh: &Mesh<'_>, report: &mut Report) {
    for rule in &mesh.rules {
        let spec = Node::spec(rule.tree);
        let known = match rule.host.starts_with('*') {
            true => mesh.covers_any(&rule.host),
            false => !mesh.services(&rule.host).is_empty(),
        };
        if known {
            subsets(rule, mesh, report);
        } else if let Some(node) = spec.get("host") {
            let message = format!(
                "there is no host {}, so the rule has no effect; add a ServiceEntry or a Service for it, or correct the \
                 name (a name without dots is one of the namespace {})",
                rule.host, rule.tree.header.namespace
            );
            report.add(Code::UNKNOWN_HOST, rule.tree, &node, message);
        }
        certificates(rule.tree, &spec, report);
    }
    twins(mesh, report);
}

/// A subset that none of the host's workloads has the labels of has no endpoints. Where the files tell of no workload
/// nothing is known.
fn subsets(rule: &Rule<'_>, mesh: &Mesh<'_>, report: &mut Report) {
    let entries = mesh.services(&rule.host).iter();
    let entries = entries.filter(|service| service.tree.header.kind == "ServiceEntry");
    let workloads: Vec<Labels> = entries
        .flat_map(|s| workload::of_entry(mesh, s.tree))
        .collect();
    if workloads.is_empty() || rule.host.starts_with('*') {
        return;
    }
    for subset in Node::spec(rule.tree).items("subsets") {
        let labels = subset.labels("labels");
        if !workloads.iter().any(|workload| selects(&labels, workload)) {
            let text = labels.iter().map(|(k, v)| format!("{k}: {v}"));
            let message = format!(
                "none of the {} workloads of {} has the labels {{ {} }} of the subset {:?}, so calls to it fail; label a \
                 workload so, or remove the subset",
                workloads.len(),
                rule.host,
                text.collect::<Vec<_>>().join(", "),
                subset.string("name")
            );
            report.add(Code::EMPTY_SUBSET, rule.tree, &subset, message);
        }
    }
}

/// TLS to a server whose certificate nobody checks.
fn certificates(tree: &Tree, spec: &Node<'_>, report: &mut Report) {
    let Some(policy) = spec.get("trafficPolicy") else {
        return;
    };
    let whole = policy.get("tls").map(|tls| (Code::UNVERIFIED, tls));
    let ports = policy.items("portLevelSettings");
    let ports = ports.iter().filter_map(|port| port.get("tls"));
    for (code, tls) in whole
        .into_iter()
        .chain(ports.map(|tls| (Code::UNVERIFIED_PORT, tls)))
    {
        let mode = tls.string("mode");
        let by_name =
            !tls.string("credentialName").is_empty() && spec.get("workloadSelector").is_some();
        if matches!(mode, "SIMPLE" | "MUTUAL")
            && tls.string("caCertificates").is_empty()
            && !by_name
        {
            let message = format!(
                "the mode {mode} without caCertificates takes any certificate of the server; name the file of its \
                 authorities in caCertificates"
            );
            report.add(code, tree, &tls, message);
        }
    }
}

/// What makes rules one rule: host, namespace, whose calls they are for, who sees them.
type Group<'a> = (&'a str, &'a str, Labels, BTreeSet<String>);

/// Of several rules for one host the first policy and the first subset of a name count, in the order of names.
fn twins(mesh: &Mesh<'_>, report: &mut Report) {
    let mut groups: BTreeMap<Group<'_>, Vec<&Rule<'_>>> = BTreeMap::new();
    for rule in &mesh.rules {
        let spec = Node::spec(rule.tree);
        let selector = spec.get("workloadSelector");
        let selector = selector
            .map(|s| s.labels("matchLabels"))
            .unwrap_or_default();
        let mut export_to = mesh::exports(&spec);
        export_to.or(&mesh.config.export.destination_rules);
        let exports = export_to.names().map(str::to_owned).collect();
        let group = (
            rule.host.as_str(),
            rule.tree.header.namespace.as_str(),
            selector,
            exports,
        );
        groups.entry(group).or_default().push(rule);
    }
    for mut rules in groups.into_values() {
        rules.sort_by_key(|rule| &rule.tree.header.name);
        for (i, rule) in rules.iter().enumerate() {
            for first in &rules[..i] {
                twin(first, rule, report);
            }
        }
    }
}

fn twin(first: &Rule<'_>, rule: &Rule<'_>, report: &mut Report) {
    let policy = |rule: &Rule<'_>| Node::spec(rule.tree).get("trafficPolicy").is_some();
    let mut lost: Vec<String> = Vec::new();
    if policy(first) && policy(rule) {
        lost.push("trafficPolicy".to_owned());
    }
    let both = rule.subsets.intersection(&first.subsets);
    lost.extend(both.map(|subset| format!("subset {subset}")));
    if let (false, Some(host)) = (lost.is_empty(), Node::spec(rule.tree).get("host")) {
        let header = &first.tree.header;
        let message = format!(
            "DestinationRule {}/{} is for the same host and counts first: of this one have no effect: {}; merge the two",
            header.namespace,
            header.name,
            lost.join(", ")
        );
        report.add(Code::TWO_RULES, rule.tree, &host, message);
    }
}
