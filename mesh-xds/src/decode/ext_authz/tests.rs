//! Each field of the filter is read, or refuses it by its name.
#![allow(clippy::too_many_lines, reason = "a test may be a long table")]

use envoy_types::pb::envoy::config::common::mutation_rules::v3::HeaderMutationRules;
use envoy_types::pb::envoy::config::core::v3::{
    GrpcService, HeaderValue, HttpUri, RuntimeFeatureFlag, RuntimeFractionalPercent, grpc_service,
    http_uri,
};
use envoy_types::pb::envoy::extensions::filters::http::ext_authz::v3::{
    AuthorizationRequest, AuthorizationResponse, HttpService,
};
use envoy_types::pb::envoy::r#type::matcher::v3::{
    StringMatcher as PbString, ValueMatcher, metadata_matcher::PathSegment,
    string_matcher::MatchPattern,
};
use envoy_types::pb::envoy::r#type::v3::HttpStatus;
use envoy_types::pb::google::protobuf::Duration as PbDuration;
use mesh_core::server::ask::{Authorizer, DEFAULT_TIMEOUT};

use super::*;

fn grpc() -> ExtAuthz {
    let target = grpc_service::EnvoyGrpc {
        cluster_name: "outbound|9000||ext".to_owned(),
        ..grpc_service::EnvoyGrpc::default()
    };
    ExtAuthz {
        transport_api_version: ApiVersion::V3.into(),
        services: Some(Services::GrpcService(GrpcService {
            target_specifier: Some(grpc_service::TargetSpecifier::EnvoyGrpc(target)),
            ..GrpcService::default()
        })),
        ..ExtAuthz::default()
    }
}

fn http_service() -> HttpService {
    HttpService {
        server_uri: Some(HttpUri {
            uri: "http://ext".to_owned(),
            http_upstream_type: Some(http_uri::HttpUpstreamType::Cluster("ext".to_owned())),
            timeout: Some(PbDuration {
                seconds: 2,
                nanos: 500_000_000,
            }),
        }),
        ..HttpService::default()
    }
}

fn by_http(service: HttpService) -> ExtAuthz {
    ExtAuthz {
        services: Some(Services::HttpService(service)),
        ..grpc()
    }
}

fn exact(name: &str) -> ListStringMatcher {
    ListStringMatcher {
        patterns: vec![PbString {
            match_pattern: Some(MatchPattern::Exact(name.to_owned())),
            ignore_case: true,
        }],
    }
}

fn decoded(filter: &ExtAuthz) -> Ask {
    ext_authz(&filter.encode_to_vec()).expect("a filter")
}

#[test]
fn what_is_not_said_is_envoys_default() {
    let ask = decoded(&grpc());
    assert_eq!(&*ask.cluster, "outbound|9000||ext");
    assert_eq!(ask.timeout, DEFAULT_TIMEOUT);
    assert_eq!(ask.on_error, OnError::Deny(StatusCode::FORBIDDEN));
    assert!(matches!(ask.when, When::Always) && ask.applies([]));
    assert!(ask.tells("x-a"));
    assert_eq!(
        (ask.body, ask.tells_sni, ask.most_denied_body),
        (None, false, 0)
    );
    // A cluster's name need not be an authority.
    assert!(matches!(&ask.authorizer, Authorizer::Grpc(it) if &**it == "localhost"));
    let ask = decoded(&by_http(http_service()));
    assert_eq!(ask.timeout.as_millis(), 2_500);
    assert!(
        !ask.tells("x-a"),
        "one of HTTP is told of what it is allowed"
    );
}

#[test]
fn what_is_said_is_read() {
    let filter = ExtAuthz {
        failure_mode_allow: true,
        failure_mode_allow_header_add: true,
        with_request_body: Some(BufferSettings {
            max_request_bytes: 7,
            allow_partial_message: true,
            pack_as_bytes: true,
        }),
        allowed_headers: Some(exact("x-a")),
        disallowed_headers: Some(exact("x-b")),
        include_tls_session: true,
        max_denied_response_body_bytes: 9,
        clear_route_cache: true,
        validate_mutations: true,
        ..grpc()
    };
    let ask = decoded(&filter);
    assert_eq!(ask.on_error, OnError::Allow { tells: true });
    let rule = BodyRule {
        most: 7,
        partial: true,
        as_bytes: true,
    };
    assert_eq!(ask.body, Some(rule));
    assert!(ask.tells("x-a") && !ask.tells("x-b") && !ask.tells("x-c"));
    assert_eq!((ask.tells_sni, ask.most_denied_body), (true, 9));
    for (code, expected) in [(503, 503), (0, 403), (100, 403), (-1, 403), (70_000, 403)] {
        let ask = decoded(&ExtAuthz {
            status_on_error: Some(HttpStatus { code }),
            ..grpc()
        });
        let expected = StatusCode::from_u16(expected).expect("a status");
        assert_eq!(ask.on_error, OnError::Deny(expected), "{code}");
    }
}

/// Changes a filter that is well, and says what is then wrong.
type Case = (fn(&mut ExtAuthz), &'static str);

#[test]
fn what_is_not_served_is_refused_by_its_name() {
    let cases: &[Case] = &[
        (
            |it| it.metadata_context_namespaces.push("a".into()),
            "metadata_context_namespaces: is not served",
        ),
        (
            |it| it.typed_metadata_context_namespaces.push("a".into()),
            "typed_metadata_context_namespaces: is not",
        ),
        (
            |it| it.route_metadata_context_namespaces.push("a".into()),
            "route_metadata_context_namespaces: is not",
        ),
        (
            |it| it.route_typed_metadata_context_namespaces.push("a".into()),
            "route_typed_metadata_context_namespaces",
        ),
        (
            |it| it.filter_enabled = Some(RuntimeFractionalPercent::default()),
            "filter_enabled: is not served",
        ),
        (
            |it| it.deny_at_disable = Some(RuntimeFeatureFlag::default()),
            "deny_at_disable: is not served",
        ),
        (
            |it| it.include_peer_certificate = true,
            "include_peer_certificate: is not served",
        ),
        (
            |it| it.bootstrap_metadata_labels_key = "a".into(),
            "bootstrap_metadata_labels_key: is not",
        ),
        (
            |it| it.encode_raw_headers = true,
            "encode_raw_headers: is not served",
        ),
        (
            |it| it.decoder_header_mutation_rules = Some(HeaderMutationRules::default()),
            "decoder_header_mutation_rules",
        ),
        (|it| it.shadow_mode = true, "shadow_mode: is not served"),
        (
            |it| it.transport_api_version = 0,
            "transport_api_version: is not V3",
        ),
        (|it| it.services = None, "services: is missing"),
        (
            |it| it.with_request_body = Some(BufferSettings::default()),
            "max_request_bytes: is 0",
        ),
        (
            |it| {
                it.with_request_body = Some(BufferSettings {
                    max_request_bytes: u32::MAX,
                    ..BufferSettings::default()
                })
            },
            "max_request_bytes: is 4294967295",
        ),
        (
            |it| {
                it.allowed_headers = Some(ListStringMatcher {
                    patterns: vec![PbString::default()],
                })
            },
            "allowed_headers.patterns[0].match_pattern",
        ),
        (
            |it| it.services = Some(Services::GrpcService(GrpcService::default())),
            "grpc_service.target_specifier",
        ),
        (
            |it| it.services = Some(Services::HttpService(HttpService::default())),
            "http_service.server_uri: is missing",
        ),
    ];
    for (change, expected) in cases {
        let mut filter = grpc();
        change(&mut filter);
        let error = ext_authz(&filter.encode_to_vec()).expect_err(expected);
        assert!(error.to_string().contains(expected), "{expected}: {error}");
    }
    // A field of a newer protocol (200), also within.
    let mut bytes = grpc().encode_to_vec();
    bytes.extend([0xc0, 0x0c, 1]);
    let error = ext_authz(&bytes).expect_err("unknown").to_string();
    assert!(error.contains("does not know"), "{error}");
}

#[test]
fn what_an_authorizer_of_http_has_is_read_or_refused() {
    let header = |key: &str, value: &str| HeaderValue {
        key: key.to_owned(),
        value: value.to_owned(),
        ..HeaderValue::default()
    };
    let with = |value: &str| HttpService {
        authorization_request: Some(AuthorizationRequest {
            headers_to_add: vec![header("x-a", value)],
            ..AuthorizationRequest::default()
        }),
        ..http_service()
    };
    let whole = HttpService {
        path_prefix: "/check".to_owned(),
        authorization_response: Some(AuthorizationResponse {
            allowed_upstream_headers: Some(exact("up")),
            allowed_upstream_headers_to_append: Some(exact("append")),
            allowed_client_headers: Some(exact("client")),
            allowed_client_headers_on_success: Some(exact("success")),
            ..AuthorizationResponse::default()
        }),
        ..with("a")
    };
    let ask = decoded(&by_http(whole));
    let Authorizer::Http(http) = &ask.authorizer else {
        panic!("{ask:?}");
    };
    assert_eq!(&*http.path_prefix, "/check");
    assert_eq!(http.headers_to_add.len(), 1);
    let one = |list: &[StringMatcher], name: &str| list[0].matches(name.as_bytes());
    assert!(one(&http.upstream, "up") && one(&http.upstream_append, "append"));
    assert!(
        one(http.client.as_ref().expect("a list"), "client")
            && one(&http.client_on_success, "success")
    );

    let prefix = |path: &str| HttpService {
        path_prefix: path.to_owned(),
        ..http_service()
    };
    let cases = [
        (with("%REQ(x)%"), "headers_to_add[0].value"),
        (prefix("check"), "path_prefix"),
        (prefix("/a?b"), "path_prefix"),
        (prefix("/a#b"), "path_prefix"),
        (
            HttpService {
                path_override: "/a".to_owned(),
                ..http_service()
            },
            "path_override",
        ),
        (
            HttpService {
                server_uri: Some(HttpUri::default()),
                ..http_service()
            },
            "server_uri.cluster",
        ),
        (
            HttpService {
                authorization_response: Some(AuthorizationResponse {
                    dynamic_metadata_from_headers: Some(exact("a")),
                    ..AuthorizationResponse::default()
                }),
                ..http_service()
            },
            "dynamic_metadata_from_headers",
        ),
    ];
    for (service, expected) in cases {
        let error = ext_authz(&by_http(service).encode_to_vec()).expect_err(expected);
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn istios_condition_is_the_only_one() {
    let text = |prefix: &str| ValueMatcher {
        match_pattern: Some(value_matcher::MatchPattern::StringMatch(PbString {
            match_pattern: Some(MatchPattern::Prefix(prefix.to_owned())),
            ignore_case: false,
        })),
    };
    let key = |key: &str| PathSegment {
        segment: Some(Segment::Key(key.to_owned())),
    };
    let istios = || MetadataMatcher {
        filter: RBAC.to_owned(),
        path: vec![key("istio_ext_authz_shadow_effective_policy_id")],
        value: Some(text("istio-ext-authz-ext")),
        invert: false,
    };
    let with = |matcher: MetadataMatcher| ExtAuthz {
        filter_enabled_metadata: Some(matcher),
        ..grpc()
    };
    let ask = decoded(&with(istios()));
    let met = |prefix, name| ask.applies([(prefix, name)]);
    assert!(met("istio_ext_authz_", "istio-ext-authz-ext-ns[a]"));
    assert!(!met("istio_ext_authz_", "istio-ext-authz-other-ns[a]"));
    assert!(!met("istio_dry_run_", "istio-ext-authz-ext-ns[a]"));
    // The last of a prefix counts.
    let two = |last| {
        ask.applies([
            ("istio_ext_authz_", "istio-ext-authz-ext"),
            ("istio_ext_authz_", last),
        ])
    };
    assert!(two("istio-ext-authz-ext") && !two("x"));

    let others = [
        MetadataMatcher {
            filter: "x".to_owned(),
            ..istios()
        },
        MetadataMatcher {
            invert: true,
            ..istios()
        },
        MetadataMatcher {
            path: vec![],
            ..istios()
        },
        MetadataMatcher {
            path: vec![key("a"), key("b")],
            ..istios()
        },
        MetadataMatcher {
            path: vec![key("istio_ext_authz_shadow_engine_result")],
            ..istios()
        },
        MetadataMatcher {
            value: None,
            ..istios()
        },
        MetadataMatcher {
            value: Some(ValueMatcher::default()),
            ..istios()
        },
    ];
    for other in others {
        let error = ext_authz(&with(other.clone()).encode_to_vec()).expect_err("another");
        assert!(
            error.to_string().contains("filter_enabled_metadata"),
            "{other:?}: {error}"
        );
    }
}
