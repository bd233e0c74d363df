//! Policies with the action `CUSTOM`: rules that are tried, and behind them the filter that asks about whom they match.

use envoy_types::pb::envoy::config::core::v3::{
    ApiVersion, GrpcService, HeaderValue, HttpUri, grpc_service, http_uri,
};
use envoy_types::pb::envoy::extensions::filters::http::ext_authz::v3::{
    AuthorizationRequest, AuthorizationResponse, BufferSettings, ExtAuthz, HttpService, ext_authz,
};
use envoy_types::pb::envoy::extensions::filters::network::ext_authz::v3::ExtAuthz as NetworkExtAuthz;
use envoy_types::pb::envoy::r#type::matcher::v3::{
    ListStringMatcher, MetadataMatcher, StringMatcher, metadata_matcher,
    string_matcher::MatchPattern,
};
use envoy_types::pb::envoy::r#type::v3::HttpStatus;
use prost::{Message, Name};

use super::{Rules, matcher, proto};
use crate::compile::cluster_name;
use crate::kinds::extension_provider::{Authorizer, Http};
use crate::registry::Registry;

/// Before the names of policies, by which the filter that asks finds that one was met.
const PREFIX: &str = "istio-ext-authz";
/// Behind the names of policies that nobody can be asked about.
const BAD: &str = "-deny-due-to-bad-CUSTOM-action";
/// Before the names under which it is told what tried rules say.
pub(super) const SHADOW: &str = "istio_ext_authz_";

/// The name of a policy of a provider.
pub(super) fn name(provider: &str, rest: &str) -> String {
    format!("{PREFIX}-{provider}-{rest}")
}

/// The same rules for those of whom nobody can be asked: they refuse.
pub(super) fn refusing(rules: Rules) -> Rules {
    let policies = rules.policies.into_iter();
    Rules {
        policies: policies
            .map(|(name, policy)| (format!("{name}{BAD}"), policy))
            .collect(),
        ..rules
    }
}

/// Who is asked, and where.
pub(super) struct Asked<'a> {
    provider: &'a str,
    authorizer: &'a Authorizer,
    host: &'a str,
}

impl<'a> Asked<'a> {
    /// The provider's service. None where the mesh has no such provider, or its service is not known.
    pub(super) fn of(registry: &'a Registry, provider: &'a str) -> Option<Self> {
        let authorizer = registry.mesh.authorizers.get(provider)?;
        Some(Self {
            provider,
            host: registry.sole_host(&authorizer.service)?,
            authorizer,
        })
    }

    fn cluster(&self) -> String {
        cluster_name(self.authorizer.port, "", self.host)
    }

    /// Asks about those whom a policy of this provider met.
    fn met(&self, filter: &str) -> MetadataMatcher {
        let prefix = format!("{PREFIX}-{}", self.provider);
        MetadataMatcher {
            filter: filter.to_owned(),
            path: vec![metadata_matcher::PathSegment {
                segment: Some(metadata_matcher::path_segment::Segment::Key(format!(
                    "{SHADOW}shadow_effective_policy_id"
                ))),
            }],
            value: Some(matcher::text_value(matcher::text(MatchPattern::Prefix(
                prefix,
            )))),
            invert: false,
        }
    }

    fn grpc(&self) -> GrpcService {
        GrpcService {
            target_specifier: Some(grpc_service::TargetSpecifier::EnvoyGrpc(
                grpc_service::EnvoyGrpc {
                    cluster_name: self.cluster(),
                    authority: self.host.to_owned(),
                    ..grpc_service::EnvoyGrpc::default()
                },
            )),
            timeout: Some(proto::duration(self.authorizer.timeout)),
            ..GrpcService::default()
        }
    }

    /// The filter of requests.
    pub(super) fn http_filter(&self) -> ExtAuthz {
        let of = self.authorizer;
        let told = of.http.as_ref().and_then(|http| headers(&http.told));
        ExtAuthz {
            services: Some(match &of.http {
                None => ext_authz::Services::GrpcService(self.grpc()),
                Some(http) => ext_authz::Services::HttpService(self.http(http)),
            }),
            transport_api_version: ApiVersion::V3.into(),
            failure_mode_allow: of.fail_open,
            status_on_error: of.status_on_error.map(|code| HttpStatus { code }),
            with_request_body: of.body.map(|body| BufferSettings {
                max_request_bytes: body.most,
                allow_partial_message: body.partial,
                pack_as_bytes: body.as_bytes,
            }),
            filter_enabled_metadata: Some(self.met("envoy.filters.http.rbac")),
            allowed_headers: told,
            ..ExtAuthz::default()
        }
    }

    /// The filter of connections; there is none that asks by HTTP.
    pub(super) fn network_filter(&self) -> Option<NetworkExtAuthz> {
        let of = self.authorizer;
        of.http.is_none().then(|| NetworkExtAuthz {
            stat_prefix: "tcp.".to_owned(),
            grpc_service: Some(self.grpc()),
            failure_mode_allow: of.fail_open,
            transport_api_version: ApiVersion::V3.into(),
            filter_enabled_metadata: Some(self.met("envoy.filters.network.rbac")),
            ..NetworkExtAuthz::default()
        })
    }

    fn http(&self, http: &Http) -> HttpService {
        let added = http.added.iter().map(|(key, value)| HeaderValue {
            key: key.clone(),
            value: value.clone(),
            ..HeaderValue::default()
        });
        let added: Vec<_> = added.collect();
        let answers = AuthorizationResponse {
            allowed_upstream_headers: headers(&http.upstream),
            allowed_client_headers: headers(&http.client),
            allowed_client_headers_on_success: headers(&http.client_on_success),
            ..AuthorizationResponse::default()
        };
        HttpService {
            server_uri: Some(HttpUri {
                uri: format!("http://{}", self.host),
                timeout: Some(proto::duration(self.authorizer.timeout)),
                http_upstream_type: Some(http_uri::HttpUpstreamType::Cluster(self.cluster())),
            }),
            path_prefix: http.path_prefix.clone(),
            authorization_request: (!added.is_empty()).then(|| AuthorizationRequest {
                headers_to_add: added,
                ..AuthorizationRequest::default()
            }),
            authorization_response: (answers != AuthorizationResponse::default())
                .then_some(answers),
            ..HttpService::default()
        }
    }
}

fn headers(names: &[String]) -> Option<ListStringMatcher> {
    let pattern = |name: &String| StringMatcher {
        ignore_case: true,
        match_pattern: Some(match (name.strip_prefix('*'), name.strip_suffix('*')) {
            (Some(suffix), _) => MatchPattern::Suffix(suffix.to_owned()),
            (None, Some(prefix)) => MatchPattern::Prefix(prefix.to_owned()),
            (None, None) => MatchPattern::Exact(name.clone()),
        }),
    };
    let patterns: Vec<_> = names.iter().map(pattern).collect();
    (!patterns.is_empty()).then_some(ListStringMatcher { patterns })
}

/// A filter's name, the type of its configuration and that.
pub(super) type Filter = (&'static str, String, Vec<u8>);

pub(super) fn filter<M: Message + Name>(name: &'static str, config: &M) -> Filter {
    (name, M::type_url(), config.encode_to_vec())
}
