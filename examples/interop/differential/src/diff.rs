//! Two trees, field by field.

use std::collections::{BTreeMap, BTreeSet};

use crate::tree::Tree;

/// What stands for a side that has nothing.
pub(crate) const UNSET: &str = "-";

/// One place in which two resources differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FieldDifference {
    /// The fields on the way, with the keys of lists in brackets.
    pub(crate) path: String,
    /// istiod's value.
    pub(crate) istiod: String,
    /// Ours.
    pub(crate) ours: String,
}

/// All places in which two messages differ.
pub(crate) fn diff(istiod: &Tree, ours: &Tree) -> Vec<FieldDifference> {
    let mut out = Vec::new();
    walk("", Some(istiod), Some(ours), &mut out);
    out
}

fn walk(path: &str, istiod: Option<&Tree>, ours: Option<&Tree>, out: &mut Vec<FieldDifference>) {
    match (istiod, ours) {
        (Some(Tree::Fields(istiod)), Some(Tree::Fields(ours))) => {
            let names: BTreeSet<_> = istiod.keys().chain(ours.keys()).collect();
            for name in names {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                walk(&path, istiod.get(name), ours.get(name), out);
            }
        }
        (Some(Tree::List(istiod)), Some(Tree::List(ours))) => lists(path, istiod, ours, out),
        (istiod, ours) if istiod == ours => {}
        (istiod, ours) => out.push(FieldDifference {
            path: path.to_owned(),
            istiod: text(istiod),
            ours: text(ours),
        }),
    }
}

fn text(tree: Option<&Tree>) -> String {
    tree.map_or_else(|| UNSET.to_owned(), Tree::to_string)
}

/// Elements that have names of their own are compared with their namesakes, the others with those in their place.
fn lists(path: &str, istiod: &[Tree], ours: &[Tree], out: &mut Vec<FieldDifference>) {
    let field = path.rsplit('.').next().unwrap_or(path);
    let keyed = (by_key(field, istiod), by_key(field, ours));
    let (Some(istiod), Some(ours)) = keyed else {
        for at in 0..istiod.len().max(ours.len()) {
            walk(&format!("{path}[{at}]"), istiod.get(at), ours.get(at), out);
        }
        return;
    };
    let (left, right): (BTreeMap<_, _>, BTreeMap<_, _>) = (
        istiod.iter().cloned().collect(),
        ours.iter().cloned().collect(),
    );
    let keys: BTreeSet<_> = left.keys().chain(right.keys()).collect();
    for key in keys {
        let path = format!("{path}[{key}]");
        walk(&path, left.get(key).copied(), right.get(key).copied(), out);
    }
    let order = |these: &[(String, &Tree)], others: &BTreeMap<String, &Tree>| {
        let common = these
            .iter()
            .map(|(key, _)| key)
            .filter(|key| others.contains_key(*key));
        common.cloned().collect::<Vec<_>>().join(", ")
    };
    let (istiod, ours) = (order(&istiod, &right), order(&ours, &left));
    if istiod != ours && !IN_NO_ORDER.contains(&field) {
        out.push(FieldDifference {
            path: format!("{path}[order]"),
            istiod,
            ours,
        });
    }
}

/// Lists that are sets to Envoy: all of a match must hold. istiod writes its query parameters in random order.
const IN_NO_ORDER: &[&str] = &[
    "virtual_hosts",
    "domains",
    "endpoints",
    "lb_endpoints",
    "headers",
    "query_parameters",
];

/// The elements with their names, if each has one and no two have the same.
fn by_key<'a>(field: &str, list: &'a [Tree]) -> Option<Vec<(String, &'a Tree)>> {
    let keyed: Option<Vec<_>> = list
        .iter()
        .map(|tree| Some((key(field, tree)?, tree)))
        .collect();
    let keyed = keyed?;
    let distinct: BTreeSet<_> = keyed.iter().map(|(key, _)| key).collect();
    (distinct.len() == keyed.len()).then_some(keyed)
}

fn key(field: &str, tree: &Tree) -> Option<String> {
    let part = |path: &[&str]| tree.at(path).map(Tree::to_string);
    match field {
        "domains" => Some(tree.to_string()),
        "endpoints" => {
            let names = ["region", "zone", "sub_zone"];
            let names = names.map(|name| part(&["locality", name]).unwrap_or_default());
            let priority = part(&["priority"]).unwrap_or_default();
            Some(format!("{}/{priority}", names.join("/").replace('"', "")))
        }
        "lb_endpoints" => {
            let address = part(&["endpoint", "address", "socket_address", "address"])?;
            let port = part(&["endpoint", "address", "socket_address", "port_value"])?;
            Some(format!("{}:{port}", address.trim_matches('"')))
        }
        "filter_chains" => {
            let names = [
                "destination_port",
                "transport_protocol",
                "application_protocols",
            ];
            let names = names.map(|name| part(&["filter_chain_match", name]).unwrap_or_default());
            let name = part(&["name"]).unwrap_or_default();
            Some(format!("{name} {}", names.join(" ")).replace('"', ""))
        }
        // A workload has several filters of this name: one for each action, and for each provider of CUSTOM.
        "filters" | "http_filters" => part(&["name"]).map(|name| {
            let action = |rules| {
                let action = part(&["typed_config", rules, "action"])?;
                let policies = tree.at(&["typed_config", rules, "policies"]);
                Some(format!("{action}{}", asking(policies).unwrap_or_default()))
            };
            let action = action("rules").or_else(|| action("shadow_rules"));
            let name = name.trim_matches('"');
            action.map_or_else(|| name.to_owned(), |action| format!("{name} {action}"))
        }),
        _ => part(&["name"]).map(|name| name.trim_matches('"').to_owned()),
    }
}

/// The provider that a filter's policies are of, as their names begin.
fn asking(policies: Option<&Tree>) -> Option<String> {
    let Some(Tree::Fields(policies)) = policies else {
        return None;
    };
    let (provider, _) = policies.keys().next()?.split_once("-ns[")?;
    Some(format!(" {provider}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(fields: &[(&str, Tree)]) -> Tree {
        Tree::Fields(
            fields
                .iter()
                .map(|(name, tree)| ((*name).to_owned(), tree.clone()))
                .collect(),
        )
    }

    fn value(text: &str) -> Tree {
        Tree::Value(text.to_owned())
    }

    fn paths(istiod: &Tree, ours: &Tree) -> Vec<String> {
        let line = |d: FieldDifference| format!("{}: {} | {}", d.path, d.istiod, d.ours);
        diff(istiod, ours).into_iter().map(line).collect()
    }

    #[test]
    fn what_is_the_same_differs_nowhere() {
        let tree = fields(&[("a", value("1")), ("b", Tree::List(vec![value("2")]))]);
        assert!(paths(&tree, &tree).is_empty());
    }

    #[test]
    fn a_set_default_is_not_an_unset_field() {
        let (set, unset) = (fields(&[("timeout", value("0s"))]), fields(&[]));
        assert_eq!(paths(&set, &unset), ["timeout: 0s | -"]);
        assert_eq!(paths(&unset, &set), ["timeout: - | 0s"]);
    }

    #[test]
    fn elements_with_names_are_compared_with_their_namesakes_and_their_order_counts() {
        let host =
            |name: &str, weight: &str| fields(&[("name", value(name)), ("weight", value(weight))]);
        let list = |list: &[Tree]| fields(&[("filters", Tree::List(list.to_vec()))]);
        let (a, b) = (host("\"a\"", "1"), host("\"b\"", "2"));
        assert_eq!(
            paths(
                &list(&[a.clone(), b.clone()]),
                &list(&[b.clone(), a.clone()])
            ),
            ["filters[order]: a, b | b, a"]
        );
        assert_eq!(
            paths(
                &list(&[a.clone(), b.clone()]),
                &list(&[host("\"b\"", "3"), a])
            ),
            ["filters[b].weight: 2 | 3", "filters[order]: a, b | b, a"]
        );
        assert_eq!(
            paths(&list(&[]), &list(&[b])),
            ["filters[b]: - | {name: \"b\", weight: 2}"]
        );
    }

    #[test]
    fn elements_without_names_are_compared_by_place() {
        let list = |list: &[&str]| {
            fields(&[("codes", Tree::List(list.iter().map(|t| value(t)).collect()))])
        };
        assert_eq!(
            paths(&list(&["1", "2"]), &list(&["2"])),
            ["codes[0]: 1 | 2", "codes[1]: 2 | -"]
        );
    }

    #[test]
    fn domains_are_a_set() {
        let list = |list: &[&str]| {
            fields(&[(
                "domains",
                Tree::List(list.iter().map(|t| value(t)).collect()),
            )])
        };
        assert!(paths(&list(&["a", "b"]), &list(&["b", "a"])).is_empty());
        assert_eq!(
            paths(&list(&["a", "b"]), &list(&["a"])),
            ["domains[b]: b | -"]
        );
    }
}
