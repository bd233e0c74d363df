//! Policies and facts as plain data, and what the engine is given of them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::Request;
use mesh_core::authz::{
    self, CidrRange, ClaimMatcher, Claims, Facts, MetadataSource, NumberMatcher, Operation,
    PortRange, Rbac, RuleSet, ShadowRules, Source, UriTemplate, Value, ValueMatcher,
};
use mesh_core::identity::{Peer, PeerCertificate, Sans};
use mesh_core::matcher::{FullRegex, HeaderMatcher, HeaderTest, StringMatcher};
use mesh_core::request::{Admitted, HeaderKey, PathNormalization, admit};

#[derive(Debug, Clone)]
pub(crate) enum Text {
    Exact(String, bool),
    Prefix(String, bool),
    Suffix(String, bool),
    Contains(String, bool),
    /// An expression that means `.*<before>.*<after>.*` or the like; see [`EXPRESSIONS`].
    Regex(usize),
}

/// What an expression means.
type Meaning = fn(&str) -> bool;

/// Expressions as istiod writes them, with what they mean in words of strings.
pub(crate) const EXPRESSIONS: &[(&str, Meaning)] = &[
    (".*/ns/bad/.*", |text| text.contains("/ns/bad/")),
    (".+", |text| !text.is_empty()),
    (".*", |_| true),
    ("/a|/b", |text| text == "/a" || text == "/b"),
    ("spiffe://td/.*", |text| text.starts_with("spiffe://td/")),
];

#[derive(Debug, Clone)]
pub(crate) enum Rule<T> {
    Any,
    And(Vec<Self>),
    Or(Vec<Self>),
    Not(Box<Self>),
    Is(T),
}

#[derive(Debug, Clone)]
pub(crate) struct Header {
    pub(crate) name: &'static str,
    pub(crate) test: Test,
    pub(crate) invert: bool,
    pub(crate) missing_is_empty: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum Test {
    Present(bool),
    Text(Text),
    Range(i64, i64),
}

#[derive(Debug, Clone)]
pub(crate) enum Hole {
    Text(&'static str),
    One,
    Rest,
    Named(&'static str),
    NamedOf(&'static str, &'static str),
}

#[derive(Debug, Clone)]
pub(crate) struct Template {
    pub(crate) segments: Vec<Hole>,
    pub(crate) suffix: &'static str,
}

#[derive(Debug, Clone)]
pub(crate) struct Claim {
    /// Another filter's, or the route's: nobody here knows.
    pub(crate) is_foreign: Option<Foreign>,
    pub(crate) path: Vec<&'static str>,
    pub(crate) value: Wanted,
    pub(crate) invert: bool,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Foreign {
    Filter,
    Route,
}

#[derive(Debug, Clone)]
pub(crate) enum Wanted {
    Null,
    Range(f64, f64),
    Number(f64),
    Text(Text),
    Bool(bool),
    Present(bool),
    OneOf(Box<Self>),
    Or(Vec<Self>),
}

#[derive(Debug, Clone)]
pub(crate) enum What {
    Header(Header),
    UrlPath(Text),
    Template(Template),
    DestinationIp(&'static str, u32),
    DestinationPort(u16),
    Ports(i32, i32),
    ServerName(Text),
    Metadata(Claim),
}

#[derive(Debug, Clone)]
pub(crate) enum Who {
    Authenticated(Option<Text>),
    Direct(&'static str, u32),
    Remote(&'static str, u32),
    Header(Header),
    UrlPath(Text),
    Metadata(Claim),
}

#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub(crate) name: &'static str,
    pub(crate) permissions: Vec<Rule<What>>,
    pub(crate) principals: Vec<Rule<Who>>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Action {
    Allow,
    Deny,
    Log,
}

#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) action: Action,
    pub(crate) policies: Vec<Policy>,
}

#[derive(Debug, Clone)]
pub(crate) enum End {
    Plaintext,
    Anonymous,
    Certificate {
        uri: Vec<&'static str>,
        dns: Vec<&'static str>,
        subject: &'static str,
        unreadable: usize,
    },
}

#[derive(Debug, Clone)]
pub(crate) enum Token {
    NoFilter,
    None,
    Says(Value),
}

#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) method: &'static str,
    pub(crate) authority: &'static str,
    pub(crate) path: &'static str,
    pub(crate) query: Option<&'static str>,
    pub(crate) headers: Vec<(&'static str, &'static str)>,
    pub(crate) end: End,
    pub(crate) local: (&'static str, u16),
    pub(crate) direct: &'static str,
    pub(crate) remote: &'static str,
    pub(crate) sni: Option<&'static str>,
    pub(crate) token: Token,
}

// What the engine is given.

fn text(text: &Text) -> StringMatcher {
    let (matcher, ignoring) = match text {
        Text::Exact(text, i) => (StringMatcher::Exact(text.as_bytes().into()), *i),
        Text::Prefix(text, i) => (StringMatcher::Prefix(text.as_bytes().into()), *i),
        Text::Suffix(text, i) => (StringMatcher::Suffix(text.as_bytes().into()), *i),
        Text::Contains(text, i) => (StringMatcher::Contains(text.as_bytes().into()), *i),
        Text::Regex(at) => {
            let regex = FullRegex::new(EXPRESSIONS[*at].0).expect("an expression");
            (StringMatcher::Regex(regex), false)
        }
    };
    match ignoring {
        true => matcher.ignoring_case(),
        false => matcher,
    }
}

fn header(header: &Header) -> HeaderMatcher {
    HeaderMatcher {
        name: HeaderKey::parse(header.name).expect("a name"),
        test: match &header.test {
            Test::Present(wanted) => HeaderTest::Present(*wanted),
            Test::Text(wanted) => HeaderTest::String(text(wanted)),
            Test::Range(start, end) => HeaderTest::Range(*start, *end),
        },
        invert: header.invert,
        missing_is_empty: header.missing_is_empty,
    }
}

impl Template {
    pub(crate) fn text(&self) -> String {
        let hole = |hole: &Hole| match hole {
            Hole::Text(text) => (*text).to_owned(),
            Hole::One => "*".to_owned(),
            Hole::Rest => "**".to_owned(),
            Hole::Named(name) => format!("{{{name}}}"),
            Hole::NamedOf(name, inner) => format!("{{{name}={inner}}}"),
        };
        let segments: Vec<String> = self.segments.iter().map(hole).collect();
        format!("/{}{}", segments.join("/"), self.suffix)
    }
}

fn wanted(value: &Wanted) -> ValueMatcher {
    match value {
        Wanted::Null => ValueMatcher::Null,
        Wanted::Range(start, end) => ValueMatcher::Number(NumberMatcher::Range(*start, *end)),
        Wanted::Number(number) => ValueMatcher::Number(NumberMatcher::Exact(*number)),
        Wanted::Text(wanted) => ValueMatcher::Text(text(wanted)),
        Wanted::Bool(wanted) => ValueMatcher::Bool(*wanted),
        Wanted::Present(wanted) => ValueMatcher::Present(*wanted),
        Wanted::OneOf(inner) => ValueMatcher::OneOf(Box::new(wanted(inner))),
        Wanted::Or(each) => ValueMatcher::Or(each.iter().map(wanted).collect()),
    }
}

fn claim(claim: &Claim) -> ClaimMatcher {
    let own = "envoy.filters.http.jwt_authn";
    let (filter, source) = match claim.is_foreign {
        None => (own, MetadataSource::Dynamic),
        Some(Foreign::Filter) => ("envoy.filters.http.rbac", MetadataSource::Dynamic),
        Some(Foreign::Route) => (own, MetadataSource::Route),
    };
    let path = claim.path.iter().map(|key| Box::from(*key));
    let made = ClaimMatcher::new(filter, source, path, wanted(&claim.value), claim.invert);
    made.expect("a claim")
}

fn range(prefix: &str, length: u32) -> CidrRange {
    CidrRange::new(prefix, length).expect("a range")
}

fn what(what: &What) -> Operation {
    match what {
        What::Header(wanted) => Operation::Header(header(wanted)),
        What::UrlPath(wanted) => Operation::UrlPath(text(wanted)),
        What::Template(template) => {
            Operation::UriTemplate(UriTemplate::new(&template.text()).expect("a template"))
        }
        What::DestinationIp(prefix, length) => Operation::DestinationIp(range(prefix, *length)),
        What::DestinationPort(port) => Operation::DestinationPort(*port),
        What::Ports(start, end) => {
            Operation::DestinationPortRange(PortRange::new(*start, *end).expect("ports"))
        }
        What::ServerName(wanted) => Operation::RequestedServerName(text(wanted)),
        What::Metadata(wanted) => Operation::Metadata(claim(wanted)),
    }
}

fn who(who: &Who) -> Source {
    match who {
        Who::Authenticated(name) => Source::Authenticated(name.as_ref().map(text)),
        Who::Direct(prefix, length) => Source::DirectRemoteIp(range(prefix, *length)),
        Who::Remote(prefix, length) => Source::RemoteIp(range(prefix, *length)),
        Who::Header(wanted) => Source::Header(header(wanted)),
        Who::UrlPath(wanted) => Source::UrlPath(text(wanted)),
        Who::Metadata(wanted) => Source::Metadata(claim(wanted)),
    }
}

fn rule<T, E>(tree: &Rule<T>, leaf: fn(&T) -> E) -> authz::Rule<E> {
    let each = |rules: &[Rule<T>]| rules.iter().map(|one| rule(one, leaf)).collect();
    match tree {
        Rule::Any => authz::Rule::Any,
        Rule::And(rules) => authz::Rule::And(each(rules)),
        Rule::Or(rules) => authz::Rule::Or(each(rules)),
        Rule::Not(inner) => authz::Rule::Not(Box::new(rule(inner, leaf))),
        Rule::Is(one) => authz::Rule::Is(leaf(one)),
    }
}

pub(crate) fn rules(rules: &Rules) -> RuleSet {
    let action = match rules.action {
        Action::Allow => authz::Action::Allow,
        Action::Deny => authz::Action::Deny,
        Action::Log => authz::Action::Log,
    };
    let policy = |policy: &Policy| {
        let permissions = policy.permissions.iter().map(|one| rule(one, what));
        let principals = policy.principals.iter().map(|one| rule(one, who));
        authz::Policy::new(permissions, principals).expect("a policy")
    };
    let named = rules
        .policies
        .iter()
        .map(|one| (one.name.into(), policy(one)));
    RuleSet::new(action, named).expect("rules")
}

pub(crate) fn rbac(enforced: Option<&Rules>, tried: Option<&Rules>) -> Rbac {
    let shadow = tried.map(|tried| ShadowRules {
        prefix: "dry_".into(),
        rules: rules(tried),
    });
    Rbac::new(enforced.map(rules), shadow)
}

/// What owns the facts that the engine borrows.
pub(crate) struct Held {
    head: Admitted,
    peer: Peer,
}

impl Held {
    pub(crate) fn of(world: &World) -> Self {
        let query = world
            .query
            .map_or(String::new(), |query| format!("?{query}"));
        let mut request = Request::builder()
            .method(world.method)
            .uri(format!("{}{query}", world.path))
            .header("host", world.authority);
        for (name, value) in &world.headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        let names = |all: &[&str]| all.iter().map(|one| Box::from(*one)).collect();
        let peer = match &world.end {
            End::Plaintext => Peer::Plaintext,
            End::Anonymous => Peer::Anonymous,
            End::Certificate {
                uri,
                dns,
                subject,
                unreadable,
            } => {
                let sans = Sans {
                    uri: names(uri),
                    dns: names(dns),
                    ip: Box::default(),
                    unreadable: *unreadable,
                };
                Peer::Proven(Arc::new(PeerCertificate::new(sans, *subject, [0; 32], 0)))
            }
        };
        Self {
            head: admit(parts, PathNormalization::None, "http").expect("a good head"),
            peer,
        }
    }

    pub(crate) fn facts<'a>(&'a self, world: &'a World) -> Facts<'a> {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        Facts {
            seen: self.head.seen(),
            peer: &self.peer,
            local: SocketAddr::new(ip(world.local.0), world.local.1),
            direct: ip(world.direct),
            remote: ip(world.remote),
            sni: world.sni,
            claims: match &world.token {
                Token::NoFilter => Claims::NoFilter,
                Token::None => Claims::None,
                Token::Says(value) => Claims::Verified(value),
            },
        }
    }
}
