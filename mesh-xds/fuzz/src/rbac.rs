//! The body of the fuzz target of policies: from the wire of a server's listener to the verdict about a request.

use std::net::{IpAddr, SocketAddr};

use envoy_types::pb::envoy::config::listener::v3::{Listener, filter::ConfigType};
use envoy_types::pb::envoy::config::rbac::v3::{
    Permission, Policy, Principal, Rbac as Rules, permission::Rule, principal::Identifier,
    rbac::Action,
};
use envoy_types::pb::envoy::config::route::v3::{
    HeaderMatcher, header_matcher::HeaderMatchSpecifier,
};
use envoy_types::pb::envoy::extensions::filters::http::rbac::v3::Rbac as Filter;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_filter,
};
use envoy_types::pb::envoy::r#type::matcher::v3::{
    PathMatcher, StringMatcher, path_matcher, string_matcher::MatchPattern,
};
use envoy_types::pb::google::protobuf::Any;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request};
use mesh_core::authz::{Claims, Facts, Rbac, Verdict};
use mesh_core::identity::Peer;
use mesh_core::request::{Admitted, PathNormalization, admit};
use mesh_core::server::{Chosen, Inbound, Opening, Step};
use mesh_xds::Wanted;
use prost::Message;

use crate::rig::Rig;
use crate::wire::{self, LDS};

const RECORDED: &[u8] = include_bytes!("../../tests/data/virtual_inbound.bin");
/// The chain of that listener for plaintext on the port.
const CHAIN: usize = 9;
const PORT: u16 = 9080;

/// A policy that is taken is wholly understood, and decides as a plain reading of it does. The input is the length of a head
/// in a byte, the head, and the filter's configuration.
pub fn rbac(input: &[u8]) -> Result<(), String> {
    rbac_by(input, true)
}

/// The control: a reading that passes over `not_rule`.
pub fn rbac_broken(input: &[u8]) -> Result<(), String> {
    rbac_by(input, false)
}

fn rbac_by(input: &[u8], negates: bool) -> Result<(), String> {
    let Some((length, rest)) = input.split_first() else {
        return Ok(());
    };
    let (head, bytes) = rest.split_at(usize::from(*length).min(rest.len()));
    let Some(rbac) = taken(bytes)? else {
        return Ok(());
    };
    let filter = Filter::decode(bytes).map_err(|error| format!("taken, and {error}"))?;
    if filter.encoded_len() != bytes.len() {
        return Err("taken with fields that nobody knows".to_owned());
    }
    let Some(head) = admitted(head) else {
        return Ok(());
    };
    let local = SocketAddr::from(([127, 0, 0, 1], PORT));
    let caller = IpAddr::from([10, 0, 0, 1]);
    let facts = Facts {
        seen: head.seen(),
        peer: &Peer::Plaintext,
        local,
        direct: caller,
        remote: caller,
        sni: None,
        claims: Claims::NoFilter,
    };
    let passes = rbac.decide(&facts).verdict == Verdict::Pass;
    let reader = Reader {
        head: &head.into_parts(),
        negates,
    };
    match filter
        .rules
        .as_ref()
        .map_or(Some(true), |rules| reader.passes(rules))
    {
        Some(expected) if expected != passes => Err(format!(
            "passes: {passes}, by the plain reading {expected}: {filter:?}"
        )),
        _ => Ok(()),
    }
}

/// The policy of a listener that is taken; a refused one has a reason.
fn taken(bytes: &[u8]) -> Result<Option<Rbac>, String> {
    let mut rig = Rig::introduced();
    rig.machine.want(Wanted::Inbound);
    rig.sent();
    rig.receive(LDS, "1", vec![wire::any(LDS, &listener(bytes)?)]);
    let inbound = rig.assemble().and_then(|assembled| assembled.inbound);
    let answer = rig
        .sent()
        .into_iter()
        .find_map(|request| request.error_detail);
    match (answer, inbound.as_deref()) {
        (Some(error), _) if error.message.is_empty() => Err("a NACK without a reason".to_owned()),
        (Some(_), Some(Inbound::Rules(_))) => Err("refused, and yet published".to_owned()),
        (Some(_), _) => Ok(None),
        (None, Some(Inbound::Rules(rules))) => {
            let Chosen::Plaintext(pipeline) = rules.port(PORT).choose(&Opening::Plaintext) else {
                return Err("the way is shut".to_owned());
            };
            let mut steps = pipeline.steps.iter();
            let found = steps.find_map(|step| match step {
                Step::Authorize(rbac) => Some(rbac.clone()),
                _ => None,
            });
            found
                .map(Some)
                .ok_or_else(|| "taken, and not there".to_owned())
        }
        (None, other) => Err(format!("neither taken nor refused: {other:?}")),
    }
}

/// One chain of a listener that an istiod sent, with this filter and the router.
fn listener(bytes: &[u8]) -> Result<Listener, String> {
    let told = |error: prost::DecodeError| error.to_string();
    let mut listener = Listener::decode(RECORDED).map_err(told)?;
    listener.filter_chains = vec![listener.filter_chains.swap_remove(CHAIN)];
    let filters = &mut listener.filter_chains[0].filters;
    filters.drain(..filters.len() - 1);
    let Some(ConfigType::TypedConfig(any)) =
        filters.first_mut().and_then(|it| it.config_type.as_mut())
    else {
        return Err("no manager".to_owned());
    };
    let mut manager = HttpConnectionManager::decode(&*any.value).map_err(told)?;
    let router = manager.http_filters.pop().ok_or("no router")?;
    let mut policy = router.clone();
    policy.config_type = Some(http_filter::ConfigType::TypedConfig(Any {
        type_url: "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC".to_owned(),
        value: bytes.to_vec(),
    }));
    "policy".clone_into(&mut policy.name);
    manager.http_filters = vec![policy, router];
    any.value = manager.encode_to_vec();
    Ok(listener)
}

/// A method, a target, and headers in lines.
fn admitted(text: &[u8]) -> Option<Admitted> {
    let mut lines = text.split(|byte| *byte == b'\n');
    let first = std::str::from_utf8(lines.next()?).ok()?;
    let (method, target) = first.split_once(' ')?;
    let (mut head, ()) = Request::builder()
        .method(method)
        .uri(target)
        .header("host", "a")
        .body(())
        .ok()?
        .into_parts();
    for line in lines {
        let at = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..at]).ok()?;
        head.headers
            .append(name, HeaderValue::from_bytes(&line[at + 1..]).ok()?);
    }
    admit(head, PathNormalization::Base, "http").ok()
}

/// Reads what is plain in policies; of the rest it says nothing.
struct Reader<'a> {
    head: &'a Parts,
    negates: bool,
}

impl Reader<'_> {
    fn passes(&self, rules: &Rules) -> Option<bool> {
        let mut is_met = false;
        for policy in rules.policies.values() {
            is_met |= self.is_met(policy)?;
        }
        match Action::try_from(rules.action).ok()? {
            Action::Allow => Some(is_met),
            Action::Deny => Some(!is_met),
            Action::Log => Some(true),
        }
    }

    fn is_met(&self, policy: &Policy) -> Option<bool> {
        let what = any(&policy.permissions, |it| self.permission(it))?;
        let who = any(&policy.principals, |it| self.principal(it))?;
        Some(what && who)
    }

    fn permission(&self, permission: &Permission) -> Option<bool> {
        match permission.rule.as_ref()? {
            Rule::Any(true) => Some(true),
            Rule::AndRules(set) => all(&set.rules, |it| self.permission(it)),
            Rule::OrRules(set) => any(&set.rules, |it| self.permission(it)),
            Rule::NotRule(inner) => Some(self.permission(inner)? != self.negates),
            Rule::Header(matcher) => self.header(matcher),
            Rule::UrlPath(path) => self.path(path),
            Rule::DestinationPort(port) => Some(*port == u32::from(PORT)),
            _ => None,
        }
    }

    fn principal(&self, principal: &Principal) -> Option<bool> {
        match principal.identifier.as_ref()? {
            Identifier::Any(true) => Some(true),
            Identifier::AndIds(set) => all(&set.ids, |it| self.principal(it)),
            Identifier::OrIds(set) => any(&set.ids, |it| self.principal(it)),
            Identifier::NotId(inner) => Some(!self.principal(inner)?),
            Identifier::Header(matcher) => self.header(matcher),
            Identifier::UrlPath(path) => self.path(path),
            _ => None,
        }
    }

    fn path(&self, matcher: &PathMatcher) -> Option<bool> {
        let Some(path_matcher::Rule::Path(matcher)) = &matcher.rule else {
            return None;
        };
        text(matcher, self.head.uri.path().as_bytes())
    }

    fn header(&self, matcher: &HeaderMatcher) -> Option<bool> {
        let name = HeaderName::try_from(&matcher.name).ok()?;
        if name == http::header::HOST
            || matcher.invert_match
            || matcher.treat_missing_header_as_empty
        {
            return None;
        }
        let values: Vec<&HeaderValue> = self.head.headers.get_all(name).iter().collect();
        match matcher.header_match_specifier.as_ref()? {
            HeaderMatchSpecifier::PresentMatch(wanted) => Some(values.is_empty() != *wanted),
            HeaderMatchSpecifier::StringMatch(matcher) => {
                any(&values, |value| text(matcher, value.as_bytes()))
                    .or_else(|| values.is_empty().then_some(false))
            }
            _ => None,
        }
    }
}

fn text(matcher: &StringMatcher, value: &[u8]) -> Option<bool> {
    let fold = |bytes: &[u8]| match matcher.ignore_case {
        true => bytes.to_ascii_lowercase(),
        false => bytes.to_vec(),
    };
    let value = fold(value);
    match matcher.match_pattern.as_ref()? {
        MatchPattern::Exact(wanted) => Some(value == fold(wanted.as_bytes())),
        MatchPattern::Prefix(wanted) => Some(value.starts_with(&fold(wanted.as_bytes()))),
        MatchPattern::Suffix(wanted) => Some(value.ends_with(&fold(wanted.as_bytes()))),
        _ => None,
    }
}

/// Nothing is said of an empty set.
fn any<T>(all: &[T], holds: impl Fn(&T) -> Option<bool>) -> Option<bool> {
    let all: Vec<bool> = all.iter().map(holds).collect::<Option<_>>()?;
    (!all.is_empty()).then(|| all.contains(&true))
}

fn all<T>(all: &[T], holds: impl Fn(&T) -> Option<bool>) -> Option<bool> {
    any(all, |it| holds(it).map(|held| !held)).map(|found| !found)
}

fn of(action: Action, permission: Permission) -> Filter {
    let anybody = Principal {
        identifier: Some(Identifier::Any(true)),
    };
    let policy = Policy {
        permissions: vec![permission],
        principals: vec![anybody],
        ..Policy::default()
    };
    Filter {
        rules: Some(Rules {
            action: action.into(),
            policies: [("ns[a]-policy[b]-rule[0]".to_owned(), policy)].into(),
            ..Rules::default()
        }),
        ..Filter::default()
    }
}

/// What the corpus is written from.
pub fn corpus() -> Vec<Vec<u8>> {
    let permission = |rule| Permission { rule: Some(rule) };
    let exact = |text: &str| StringMatcher {
        match_pattern: Some(MatchPattern::Exact(text.to_owned())),
        ..StringMatcher::default()
    };
    let path = || {
        let rule = path_matcher::Rule::Path(exact("/admin"));
        permission(Rule::UrlPath(PathMatcher { rule: Some(rule) }))
    };
    let header = |name: &str, specifier| {
        permission(Rule::Header(HeaderMatcher {
            name: name.to_owned(),
            header_match_specifier: Some(specifier),
            ..HeaderMatcher::default()
        }))
    };
    let not = |inner| permission(Rule::NotRule(Box::new(inner)));
    let role = || header("x-role", HeaderMatchSpecifier::StringMatch(exact("admin")));
    let get = || header(":method", HeaderMatchSpecifier::StringMatch(exact("GET")));
    let both = permission(Rule::AndRules(
        envoy_types::pb::envoy::config::rbac::v3::permission::Set {
            rules: vec![path(), not(role())],
        },
    ));
    let all = [
        ("GET /admin", of(Action::Deny, path())),
        ("GET /x", of(Action::Allow, not(path()))),
        ("GET /x\nx-role:admin", of(Action::Deny, role())),
        ("POST /admin\nx-role:guest", of(Action::Allow, both)),
        ("GET /%61dmin", of(Action::Allow, get())),
        (
            "GET /",
            of(Action::Deny, permission(Rule::DestinationPort(9080))),
        ),
        ("GET /", of(Action::Log, permission(Rule::Any(true)))),
        (
            "GET /\nx:",
            of(
                Action::Deny,
                header("x", HeaderMatchSpecifier::PresentMatch(true)),
            ),
        ),
        ("GET /", Filter::default()),
    ];
    let input = |(head, filter): (&str, Filter)| {
        let length = u8::try_from(head.len()).unwrap_or_default();
        [&[length], head.as_bytes(), &filter.encode_to_vec()].concat()
    };
    all.into_iter().map(input).collect()
}
