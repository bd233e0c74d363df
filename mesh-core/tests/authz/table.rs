//! The rules that must not be got wrong, by hand, one by one.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use http::{HeaderValue, Request};
use mesh_core::authz::{
    Action, CidrRange, ClaimMatcher, Claims, Facts, MetadataSource, NotCidr, NotClaim, NotRules,
    NumberMatcher, Operation, Outcome, Permission, Policy, PortRange, Principal, Rbac, Rule,
    RuleSet, ShadowRules, Source, UriTemplate, Value, ValueMatcher, Verdict,
};
use mesh_core::identity::{Peer, PeerCertificate, Sans};
use mesh_core::matcher::{FullRegex, HeaderMatcher, HeaderTest, StringMatcher};
use mesh_core::request::{HeaderKey, PathNormalization, admit};

fn exact(text: &str) -> StringMatcher {
    StringMatcher::Exact(text.as_bytes().into())
}

fn never<T>() -> Rule<T> {
    Rule::Not(Box::new(Rule::Any))
}

fn not<T>(rule: T) -> Rule<T> {
    Rule::Not(Box::new(Rule::Is(rule)))
}

fn header(name: &str, test: HeaderTest) -> HeaderMatcher {
    HeaderMatcher {
        name: HeaderKey::parse(name).expect("a name"),
        test,
        invert: false,
        missing_is_empty: false,
    }
}

fn claim(filter: &str, source: MetadataSource) -> Result<ClaimMatcher, NotClaim> {
    let path = ["payload", "group"].map(Box::from);
    ClaimMatcher::new(filter, source, path, ValueMatcher::Present(true), false)
}

/// One request, and what the tests below say of it.
struct Asked {
    target: &'static str,
    lines: Vec<(&'static str, &'static [u8])>,
    peer: Peer,
    sni: Option<&'static str>,
    /// What its token says.
    token: Option<Value>,
}

impl Asked {
    fn plain(target: &'static str) -> Self {
        Self {
            target,
            lines: vec![("host", b"reviews:9080")],
            peer: Peer::Plaintext,
            sni: None,
            token: None,
        }
    }

    fn with(mut self, name: &'static str, value: &'static [u8]) -> Self {
        self.lines.push((name, value));
        self
    }

    fn from(mut self, uri: &[&str], dns: &[&str], subject: &str) -> Self {
        let names = |all: &[&str]| all.iter().map(|one| Box::from(*one)).collect();
        let sans = Sans {
            uri: names(uri),
            dns: names(dns),
            ip: Box::default(),
            unreadable: 0,
        };
        self.peer = Peer::Proven(Arc::new(PeerCertificate::new(sans, subject, [0; 32], 0)));
        self
    }

    fn decided<T>(&self, with: impl FnOnce(&Facts<'_>) -> T) -> T {
        let (mut parts, ()) = Request::get(self.target)
            .body(())
            .expect("a request")
            .into_parts();
        for (name, value) in &self.lines {
            let value = HeaderValue::from_bytes(value).expect("a value");
            parts.headers.append(*name, value);
        }
        let head = admit(parts, PathNormalization::Base, "https").expect("a good head");
        let client = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7));
        with(&Facts {
            seen: head.seen(),
            peer: &self.peer,
            local: SocketAddr::from(([10, 0, 0, 1], 9080)),
            direct: client,
            remote: client,
            sni: self.sni,
            claims: self.token.as_ref().map_or(Claims::None, Claims::Verified),
        })
    }

    /// What one policy of these does, as DENY and as ALLOW: `(is denied, is allowed)`.
    fn met(&self, permission: &Permission, principal: &Principal) -> (bool, bool) {
        let verdict = |action| {
            let rules = rules(action, [("p", permission.clone(), principal.clone())]);
            self.decided(|facts| rules.judge(facts).verdict)
        };
        let denied = verdict(Action::Deny) == Verdict::Deny;
        (denied, verdict(Action::Allow) == Verdict::Pass)
    }
}

fn rules<const N: usize>(action: Action, policies: [(&str, Permission, Principal); N]) -> RuleSet {
    let made = policies.map(|(name, permission, principal)| {
        let policy = Policy::new([permission], [principal]).expect("a policy");
        (Box::from(name), policy)
    });
    RuleSet::new(action, made).expect("rules")
}

const YES: (bool, bool) = (true, true);
const NO: (bool, bool) = (false, false);
/// Denied and not allowed.
const UNKNOWN: (bool, bool) = (true, false);

/// istiod's policy that allows nothing: by negation of everything.
#[test]
fn allow_nothing_denies() {
    let nothing = rules(
        Action::Allow,
        [("ns[foo]-policy[deny-all]-rule[0]", never(), never())],
    );
    let said = Asked::plain("/").decided(|facts| {
        let Outcome {
            verdict,
            met,
            unsure,
        } = nothing.judge(facts);
        (verdict, met.is_some(), unsure.is_some())
    });
    assert_eq!(said, (Verdict::Deny, false, false));
}

#[test]
fn without_policies_allow_denies_all_and_deny_nobody() {
    let verdict = |action| {
        let none = RuleSet::new(action, []).expect("rules");
        Asked::plain("/").decided(|facts| none.judge(facts).verdict)
    };
    assert_eq!(verdict(Action::Allow), Verdict::Deny);
    assert_eq!(verdict(Action::Deny), Verdict::Pass);
    assert_eq!(verdict(Action::Log), Verdict::Pass);
}

#[test]
fn templates_as_envoy_reads_them_and_with_doubt() {
    // Each row but those of doubt was asked of Envoy 1.40.
    for (template, path, expected) in [
        ("/a/*/b", "/a/x/b", YES),
        ("/a/*/b", "/a/x=y/b", YES),
        ("/a/*/b", "/a/x*/b", YES),
        ("/a/*/b", "/a/x|/b", YES), // %7C
        ("/a/*/b", "/a/x%20y/b", YES),
        ("/a/*/b", "/a//b", NO),
        ("/a/*/b", "/a/b", NO),
        ("/a/*/b", "/a/x/y/b", NO),
        ("/a/*/b", "/a/x/b/", NO),
        // Envoy says no.
        ("/a/*/b", "/a/x[/b", UNKNOWN),
        ("/a/*/b", "/a/]/b", UNKNOWN),
        ("/a/*/b", "/a/x[/c", NO),
        ("/**", "/[", UNKNOWN),
        ("/**/b", "/[/c", NO),
        ("/a=b/*", "/a=b/c", YES),
        ("/a=b/*", "/a=c/c", NO),
        ("/a/**/b", "/a//b", YES),
        ("/a/**/b", "/a/b", NO),
        ("/a/**b", "/a/b", YES),
        ("/a/**b", "/a/c/bb", YES),
        ("/**", "/", YES),
        ("/a/", "/a/", YES),
        ("/a/", "/a", NO),
        ("/", "/", YES),
        ("/{x}.json", "/a.json", YES),
        ("/{x}.json", "/aXjson", NO),
        ("/{x}.json", "/.json", NO),
        ("/a.b/(c)+$/*", "/a.b/(c)+$/x", YES),
        ("/a.b/(c)+$/*", "/aXb/(c)+$/x", NO),
        ("/{x=a/*/b}/c", "/a/1/b/c", YES),
        ("/{a_1}/b", "/x/b", YES),
        ("/{abcdefghijklmnop}/b", "/x/b", YES),
        ("/{a}/{b}/{c}/{d}/{e}", "/1/2/3/4/5", YES),
    ] {
        let made = UriTemplate::new(template).expect(template);
        let met = Asked::plain(path).met(&Rule::Is(Operation::UriTemplate(made)), &Rule::Any);
        assert_eq!(met, expected, "{template} on {path}");
    }
    // Refused by Envoy, too, but the last two: a hole amid text, and a literal asterisk, which it reads as a sign of a
    // regular expression.
    for text in [
        "",
        "a",
        "/a//b",
        "/*.json/x",
        "/{a=/b}",
        "/{a=b/}",
        "/{a=*.x}",
        "/{a",
        "/{}",
        "/{1}",
        "/{a-b}",
        "/**/*",
        "/{a=**}/{b}",
        "/{a}/{a}",
        "/{a}/{b}/{c}/{d}/{e}/{f}",
        "/{abcdefghijklmnopq}",
        "/a b",
        "/\u{e9}",
        "/[",
        "/a?b",
        "/a{x}b",
        "/a*",
    ] {
        let error = UriTemplate::new(text).map(|_| ()).expect_err(text);
        assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
    }
}

/// A name of the certificate counts for what it is, and a find where Envoy would look next is doubt.
#[test]
fn a_principal_is_the_one_id_that_was_proven() {
    const A: &str = "spiffe://td/ns/a/sa/x";
    let named = |name: &str| Rule::Is(Source::Authenticated(Some(exact(name))));
    let in_a = || {
        let regex = FullRegex::new(".*/ns/a/.*").expect("a regex");
        Rule::Is(Source::Authenticated(Some(StringMatcher::Regex(regex))))
    };
    for (asked, principal, expected) in [
        (Asked::plain("/"), named(A), NO),
        (Asked::plain("/"), Rule::Is(Source::Authenticated(None)), NO),
        (Asked::plain("/"), not(Source::Authenticated(None)), YES),
        (Asked::plain("/").from(&[A], &[], ""), named(A), YES),
        (Asked::plain("/").from(&[A], &[], ""), in_a(), YES),
        (
            Asked::plain("/").from(&[A], &[], ""),
            named("spiffe://td/ns/a/sa/y"),
            NO,
        ),
        (
            Asked::plain("/").from(&["https://x/ns/a/"], &[], ""),
            in_a(),
            UNKNOWN,
        ),
        (
            Asked::plain("/").from(&["https://x/ns/a/"], &[], ""),
            Rule::Is(Source::Authenticated(None)),
            UNKNOWN,
        ),
        (
            Asked::plain("/").from(&[A, "spiffe://td/ns/b/sa/x"], &[], ""),
            in_a(),
            UNKNOWN,
        ),
        (
            Asked::plain("/").from(&["spiffe://td/ns/b/sa/x"], &[A], ""),
            named(A),
            UNKNOWN,
        ),
        (
            Asked::plain("/").from(&["spiffe://td/ns/b/sa/x"], &[], A),
            named(A),
            UNKNOWN,
        ),
        (Asked::plain("/").from(&[], &[A], ""), named(A), YES),
        (Asked::plain("/").from(&[], &[], "CN=x"), named("CN=x"), YES),
        (
            Asked::plain("/").from(&[], &["x"], "CN=x"),
            named("CN=x"),
            UNKNOWN,
        ),
    ] {
        let told = format!("{:?} by {principal:?}", asked.peer);
        assert_eq!(asked.met(&Rule::Any, &principal), expected, "{told}");
    }
}

#[test]
fn headers_as_envoy_reads_them() {
    // Asked of Envoy 1.40: each value by itself, inverted over all of them.
    let is = |text: &str| HeaderTest::String(exact(text));
    let inverted = |test| HeaderMatcher {
        invert: true,
        ..header("x-a", test)
    };
    let or_empty = |test| HeaderMatcher {
        missing_is_empty: true,
        ..header("x-a", test)
    };
    let ask = |values: &[&'static [u8]]| {
        let all = values.iter();
        all.fold(Asked::plain("/p?q"), |asked, value| {
            asked.with("x-a", value)
        })
    };
    for (values, matcher, expected) in [
        (&[&b"a"[..], b"b"][..], header("x-a", is("a")), YES),
        (&[b"a", b"b"], header("x-a", is("a,b")), NO),
        (&[b"a,b"], header("x-a", is("a,b")), YES),
        (&[b"a", b"b"], inverted(is("a")), NO),
        (&[b"b", b"a"], inverted(is("a")), NO),
        (&[b"b"], inverted(is("a")), YES),
        (&[], inverted(is("a")), NO),
        (&[b""], header("x-a", is("")), YES),
        (&[], header("x-a", is("")), NO),
        (&[], or_empty(is("")), YES),
        (&[b"\xff"], header("x-a", HeaderTest::Present(true)), YES),
        (&[b"\xff"], inverted(is("a")), YES),
        (&[b"3", b"9"], header("x-a", HeaderTest::Range(1, 5)), YES),
        (&[b"7"], header("x-a", HeaderTest::Range(1, 5)), NO),
        (&[], header(":path", is("/p?q")), YES),
        (&[], header(":authority", is("reviews:9080")), YES),
        (&[], header("host", is("reviews:9080")), YES),
        (&[], header(":scheme", is("https")), YES),
        (&[], header(":protocol", HeaderTest::Present(true)), NO),
    ] {
        let told = format!("{matcher:?} of {values:?}");
        let met = ask(values).met(&Rule::Is(Operation::Header(matcher.clone())), &Rule::Any);
        assert_eq!(met, expected, "{told}");
        let met = ask(values).met(&Rule::Any, &Rule::Is(Source::Header(matcher)));
        assert_eq!(met, expected, "{told}, of a principal");
    }
}

#[test]
fn hosts_are_matched_without_case() {
    let host = |matcher: StringMatcher| {
        let test = HeaderTest::String(matcher.ignoring_case());
        Rule::Is(Operation::Header(header(":authority", test)))
    };
    let ask = |permission| Asked::plain("/").met(&permission, &Rule::Any);
    let of = |text: &str| Box::from(text.as_bytes());
    for (matcher, expected) in [
        (exact("REVIEWS:9080"), YES),
        (exact("reviews"), NO),
        (StringMatcher::Prefix(of("Reviews:")), YES),
        (StringMatcher::Prefix(of("reviews:90800")), NO),
        (StringMatcher::Suffix(of("S:9080")), YES),
        (StringMatcher::Suffix(of("xreviews:9080")), NO),
        (StringMatcher::Contains(of("VIEW")), YES),
        (StringMatcher::Contains(of("w:8")), NO),
        (StringMatcher::Contains(of("")), YES),
    ] {
        assert_eq!(ask(host(matcher.clone())), expected, "{matcher:?}");
    }
}

#[test]
fn what_others_write_is_not_known() {
    use MetadataSource::{Dynamic, Route};
    let jwt = "envoy.filters.http.jwt_authn";
    for (filter, source, expected) in [
        (jwt, Dynamic, NO),
        (jwt, Route, UNKNOWN),
        ("envoy.filters.http.rbac", Dynamic, UNKNOWN),
        ("", Dynamic, UNKNOWN),
    ] {
        let made = claim(filter, source).expect("a claim");
        let met = Asked::plain("/").met(&Rule::Is(Operation::Metadata(made.clone())), &Rule::Any);
        assert_eq!(met, expected, "{filter} {source:?}");
        let inverse = if expected == NO { YES } else { UNKNOWN };
        let met = Asked::plain("/").met(&Rule::Any, &not(Source::Metadata(made)));
        assert_eq!(met, inverse, "not {filter} {source:?}");
    }
    let value = || ValueMatcher::Present(true);
    let nowhere = ClaimMatcher::new(jwt, Dynamic, [], value(), false);
    assert_eq!(nowhere.err(), Some(NotClaim::NoPath));
    let deep = (0..16).fold(value(), |inner, _| ValueMatcher::OneOf(Box::new(inner)));
    let deep = ClaimMatcher::new(jwt, Dynamic, [Box::from("a")], deep, false);
    assert_eq!(deep.err(), Some(NotClaim::Deep));
}

/// What a test of the claim `group` makes of a token.
fn group(test: &ValueMatcher, invert: bool, token: Option<Value>) -> (bool, bool) {
    let path = ["payload", "group"].map(Box::from);
    let filter = "envoy.filters.http.jwt_authn";
    let made = ClaimMatcher::new(filter, MetadataSource::Dynamic, path, test.clone(), invert);
    let permission = Rule::Is(Operation::Metadata(made.expect("a claim")));
    let asked = Asked {
        token,
        ..Asked::plain("/")
    };
    asked.met(&permission, &Rule::Any)
}

/// `envoy.type.matcher.v3.ValueMatcher`: each test is for one type of value, and for nothing where there is none.
#[test]
fn claims_are_told_apart_by_type_and_value() {
    use ValueMatcher::{Bool, Null, Number, OneOf, Or, Present, Text};
    let text = |text: &str| Value::Text(text.into());
    let list = |all: &[Value]| Value::List(all.into());
    let range = || Number(NumberMatcher::Range(1.0, 2.0));
    let one = || Number(NumberMatcher::Exact(1.0));
    let of = |inner: ValueMatcher| OneOf(Box::new(inner));
    let values = [
        Value::Null,
        Value::Bool(true),
        Value::Bool(false),
        Value::Number(0.5),
        Value::Number(1.0),
        Value::Number(1.5),
        Value::Number(2.0),
        Value::Number(3.0),
        text("a"),
        text("1"),
        list(&[]),
        list(&[Value::Bool(true), text("a")]),
        list(&[Value::Number(1.5)]),
        Value::Object([("a".into(), text("a"))].into()),
    ];
    // By their places in the list.
    let all = 0..values.len();
    for (test, expected) in [
        (Null, vec![0]),
        (Bool(true), vec![1]),
        (Bool(false), vec![2]),
        (range(), vec![4, 5]),
        (one(), vec![4]),
        (Text(exact("a")), vec![8]),
        (Present(true), all.collect()),
        (Present(false), vec![]),
        (of(Text(exact("a"))), vec![11]),
        (of(Bool(true)), vec![11]),
        (of(range()), vec![12]),
        (of(Bool(false)), vec![]),
        (Or([Bool(true), of(range())].into()), vec![1, 12]),
        (Or([].into()), vec![]),
    ] {
        for invert in [false, true] {
            let said = |is_met: bool| if is_met == invert { NO } else { YES };
            for (at, value) in values.iter().enumerate() {
                let payload = Value::Object([("group".into(), value.clone())].into());
                let token = Value::Object([("payload".into(), payload)].into());
                let met = group(&test, invert, Some(token));
                assert_eq!(met, said(expected.contains(&at)), "{test:?} of {value:?}");
            }
            // Without a token, without the claim, and with something else on the way to it.
            let no_claim = Value::Object([("payload".into(), Value::Object([].into()))].into());
            let no_way = Value::Object([("payload".into(), text("group"))].into());
            for token in [None, Some(no_claim), Some(no_way)] {
                let met = group(&test, invert, token.clone());
                assert_eq!(met, said(false), "{test:?} of {token:?}");
            }
        }
    }
}

/// The outcome names what was met, or else what may have been.
#[test]
fn a_certain_policy_is_named_before_one_in_doubt() {
    let doubt = || {
        let made = claim("x", MetadataSource::Dynamic).expect("a claim");
        Rule::Is(Operation::Metadata(made))
    };
    let said = |rules: &RuleSet| {
        Asked::plain("/").decided(|facts| {
            let Outcome {
                verdict,
                met,
                unsure,
            } = rules.judge(facts);
            (verdict, met.map(str::to_owned), unsure.map(str::to_owned))
        })
    };
    let name = |name: &str| Some(name.to_owned());
    let (a, b) = (("a", doubt(), Rule::Any), ("b", Rule::Any, Rule::Any));
    for (action, in_doubt, certain) in [
        (Action::Deny, Verdict::Deny, Verdict::Deny),
        (Action::Allow, Verdict::Deny, Verdict::Pass),
        (Action::Log, Verdict::Pass, Verdict::Pass),
    ] {
        let one = rules(action, [a.clone()]);
        assert_eq!(said(&one), (in_doubt, None, name("a")), "{action:?}");
        let both = rules(action, [b.clone(), a.clone()]);
        assert_eq!(both.names().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(said(&both), (certain, name("b"), None), "{action:?}");
    }
}

#[test]
fn rules_that_are_tried_decide_nothing() {
    let shadow = || ShadowRules {
        prefix: "istio_dry_run_allow_".into(),
        rules: rules(Action::Deny, [("p", Rule::Any, Rule::Any)]),
    };
    for enforced in [
        None,
        Some(rules(Action::Allow, [("p", Rule::Any, Rule::Any)])),
    ] {
        let rbac = Rbac::new(enforced, Some(shadow()));
        let prefix = rbac.shadow().map(|tried| &*tried.prefix);
        assert_eq!(prefix, Some("istio_dry_run_allow_"));
        let (verdict, tried) = Asked::plain("/").decided(|facts| {
            let decision = rbac.decide(facts);
            (decision.verdict, decision.shadow.map(|tried| tried.verdict))
        });
        assert_eq!((verdict, tried), (Verdict::Pass, Some(Verdict::Deny)));
    }
}

/// What is shown of a filter is what it was made of.
#[test]
fn rules_and_those_that_are_tried_are_shown_apart() {
    let shadow = ShadowRules {
        prefix: "tried_".into(),
        rules: rules(Action::Deny, [("b", Rule::Any, Rule::Any)]),
    };
    let enforced = rules(Action::Log, [("a", Rule::Any, Rule::Any)]);
    let shown = |rules: &RuleSet| (rules.action(), rules.names().collect::<String>());
    for (rbac, expected, tried) in [
        (Rbac::new(None, None), None, None),
        (
            Rbac::new(Some(enforced.clone()), None),
            Some((Action::Log, "a".to_owned())),
            None,
        ),
        (
            Rbac::new(None, Some(shadow.clone())),
            None,
            Some((Action::Deny, "b".to_owned())),
        ),
        (
            Rbac::new(Some(enforced), Some(shadow)),
            Some((Action::Log, "a".to_owned())),
            Some((Action::Deny, "b".to_owned())),
        ),
    ] {
        assert_eq!(rbac.rules().map(shown), expected);
        assert_eq!(rbac.shadow().map(|it| shown(&it.rules)), tried);
    }
}

#[test]
fn what_is_no_policy_is_refused() {
    let any = || Rule::<Operation>::Any;
    let everybody = || Rule::<Source>::Any;
    let policy = || Policy::new([any()], [everybody()]).expect("a policy");
    let error = Policy::new([], [everybody()]).err();
    assert_eq!(error, Some(NotRules::NoPermissions));
    let error = Policy::new([any()], []).err();
    assert_eq!(error, Some(NotRules::NoPrincipals));
    let nested = |many| (0..many).fold(any(), |inner, _| Rule::Not(Box::new(inner)));
    assert!(Policy::new([nested(63)], [everybody()]).is_ok());
    let error = Policy::new([nested(64)], [everybody()]).err();
    assert_eq!(error, Some(NotRules::Deep));
    let twice = [("a".into(), policy()), ("a".into(), policy())];
    let error = RuleSet::new(Action::Deny, twice).err();
    assert_eq!(error, Some(NotRules::SameName("a".into())));
    let wide = Rule::Or(vec![any(); 100_000].into());
    let wide = Policy::new([wide], [everybody()]).expect("a policy");
    let error = RuleSet::new(Action::Deny, [("a".into(), wide)]).err();
    assert_eq!(error, Some(NotRules::Large(100_002)));
}

#[test]
fn ranges_hold_what_they_say() {
    let address = |text: &str| text.parse::<IpAddr>().expect("an address");
    for (prefix, length, holds, not) in [
        ("10.1.2.3", 8, "10.255.0.0", "11.0.0.0"),
        ("10.0.0.0", 8, "::ffff:10.0.0.1", "::10.0.0.1"),
        ("0.0.0.0", 0, "255.1.1.1", "::1"),
        ("::", 0, "::1", "127.0.0.1"),
        ("10.0.0.1", 64, "10.0.0.1", "10.0.0.2"),
        ("fd00::2", 127, "fd00::3", "fd00::4"),
    ] {
        let range = CidrRange::new(prefix, length).expect(prefix);
        assert!(range.contains(address(holds)), "{range} {holds}");
        assert!(!range.contains(address(not)), "{range} {not}");
    }
    let error = CidrRange::new("::ffff:10.0.0.0", 104).expect_err("a mapped range");
    assert!(matches!(error, NotCidr::Mapped(..)));
    assert!(error.to_string().contains("10.0.0.0/8"), "{error}");
    assert!(CidrRange::new("::", 129).is_err() && CidrRange::new("10.0.0", 8).is_err());
    for (start, end) in [
        (0, 0),
        (1, 1),
        (2, 1),
        (-1, 5),
        (0, 65_537),
        (65_536, 65_537),
    ] {
        assert!(PortRange::new(start, end).is_err(), "{start} {end}");
    }
    assert!(PortRange::new(65_535, 65_536).is_ok() && PortRange::new(0, 65_536).is_ok());
}

#[test]
fn the_server_name_is_empty_without_one() {
    let named = |name: &str| Rule::Is(Operation::RequestedServerName(exact(name)));
    let ask = |sni, permission| {
        let asked = Asked {
            sni,
            ..Asked::plain("/")
        };
        asked.met(&permission, &Rule::Any)
    };
    assert_eq!(ask(Some("a.example"), named("a.example")), YES);
    assert_eq!(ask(Some("a.example"), named("A.example")), NO);
    assert_eq!(ask(None, named("")), YES);
    assert_eq!(ask(None, named("a.example")), NO);
}
