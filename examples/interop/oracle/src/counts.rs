//! How often each kind of test decided, and how often each field was set.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::feature::{Feature, Features};
use crate::reference::{DOMAIN_KINDS, HEADER_TESTS, PATH_KINDS, QUERY_TESTS};

/// What every kind must reach, hits and misses each.
pub(crate) const ENOUGH: u64 = 100;

/// What faults do, and the flags by which Envoy tells it.
pub(crate) const FAULTS: [(&str, &str); 3] = [
    ("fault delay", "DI"),
    ("fault abort", "FI"),
    ("fault delay and abort", "DI,FI"),
];

/// Hits and misses by kind.
#[derive(Debug, Default)]
pub(crate) struct Counts(BTreeMap<String, (u64, u64)>);

impl Counts {
    /// Counts one test.
    pub(crate) fn add(&mut self, kind: &str, hit: bool) {
        let (hits, misses) = self.0.entry(kind.to_owned()).or_default();
        *if hit { hits } else { misses } += 1;
    }

    /// Every kind with its counts, also those that never occurred.
    pub(crate) fn table(&self, features: &Features) -> String {
        let mut text =
            String::from("decisive tests                                    hits    misses\n");
        let mut all = self.0.clone();
        for kind in kinds(features) {
            all.entry(kind).or_default();
        }
        for (kind, (hits, misses)) in all {
            let _ = writeln!(text, "  {kind:<44} {hits:>8} {misses:>8}");
        }
        text
    }

    /// The kinds that stayed below [`ENOUGH`].
    pub(crate) fn too_few(&self, features: &Features) -> Vec<String> {
        let count = |kind: &String| self.0.get(kind).copied().unwrap_or_default();
        let mut few = kinds(features);
        few.retain(|kind| {
            let (hits, misses) = count(kind);
            hits < ENOUGH && can_hit(kind) || misses < ENOUGH && can_miss(kind)
        });
        few
    }
}

/// A missing header that counts as empty is there: it can be neither absent nor not present.
fn can_hit(kind: &str) -> bool {
    !matches!(
        kind,
        "header absent missing-as-empty"
            | "header present inverted missing-as-empty"
            | "header unset inverted missing-as-empty"
    )
}

fn can_miss(kind: &str) -> bool {
    !matches!(
        kind,
        "header absent inverted missing-as-empty"
            | "header present missing-as-empty"
            | "header unset missing-as-empty"
    )
}

/// What must occur with these subjects.
fn kinds(features: &Features) -> Vec<String> {
    if features.has(Feature::Normalized) {
        return Vec::new(); // what is counted are tests of paths as they were sent
    }
    let mut all: Vec<String> = DOMAIN_KINDS
        .iter()
        .chain(PATH_KINDS)
        .map(|kind| (*kind).to_owned())
        .collect();
    if features.has(Feature::Header) {
        for test in HEADER_TESTS {
            for more in [
                "",
                " inverted",
                " missing-as-empty",
                " inverted missing-as-empty",
            ] {
                all.push(format!("header {test}{more}"));
            }
        }
        for of in [
            ":method",
            ":path",
            ":authority",
            ":scheme",
            "host",
            "several values",
        ] {
            all.push(format!("header of {of}"));
        }
    }
    if features.has(Feature::Fault) {
        all.extend(FAULTS.map(|(kind, _)| kind.to_owned()));
    }
    if features.has(Feature::Fraction) {
        all.push("fraction".to_owned());
    }
    if features.has(Feature::Query) {
        all.extend(QUERY_TESTS.iter().map(|kind| (*kind).to_owned()));
    }
    all
}
