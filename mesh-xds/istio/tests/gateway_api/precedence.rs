//! The order of rules, against the words of the API read plainly: among the matches that hold for a request, one that
//! no other beats.

use super::*;
use proptest::prelude::*;

/// A match: path kind (0 exact, 1 prefix), its path, method, numbers of headers and of parameters.
type Match = (bool, usize, bool, usize, usize);

const PATHS: [&str; 4] = ["/", "/a", "/a/b", "/a/b/c"];

fn yaml((exact, path, method, headers, query): Match) -> String {
    let kind = if exact { "Exact" } else { "PathPrefix" };
    let list = |n: usize| {
        let each = (0..n).map(|i| format!("{{ name: k{i}, value: v }}"));
        each.collect::<Vec<_>>().join(", ")
    };
    let method = if method { "method: PUT, " } else { "" };
    format!(
        "{{ {method}path: {{ type: {kind}, value: {} }}, headers: [ {} ], queryParams: [ {} ] }}",
        PATHS[path],
        list(headers),
        list(query)
    )
}

/// Whether the API wants `a` tried before `b`: the criteria one by one, in its order.
fn beats(a: Match, b: Match) -> Option<bool> {
    if a.0 != b.0 {
        return Some(a.0);
    }
    // The length counts of prefixes; two exact paths of different lengths never hold for one request.
    if !a.0 && PATHS[a.1].len() != PATHS[b.1].len() {
        return Some(PATHS[a.1].len() > PATHS[b.1].len());
    }
    if a.0 && a.1 != b.1 {
        return None;
    }
    if a.2 != b.2 {
        return Some(a.2);
    }
    if a.3 != b.3 {
        return Some(a.3 > b.3);
    }
    (a.4 != b.4).then_some(a.4 > b.4)
}

/// The routes, each named by object and place; objects are younger the later they stand, as `ages` says.
fn order(objects: &[(u8, Vec<Match>)]) -> Vec<(usize, usize)> {
    let mut text = services();
    for (i, (age, matches)) in objects.iter().enumerate() {
        let rules: String = matches
            .iter()
            .enumerate()
            .map(|(j, m)| format!("  - name: n{i}-{j}\n    matches: [ {} ]\n", yaml(*m)))
            .collect();
        let object = object("HTTPRoute", &format!("r{i}"), &rules);
        let made = format!("creationTimestamp: '2026-01-0{age}T00:00:00Z', name: r{i}");
        text += &object.replace(&format!("name: r{i},"), &format!("{made},"));
    }
    let place = |route: &Route| {
        let (i, j) = route.name.strip_prefix('n')?.split_once('-')?;
        Some((i.parse().ok()?, j.parse().ok()?))
    };
    compiled(&text).iter().filter_map(place).collect()
}

/// The first pair that stands in an order which the API forbids.
fn fault(objects: &[(u8, Vec<Match>)], order: &[(usize, usize)]) -> Option<String> {
    for (at, &a) in order.iter().enumerate() {
        for &b in &order[at + 1..] {
            let (one, other) = (objects[a.0].1[a.1], objects[b.0].1[b.1]);
            let wrong = match beats(one, other) {
                Some(first) => !first,
                // Older first, then by name, then by place.
                None if one.0 && one.1 != other.1 => false,
                None => (objects[a.0].0, a.0, a.1) > (objects[b.0].0, b.0, b.1),
            };
            if wrong {
                return Some(format!("{a:?} before {b:?}"));
            }
        }
    }
    None
}

fn a_match() -> impl Strategy<Value = Match> {
    (
        any::<bool>(),
        0..4_usize,
        any::<bool>(),
        0..3_usize,
        0..3_usize,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn rules_stand_in_the_order_of_the_api(
        objects in proptest::collection::vec((1..4_u8, proptest::collection::vec(a_match(), 1..4)), 1..4)
    ) {
        let found = order(&objects);
        let all: usize = objects.iter().map(|(_, matches)| matches.len()).sum();
        // Only a match of everything ends the list before its end.
        let last = found.last().map(|&(i, j)| objects[i].1[j]);
        prop_assert!(found.len() == all || last == Some((false, 0, false, 0, 0)));
        prop_assert_eq!(fault(&objects, &found), None);
    }
}

/// What the file says first is not what is tried first: the plain order is told to be wrong.
#[test]
fn the_reference_finds_a_wrong_order() {
    let objects = [
        (2, vec![(false, 0, false, 1, 0), (true, 1, false, 0, 0)]),
        (1, vec![(false, 0, false, 1, 0)]),
    ];
    assert!(fault(&objects, &[(0, 0), (0, 1), (1, 0)]).is_some());
    assert!(
        fault(&objects, &[(0, 1), (0, 0), (1, 0)]).is_some(),
        "by age"
    );
    assert_eq!(fault(&objects, &[(0, 1), (1, 0), (0, 0)]), None);
    assert_eq!(order(&objects), [(0, 1), (1, 0), (0, 0)]);
}
