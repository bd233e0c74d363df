//! Admitting a request and judging it allocates nothing, whatever the rules.

use std::net::SocketAddr;
use std::sync::Arc;

use allocation_counter::measure;
use http::Request;
use mesh_core::authz::{
    Action, CidrRange, ClaimMatcher, Claims, Facts, MetadataSource, Operation, Policy, PortRange,
    Rbac, Rule, RuleSet, Source, UriTemplate, Value, ValueMatcher, Verdict,
};
use mesh_core::identity::{Peer, PeerCertificate, Sans};
use mesh_core::matcher::{FullRegex, HeaderMatcher, HeaderTest, StringMatcher};
use mesh_core::request::{HeaderKey, PathNormalization, admit};

fn text(text: &str) -> StringMatcher {
    StringMatcher::Suffix(text.as_bytes().into()).ignoring_case()
}

fn header(name: &str) -> HeaderMatcher {
    HeaderMatcher {
        name: HeaderKey::parse(name).expect("a name"),
        test: HeaderTest::String(text("nothing like that")),
        invert: false,
        missing_is_empty: false,
    }
}

fn regex() -> StringMatcher {
    StringMatcher::Regex(FullRegex::new(".*/ns/bad/.*").expect("a regex"))
}

fn range() -> CidrRange {
    CidrRange::new("192.168.0.0", 16).expect("a range")
}

fn claim() -> ClaimMatcher {
    ClaimMatcher::new(
        "envoy.filters.http.jwt_authn",
        MetadataSource::Dynamic,
        ["payload", "group"].map(Box::from),
        ValueMatcher::OneOf(Box::new(ValueMatcher::Text(text("admin")))),
        false,
    )
    .expect("a claim")
}

/// A policy with a test of each kind, none of which is met, so that all are asked.
fn policy() -> Policy {
    let permissions = [
        Operation::Header(header(":path")),
        Operation::Header(header(":authority")),
        Operation::Header(header("x-user")),
        Operation::UrlPath(text("/secret")),
        Operation::UriTemplate(UriTemplate::new("/a/*/{x=**}.json").expect("a template")),
        Operation::DestinationIp(range()),
        Operation::DestinationPort(1),
        Operation::DestinationPortRange(PortRange::new(1, 2).expect("ports")),
        Operation::RequestedServerName(text("x")),
        Operation::Metadata(claim()),
    ];
    let sources = [
        Source::Authenticated(Some(regex())),
        Source::Authenticated(Some(text("nobody"))),
        Source::DirectRemoteIp(range()),
        Source::RemoteIp(range()),
        Source::Header(header(":path")),
        Source::UrlPath(regex()),
        Source::Metadata(claim()),
    ];
    let not = |rule| Rule::Not(Box::new(Rule::Is(rule)));
    let all = Rule::And(permissions.map(not).into());
    Policy::new([all], sources.map(Rule::Is)).expect("a policy")
}

/// Allocations of one warm decision.
fn allocations(policies: usize) -> u64 {
    let named = (0..policies).map(|at| (format!("policy {at}").into(), policy()));
    let rules = RuleSet::new(Action::Deny, named).expect("rules");
    let rbac = Rbac::new(Some(rules), None);
    let sans = Sans {
        uri: ["spiffe://td/ns/a/sa/x".into()].into(),
        ..Sans::default()
    };
    let peer = Peer::Proven(Arc::new(PeerCertificate {
        spiffe: sans.workload().ok(),
        sans,
        subject: "CN=x".into(),
        sha256: [0; 32],
        not_after: 0,
    }));
    let claims = Value::Object([("payload".into(), Value::Null)].into());
    let local = SocketAddr::from(([10, 0, 0, 1], 9080));
    let decide = || {
        let request = Request::get("/a/b/c?d=e")
            .header("host", "Reviews:9080")
            .header("x-user", "Somebody")
            .body(());
        let (parts, ()) = request.expect("a request").into_parts();
        let mut verdict = None;
        let counted = measure(|| {
            let head = admit(parts, PathNormalization::MergeSlashes, "http").expect("a good head");
            let facts = Facts {
                seen: head.seen(),
                peer: &peer,
                local,
                direct: local.ip(),
                remote: local.ip(),
                sni: None,
                claims: Claims::Verified(&claims),
            };
            verdict = Some(rbac.decide(&facts).verdict);
        });
        assert_eq!(verdict, Some(Verdict::Pass));
        counted.count_total
    };
    decide(); // Regular expressions take their memory with the first.
    decide()
}

#[test]
fn a_decision_allocates_nothing() {
    assert_eq!(allocations(1), 0);
    assert_eq!(allocations(200), 0);
    let counted = measure(|| drop(std::hint::black_box(vec![1_u8; 100])));
    assert_eq!(counted.count_total, 1, "the counter counts");
}
