//! Envoy's RBAC: the engine against a plain reading of the rules, and the rules that must not be got wrong, one by one.

use std::cell::RefCell;

use dice::Dice;
use mesh_core::authz::{Outcome, Verdict};
use model::{Held, Rules};
use reference::{Counts, MISTAKES, Mistake, Reader};

#[path = "authz/dice.rs"]
mod dice;
#[path = "authz/model.rs"]
mod model;
#[path = "authz/reference.rs"]
mod reference;
#[path = "authz/sound.rs"]
mod sound;
#[path = "authz/table.rs"]
mod table;

const SEED: u64 = 20_261_123;
const CASES: u64 = 30_000;

/// The cases on which engine and reference differ, by their seeds; what the arms said is counted on the way. Each case has
/// its own seed, so that it can be run alone.
fn differences(mistake: Mistake, counts: &RefCell<Counts>) -> impl Iterator<Item = (u64, String)> {
    (SEED..SEED + CASES).filter_map(move |seed| Some((seed, difference(seed, mistake, counts)?)))
}

fn difference(seed: u64, mistake: Mistake, counts: &RefCell<Counts>) -> Option<String> {
    let mut dice = Dice::new(seed);
    let (rules, shadow, world) = (dice.some_rules(), dice.some_rules(), dice.world());
    let reader = Reader {
        world: &world,
        mistake,
        counts,
    };
    let expected = |rules: &Option<Rules>| rules.as_ref().map(|rules| reader.verdict(rules));
    let (mut enforced, tried) = (expected(&rules), expected(&shadow));
    let passes = enforced.is_none_or(|(passes, ..)| passes);
    if mistake == Mistake::ShadowDecides && tried.is_some_and(|(passes, ..)| !passes) {
        enforced = tried;
    }
    let held = Held::of(&world);
    let rbac = model::rbac(rules.as_ref(), shadow.as_ref());
    let decided = rbac.decide(&held.facts(&world));
    let own = (
        decided.verdict == Verdict::Pass,
        said(decided.enforced) == enforced,
        said(decided.shadow) == tried,
    );
    (own != (passes, true, true)).then(|| {
        format!("{decided:?} instead of {enforced:?} and {tried:?}:\n{rules:?}\nshadow {shadow:?}\n{world:?}")
    })
}

fn said<'a>(outcome: Option<Outcome<'a>>) -> Option<(bool, Option<&'a str>, Option<&'a str>)> {
    outcome.map(|it| (it.verdict == Verdict::Pass, it.met, it.unsure))
}

#[test]
fn engine_and_plain_reading_agree() {
    let counts = RefCell::default();
    let mut different: Vec<_> = differences(Mistake::None, &counts).collect();
    eprintln!(
        "{CASES} cases from seed {SEED} on, {} differ",
        different.len()
    );
    let counts = counts.into_inner();
    for (arm, [yes, no, unknown]) in &counts {
        eprintln!("{arm:24} {yes:7} yes {no:7} no {unknown:7} unknown");
    }
    different.sort_by_key(|(_, text)| text.len());
    if let Some((seed, text)) = different.first() {
        panic!(
            "{} of {CASES} differ, the shortest by seed {seed}: {text}",
            different.len()
        );
    }
    assert_eq!(counts.len(), 26, "an arm was lost: {:?}", counts.keys());
    let unsure = [
        "uri_template",
        "authenticated",
        "principal_name",
        "permission metadata",
        "principal metadata",
        "policy",
    ];
    let sets = [
        "and_rules",
        "or_rules",
        "not_rule",
        "and_ids",
        "or_ids",
        "not_id",
    ];
    for (arm, [yes, no, unknown]) in counts {
        assert!(yes >= 100, "{arm} was hit {yes} times");
        assert!(no >= 100 || arm == "any", "{arm} was missed {no} times");
        let is_unsure = unsure.contains(&arm) || sets.contains(&arm);
        assert!(
            unknown >= 100 || !is_unsure,
            "{arm} was unknown {unknown} times"
        );
        assert!(
            unknown == 0 || is_unsure,
            "{arm} was unknown {unknown} times"
        );
    }
}

/// Each way to read the rules wrongly would be noticed.
#[test]
fn a_wrong_reading_differs() {
    for mistake in MISTAKES {
        let first = differences(*mistake, &RefCell::default()).next();
        let (seed, _) = first.unwrap_or_else(|| panic!("{mistake:?} is not found"));
        eprintln!("{mistake:?}: found after {} cases", seed - SEED);
    }
}
