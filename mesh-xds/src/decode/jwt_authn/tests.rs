use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::config::core::v3::http_uri::HttpUpstreamType;
use envoy_types::pb::envoy::config::core::v3::{DataSource, HttpUri, RuntimeFractionalPercent};
use envoy_types::pb::envoy::config::route::v3::RouteMatch;
use envoy_types::pb::envoy::config::route::v3::route_match::{
    GrpcRouteMatchOptions, PathSpecifier,
};
use envoy_types::pb::envoy::extensions::filters::http::jwt_authn::v3::jwt_claim_to_header::PathSegment;
use envoy_types::pb::envoy::extensions::filters::http::jwt_authn::v3::jwt_provider::{
    JwksSourceSpecifier, NormalizePayload,
};
use envoy_types::pb::envoy::extensions::filters::http::jwt_authn::v3::jwt_requirement::RequiresType;
use envoy_types::pb::envoy::extensions::filters::http::jwt_authn::v3::{
    ExtractOnlyWithoutValidation, FilterStateRule, JwksAsyncFetch, JwtClaimToHeader, JwtHeader,
    JwtProvider, JwtRequirement, JwtRequirementAndList, JwtRequirementOrList,
    ProviderWithAudiences, RemoteJwks as PbRemote, RequirementRule,
};
use envoy_types::pb::envoy::r#type::matcher::v3::StringMatcher;
use envoy_types::pb::google::protobuf::{Duration as PbDuration, Empty};
use http::HeaderMap;
use http::{Method, Uri};
use mesh_core::RequestView;
use mesh_core::jwt::{Alg, Expiration, Jwk, Keys, Outcome, Places, Verify, Why, check};

use super::*;

/// The filter as istiod sent it, of a RequestAuthentication with a secret for a key.
const RECORDED: &str = "0a6b0a096f726967696e732d30125e0a036973731201614a077061796c6f61646a02636b7a0c0a05782d73756212037375629201130a0a7065726d697373696f6e0a0573636f706522231a217b226b657973223a5b7b226b7479223a226f6374222c226b223a224151227d5d7d121a0a030a012f12131a110a0b0a096f726967696e732d300a0232002001";

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
    (0..hex.len()).step_by(2).map(digit).collect()
}

/// Believes everything.
struct Anybody;

impl Verify for Anybody {
    fn verify(&self, _: Alg, _: &Jwk, _: &[u8], _: &[u8]) -> bool {
        true
    }
}

const KEYS: &str =
    r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

fn inline(text: &str) -> Option<JwksSourceSpecifier> {
    Some(JwksSourceSpecifier::LocalJwks(DataSource {
        specifier: Some(Specifier::InlineString(text.to_owned())),
        watched_directory: None,
    }))
}

fn provider() -> JwtProvider {
    JwtProvider {
        issuer: "iss".to_owned(),
        jwks_source_specifier: inline(KEYS),
        ..JwtProvider::default()
    }
}

fn requirement(what: RequiresType) -> JwtRequirement {
    JwtRequirement {
        requires_type: Some(what),
    }
}

fn by_name(name: &str) -> JwtRequirement {
    requirement(RequiresType::ProviderName(name.to_owned()))
}

fn any(requirements: Vec<JwtRequirement>) -> JwtRequirement {
    requirement(RequiresType::RequiresAny(JwtRequirementOrList {
        requirements,
    }))
}

fn everywhere() -> RouteMatch {
    RouteMatch {
        path_specifier: Some(PathSpecifier::Prefix("/".to_owned())),
        ..RouteMatch::default()
    }
}

fn rule(requires: JwtRequirement) -> RequirementRule {
    RequirementRule {
        r#match: Some(everywhere()),
        requirement_type: Some(RequirementType::Requires(requires)),
    }
}

fn filter(provider: JwtProvider, requires: JwtRequirement) -> JwtAuthentication {
    JwtAuthentication {
        providers: [("p".to_owned(), provider)].into(),
        rules: vec![rule(requires)],
        ..JwtAuthentication::default()
    }
}

fn decoded(filter: &JwtAuthentication) -> Rules {
    jwt_authn(&filter.encode_to_vec()).expect("a filter that is served")
}

/// What a request with these headers comes to.
fn judged(rules: &Rules, headers: &[(&'static str, &str)]) -> Outcome {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, value.parse().expect("a header"));
    }
    let (method, uri) = (Method::GET, Uri::from_static("/x"));
    let request = RequestView::of(&method, &uri, &map);
    check(rules, &request, 1_000, &(), &Anybody)
}

/// `{"alg":"EdDSA"}`, `{"iss":"iss"}` and 64 zeros.
fn token() -> String {
    format!("eyJhbGciOiJFZERTQSJ9.eyJpc3MiOiJpc3MifQ.{}", "A".repeat(86))
}

#[test]
fn what_istiod_sends_is_served() {
    let rules = jwt_authn(&bytes(RECORDED)).expect("a filter that is served");
    let [provider] = rules.providers() else {
        panic!("one provider")
    };
    assert_eq!(&*provider.name, "origins-0");
    assert_eq!(provider.issuer.as_deref(), Some("iss"));
    assert_eq!(provider.audiences, mesh_core::jwt::Audiences::of(["a"]));
    assert_eq!(provider.payload_in_metadata.as_deref(), Some("payload"));
    assert_eq!(provider.places.cookies, ["ck".into()].into());
    assert!(provider.places.headers.is_empty() && provider.places.params.is_empty());
    assert_eq!(
        provider.space_delimited_claims,
        ["permission".into(), "scope".into()].into()
    );
    let [to_header] = &*provider.claim_to_headers else {
        panic!("one header")
    };
    assert_eq!(
        (to_header.name.as_str(), &*to_header.path),
        ("x-sub", &["sub".into()][..])
    );
    assert_eq!(
        (provider.clock_skew, provider.expiration),
        (60, Expiration::Optional)
    );
    let Keys::Unusable(why) = &provider.keys else {
        panic!("a secret is no key")
    };
    assert!(why.contains("keys[0]: [kty] is not supported"), "{why}");
    assert_eq!(judged(&rules, &[]), Outcome::Missing);
    let bad = judged(&rules, &[("cookie", "ck=a.b.c")]);
    assert_eq!(bad, Outcome::Refused(Why::HeaderBase64));
}

/// With everything that can be set.
fn full() -> JwtProvider {
    JwtProvider {
        audiences: vec!["a".to_owned()],
        subjects: Some(StringMatcher {
            match_pattern: Some(
                envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern::Prefix(
                    "u".to_owned(),
                ),
            ),
            ignore_case: false,
        }),
        require_expiration: true,
        max_lifetime: Some(PbDuration {
            seconds: 7,
            nanos: 1,
        }),
        forward: true,
        from_headers: vec![JwtHeader {
            name: "X-Token".to_owned(),
            value_prefix: "T ".to_owned(),
        }],
        from_params: vec!["t".to_owned()],
        forward_payload_header: "X-Payload".to_owned(),
        pad_forward_payload_header: true,
        header_in_metadata: "header".to_owned(),
        normalize_payload_in_metadata: Some(NormalizePayload::default()),
        clock_skew_seconds: 5,
        claim_to_headers: vec![
            JwtClaimToHeader {
                header_name: "x-a".to_owned(),
                claim_name: "a.b".to_owned(),
                claim_path: Vec::new(),
            },
            JwtClaimToHeader {
                header_name: "x-b".to_owned(),
                claim_name: String::new(),
                claim_path: vec![PathSegment {
                    key: "a.b".to_owned(),
                }],
            },
        ],
        clear_route_cache: true,
        jwt_cache_config: Some(Default::default()),
        ..provider()
    }
}

#[test]
fn a_provider_is_read_whole() {
    let rules = decoded(&filter(full(), by_name("p")));
    let [provider] = rules.providers() else {
        panic!("one provider")
    };
    assert_eq!(provider.expiration, Expiration::Within(7));
    assert_eq!(provider.clock_skew, 5);
    assert!(provider.forward && provider.subjects.is_some());
    assert_eq!(provider.places.headers[0].name, "x-token");
    assert_eq!(&*provider.places.headers[0].prefix, "T ");
    assert_eq!(provider.places.params, ["t".into()].into());
    let payload = provider.payload_header.as_ref().expect("a header");
    assert_eq!((payload.name.as_str(), payload.padded), ("x-payload", true));
    let paths: Vec<usize> = provider
        .claim_to_headers
        .iter()
        .map(|to| to.path.len())
        .collect();
    assert_eq!(paths, [2, 1]);
    assert_eq!(provider.header_in_metadata.as_deref(), Some("header"));
    assert!(matches!(provider.keys, Keys::Local(_)));
}

#[test]
fn requirements_are_as_in_envoy() {
    let bearer = format!("Bearer {}", token());
    let good = [("authorization", &*bearer)];
    let bad = [("authorization", "Bearer x")];
    let missing = || requirement(RequiresType::AllowMissing(Empty {}));
    let failed = || requirement(RequiresType::AllowMissingOrFailed(Empty {}));
    let (passes, refused) = (Outcome::Missing, Outcome::Refused(Why::Missing));
    let wrong = Outcome::Refused(Why::BadFormat);
    let other = requirement(RequiresType::ProviderAndAudiences(ProviderWithAudiences {
        provider_name: "p".to_owned(),
        audiences: vec!["a".to_owned()],
    }));
    let none = JwtRequirement::default();
    for (requires, without, with_bad) in [
        (by_name("p"), &refused, &wrong),
        (none, &passes, &passes),
        (missing(), &passes, &wrong),
        (failed(), &passes, &passes),
        (any(vec![by_name("p"), missing()]), &passes, &wrong),
        (
            any(vec![by_name("p"), failed(), missing()]),
            &passes,
            &passes,
        ),
        (any(vec![missing(), failed()]), &passes, &passes),
        (any(vec![missing(), missing()]), &passes, &wrong),
        (any(vec![other.clone(), by_name("p")]), &refused, &wrong),
        (
            requirement(RequiresType::RequiresAll(JwtRequirementAndList {
                requirements: vec![by_name("p"), missing()],
            })),
            &refused,
            &wrong,
        ),
    ] {
        let asks = requires.requires_type.is_some();
        let rules = decoded(&filter(provider(), requires.clone()));
        assert_eq!(judged(&rules, &[]), *without, "{requires:?}");
        assert_eq!(judged(&rules, &bad), *with_bad, "{requires:?}");
        let believed = matches!(judged(&rules, &good), Outcome::Verified(_));
        assert_eq!(believed, asks, "{requires:?}");
    }
    let rules = decoded(&filter(provider(), other));
    assert_eq!(
        judged(&rules, &good),
        Outcome::Refused(Why::AudienceNotAllowed)
    );
}

#[test]
fn keys_to_be_fetched_are_named() {
    let remote = |remote: PbRemote| JwtProvider {
        jwks_source_specifier: Some(JwksSourceSpecifier::RemoteJwks(remote)),
        ..provider()
    };
    let seconds = |seconds| Some(PbDuration { seconds, nanos: 0 });
    let uri = |uri: &str, cluster: &str| HttpUri {
        uri: uri.to_owned(),
        timeout: seconds(5),
        http_upstream_type: Some(HttpUpstreamType::Cluster(cluster.to_owned())),
    };
    let good = PbRemote {
        http_uri: Some(uri("https://issuer/keys", "c")),
        async_fetch: Some(JwksAsyncFetch::default()),
        ..PbRemote::default()
    };
    let rules = decoded(&filter(remote(good.clone()), by_name("p")));
    let source = rules.remote().next().expect("a source");
    assert_eq!(
        (&*source.uri, &*source.cluster),
        ("https://issuer/keys", "c")
    );
    assert_eq!(source.timeout, Duration::from_secs(5));
    assert_eq!(source.cache_duration, Duration::from_secs(600));
    assert_eq!(source.async_fetch, Some(Duration::from_secs(1)));
    for bad in [
        PbRemote::default(),
        PbRemote {
            http_uri: Some(uri("file:///etc/passwd", "c")),
            ..good.clone()
        },
        PbRemote {
            http_uri: Some(uri("https://issuer/keys", "")),
            ..good.clone()
        },
        PbRemote {
            cache_duration: seconds(0),
            ..good
        },
    ] {
        let told = told(&filter(remote(bad.clone()), by_name("p")));
        assert!(told.starts_with("providers[\"p\"].remote_jwks"), "{told}");
    }
}

fn told(filter: &JwtAuthentication) -> String {
    let error = jwt_authn(&filter.encode_to_vec()).expect_err("a filter that is not served");
    error.to_string()
}

/// What makes a good filter one that is refused.
type Spoil = fn(&mut JwtAuthentication);

fn spoiled_rules() -> [(&'static str, Spoil); 10] {
    [
        ("filter_state_rules", |it| {
            it.filter_state_rules = Some(FilterStateRule::default())
        }),
        ("rules[0].match: is missing", |it| {
            it.rules[0].r#match = None
        }),
        ("rules[0].match.path_specifier", |it| {
            it.rules[0].r#match = Some(RouteMatch::default())
        }),
        ("rules[0].match.grpc", |it| {
            it.rules[0].r#match.as_mut().expect("a match").grpc = Some(GrpcRouteMatchOptions {});
        }),
        ("rules[0].match.runtime_fraction", |it| {
            let fraction = RuntimeFractionalPercent {
                default_value: Some(Default::default()),
                ..Default::default()
            };
            it.rules[0]
                .r#match
                .as_mut()
                .expect("a match")
                .runtime_fraction = Some(fraction);
        }),
        ("rules[0].requirement_name", |it| {
            it.rules[0].requirement_type = Some(RequirementType::RequirementName("x".to_owned()));
        }),
        (
            "rules[0].requires.provider_name: \"x\" is not among the providers",
            |it| it.rules[0] = rule(by_name("x")),
        ),
        ("rules[0].requires.requires_any.requirements", |it| {
            it.rules[0] = rule(any(vec![by_name("p")]))
        }),
        ("rules[0].requires.extract_only_without_validation", |it| {
            let extracted = ExtractOnlyWithoutValidation::default();
            it.rules[0] = rule(requirement(RequiresType::ExtractOnlyWithoutValidation(
                extracted,
            )));
        }),
        ("requirement_map[\"r\"].provider_name", |it| {
            it.requirement_map.insert("r".to_owned(), by_name("x"));
        }),
    ]
}

fn spoiled_providers() -> [(&'static str, Spoil); 8] {
    [
        ("providers[\"p\"].jwks_source_specifier", |it| {
            of_provider(it).jwks_source_specifier = None
        }),
        ("providers[\"p\"].local_jwks.filename", |it| {
            of_provider(it).jwks_source_specifier =
                Some(JwksSourceSpecifier::LocalJwks(DataSource {
                    specifier: Some(Specifier::Filename("/etc/mesh".to_owned())),
                    watched_directory: None,
                }));
        }),
        ("providers[\"p\"].local_jwks.environment_variable", |it| {
            of_provider(it).jwks_source_specifier =
                Some(JwksSourceSpecifier::LocalJwks(DataSource {
                    specifier: Some(Specifier::EnvironmentVariable("KEYS".to_owned())),
                    watched_directory: None,
                }));
        }),
        ("providers[\"p\"].failed_status_in_metadata", |it| {
            of_provider(it).failed_status_in_metadata = "x".to_owned();
        }),
        ("providers[\"p\"].from_headers[0].name", |it| {
            of_provider(it).from_headers.push(JwtHeader {
                name: "a b".to_owned(),
                value_prefix: String::new(),
            });
        }),
        ("providers[\"p\"].from_cookies[0]", |it| {
            of_provider(it).from_cookies.push(String::new())
        }),
        ("providers[\"p\"].claim_to_headers[0].claim_name", |it| {
            of_provider(it).claim_to_headers.push(JwtClaimToHeader {
                header_name: "x".to_owned(),
                ..JwtClaimToHeader::default()
            });
        }),
        ("providers[\"p\"].subjects.match_pattern", |it| {
            of_provider(it).subjects = Some(StringMatcher::default())
        }),
    ]
}

/// At the field that is told.
#[test]
fn what_is_not_served_is_refused_by_name() {
    for (field, spoil) in spoiled_rules().into_iter().chain(spoiled_providers()) {
        let mut filter = filter(provider(), by_name("p"));
        decoded(&filter);
        spoil(&mut filter);
        let told = told(&filter);
        assert!(told.starts_with(field), "{field}: {told}");
    }
}

fn of_provider(filter: &mut JwtAuthentication) -> &mut JwtProvider {
    filter.providers.get_mut("p").expect("a provider")
}

#[test]
fn fields_of_a_newer_protocol_are_refused() {
    let mut wire = filter(provider(), by_name("p")).encode_to_vec();
    assert!(jwt_authn(&wire).is_ok());
    wire.extend([0xf8, 0x3f, 1]); // field 1023
    let error = jwt_authn(&wire).expect_err("a field that is not known");
    assert!(error.to_string().contains("does not know"), "{error}");
    assert!(jwt_authn(b"\xff").is_err());
    let nothing = jwt_authn(b"").expect("a filter that asks for nothing");
    assert_eq!(judged(&nothing, &[]), Outcome::Missing);
}

#[test]
fn default_places_are_envoys() {
    let rules = decoded(&filter(provider(), by_name("p")));
    let places = &rules.providers()[0].places;
    assert_eq!(format!("{places:?}"), format!("{:?}", Places::default()));
}
