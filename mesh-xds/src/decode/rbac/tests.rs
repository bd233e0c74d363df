use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use envoy_types::pb::envoy::config::core::v3::{CidrRange, TypedExtensionConfig};
use envoy_types::pb::envoy::config::rbac::v3::permission::{self, Rule as What};
use envoy_types::pb::envoy::config::rbac::v3::principal::{self, Identifier as Who};
use envoy_types::pb::envoy::config::rbac::v3::rbac::AuditLoggingOptions;
use envoy_types::pb::envoy::config::rbac::v3::rbac::audit_logging_options::AuditLoggerConfig;
use envoy_types::pb::envoy::config::rbac::v3::{
    Permission, Policy, Principal, Rbac, SourcedMetadata,
};
use envoy_types::pb::envoy::config::route::v3::HeaderMatcher;
use envoy_types::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use envoy_types::pb::envoy::extensions::filters::http::rbac::v3::Rbac as Filter;
use envoy_types::pb::envoy::extensions::path::r#match::uri_template::v3::UriTemplateMatchConfig;
use envoy_types::pb::envoy::r#type::matcher::v3::metadata_matcher::{PathSegment, path_segment};
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::envoy::r#type::matcher::v3::value_matcher::{self, MatchPattern as Wanted};
use envoy_types::pb::envoy::r#type::matcher::v3::{
    DoubleMatcher, FilterStateMatcher, ListMatcher, MetadataMatcher, OrMatcher, PathMatcher,
    StringMatcher, ValueMatcher, double_matcher, list_matcher, path_matcher,
};
use envoy_types::pb::envoy::r#type::v3::{DoubleRange, Int32Range};
use envoy_types::pb::google::protobuf::{Any, UInt32Value};
use mesh_core::authz::{Claims, Facts, Verdict};
use mesh_core::identity::Peer;
use mesh_core::request::{PathNormalization, admit};
use prost::{Message, Name};

use super::rbac;

/// What a decision says: whether the request goes on, and what rules that are tried say.
type Said = (Verdict, Option<Verdict>);

/// What rules say of a request in plaintext from 10.0.0.7 to `reviews.com` at 10.0.0.1:9080, without a token.
fn decided(rules: &mesh_core::authz::Rbac, target: &str) -> Said {
    let request = http::Request::get(target).header("host", "reviews.com");
    let (parts, ()) = request.body(()).expect("a request").into_parts();
    let head = admit(parts, PathNormalization::Base, "http").expect("a good head");
    let client = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7));
    let decision = rules.decide(&Facts {
        seen: head.seen(),
        peer: &Peer::Plaintext,
        local: SocketAddr::from(([10, 0, 0, 1], 9080)),
        direct: client,
        remote: client,
        sni: Some("a.example"),
        claims: Claims::None,
    });
    (decision.verdict, decision.shadow.map(|tried| tried.verdict))
}

fn recorded(name: &str) -> Vec<u8> {
    let rows = include_str!("../../../tests/data/rbac_filters.txt").lines();
    let mut rows = rows.filter_map(|row| row.split_once(' '));
    let (_, hex) = rows.find(|(first, _)| *first == name).expect(name);
    let digits: Vec<char> = hex.chars().collect();
    let byte = |pair: &[char]| {
        let text: String = pair.iter().collect();
        u8::from_str_radix(&text, 16).expect("hexadecimal")
    };
    digits.chunks(2).map(byte).collect()
}

#[test]
fn what_istiod_sends_is_read() {
    use Verdict::{Deny, Pass};
    for (name, target, expected) in [
        // The choice of what an external authorizer is asked about.
        ("custom", "/admin/x", (Pass, Some(Deny))),
        ("custom", "/", (Pass, Some(Pass))),
        ("dry-run", "/x", (Pass, Some(Pass))),
        ("dry-run", "/", (Pass, Some(Deny))),
        ("audit", "/", (Pass, None)),
        // Plaintext has no principal; and the policy that allows nothing allows nothing.
        ("allow", "/reviews/0", (Deny, None)),
    ] {
        let rules = rbac(&recorded(name)).expect(name);
        assert_eq!(decided(&rules, target), expected, "{name} {target}");
    }
    let allow = rbac(&recorded("allow")).expect("rules");
    let names = allow.rules().map(|rules| rules.names().collect::<Vec<_>>());
    let expected = [
        "ns[default]-policy[reviews-viewer]-rule[0]",
        "ns[istio-system]-policy[allow-nothing]-rule[0]",
    ];
    assert_eq!(names.as_deref(), Some(&expected[..]));
    let custom = rbac(&recorded("custom")).expect("rules");
    assert_eq!(
        custom.shadow().map(|it| &*it.prefix),
        Some("istio_ext_authz_")
    );
}

/// Cut anywhere, or with a bit turned, it is refused or means something; nothing panics.
#[test]
fn damaged_filters_are_read_or_refused() {
    let whole = recorded("allow");
    let mut refused = 0;
    for at in 0..whole.len() {
        refused += u32::from(rbac(&whole[..at]).is_err());
        for bit in [0, 3, 6] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << bit;
            refused += u32::from(rbac(&damaged).is_err());
        }
    }
    assert!(refused > 500, "{refused}");
}

// By hand.

fn what(rule: What) -> Permission {
    Permission { rule: Some(rule) }
}

fn who(identifier: Who) -> Principal {
    Principal {
        identifier: Some(identifier),
    }
}

fn exact(text: &str) -> StringMatcher {
    StringMatcher {
        match_pattern: Some(MatchPattern::Exact(text.to_owned())),
        ignore_case: false,
    }
}

fn path(text: &str) -> PathMatcher {
    PathMatcher {
        rule: Some(path_matcher::Rule::Path(exact(text))),
    }
}

fn range(prefix: &str, length: Option<u32>) -> CidrRange {
    CidrRange {
        address_prefix: prefix.to_owned(),
        prefix_len: length.map(|value| UInt32Value { value }),
    }
}

fn claim(value: Option<Wanted>) -> MetadataMatcher {
    let segment = Some(path_segment::Segment::Key("payload".to_owned()));
    MetadataMatcher {
        filter: "envoy.filters.http.jwt_authn".to_owned(),
        path: vec![PathSegment { segment }],
        value: Some(ValueMatcher {
            match_pattern: value,
        }),
        invert: false,
    }
}

fn extension(type_url: String, value: Vec<u8>) -> TypedExtensionConfig {
    TypedExtensionConfig {
        name: "x".to_owned(),
        typed_config: Some(Any { type_url, value }),
    }
}

fn template(text: &str) -> TypedExtensionConfig {
    let path_template = text.to_owned();
    let config = UriTemplateMatchConfig { path_template };
    extension(UriTemplateMatchConfig::type_url(), config.encode_to_vec())
}

fn header(specifier: HeaderMatchSpecifier) -> HeaderMatcher {
    HeaderMatcher {
        name: ":authority".to_owned(),
        header_match_specifier: Some(specifier),
        ..HeaderMatcher::default()
    }
}

fn policy(permission: Permission, principal: Principal) -> Policy {
    Policy {
        permissions: vec![permission],
        principals: vec![principal],
        ..Policy::default()
    }
}

fn set(action: i32, policy: Policy) -> Rbac {
    Rbac {
        action,
        policies: [("p".to_owned(), policy)].into(),
        audit_logging_options: None,
    }
}

fn filter(rules: Rbac) -> Filter {
    Filter {
        rules: Some(rules),
        ..Filter::default()
    }
}

fn any() -> (Permission, Principal) {
    (what(What::Any(true)), who(Who::Any(true)))
}

fn with_permission(rule: What) -> Filter {
    filter(set(0, policy(what(rule), any().1)))
}

fn with_principal(identifier: Who) -> Filter {
    filter(set(0, policy(any().0, who(identifier))))
}

fn set_of(rules: Vec<Permission>) -> permission::Set {
    permission::Set { rules }
}

fn set_of_ids(ids: Vec<Principal>) -> principal::Set {
    principal::Set { ids }
}

#[allow(deprecated, reason = "Istio still emits the older forms")]
fn permissions() -> Vec<(What, bool)> {
    let ports = |start, end| What::DestinationPortRange(Int32Range { start, end });
    vec![
        (What::Any(true), true),
        (
            What::AndRules(set_of(vec![any().0, what(What::DestinationPort(1))])),
            false,
        ),
        (
            What::OrRules(set_of(vec![any().0, what(What::DestinationPort(1))])),
            true,
        ),
        (What::NotRule(Box::new(any().0)), false),
        (
            What::Header(header(HeaderMatchSpecifier::StringMatch(exact(
                "reviews.com",
            )))),
            true,
        ),
        (
            What::Header(header(HeaderMatchSpecifier::PrefixMatch("x".to_owned()))),
            false,
        ),
        (What::UrlPath(path("/a/b")), true),
        (What::UrlPath(path("/a/b?c")), false),
        (What::UriTemplate(template("/a/*")), true),
        (What::UriTemplate(template("/b/*")), false),
        (What::DestinationIp(range("10.0.0.0", Some(24))), true),
        (What::DestinationIp(range("10.0.1.0", Some(24))), false),
        (What::DestinationPort(9080), true),
        (ports(9080, 9081), true),
        (ports(9081, 9082), false),
        (What::RequestedServerName(exact("a.example")), true),
        (
            What::Metadata(claim(Some(Wanted::PresentMatch(true)))),
            false,
        ),
        (
            What::SourcedMetadata(SourcedMetadata {
                metadata_matcher: Some(MetadataMatcher {
                    invert: true,
                    ..claim(Some(Wanted::PresentMatch(true)))
                }),
                metadata_source: 0,
            }),
            true,
        ),
    ]
}

#[allow(deprecated, reason = "Istio still emits the older forms")]
fn principals() -> Vec<(Who, bool)> {
    let named = |principal_name| Who::Authenticated(principal::Authenticated { principal_name });
    let nobody = || who(Who::NotId(Box::new(any().1)));
    let wanted = |wanted| Who::Metadata(claim(Some(wanted)));
    let number = |pattern| {
        Wanted::DoubleMatch(DoubleMatcher {
            match_pattern: Some(pattern),
        })
    };
    let null = || ValueMatcher {
        match_pattern: Some(Wanted::NullMatch(value_matcher::NullMatch {})),
    };
    vec![
        (Who::Any(true), true),
        (Who::AndIds(set_of_ids(vec![any().1, nobody()])), false),
        (Who::OrIds(set_of_ids(vec![any().1, nobody()])), true),
        (Who::NotId(Box::new(any().1)), false),
        (named(None), false),
        (named(Some(exact("spiffe://td/ns/a/sa/x"))), false),
        (Who::SourceIp(range("10.0.0.7", Some(32))), true),
        (Who::DirectRemoteIp(range("10.0.0.8", Some(32))), false),
        (Who::RemoteIp(range("10.0.0.0", Some(8))), true),
        (
            Who::Header(header(HeaderMatchSpecifier::PresentMatch(true))),
            true,
        ),
        (Who::UrlPath(path("/a/b")), true),
        (wanted(Wanted::BoolMatch(true)), false),
        (wanted(Wanted::StringMatch(exact("x"))), false),
        (
            wanted(number(double_matcher::MatchPattern::Exact(1.0))),
            false,
        ),
        (
            wanted(number(double_matcher::MatchPattern::Range(DoubleRange {
                start: 0.0,
                end: 1.0,
            }))),
            false,
        ),
        (
            wanted(Wanted::ListMatch(Box::new(ListMatcher {
                match_pattern: Some(list_matcher::MatchPattern::OneOf(Box::new(null()))),
            }))),
            false,
        ),
        (
            wanted(Wanted::OrMatch(OrMatcher {
                value_matchers: vec![null(), null()],
            })),
            false,
        ),
        (
            Who::SourcedMetadata(SourcedMetadata {
                metadata_matcher: Some(claim(Some(Wanted::PresentMatch(true)))),
                metadata_source: 1,
            }),
            false,
        ),
    ]
}

/// Each arm that is served means what it says.
#[test]
fn each_arm_is_read() {
    let permissions = permissions().into_iter();
    let principals = principals().into_iter();
    let all = permissions
        .map(|(rule, passes)| (with_permission(rule), passes))
        .chain(principals.map(|(identifier, passes)| (with_principal(identifier), passes)));
    for (wire, passes) in all {
        let rules = rbac(&wire.encode_to_vec()).unwrap_or_else(|error| panic!("{error}: {wire:?}"));
        let expected = match passes {
            true => Verdict::Pass,
            false => Verdict::Deny,
        };
        assert_eq!(decided(&rules, "/a/b?c").0, expected, "{wire:?}");
    }
}

fn refused(wire: &Filter) -> String {
    match rbac(&wire.encode_to_vec()) {
        Ok(rules) => panic!("{rules:?} of {wire:?}"),
        Err(error) => error.to_string(),
    }
}

#[allow(deprecated, reason = "Istio still emits the older forms")]
#[test]
fn what_is_not_served_is_refused_by_its_place() {
    let custom = || extension("type.googleapis.com/x.Y".to_owned(), Vec::new());
    let metadata = |matcher| What::Metadata(matcher);
    let value = |wanted| metadata(claim(wanted));
    let or = |value_matchers| Some(Wanted::OrMatch(OrMatcher { value_matchers }));
    let ports = |start, end| What::DestinationPortRange(Int32Range { start, end });
    let source = |metadata_matcher, metadata_source| {
        What::SourcedMetadata(SourcedMetadata {
            metadata_matcher,
            metadata_source,
        })
    };
    let present = || claim(Some(Wanted::PresentMatch(true)));
    for (rule, place, reason) in [
        (What::Matcher(custom()), "matcher", "is not served"),
        (What::Any(false), "any", "is false"),
        (
            What::AndRules(set_of(vec![])),
            "and_rules.rules",
            "is empty",
        ),
        (What::OrRules(set_of(vec![])), "or_rules.rules", "is empty"),
        (
            What::NotRule(Box::new(Permission::default())),
            "not_rule.rule",
            "is missing",
        ),
        (
            What::AndRules(set_of(vec![any().0, what(What::Matcher(custom()))])),
            "and_rules.rules[1].matcher",
            "is not",
        ),
        (
            What::UriTemplate(custom()),
            "uri_template.typed_config.type_url",
            "is no",
        ),
        (
            What::UriTemplate(TypedExtensionConfig::default()),
            "uri_template.typed_config",
            "is missing",
        ),
        (
            What::UriTemplate(template("/a{x}b")),
            "uri_template.typed_config.path_template",
            "/a{x}b",
        ),
        (
            What::UrlPath(PathMatcher::default()),
            "url_path.rule",
            "is missing",
        ),
        (
            What::UrlPath(PathMatcher {
                rule: Some(path_matcher::Rule::Path(StringMatcher::default())),
            }),
            "url_path.path.match_pattern",
            "is missing",
        ),
        (
            What::RequestedServerName(StringMatcher {
                match_pattern: Some(MatchPattern::Custom(Default::default())),
                ignore_case: false,
            }),
            "requested_server_name.custom",
            "is not",
        ),
        (
            What::Header(HeaderMatcher::default()),
            "header.name",
            "is no header name",
        ),
        (
            What::DestinationPort(65_536),
            "destination_port",
            "65536 is no port",
        ),
        (ports(5, 5), "destination_port_range", "no range"),
        (
            What::DestinationIp(range("10.0.0.0", None)),
            "destination_ip.prefix_len",
            "is missing",
        ),
        (
            What::DestinationIp(range("10.0.0", Some(8))),
            "destination_ip",
            "no IP address",
        ),
        (
            What::DestinationIp(range("::ffff:10.0.0.0", Some(104))),
            "destination_ip",
            "10.0.0.0/8",
        ),
        (
            metadata(MetadataMatcher {
                filter: String::new(),
                ..present()
            }),
            "metadata.filter",
            "is empty",
        ),
        (
            metadata(MetadataMatcher {
                path: vec![],
                ..present()
            }),
            "metadata",
            "is empty",
        ),
        (
            metadata(MetadataMatcher {
                path: vec![PathSegment::default()],
                ..present()
            }),
            "metadata.path[0].segment",
            "is missing",
        ),
        (
            metadata(MetadataMatcher {
                value: None,
                ..present()
            }),
            "metadata.value",
            "is missing",
        ),
        (value(None), "metadata.value.match_pattern", "is missing"),
        (
            value(or(vec![])),
            "metadata.value.or_match.value_matchers",
            "fewer than two",
        ),
        (
            value(or(vec![ValueMatcher::default(); 2])),
            "metadata.value.or_match.value_matchers[0].match_pattern",
            "is missing",
        ),
        (
            value(Some(Wanted::DoubleMatch(DoubleMatcher::default()))),
            "metadata.value.double_match.match_pattern",
            "is missing",
        ),
        (
            value(Some(Wanted::ListMatch(Box::default()))),
            "metadata.value.list_match.match_pattern",
            "is missing",
        ),
        (
            source(None, 0),
            "sourced_metadata.metadata_matcher",
            "is missing",
        ),
        (
            source(Some(present()), 2),
            "sourced_metadata.metadata_source",
            "2 is no source",
        ),
    ] {
        let told = refused(&with_permission(rule));
        let place = format!("rules.policies[\"p\"].permissions[0].{place}: ");
        assert!(
            told.starts_with(&place) && told.contains(reason),
            "{told}, not {place}"
        );
    }
    for (identifier, place) in [
        (
            Who::FilterState(FilterStateMatcher::default()),
            "filter_state: is not served",
        ),
        (Who::Custom(custom()), "custom: is not served"),
        (Who::Any(false), "any: is false"),
        (Who::AndIds(set_of_ids(vec![])), "and_ids.ids: is empty"),
        (Who::OrIds(set_of_ids(vec![])), "or_ids.ids: is empty"),
        (Who::NotId(Box::default()), "not_id.identifier: is missing"),
        (
            Who::RemoteIp(range("::", None)),
            "remote_ip.prefix_len: is missing",
        ),
        (Who::SourceIp(range("x", Some(0))), "source_ip: "),
        (
            Who::DirectRemoteIp(range("::", Some(129))),
            "direct_remote_ip: 129",
        ),
        (
            Who::Authenticated(principal::Authenticated {
                principal_name: Some(StringMatcher::default()),
            }),
            "authenticated.principal_name.match_pattern: is missing",
        ),
    ] {
        let told = refused(&with_principal(identifier));
        let place = format!("rules.policies[\"p\"].principals[0].{place}");
        assert!(told.starts_with(&place), "{told}, not {place}");
    }
}

#[test]
fn what_stands_around_the_rules_is_refused_too() {
    let plain = || policy(any().0, any().1);
    let audit = |audit_condition, is_optional| {
        let mut rules = set(0, plain());
        rules.audit_logging_options = Some(AuditLoggingOptions {
            audit_condition,
            logger_configs: vec![AuditLoggerConfig {
                audit_logger: None,
                is_optional,
            }],
        });
        filter(rules)
    };
    let with = |policy| filter(set(0, policy));
    for (wire, told) in [
        (filter(set(3, plain())), "rules.action: 3 is no action"),
        (
            audit(1, false),
            "rules.audit_logging_options.logger_configs[0]: is not optional",
        ),
        (
            audit(4, true),
            "rules.audit_logging_options.audit_condition: 4 is no condition",
        ),
        (
            with(Policy {
                permissions: vec![],
                ..plain()
            }),
            "rules.policies[\"p\"]: the policy has no permissions",
        ),
        (
            with(Policy {
                principals: vec![],
                ..plain()
            }),
            "rules.policies[\"p\"]: the policy has no principals",
        ),
        (
            with(Policy {
                condition: Some(Default::default()),
                ..plain()
            }),
            "rules.policies[\"p\"].condition: is not served",
        ),
        (
            with(Policy {
                checked_condition: Some(Default::default()),
                ..plain()
            }),
            "rules.policies[\"p\"].checked_condition: is not served",
        ),
        (
            with(Policy {
                cel_config: Some(Default::default()),
                ..plain()
            }),
            "rules.policies[\"p\"].cel_config: is not served",
        ),
        // Also where rules stand beside it: Envoy asks it and not them.
        (
            Filter {
                matcher: Some(Default::default()),
                ..with(plain())
            },
            "matcher: is not served",
        ),
        (
            Filter {
                shadow_matcher: Some(Default::default()),
                ..with(plain())
            },
            "shadow_matcher: is not served",
        ),
        (
            Filter {
                shadow_rules: Some(set(3, plain())),
                ..with(plain())
            },
            "shadow_rules.action: 3 is no action",
        ),
    ] {
        let error = refused(&wire);
        assert!(error.starts_with(told), "{error}, not {told}");
    }
    for wire in [
        audit(1, true),
        audit(0, false),
        Filter {
            rules_stat_prefix: "x".to_owned(),
            track_per_rule_stats: true,
            ..with(plain())
        },
        Filter::default(),
    ] {
        let rules = rbac(&wire.encode_to_vec()).expect("rules");
        assert_eq!(decided(&rules, "/").0, Verdict::Pass);
    }
}

/// A field with the number 1000 and the value 1.
const NEWER: [u8; 3] = [0xc0, 0x3e, 1];

/// A message with a field more. Each that is around it is written anew.
fn field(number: u8, inner: &[u8]) -> Vec<u8> {
    let mut whole = vec![number << 3 | 2];
    prost::encode_length_delimiter(inner.len(), &mut whole).expect("a length");
    whole.extend_from_slice(inner);
    whole
}

/// Each message with a field of a newer protocol is refused, wherever it stands.
#[test]
fn a_field_of_a_newer_protocol_is_refused() {
    let with = |mut bytes: Vec<u8>, newer: bool| {
        if newer {
            bytes.extend(NEWER);
        }
        bytes
    };
    for depth in 0..=6 {
        // Of depth 0 no message has such a field.
        let config = with(field(1, b"/a/*"), depth == 1);
        let url = UriTemplateMatchConfig::type_url();
        let any_of = [field(1, url.as_bytes()), field(2, &config)].concat();
        let extension = [field(1, b"x"), field(2, &with(any_of, depth == 2))].concat();
        let permission = with(field(13, &extension), depth == 3);
        let principal = any().1.encode_to_vec();
        let policy = [field(1, &permission), field(2, &principal)].concat();
        let policy = with(policy, depth == 4);
        let entry = [field(1, b"p"), field(2, &policy)].concat();
        let rules = with(field(2, &entry), depth == 5);
        let filter = with(field(1, &rules), depth == 6);
        match (depth, rbac(&filter)) {
            (0, Ok(rules)) => assert_eq!(decided(&rules, "/a/b").0, Verdict::Pass),
            (1.., Err(error)) => {
                assert!(error.to_string().contains("does not know"), "{error}");
            }
            (depth, other) => panic!("{depth}: {other:?}"),
        }
    }
    // A policy that is there twice: one would be lost.
    let one = filter(set(1, policy(any().0, any().1))).encode_to_vec();
    let inner = &one[2..];
    let entry = &inner[2..];
    let twice = field(1, &[&inner[..2], entry, entry].concat());
    assert!(rbac(&one).is_ok() && rbac(&twice).is_err());
}

#[test]
fn allow_nothing_denies() {
    let nothing = Policy {
        permissions: vec![what(What::NotRule(Box::new(any().0)))],
        principals: vec![who(Who::NotId(Box::new(any().1)))],
        ..Policy::default()
    };
    let rules = rbac(&filter(set(0, nothing)).encode_to_vec()).expect("rules");
    assert_eq!(decided(&rules, "/").0, Verdict::Deny);
}

/// Depth is bounded twice: by the protobuf reader, and by the rules.
#[test]
fn deep_rules_are_refused() {
    let nested = |many| {
        let rule = (0..many).fold(any().0, |inner, _| what(What::NotRule(Box::new(inner))));
        filter(set(0, policy(rule, any().1))).encode_to_vec()
    };
    assert!(rbac(&nested(20)).is_ok());
    for many in [70, 1_000] {
        assert!(rbac(&nested(many)).is_err(), "{many}");
    }
}
