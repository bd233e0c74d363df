//! Envoy's RBAC: the engine against a plain reading of the rules, and the rules that must not be got wrong, one by one.

use std::cell::RefCell;

use dice::Dice;
use mesh_core::authz::{Outcome, Rbac, ShadowRules, Verdict};
use model::Held;
use reference::{Counts, MISTAKES, Mistake, Reader};

#[path = "authz/dice.rs"]
mod dice;
#[path = "authz/model.rs"]
mod model;
#[path = "authz/reference.rs"]
mod reference;

const SEED: u64 = 20_261_123;
const CASES: u64 = 30_000;

/// The cases on which engine and reference differ, by their seeds; what the arms said is counted on the way. Each case has
/// its own seed, so that it can be run alone.
fn differences(mistake: Mistake, counts: &RefCell<Counts>) -> impl Iterator<Item = (u64, String)> {
    (SEED..SEED + CASES).filter_map(move |seed| Some((seed, difference(seed, mistake, counts)?)))
}

fn difference(seed: u64, mistake: Mistake, counts: &RefCell<Counts>) -> Option<String> {
    let mut dice = Dice::new(seed);
    let (rules, shadow, world) = (dice.rules(), dice.rules(), dice.world());
    let reader = Reader {
        world: &world,
        mistake,
        counts,
    };
    let verdict = |passes| match passes {
        true => Verdict::Pass,
        false => Verdict::Deny,
    };
    let outcome = |(passes, policy)| Outcome {
        verdict: verdict(passes),
        policy,
    };
    let expected = (
        outcome(reader.verdict(&rules)),
        Some(outcome(reader.verdict(&shadow))),
    );
    let rbac = Rbac {
        rules: Some(model::rules(&rules)),
        shadow: Some(ShadowRules {
            prefix: "dry_".into(),
            rules: model::rules(&shadow),
        }),
    };
    let held = Held::of(&world);
    let decided = rbac.decide(&held.facts(&world));
    let own = Outcome {
        verdict: decided.verdict,
        policy: decided.policy,
    };
    let own = (own, decided.shadow);
    (own != expected).then(|| {
        format!("{own:?} instead of {expected:?}:\n{rules:?}\nshadow {shadow:?}\n{world:?}")
    })
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
