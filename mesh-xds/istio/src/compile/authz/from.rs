//! Who a caller must be, as Envoy's `Principal`.

use std::collections::BTreeSet;

use envoy_types::pb::envoy::config::rbac::v3::{Principal, principal};
use envoy_types::pb::envoy::r#type::matcher::v3::{
    MetadataMatcher, StringMatcher, string_matcher::MatchPattern,
};
use principal::Identifier;

use crate::kinds::authorization_policy::{Account, Both, From, Pattern};
use crate::kinds::mesh_config::TRUST_DOMAIN;

use super::matcher;

/// The filter that verifies tokens, and what it keeps their claims under.
const JWT: &str = "envoy.filters.http.jwt_authn";
const PAYLOAD: &str = "payload";

/// Whether only a request tells it.
pub(super) fn is_http(term: &From) -> bool {
    matches!(
        term,
        From::RequestPrincipal(_) | From::Header(..) | From::Claim(..)
    )
}

pub(super) fn any() -> Principal {
    of(Identifier::Any(true))
}

pub(super) fn not(principal: Principal) -> Principal {
    of(Identifier::NotId(Box::new(principal)))
}

/// All that a source says.
pub(super) fn principal<'a>(
    terms: impl Iterator<Item = &'a From>,
    trust_domains: &[String],
) -> Principal {
    let mut ids: Vec<_> = terms.flat_map(|of| term(of, trust_domains)).collect();
    if ids.is_empty() {
        ids.push(any());
    }
    and(ids)
}

/// The same for who knows no aliases of trust domains.
pub(super) fn as_written<'a>(terms: impl Iterator<Item = &'a From>) -> Principal {
    principal(terms, &[])
}

fn of(identifier: Identifier) -> Principal {
    Principal {
        identifier: Some(identifier),
    }
}

fn and(ids: Vec<Principal>) -> Principal {
    of(Identifier::AndIds(principal::Set { ids }))
}

fn term(term: &From, trust_domains: &[String]) -> Vec<Principal> {
    match term {
        From::Principal(names) => {
            let names = map(names, |name| aliases(name, trust_domains));
            both(&names, |name| proven(by_name(name)))
        }
        From::TrustDomain(domains) => {
            let mut domains = map(domains, |domain| match trust_domains.contains(domain) {
                true => trust_domains.to_vec(),
                false => vec![domain.clone()],
            });
            for list in [&mut domains.any, &mut domains.none] {
                let mut seen = BTreeSet::new();
                list.retain(|domain| seen.insert(domain.clone()));
            }
            both(&domains, |domain| proven(by_domain(domain)))
        }
        From::Namespace(names) => both(names, |name| {
            let name = name.replace('*', ".*");
            proven(matcher::regex(format!(".*/ns/{name}/.*")))
        }),
        From::Account(accounts) => both(accounts, |account| proven(by_account(account))),
        From::Remote(blocks) => both(blocks, |block| Identifier::RemoteIp(matcher::cidr(block))),
        From::Direct(blocks) => both(blocks, |block| {
            Identifier::DirectRemoteIp(matcher::cidr(block))
        }),
        From::Header(name, values) => both(values, |value| {
            Identifier::Header(matcher::header(name, value, false))
        }),
        From::RequestPrincipal(names) => whole(names, tokens),
        From::Claim(claim, values) => whole(values, |values| claims(claim, values)),
    }
}

/// One of the values, and none of those that are excluded.
fn both<T>(values: &Both<T>, identifier: impl Fn(&T) -> Identifier) -> Vec<Principal> {
    whole(values, |values| {
        let ids = values.iter().map(|value| of(identifier(value))).collect();
        of(Identifier::OrIds(principal::Set { ids }))
    })
}

/// The same where one identifier says all values of a list.
fn whole<T>(values: &Both<T>, principal: impl Fn(&[T]) -> Principal) -> Vec<Principal> {
    let some = |values: &[T]| (!values.is_empty()).then(|| principal(values));
    let (any, none) = (some(&values.any), some(&values.none));
    any.into_iter().chain(none.map(not)).collect()
}

/// Each value as several.
fn map<T>(values: &Both<T>, each: impl Fn(&T) -> Vec<T>) -> Both<T> {
    Both {
        any: values.any.iter().flat_map(&each).collect(),
        none: values.none.iter().flat_map(&each).collect(),
    }
}

/// A principal in every trust domain of the mesh, if it is in one; `cluster.local` stands for the mesh's own.
fn aliases(name: &str, trust_domains: &[String]) -> Vec<String> {
    let parts: Vec<_> = name.split('/').collect();
    let [domain, rest @ ..] = &parts[..] else {
        return vec![name.to_owned()];
    };
    let is_ours = |own: &String| own == domain || fits(domain, own) || fits(own, domain);
    let names_one = rest.len() == 4 && *domain != "*" && !trust_domains.is_empty();
    if !names_one || !(trust_domains.iter().any(is_ours) || *domain == TRUST_DOMAIN) {
        return vec![name.to_owned()];
    }
    let mut out: Vec<String> = Vec::new();
    for own in trust_domains {
        // What stands for several domains stays as it is for those.
        let ends = domain.strip_prefix('*');
        let name = match ends.is_some_and(|end| own.ends_with(end)) {
            true => name.to_owned(),
            false => format!("{own}/{}", rest.join("/")),
        };
        if !out.contains(&name) {
            out.push(name);
        }
    }
    out
}

/// Whether a pattern with `*` at an end has a text.
fn fits(pattern: &str, text: &str) -> bool {
    let start = pattern.strip_suffix('*');
    let end = pattern.strip_prefix('*');
    start.is_some_and(|start| text.starts_with(start)) || end.is_some_and(|end| text.ends_with(end))
}

fn proven(name: StringMatcher) -> Identifier {
    Identifier::Authenticated(principal::Authenticated {
        principal_name: Some(name),
    })
}

fn by_name(name: &str) -> StringMatcher {
    match Pattern::of(name) {
        Pattern::Any => matcher::regex(matcher::ANY.to_owned()),
        Pattern::Suffix(end) => matcher::regex(format!("spiffe://.*{end}")),
        Pattern::Prefix(start) => matcher::text(MatchPattern::Prefix(format!("spiffe://{start}"))),
        Pattern::Exact(all) => matcher::text(MatchPattern::Exact(format!("spiffe://{all}"))),
    }
}

fn by_domain(domain: &str) -> StringMatcher {
    match domain.split_once('*') {
        _ if domain == "*" => matcher::text(MatchPattern::Prefix("spiffe://".to_owned())),
        None => matcher::text(MatchPattern::Prefix(format!("spiffe://{domain}/"))),
        Some((start, end)) => {
            let (start, end) = (quoted(start), quoted(end));
            matcher::regex(format!("spiffe://{start}[^/]*{end}/.*"))
        }
    }
}

/// Before and after the account a name may say more, in steps of its own.
fn by_account(account: &Account) -> StringMatcher {
    let (namespace, name) = (quoted(&account.namespace), quoted(&account.name));
    matcher::regex(format!("spiffe://.+/ns/{namespace}/(.+/|)sa/{name}(/.+)?"))
}

/// Go's `regexp.QuoteMeta`, which leaves alone what needs no escape outside of brackets.
fn quoted(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Issuer and subject of a token, `ISSUER/SUBJECT`, with `*` at an end.
fn tokens(names: &[String]) -> Principal {
    let one = |name: &String| {
        let (issuer, subject) = token(name);
        and(vec![
            claim(&["iss"], matcher::text_value(issuer)),
            claim(&["sub"], matcher::text_value(subject)),
        ])
    };
    let mut ids: Vec<_> = names.iter().map(one).collect();
    match ids.len() {
        1 => ids.remove(0),
        _ => of(Identifier::OrIds(principal::Set { ids })),
    }
}

/// The issuer may hold slashes; `*` alone stands for any text.
fn token(name: &str) -> (StringMatcher, StringMatcher) {
    let any = || matcher::regex(matcher::ANY.to_owned());
    let exact = |text: &str| matcher::text(MatchPattern::Exact(text.to_owned()));
    let split = name.rsplit_once('/');
    match (name, split) {
        ("*", _) => (any(), any()),
        (name, Some((issuer, subject))) if name.starts_with('*') => {
            let end = issuer.strip_prefix('*').unwrap_or(issuer);
            let issuer = match end {
                "" => any(),
                end => matcher::text(MatchPattern::Suffix(end.to_owned())),
            };
            (issuer, exact(subject))
        }
        (name, None) if name.starts_with('*') => {
            let end = name.trim_start_matches('*').to_owned();
            (any(), matcher::text(MatchPattern::Suffix(end)))
        }
        (name, Some((issuer, subject))) if name.ends_with('*') => {
            let subject = match subject.strip_suffix('*') {
                Some("") | None => any(),
                Some(start) => matcher::text(MatchPattern::Prefix(start.to_owned())),
            };
            (exact(issuer), subject)
        }
        (name, None) if name.ends_with('*') => {
            let start = name.strip_suffix('*').unwrap_or(name).to_owned();
            (matcher::text(MatchPattern::Prefix(start)), any())
        }
        (_, Some((issuer, subject))) => (exact(issuer), exact(subject)),
        (name, None) => (exact(name), exact("")),
    }
}

/// A claim of one text, or of a list that has it.
fn claims(path: &[String], values: &[Pattern]) -> Principal {
    let texts = values
        .iter()
        .map(|value| matcher::text_value(matcher::pattern(value)));
    let value = matcher::or(texts.collect());
    let either = matcher::or(vec![matcher::listed(value.clone()), value]);
    let path: Vec<_> = path.iter().map(String::as_str).collect();
    claim(&path, either)
}

fn claim(
    path: &[&str],
    value: envoy_types::pb::envoy::r#type::matcher::v3::ValueMatcher,
) -> Principal {
    let path = [PAYLOAD].into_iter().chain(path.iter().copied());
    by_metadata(matcher::metadata(JWT, path, value))
}

// Metadata of the request itself is deprecated in Envoy, and what istiod sends.
#[allow(deprecated)]
fn by_metadata(of_request: MetadataMatcher) -> Principal {
    of(Identifier::Metadata(of_request))
}
