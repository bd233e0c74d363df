//! What is in policies: whether Envoy would take them, and which of their tests may be in doubt.

use std::collections::BTreeSet;

use crate::model::{Claim, End, Rule, Rules, Text, Token, Wanted, What, Who, World};

/// Envoy refuses sets without a rule, and `or_match` of fewer than two.
pub(super) fn is_taken(rules: &Rules) -> bool {
    let mut taken = true;
    for policy in &rules.policies {
        for one in &policy.permissions {
            taken &= tree(one, &|what| match what {
                What::Metadata(claim) => is_whole(&claim.value),
                _ => true,
            });
        }
        for one in &policy.principals {
            taken &= tree(one, &|who| match who {
                Who::Metadata(claim) => is_whole(&claim.value),
                _ => true,
            });
        }
    }
    taken
}

fn tree<T>(rule: &Rule<T>, leaf: &impl Fn(&T) -> bool) -> bool {
    match rule {
        Rule::Any => true,
        Rule::And(all) | Rule::Or(all) => !all.is_empty() && all.iter().all(|one| tree(one, leaf)),
        Rule::Not(inner) => tree(inner, leaf),
        Rule::Is(one) => leaf(one),
    }
}

fn is_whole(value: &Wanted) -> bool {
    match value {
        Wanted::Or(each) => each.len() > 1 && each.iter().all(is_whole),
        Wanted::OneOf(inner) => is_whole(inner),
        _ => true,
    }
}

/// What of these rules we may not know of this request, where Envoy answers.
pub(super) fn doubts(rules: &Rules, world: &World) -> BTreeSet<&'static str> {
    let mut found = BTreeSet::new();
    let mut claim = |claim: &Claim| match (claim.is_foreign, &world.token) {
        (Some(_), _) => {
            found.insert("metadata of others");
        }
        (None, Token::NoFilter) => {
            found.insert("claims that nobody verifies");
        }
        _ => {}
    };
    let (mut has_template, mut has_name, mut has_empty) = (false, false, false);
    for policy in &rules.policies {
        for one in &policy.permissions {
            each(one, &mut |what| match what {
                What::Metadata(wanted) => claim(wanted),
                What::Template(_) => has_template = true,
                _ => {}
            });
        }
        for one in &policy.principals {
            each(one, &mut |who| match who {
                Who::Metadata(wanted) => claim(wanted),
                Who::Authenticated(name) => {
                    has_name = true;
                    let name = name.as_ref();
                    has_empty |=
                        name.is_some_and(|it| matches!(it, Text::Exact(it, _) if it.is_empty()));
                }
                _ => {}
            });
        }
    }
    if has_template && world.path.contains(['[', ']']) {
        found.insert("bytes that no template names");
    }
    if has_name && !is_one_workload(&world.end) {
        found.insert("a certificate that is no workload's");
    }
    // Envoy looks there after the names.
    if has_empty && matches!(world.end, End::Certificate { .. }) {
        found.insert("a subject that is empty");
    }
    found
}

fn each<T>(rule: &Rule<T>, seen: &mut impl FnMut(&T)) {
    match rule {
        Rule::Any => {}
        Rule::And(all) | Rule::Or(all) => all.iter().for_each(|one| each(one, seen)),
        Rule::Not(inner) => each(inner, seen),
        Rule::Is(one) => seen(one),
    }
}

fn is_one_workload(end: &End) -> bool {
    match end {
        End::Plaintext => true,
        End::Anonymous => false,
        // A name beside the id is one where Envoy would not look, and we neither.
        End::Certificate {
            uri, dns, subject, ..
        } => {
            uri.len() == 1
                && uri[0].starts_with("spiffe://")
                && dns.is_empty()
                && subject.is_empty()
        }
    }
}
