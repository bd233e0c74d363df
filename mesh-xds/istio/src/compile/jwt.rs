//! `RequestAuthentication` as Envoy's filter `envoy.filters.http.jwt_authn`, one for all that a workload has.

use std::collections::BTreeMap;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::extensions::filters::http::jwt_authn::v3 as pb;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as http;
use envoy_types::pb::google::protobuf::{Any, Empty};
use pb::jwt_provider::{JwksSourceSpecifier, NormalizePayload};
use pb::jwt_requirement::RequiresType;
use prost::{Message, Name};

use super::proto::duration;
use crate::kinds::request_authentication::{JwksUri, JwtRule, Keys};

const FILTER: &str = "envoy.filters.http.jwt_authn";
/// Under which name policies find the claims; that of istiod's RBAC filters, too.
const PAYLOAD: &str = "payload";
/// Claims that are words with blanks between them (RFC 8693, 4.2), as istiod has them.
const WORDS: [&str; 2] = ["permission", "scope"];
/// How long fetched keys are good (Istio).
const CACHED: Duration = Duration::from_secs(5 * 60);

/// `JwtAuthentication` with its providers in order: the generated map is a hash map.
#[derive(Clone, PartialEq, prost::Message)]
struct JwtAuthentication {
    #[prost(btree_map = "string, message", tag = "1")]
    providers: BTreeMap<String, pb::JwtProvider>,
    #[prost(message, repeated, tag = "2")]
    rules: Vec<pb::RequirementRule>,
    #[prost(bool, tag = "4")]
    bypass_cors_preflight: bool,
}

/// The filter of these rules; none where there are none.
pub(super) fn filter<'a>(rules: impl IntoIterator<Item = &'a JwtRule>) -> Option<http::HttpFilter> {
    config(rules).map(|config| packed(&config))
}

/// That of a gateway, where claims may choose the route: it is looked for again when they are known.
pub(super) fn of_gateway<'a>(
    rules: impl IntoIterator<Item = &'a JwtRule>,
) -> Option<http::HttpFilter> {
    let mut config = config(rules)?;
    for provider in config.providers.values_mut() {
        provider.clear_route_cache = true;
    }
    Some(packed(&config))
}

fn packed(config: &JwtAuthentication) -> http::HttpFilter {
    let any = Any {
        type_url: pb::JwtAuthentication::type_url(),
        value: config.encode_to_vec(),
    };
    http::HttpFilter {
        name: FILTER.to_owned(),
        config_type: Some(http::http_filter::ConfigType::TypedConfig(any)),
        ..http::HttpFilter::default()
    }
}

/// Istiod takes the rules of all objects together, by issuer.
fn config<'a>(rules: impl IntoIterator<Item = &'a JwtRule>) -> Option<JwtAuthentication> {
    let mut rules: Vec<&JwtRule> = rules.into_iter().collect();
    rules.sort_by_key(|rule| &rule.issuer);
    let names: Vec<String> = (0..rules.len()).map(|at| format!("origins-{at}")).collect();
    let requires = requires(&names)?;
    let providers = names.into_iter().zip(rules.into_iter().map(provider));
    let everywhere = route::RouteMatch {
        path_specifier: Some(route::route_match::PathSpecifier::Prefix("/".to_owned())),
        ..route::RouteMatch::default()
    };
    let rule = pb::RequirementRule {
        r#match: Some(everywhere),
        requirement_type: Some(pb::requirement_rule::RequirementType::Requires(requires)),
    };
    Some(JwtAuthentication {
        providers: providers.collect(),
        rules: vec![rule],
        bypass_cors_preflight: true,
    })
}

/// A good token of any issuer is enough; else no token of any issuer may be bad. That there must be one is for an
/// `AuthorizationPolicy` to say.
fn requires(names: &[String]) -> Option<pb::JwtRequirement> {
    let by_name = |name: &String| requirement(RequiresType::ProviderName(name.clone()));
    let missing = || requirement(RequiresType::AllowMissing(Empty {}));
    let if_any = |name| any(vec![by_name(name), missing()]);
    match names {
        [] => None,
        [only] => Some(if_any(only)),
        several => {
            let none_bad = pb::JwtRequirementAndList {
                requirements: several.iter().map(if_any).collect(),
            };
            let mut of: Vec<_> = several.iter().map(by_name).collect();
            of.push(requirement(RequiresType::RequiresAll(none_bad)));
            Some(any(of))
        }
    }
}

fn any(requirements: Vec<pb::JwtRequirement>) -> pb::JwtRequirement {
    requirement(RequiresType::RequiresAny(pb::JwtRequirementOrList {
        requirements,
    }))
}

fn requirement(what: RequiresType) -> pb::JwtRequirement {
    pb::JwtRequirement {
        requires_type: Some(what),
    }
}

fn provider(rule: &JwtRule) -> pb::JwtProvider {
    let header = |(name, prefix): &(String, String)| pb::JwtHeader {
        name: name.clone(),
        value_prefix: prefix.clone(),
    };
    let claim = |(header, claim): &(String, String)| pb::JwtClaimToHeader {
        header_name: header.clone(),
        claim_name: claim.clone(),
        ..pb::JwtClaimToHeader::default()
    };
    pb::JwtProvider {
        issuer: rule.issuer.clone(),
        audiences: rule.audiences.clone(),
        forward: rule.forward,
        from_headers: rule.headers.iter().map(header).collect(),
        from_params: rule.params.clone(),
        from_cookies: rule.cookies.clone(),
        forward_payload_header: rule.payload_header.clone(),
        payload_in_metadata: PAYLOAD.to_owned(),
        normalize_payload_in_metadata: Some(NormalizePayload {
            space_delimited_claims: WORDS.map(str::to_owned).into(),
        }),
        claim_to_headers: rule.claim_headers.iter().map(claim).collect(),
        jwks_source_specifier: Some(match &rule.keys {
            Keys::Inline(text) => JwksSourceSpecifier::LocalJwks(core::DataSource {
                specifier: Some(core::data_source::Specifier::InlineString(text.clone())),
                ..core::DataSource::default()
            }),
            Keys::At(uri) => JwksSourceSpecifier::RemoteJwks(remote(uri)),
        }),
        ..pb::JwtProvider::default()
    }
}

/// Servers fetch the keys. Istiod does it for them and sends the keys inline, with a key that nobody has where it could not
/// fetch any; with `PILOT_JWT_ENABLE_REMOTE_JWKS` it sends this. A compiler of YAML has nothing to fetch with, and what is
/// compiled must not depend on when an issuer could be reached.
fn remote(keys: &JwksUri) -> pb::RemoteJwks {
    let cluster = format!("outbound|{}||{}", keys.port, keys.host);
    let uri = core::HttpUri {
        uri: keys.uri.clone(),
        timeout: Some(duration(keys.timeout)),
        http_upstream_type: Some(core::http_uri::HttpUpstreamType::Cluster(cluster)),
    };
    pb::RemoteJwks {
        http_uri: Some(uri),
        cache_duration: Some(duration(CACHED)),
        ..pb::RemoteJwks::default()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::decode::Sink;
    use crate::kinds::request_authentication::{RequestAuthentication, decode};
    use crate::yaml::{parse, split};

    const KEYS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

    fn read(spec: &str) -> (Option<RequestAuthentication>, Vec<String>) {
        let mut sink = Sink::new(Path::new("jwt.yaml"), crate::config::Options::default());
        let chunks = split(spec);
        let value = parse(&chunks[0]).expect("YAML");
        let decoded = decode(Some(&value), &mut sink);
        (
            decoded,
            sink.errors.into_iter().map(|error| error.message).collect(),
        )
    }

    fn served(spec: &str) -> RequestAuthentication {
        let (decoded, errors) = read(spec);
        assert_eq!(errors, Vec::<String>::new());
        decoded.expect("a spec")
    }

    fn sent(spec: &str) -> pb::JwtAuthentication {
        let filter = filter(&served(spec).rules).expect("a filter");
        let Some(http::http_filter::ConfigType::TypedConfig(any)) = filter.config_type else {
            panic!("a configuration");
        };
        assert_eq!(
            (&*filter.name, any.type_url),
            (FILTER, pb::JwtAuthentication::type_url())
        );
        pb::JwtAuthentication::decode(&*any.value).expect("the filter")
    }

    /// As istiod sent it for this object, but for the keys.
    #[test]
    fn one_issuer_is_as_istiod_sends_it() {
        let spec = format!(
            "selector: {{ matchLabels: {{ app: reviews }} }}\njwtRules: [ {{ issuer: iss, audiences: [a], jwks: '{KEYS}', outputClaimToHeaders: [ {{ header: x-sub, claim: sub }} ], fromCookies: [ck] }} ]\n"
        );
        let mut expected = pb::JwtProvider {
            issuer: "iss".to_owned(),
            audiences: vec!["a".to_owned()],
            payload_in_metadata: "payload".to_owned(),
            from_cookies: vec!["ck".to_owned()],
            claim_to_headers: vec![pb::JwtClaimToHeader {
                header_name: "x-sub".to_owned(),
                claim_name: "sub".to_owned(),
                claim_path: Vec::new(),
            }],
            normalize_payload_in_metadata: Some(NormalizePayload {
                space_delimited_claims: vec!["permission".to_owned(), "scope".to_owned()],
            }),
            ..pb::JwtProvider::default()
        };
        expected.jwks_source_specifier = Some(JwksSourceSpecifier::LocalJwks(core::DataSource {
            specifier: Some(core::data_source::Specifier::InlineString(KEYS.to_owned())),
            ..core::DataSource::default()
        }));
        let sent = sent(&spec);
        assert_eq!(sent.providers, [("origins-0".to_owned(), expected)].into());
        assert!(sent.bypass_cors_preflight);
        // match { prefix "/" }, requires { requires_any { provider_name, allow_missing } }
        let recorded = b"\x0a\x03\x0a\x01/\x12\x13\x1a\x11\x0a\x0b\x0a\x09origins-0\x0a\x022\x00";
        let [rule] = &*sent.rules else {
            panic!("one rule")
        };
        assert_eq!(rule.encode_to_vec(), recorded);
        assert_eq!(
            served(&spec).selector.get("app").map(String::as_str),
            Some("reviews")
        );
    }

    /// As istiod sent it with `PILOT_JWT_ENABLE_REMOTE_JWKS: envoy`, also for a host that it does not know.
    #[test]
    fn keys_are_fetched_by_servers() {
        let uri = "jwtRules: [ { issuer: a, jwksUri: 'https://a.example:8443/keys' } ]\n";
        let sent = sent(uri);
        let Some(JwksSourceSpecifier::RemoteJwks(remote)) =
            &sent.providers["origins-0"].jwks_source_specifier
        else {
            panic!("keys to be fetched");
        };
        assert_eq!(remote.cache_duration.map(|it| it.seconds), Some(300));
        assert_eq!(remote.async_fetch, None);
        let uri = remote.http_uri.clone().expect("a URI");
        assert_eq!(uri.uri, "https://a.example:8443/keys");
        let cluster =
            core::http_uri::HttpUpstreamType::Cluster("outbound|8443||a.example".to_owned());
        assert_eq!(uri.http_upstream_type, Some(cluster));
        assert_eq!(uri.timeout.map(|timeout| timeout.seconds), Some(5));
    }

    #[test]
    fn several_issuers_are_in_order_and_any_is_enough() {
        let rule = |issuer: &str| format!("- {{ issuer: {issuer}, jwks: '{KEYS}' }}\n");
        let spec = format!("jwtRules:\n{}{}", rule("b"), rule("a"));
        let sent = sent(&spec);
        assert_eq!(sent.providers["origins-0"].issuer, "a");
        assert_eq!(sent.providers["origins-1"].issuer, "b");
        let name = |at: usize| requirement(RequiresType::ProviderName(format!("origins-{at}")));
        let missing = || requirement(RequiresType::AllowMissing(Empty {}));
        let all = pb::JwtRequirementAndList {
            requirements: vec![any(vec![name(0), missing()]), any(vec![name(1), missing()])],
        };
        let expected = any(vec![
            name(0),
            name(1),
            requirement(RequiresType::RequiresAll(all)),
        ]);
        let requires = sent.rules[0].requirement_type.clone();
        assert_eq!(
            requires,
            Some(pb::requirement_rule::RequirementType::Requires(expected))
        );
        let bytes = |spec: &str| filter(&served(spec).rules).map(|filter| filter.encode_to_vec());
        let first = bytes(&spec);
        assert!(
            (0..20).all(|_| bytes(&spec) == first),
            "the same bytes each time"
        );
    }

    #[test]
    fn without_rules_there_is_no_filter() {
        assert!(filter(&served("selector: {}\n").rules).is_none());
        let mut sink = Sink::new(Path::new("jwt.yaml"), crate::config::Options::default());
        assert!(decode(None, &mut sink).is_some_and(|it| it.rules.is_empty()));
    }

    /// Rules with one mistake each, and what is told of it.
    fn told<const N: usize>(rules: [(String, &str); N]) {
        for (rule, told) in rules {
            let (_, errors) = read(&format!("jwtRules: [ {rule} ]\n"));
            let is_told = errors.iter().any(|error| error.starts_with(told));
            assert!(is_told, "{rule}: {errors:?}");
        }
    }

    #[test]
    fn keys_that_are_no_use_are_told_with_their_place() {
        let keys = format!("jwks: '{KEYS}'");
        told([
            (
                format!("{{ {keys} }}"),
                "spec.jwtRules[0].issuer is missing",
            ),
            (
                format!("{{ issuer: '', {keys} }}"),
                "spec.jwtRules[0].issuer is missing",
            ),
            (
                "{ issuer: i }".to_owned(),
                "spec.jwtRules[0] has neither jwks nor jwksUri",
            ),
            (
                "{ issuer: i, jwks: 'x' }".to_owned(),
                "spec.jwtRules[0].jwks: Jwks is an invalid JSON",
            ),
            (
                r#"{ issuer: i, jwks: '{"keys":[{"kty":"oct","k":"AQ"}]}' }"#.to_owned(),
                "spec.jwtRules[0].jwks: Jwks doesn't have any valid public key",
            ),
            (
                format!("{{ issuer: i, {keys}, jwksUri: 'https://a/k' }}"),
                "spec.jwtRules[0]",
            ),
            (
                "{ issuer: i, jwksUri: 'file:///etc/passwd' }".to_owned(),
                "spec.jwtRules[0].jwksUri",
            ),
            (
                "{ issuer: i, jwksUri: 'https://u@evil/k' }".to_owned(),
                "spec.jwtRules[0].jwksUri",
            ),
            (
                "{ issuer: i, jwksUri: 'https://:443/k' }".to_owned(),
                "spec.jwtRules[0].jwksUri",
            ),
            (
                "{ issuer: i, jwksUri: 'https://a:0/k' }".to_owned(),
                "spec.jwtRules[0].jwksUri",
            ),
        ]);
    }

    #[test]
    fn other_faults_are_told_with_their_place() {
        let keys = format!("jwks: '{KEYS}'");
        told([
            (
                format!("{{ issuer: i, {keys}, audiences: [''] }}"),
                "spec.jwtRules[0].audiences holds an empty text",
            ),
            (
                format!("{{ issuer: i, {keys}, fromHeaders: [ {{ name: 'a b' }} ] }}"),
                "spec.jwtRules[0].fromHeaders[0].name",
            ),
            (
                format!("{{ issuer: i, {keys}, outputClaimToHeaders: [ {{ header: x }} ] }}"),
                "spec.jwtRules[0].outputClaimToHeaders[0].claim is missing",
            ),
            (
                format!("{{ issuer: i, {keys}, outputPayloadToHeader: 'a:b' }}"),
                "spec.jwtRules[0].outputPayloadToHeader",
            ),
            (
                format!("{{ issuer: i, {keys}, x: 1 }}"),
                "unknown field \"x\" in spec.jwtRules[0]",
            ),
        ]);
        let (_, errors) = read("targetRef: { kind: Gateway, name: g }\n");
        assert!(
            errors
                .iter()
                .any(|error| error.starts_with("spec.targetRef is not served")),
            "{errors:?}"
        );
    }
}
