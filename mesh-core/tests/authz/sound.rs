//! What nobody knows lets nobody in: a request that passes without the answer of some test passes whatever the answer is.
//! It holds of any rules, and needs no reading of them.

use crate::dice::Dice;
use crate::model::{self, Action, Claim, Foreign, Held, Rule, Rules, Wanted, What, Who, World};
use crate::{CASES, SEED};
use mesh_core::authz::Verdict;

/// What a leaf is replaced by.
#[derive(Clone, Copy)]
enum Answer {
    Unknown,
    Yes,
    No,
}

fn unknown() -> Claim {
    Claim {
        is_foreign: Some(Foreign::Filter),
        path: vec!["payload"],
        value: Wanted::Present(true),
        invert: false,
    }
}

/// The same rules with another answer at one of their leaves, counted from the first.
struct Replaced {
    left: usize,
    answer: Answer,
}

impl Replaced {
    fn rules(mut self, rules: &Rules) -> (Rules, usize) {
        let mut rules = rules.clone();
        for policy in &mut rules.policies {
            for rule in &mut policy.permissions {
                self.visit(rule, || Rule::Is(What::Metadata(unknown())));
            }
            for rule in &mut policy.principals {
                self.visit(rule, || Rule::Is(Who::Metadata(unknown())));
            }
        }
        (rules, self.left)
    }

    fn visit<T>(&mut self, rule: &mut Rule<T>, unknown: fn() -> Rule<T>) {
        match rule {
            Rule::And(all) | Rule::Or(all) => {
                all.iter_mut().for_each(|one| self.visit(one, unknown));
            }
            Rule::Not(inner) => self.visit(inner, unknown),
            Rule::Any | Rule::Is(_) => {
                if self.left == 0 {
                    *rule = match self.answer {
                        Answer::Unknown => unknown(),
                        Answer::Yes => Rule::Any,
                        Answer::No => Rule::Not(Box::new(Rule::Any)),
                    };
                }
                // Past the end it counts on from the top, and so meets no other leaf.
                self.left = self.left.wrapping_sub(1);
            }
        }
    }
}

fn leaves(rules: &Rules) -> usize {
    let far = Replaced {
        left: usize::MAX,
        answer: Answer::No,
    };
    usize::MAX - far.rules(rules).1
}

fn passes(rules: &Rules, world: &World) -> bool {
    let held = Held::of(world);
    let rbac = model::rbac(Some(rules), None);
    rbac.decide(&held.facts(world)).verdict == Verdict::Pass
}

/// How many requests that passed with `taken` for the unknown would not have passed with an answer, of how many.
fn unsound(taken: Answer) -> (u64, u64) {
    let (mut found, mut all) = (0, 0);
    for seed in SEED..SEED + CASES / 10 {
        let mut dice = Dice::new(seed);
        let (rules, world) = (dice.rules(), dice.world());
        let many = leaves(&rules);
        if many == 0 || rules.action == Action::Log {
            continue;
        }
        let at = dice.below(many);
        let with = |answer| Replaced { left: at, answer }.rules(&rules).0;
        if !passes(&with(taken), &world) {
            continue;
        }
        all += 1;
        let kept = passes(&with(Answer::Yes), &world) && passes(&with(Answer::No), &world);
        found += u64::from(!kept);
    }
    (found, all)
}

#[test]
fn what_is_not_known_lets_nobody_in() {
    let (found, all) = unsound(Answer::Unknown);
    eprintln!("{found} of {all} requests that passed would not have, had the answer been known");
    assert_eq!(found, 0, "seeds from {SEED} on");
    assert!(all > 500, "only {all} passed");
}

/// An engine that took what it does not know for yes or for no would be noticed.
#[test]
fn a_guess_would_let_somebody_in() {
    for guess in [Answer::Yes, Answer::No] {
        let (found, all) = unsound(guess);
        eprintln!("{found} of {all}");
        assert!(found > 100, "{found} of {all}");
    }
}
