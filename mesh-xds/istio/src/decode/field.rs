//! Which field of a document stands at a place: faults are found by position, people look for a path.

use std::collections::HashMap;
use std::fmt::Write as _;

use crate::diagnostic::Diagnostic;
use crate::yaml::{Data, Position, Value};

/// One step from a node to one below it.
#[derive(Clone, Copy)]
enum Step<'a> {
    Key(&'a str),
    Item(usize),
}

/// The nodes that stand at the places asked for, the outer ones first.
type Places = HashMap<Position, Vec<String>>;

/// Writes the path of each diagnostic that has a place in the document; one walk serves all of them.
pub(super) fn locate<'d>(document: &Value, diagnostics: impl Iterator<Item = &'d mut Diagnostic>) {
    let place = |d: &Diagnostic| Position {
        line: d.line,
        column: d.column,
    };
    let mut diagnostics: Vec<_> = diagnostics.filter(|d| d.path.is_empty()).collect();
    let mut places: Places = diagnostics.iter().map(|d| (place(d), Vec::new())).collect();
    if places.is_empty() {
        return;
    }
    walk(document, &mut Vec::new(), &mut places);
    for diagnostic in &mut diagnostics {
        let found = places
            .get(&place(diagnostic))
            .map_or(&[][..], Vec::as_slice);
        diagnostic.path = choose(found, &diagnostic.message);
    }
}

fn walk<'a>(node: &'a Value, steps: &mut Vec<Step<'a>>, places: &mut Places) {
    if let Some(found) = places.get_mut(&node.at) {
        add(found, steps);
    }
    match &node.data {
        Data::Map(entries) => {
            for entry in entries {
                steps.push(Step::Key(&entry.key));
                if let Some(found) = places.get_mut(&entry.at) {
                    add(found, steps);
                }
                walk(&entry.value, steps, places);
                steps.pop();
            }
        }
        Data::List(items) => {
            for (index, item) in items.iter().enumerate() {
                steps.push(Step::Item(index));
                walk(item, steps, places);
                steps.pop();
            }
        }
        _ => {}
    }
}

/// What an alias repeats stands at one place many times: the first of them are enough.
const MOST: usize = 8;

fn add(found: &mut Vec<String>, steps: &[Step<'_>]) {
    if steps.is_empty() || found.len() >= MOST {
        return;
    }
    let mut path = String::new();
    for step in steps {
        // Writing to a string does not fail.
        let _ = match step {
            Step::Key(key) if path.is_empty() => write!(path, "{key}"),
            Step::Key(key) => write!(path, ".{key}"),
            Step::Item(index) => write!(path, "[{index}]"),
        };
    }
    found.push(path);
}

/// A mapping without braces stands where its first key stands: the message tells which of the two it is about.
fn choose(found: &[String], message: &str) -> String {
    let named = |path: &&String| {
        let last = path.rsplit('.').next().unwrap_or(path);
        message.contains(if last.ends_with(']') { path } else { last })
    };
    let chosen = found.iter().rev().find(named).or_else(|| found.first());
    chosen.cloned().unwrap_or_default()
}
