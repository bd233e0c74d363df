//! Delegates: the routes of one `VirtualService` in the place of a route of another.

use crate::decode::Labels;
use crate::kinds::http_match::{Claim, HttpMatch, StringMatch};

use super::{Action, Delegation, HttpRoute, Policy};

/// The routes of a delegate as the delegating route wants them, and the names of those that do not fit its matches.
pub(crate) fn merge(root: &Delegation, delegate: &[HttpRoute]) -> (Vec<HttpRoute>, Vec<String>) {
    let (mut out, mut lost) = (Vec::new(), Vec::new());
    for route in delegate {
        match matches(&root.policy.matches, &route.policy.matches) {
            None => lost.push(route.policy.name.clone()),
            Some(matches) => out.push(HttpRoute {
                policy: inherit(&root.policy, route.policy.clone(), matches),
                action: match (&route.action, &root.answer) {
                    (Action::Forward(_), Some(answer)) => Action::Respond(answer.clone()),
                    (own, _) => own.clone(),
                },
            }),
        }
    }
    (out, lost)
}

/// What the delegate's route says counts; what it does not say is the root's.
fn inherit(root: &Policy, own: Policy, matches: Vec<HttpMatch>) -> Policy {
    let mut mirrors = own.mirrors;
    mirrors.one = mirrors.one.or_else(|| root.mirrors.one.clone());
    mirrors.percentage = mirrors.percentage.or(root.mirrors.percentage);
    mirrors.percent = mirrors.percent.or(root.mirrors.percent);
    if mirrors.many.is_empty() {
        mirrors.many.clone_from(&root.mirrors.many);
    }
    Policy {
        name: joined(&root.name, own.name),
        matches,
        headers: own.headers.or_else(|| root.headers.clone()),
        rewrite: own.rewrite.or_else(|| root.rewrite.clone()),
        timeout: own.timeout.or(root.timeout),
        retries: own.retries.or_else(|| root.retries.clone()),
        fault: own.fault.or_else(|| root.fault.clone()),
        mirrors,
        cors: own.cors.or_else(|| root.cors.clone()),
    }
}

fn joined(root: &str, own: String) -> String {
    match (root.is_empty(), own.is_empty()) {
        (true, _) => own,
        (false, true) => root.to_owned(),
        (false, false) => format!("{root}-{own}"),
    }
}

/// Both must hold. Nothing where a match of the delegate lies in none of the root's.
fn matches(root: &[HttpMatch], own: &[HttpMatch]) -> Option<Vec<HttpMatch>> {
    if root.is_empty() || own.is_empty() {
        return Some([root, own].concat());
    }
    let mut out = Vec::new();
    for leaf in own {
        let before = out.len();
        let wider = root.iter().filter(|root| !conflict(root, leaf));
        out.extend(wider.map(|root| both(root, leaf)));
        if out.len() == before {
            return None;
        }
    }
    Some(out)
}

fn both(root: &HttpMatch, leaf: &HttpMatch) -> HttpMatch {
    let own = leaf.clone();
    let mut source_labels = root.source_labels.clone();
    source_labels.extend(own.source_labels);
    let is_set = |namespace: &String| !namespace.is_empty();
    HttpMatch {
        name: joined(&root.name, own.name),
        stat_prefix: match own.stat_prefix.is_empty() {
            true => root.stat_prefix.clone(),
            false => own.stat_prefix,
        },
        uri: own.uri.or_else(|| root.uri.clone()),
        ignore_uri_case: own.ignore_uri_case,
        whole_segments: own.whole_segments,
        scheme: own.scheme.or_else(|| root.scheme.clone()),
        method: own.method.or_else(|| root.method.clone()),
        authority: own.authority.or_else(|| root.authority.clone()),
        headers: by_name(&root.headers, own.headers),
        without_headers: by_name(&root.without_headers, own.without_headers),
        claims: claims(&root.claims, own.claims),
        query: by_name(&root.query, own.query),
        port: own.port.or(root.port),
        source_labels,
        source_namespace: own
            .source_namespace
            .filter(is_set)
            .or_else(|| root.source_namespace.clone()),
        gateways: match own.gateways.is_empty() {
            true => root.gateways.clone(),
            false => own.gateways,
        },
    }
}

type Named = (String, StringMatch);

fn by_name(root: &[Named], own: Vec<Named>) -> Vec<Named> {
    let inherited = root
        .iter()
        .filter(|(name, _)| !own.iter().any(|(n, _)| n == name));
    let mut out: Vec<Named> = inherited.cloned().collect();
    out.extend(own);
    out.sort_by(|a, b| a.0.cmp(&b.0));
    out
}

fn claims(root: &[Claim], own: Vec<Claim>) -> Vec<Claim> {
    let same = |a: &Claim, b: &Claim| a.name == b.name && a.invert == b.invert;
    let inherited = root.iter().filter(|r| !own.iter().any(|o| same(o, r)));
    let mut out: Vec<Claim> = inherited.cloned().collect();
    out.extend(own);
    out
}

/// Whether there may be requests of the delegate's match that are none of the root's. istiod decides this by what
/// it can tell from the texts, and leaves such routes out.
fn conflict(root: &HttpMatch, leaf: &HttpMatch) -> bool {
    let pairs = [
        (&root.uri, &leaf.uri),
        (&root.scheme, &leaf.scheme),
        (&root.method, &leaf.method),
        (&root.authority, &leaf.authority),
    ];
    let texts = |pair: (&Option<StringMatch>, &Option<StringMatch>)| match pair {
        (Some(root), Some(leaf)) => !within(root, leaf),
        _ => false,
    };
    pairs.into_iter().any(texts)
        || named(&root.headers, &leaf.headers)
        || named(&root.without_headers, &leaf.without_headers)
        || named(&root.query, &leaf.query)
        || root.ignore_uri_case != leaf.ignore_uri_case
        || matches!((root.port, leaf.port), (Some(a), Some(b)) if a != b)
        || root.source_namespace.as_ref().is_some_and(|wanted| {
            !wanted.is_empty() && leaf.source_namespace.as_ref() != Some(wanted)
        })
        || labels(&root.source_labels, &leaf.source_labels)
        || !root.gateways.is_empty() && leaf.gateways.iter().any(|g| !root.gateways.contains(g))
}

fn labels(root: &Labels, leaf: &Labels) -> bool {
    let differs = |(name, value): (&String, &String)| root.get(name).is_some_and(|v| v != value);
    leaf.iter().any(differs)
}

fn named(root: &[Named], leaf: &[Named]) -> bool {
    let differs = |(name, value): &Named| {
        let known = root.iter().find(|(known, _)| known == name);
        known.is_some_and(|(_, known)| !within(known, value))
    };
    leaf.iter().any(differs)
}

/// Whether the texts of one match can be told to be among those of another.
fn within(root: &StringMatch, leaf: &StringMatch) -> bool {
    match (root, leaf) {
        (StringMatch::Exact(root), StringMatch::Exact(leaf)) => root == leaf && !root.is_empty(),
        (StringMatch::Prefix(root), StringMatch::Prefix(leaf) | StringMatch::Exact(leaf)) => {
            leaf.starts_with(root) && !root.is_empty()
        }
        _ => false,
    }
}
