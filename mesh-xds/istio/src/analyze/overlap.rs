//! Routes that no request reaches, because one before them takes all of theirs.

use std::collections::BTreeMap;

use crate::config::Tree;
use crate::yaml::{Data, Value};

use super::code::Code;
use super::finding::Report;
use super::node::Node;

/// The conditions of one match; none of them: every request.
struct Match<'a> {
    node: Node<'a>,
    conditions: BTreeMap<&'a str, &'a Value>,
}

/// What a match says about itself and not about requests.
const NAMES: [&str; 2] = ["name", "statPrefix"];
/// Conditions that are many: each entry is one.
const MAPS: [&str; 4] = ["headers", "withoutHeaders", "queryParams", "sourceLabels"];

/// Looks at the routes of one object in their order.
pub(super) fn routes(tree: &Tree, report: &mut Report) {
    let mut earlier: Vec<Match<'_>> = Vec::new();
    for route in &Node::spec(tree).items("http") {
        let mut own = matches(route);
        let taken_by = |one: &Match<'_>| earlier.iter().position(|first| covers(first, one));
        let taken: Vec<_> = own.iter().map(|one| (one, taken_by(one))).collect();
        let by = |at: &Option<usize>| at.and_then(|at| earlier.get(at)).map(place);
        if taken.iter().all(|(_, at)| at.is_some()) {
            let by: Vec<_> = taken.iter().filter_map(|(_, at)| by(at)).collect();
            let message = format!(
                "no request comes to this route, because {} takes all of them; put this route before it, or remove it",
                joined(by)
            );
            report.add(Code::UNREACHABLE, tree, route, message);
        } else {
            for (i, (one, at)) in taken.iter().enumerate() {
                let within = || own[..i].iter().find(|first| covers(first, one)).map(place);
                if let Some(by) = by(at).or_else(within) {
                    let message = format!(
                        "this match has no effect, because {by} takes its requests; remove it, or make it differ"
                    );
                    report.add(Code::INEFFECTIVE, tree, &one.node, message);
                }
            }
        }
        // What a delegate does with the requests is its own affair: it may let some of them pass.
        if route.get("delegate").is_none() {
            earlier.append(&mut own);
        }
    }
}

fn joined(mut by: Vec<String>) -> String {
    by.dedup();
    by.join(" and ")
}

fn place(one: &Match<'_>) -> String {
    format!("{} (line {})", one.node.path, one.node.at.line)
}

fn matches<'a>(route: &Node<'a>) -> Vec<Match<'a>> {
    let listed = route.items("match");
    if listed.is_empty() {
        return vec![Match {
            node: route.clone(),
            conditions: BTreeMap::new(),
        }];
    }
    let read = |node: Node<'a>| {
        let said = node
            .entries()
            .iter()
            .filter(|e| !NAMES.contains(&e.key.as_str()));
        let conditions = said.filter(|e| !is_empty(&e.value));
        Match {
            conditions: conditions.map(|e| (e.key.as_str(), &e.value)).collect(),
            node,
        }
    };
    listed.into_iter().map(read).collect()
}

fn is_empty(value: &Value) -> bool {
    match &value.data {
        Data::Null => true,
        Data::Map(entries) => entries.is_empty(),
        Data::List(items) => items.is_empty(),
        _ => false,
    }
}

/// Whether every request of `other` is one of `first`, as far as the texts tell.
fn covers(first: &Match<'_>, other: &Match<'_>) -> bool {
    // Of a wrong match nothing can be told.
    let readable = |one: &Match<'_>| matches!(one.node.value.data, Data::Map(_));
    readable(first)
        && readable(other)
        && first.conditions.iter().all(|(key, value)| match *key {
            "uri" => uri(first, other),
            // It says something of the path only, which is compared above.
            "ignoreUriCase" => true,
            key if MAPS.contains(&key) => other
                .conditions
                .get(key)
                .is_some_and(|own| contains(own, value)),
            key => other
                .conditions
                .get(key)
                .is_some_and(|own| same(own, value)),
        })
}

fn uri(first: &Match<'_>, other: &Match<'_>) -> bool {
    let (Some(wide), Some(narrow)) = (first.conditions.get("uri"), other.conditions.get("uri"))
    else {
        return false;
    };
    let ignores = |one: &Match<'_>| {
        let said = one.conditions.get("ignoreUriCase");
        said.is_some_and(|value| value.data == Data::Bool(true))
    };
    if ignores(first) != ignores(other) {
        return false;
    }
    if same(wide, narrow) {
        return true;
    }
    let text =
        |value: &'_ Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let Some(prefix) = text(wide, "prefix") else {
        return false;
    };
    let path = text(narrow, "prefix").or_else(|| text(narrow, "exact"));
    path.is_some_and(|path| path.starts_with(&prefix))
}

/// Whether a mapping has all entries of another.
fn contains(map: &Value, wanted: &Value) -> bool {
    let (Data::Map(_), Data::Map(wanted)) = (&map.data, &wanted.data) else {
        return false;
    };
    let has = |key: &str, value| map.entry(key).is_some_and(|e| same(&e.value, value));
    wanted.iter().all(|entry| has(&entry.key, &entry.value))
}

/// Whether two nodes say the same, wherever they stand.
fn same(a: &Value, b: &Value) -> bool {
    match (&a.data, &b.data) {
        (Data::Map(x), Data::Map(y)) => x.len() == y.len() && contains(a, b),
        (Data::List(x), Data::List(y)) => {
            x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same(x, y))
        }
        (x, y) => x == y,
    }
}
