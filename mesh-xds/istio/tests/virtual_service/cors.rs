use envoy_types::pb::envoy::extensions::filters::http::cors::v3::CorsPolicy;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::google::protobuf::{Value, value::Kind};

use super::*;

const CORS: &str = "envoy.filters.http.cors";

fn cors(fields: &str) -> CorsPolicy {
    filter(&one(&format!("corsPolicy: {{ {fields} }}")), CORS)
}

fn origins(policy: &CorsPolicy) -> Vec<MatchPattern> {
    let all = policy.allow_origin_string_match.iter();
    all.map(|m| m.match_pattern.clone().unwrap()).collect()
}

#[test]
fn every_field() {
    let all = cors(
        "allowOrigins: [ { exact: 'https://a.b' }, { prefix: 'https://c' }, { regex: '.*d' } ], allowMethods: [GET, POST], allowHeaders: [x-one, X-Two], exposeHeaders: [x-three, '*'], maxAge: 24h, allowCredentials: true, unmatchedPreflights: IGNORE",
    );
    let origins = origins(&all);
    assert_eq!(origins[0], MatchPattern::Exact("https://a.b".to_owned()));
    assert_eq!(origins[1], MatchPattern::Prefix("https://c".to_owned()));
    assert!(matches!(&origins[2], MatchPattern::SafeRegex(r) if r.regex == ".*d"));
    assert_eq!(all.allow_methods, "GET,POST");
    assert_eq!(all.allow_headers, "x-one,X-Two");
    assert_eq!(all.expose_headers, "x-three,*");
    assert_eq!(all.max_age, "86400");
    assert_eq!(all.allow_credentials.map(|v| v.value), Some(true));
    assert_eq!(
        all.forward_not_matching_preflights.map(|v| v.value),
        Some(false)
    );
    let enabled = all.filter_enabled.unwrap().default_value.unwrap();
    assert_eq!((enabled.numerator, enabled.denominator), (100, 0));
}

#[test]
fn nothing_said() {
    let none = cors("");
    assert_eq!(none.max_age, "");
    assert_eq!(none.allow_credentials, None);
    assert_eq!(
        none.forward_not_matching_preflights.map(|v| v.value),
        Some(true)
    );
}

#[test]
fn the_older_list_of_origins() {
    let exact = |text: &str| MatchPattern::Exact(text.to_owned());
    assert_eq!(
        origins(&cors("allowOrigin: ['*', 'a']")),
        [exact("*"), exact("a")]
    );
    let both = cors("allowOrigin: [a], allowOrigins: [ { exact: b } ]");
    assert_eq!(origins(&both), [exact("b")]);
}

/// gRPC refuses a route configuration with a filter that it does not know.
#[test]
fn grpc_is_sent_faults_alone() {
    let text = text(
        "  - fault: { abort: { httpStatus: 503 } }\n    corsPolicy: {}\n    route: [ { destination: { host: reviews } } ]\n",
    );
    let kind = Some(Kind::StringValue("grpc".to_owned()));
    let mut node = client();
    node.metadata.insert("GENERATOR".to_owned(), Value { kind });
    let resources = load(&text).config.resources(&node);
    let configuration = routes(&resources, &format!("outbound|9080||{HOST}"));
    let filters = &configuration.virtual_hosts[0].routes[0].typed_per_filter_config;
    assert_eq!(
        filters.keys().collect::<Vec<_>>(),
        ["envoy.filters.http.fault"]
    );
}
