//! Every field that a route configuration can have: generated, or not supported for a reason.

use crate::feature::Feature::{
    self, Core, Direct, Fault, Fraction, Hash, Header, HostRewrite, IgnorePort, Mirror, Mutation,
    PathRewrite, Query, Redirect, Timeout, Weighted,
};
use Status::{Generated, NotSupported};

/// What the oracle does with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// It is set in configurations of this subject.
    Generated(Feature),
    /// It is not, and nothing below it is looked at.
    NotSupported(&'static str),
}

const EXTENSION: Status = NotSupported("an extension's own message");
const RETRY: Status = NotSupported("retries by policy are not served");
const RUNTIME: Status = NotSupported("neither side has a runtime layer");
const FROM_FILES: Status = NotSupported("a control plane must not make us read files or variables");

/// The list by message.
const FIELDS: &[(&str, &[(&str, Status)])] = &[
    (
        "envoy.config.route.v3.RouteConfiguration",
        &[
            ("name", Generated(Core)),
            ("virtual_hosts", Generated(Core)),
            (
                "vhds",
                NotSupported("virtual hosts on demand are Envoy's own discovery"),
            ),
            (
                "internal_only_headers",
                NotSupported("about requests from outside of the mesh, at an edge"),
            ),
            ("response_headers_to_add", Generated(Mutation)),
            ("response_headers_to_remove", Generated(Mutation)),
            ("request_headers_to_add", Generated(Mutation)),
            ("request_headers_to_remove", Generated(Mutation)),
            ("most_specific_header_mutations_wins", Generated(Mutation)),
            ("validate_clusters", Generated(Core)),
            (
                "max_direct_response_body_size_bytes",
                NotSupported("a limit of Envoy's memory"),
            ),
            ("cluster_specifier_plugins", EXTENSION),
            ("request_mirror_policies", Generated(Mirror)),
            ("ignore_port_in_host_matching", Generated(IgnorePort)),
            (
                "vhost_header",
                NotSupported("the host in another header: no caller in process needs it"),
            ),
            (
                "ignore_path_parameters_in_path_matching",
                NotSupported("not sent by Istio"),
            ),
            ("typed_per_filter_config", Generated(Fault)),
            ("metadata", NotSupported("nothing reads it")),
            ("route_specifiers", EXTENSION),
        ],
    ),
    (
        "envoy.config.route.v3.VirtualHost",
        &[
            ("name", Generated(Core)),
            ("domains", Generated(Core)),
            ("routes", Generated(Core)),
            ("matcher", EXTENSION),
            (
                "require_tls",
                NotSupported("served, for gateways; its own tests have the answers of Envoy"),
            ),
            ("virtual_clusters", NotSupported("statistics")),
            ("rate_limits", NotSupported("rate limits are not served")),
            ("request_headers_to_add", Generated(Mutation)),
            ("request_headers_to_remove", Generated(Mutation)),
            ("response_headers_to_add", Generated(Mutation)),
            ("response_headers_to_remove", Generated(Mutation)),
            ("cors", NotSupported("for browsers: a server's concern")),
            ("typed_per_filter_config", Generated(Fault)),
            ("include_request_attempt_count", RETRY),
            ("include_attempt_count_in_response", RETRY),
            ("retry_policy", RETRY),
            ("retry_policy_typed_config", RETRY),
            ("hedge_policy", RETRY),
            ("include_is_timeout_retry_header", RETRY),
            (
                "per_request_buffer_limit_bytes",
                NotSupported("a limit of Envoy's memory"),
            ),
            (
                "request_body_buffer_limit",
                NotSupported("a limit of Envoy's memory"),
            ),
            ("request_mirror_policies", Generated(Mirror)),
            ("metadata", NotSupported("nothing reads it")),
            ("route_specifiers", EXTENSION),
        ],
    ),
    (
        "envoy.config.route.v3.Route",
        &[
            ("name", Generated(Core)),
            ("match", Generated(Core)),
            ("route", Generated(Core)),
            ("redirect", Generated(Redirect)),
            ("direct_response", Generated(Direct)),
            ("filter_action", EXTENSION),
            ("non_forwarding_action", NotSupported("for servers")),
            ("metadata", Generated(Core)),
            ("decorator", NotSupported("about spans, not about the call")),
            ("typed_per_filter_config", Generated(Fault)),
            ("request_headers_to_add", Generated(Mutation)),
            ("request_headers_to_remove", Generated(Mutation)),
            ("response_headers_to_add", Generated(Mutation)),
            ("response_headers_to_remove", Generated(Mutation)),
            ("tracing", NotSupported("about spans, not about the call")),
            (
                "per_request_buffer_limit_bytes",
                NotSupported("a limit of Envoy's memory"),
            ),
            ("stat_prefix", NotSupported("statistics")),
            (
                "request_body_buffer_limit",
                NotSupported("a limit of Envoy's memory"),
            ),
            ("route_specifiers", EXTENSION),
        ],
    ),
    (
        "envoy.config.core.v3.Metadata",
        &[
            ("filter_metadata", Generated(Core)),
            ("typed_filter_metadata", NotSupported("nothing reads it")),
        ],
    ),
    (
        "envoy.config.route.v3.RouteMatch",
        &[
            ("prefix", Generated(Core)),
            ("path", Generated(Core)),
            ("safe_regex", Generated(Core)),
            ("connect_matcher", NotSupported("no CONNECT in process")),
            ("path_separated_prefix", Generated(Core)),
            ("path_match_policy", EXTENSION),
            ("case_sensitive", Generated(Core)),
            ("runtime_fraction", Generated(Fraction)),
            ("headers", Generated(Header)),
            ("query_parameters", Generated(Query)),
            ("cookies", NotSupported("not sent by Istio")),
            ("grpc", NotSupported("not sent by Istio")),
            ("tls_context", NotSupported("about callers from outside")),
            ("dynamic_metadata", NotSupported("no such thing in process")),
            ("filter_state", NotSupported("no such thing in process")),
        ],
    ),
    (
        "envoy.config.core.v3.RuntimeFractionalPercent",
        &[
            ("default_value", Generated(Fraction)),
            ("runtime_key", Generated(Fraction)),
        ],
    ),
    (
        "envoy.type.v3.FractionalPercent",
        &[
            ("numerator", Generated(Fraction)),
            ("denominator", Generated(Fraction)),
        ],
    ),
    (
        "envoy.config.route.v3.HeaderMatcher",
        &[
            ("name", Generated(Header)),
            ("exact_match", Generated(Header)),
            ("safe_regex_match", Generated(Header)),
            ("range_match", Generated(Header)),
            ("present_match", Generated(Header)),
            ("prefix_match", Generated(Header)),
            ("suffix_match", Generated(Header)),
            ("contains_match", Generated(Header)),
            ("string_match", Generated(Header)),
            ("invert_match", Generated(Header)),
            ("treat_missing_header_as_empty", Generated(Header)),
        ],
    ),
    (
        "envoy.type.v3.Int64Range",
        &[("start", Generated(Header)), ("end", Generated(Header))],
    ),
    (
        "envoy.config.route.v3.QueryParameterMatcher",
        &[
            ("name", Generated(Query)),
            ("string_match", Generated(Query)),
            ("present_match", Generated(Query)),
        ],
    ),
    (
        "envoy.type.matcher.v3.StringMatcher",
        &[
            ("exact", Generated(Header)),
            ("prefix", Generated(Header)),
            ("suffix", Generated(Header)),
            ("safe_regex", Generated(Header)),
            ("contains", Generated(Header)),
            ("custom", EXTENSION),
            ("ignore_case", Generated(Header)),
        ],
    ),
    (
        "envoy.type.matcher.v3.RegexMatcher",
        &[("google_re2", Generated(Core)), ("regex", Generated(Core))],
    ),
    (
        "envoy.type.matcher.v3.RegexMatcher.GoogleRE2",
        &[(
            "max_program_size",
            NotSupported("deprecated; our own limit stands"),
        )],
    ),
    (
        "envoy.config.route.v3.RouteAction",
        &[
            ("cluster", Generated(Core)),
            ("cluster_header", NotSupported("not sent by Istio")),
            ("weighted_clusters", Generated(Weighted)),
            ("cluster_specifier_plugin", EXTENSION),
            ("inline_cluster_specifier_plugin", EXTENSION),
            (
                "cluster_not_found_response_code",
                NotSupported("not sent by Istio"),
            ),
            (
                "metadata_match",
                NotSupported("subsets of endpoints are clusters of their own"),
            ),
            ("prefix_rewrite", Generated(PathRewrite)),
            ("regex_rewrite", Generated(PathRewrite)),
            ("path_rewrite_policy", EXTENSION),
            ("path_rewrite", NotSupported("not sent by Istio")),
            ("host_rewrite_literal", Generated(HostRewrite)),
            ("auto_host_rewrite", NotSupported("not served")),
            ("host_rewrite_header", Generated(HostRewrite)),
            ("host_rewrite_path_regex", Generated(HostRewrite)),
            ("host_rewrite", NotSupported("not sent by Istio")),
            ("append_x_forwarded_host", Generated(HostRewrite)),
            ("timeout", Generated(Timeout)),
            ("idle_timeout", Generated(Timeout)),
            ("flush_timeout", NotSupported("not sent by Istio")),
            ("early_data_policy", EXTENSION),
            ("retry_policy", RETRY),
            ("retry_policy_typed_config", RETRY),
            ("request_mirror_policies", Generated(Mirror)),
            ("priority", NotSupported("there are no circuit breakers")),
            ("rate_limits", NotSupported("rate limits are not served")),
            (
                "include_vh_rate_limits",
                NotSupported("rate limits are not served"),
            ),
            ("hash_policy", Generated(Hash)),
            ("cors", NotSupported("for browsers: a server's concern")),
            (
                "max_grpc_timeout",
                NotSupported("replaced by max_stream_duration"),
            ),
            (
                "grpc_timeout_offset",
                NotSupported("replaced by max_stream_duration"),
            ),
            ("upgrade_configs", NotSupported("upgrades are not served")),
            (
                "internal_redirect_policy",
                NotSupported("not sent by Istio"),
            ),
            (
                "internal_redirect_action",
                NotSupported("replaced by internal_redirect_policy"),
            ),
            (
                "max_internal_redirects",
                NotSupported("replaced by internal_redirect_policy"),
            ),
            ("hedge_policy", RETRY),
            ("max_stream_duration", Generated(Timeout)),
        ],
    ),
    (
        "envoy.config.route.v3.RouteAction.RequestMirrorPolicy",
        &[
            ("cluster", Generated(Mirror)),
            ("cluster_header", NotSupported("not sent by Istio")),
            ("runtime_fraction", Generated(Mirror)),
            (
                "trace_sampled",
                NotSupported("about spans, not about the call"),
            ),
            ("disable_shadow_host_suffix_append", Generated(Mirror)),
            (
                "request_headers_mutations",
                NotSupported("not sent by Istio"),
            ),
            ("host_rewrite_literal", Generated(Mirror)),
        ],
    ),
    (
        "envoy.config.route.v3.RouteAction.MaxStreamDuration",
        &[
            ("max_stream_duration", Generated(Timeout)),
            ("grpc_timeout_header_max", Generated(Timeout)),
            ("grpc_timeout_header_offset", Generated(Timeout)),
        ],
    ),
    (
        "envoy.config.route.v3.RouteAction.HashPolicy",
        &[
            ("header", Generated(Hash)),
            ("cookie", Generated(Hash)),
            ("connection_properties", Generated(Hash)),
            ("query_parameter", Generated(Hash)),
            ("filter_state", NotSupported("no such thing in process")),
            ("terminal", Generated(Hash)),
        ],
    ),
    (
        "envoy.config.route.v3.RouteAction.HashPolicy.Header",
        &[
            ("header_name", Generated(Hash)),
            ("regex_rewrite", Generated(Hash)),
        ],
    ),
    (
        "envoy.config.route.v3.RouteAction.HashPolicy.Cookie",
        &[
            ("name", Generated(Hash)),
            ("ttl", NotSupported("makes a cookie of a random value")),
            ("path", Generated(Hash)),
            ("attributes", NotSupported("only of a cookie that is made")),
        ],
    ),
    (
        "envoy.config.route.v3.RouteAction.HashPolicy.ConnectionProperties",
        &[("source_ip", Generated(Hash))],
    ),
    (
        "envoy.config.route.v3.RouteAction.HashPolicy.QueryParameter",
        &[("name", Generated(Hash))],
    ),
    (
        "envoy.type.matcher.v3.RegexMatchAndSubstitute",
        &[
            ("pattern", Generated(PathRewrite)),
            ("substitution", Generated(PathRewrite)),
        ],
    ),
    (
        "envoy.config.route.v3.WeightedCluster",
        &[
            ("clusters", Generated(Weighted)),
            ("total_weight", NotSupported("deprecated; the sum counts")),
            ("runtime_key_prefix", Generated(Weighted)),
            ("header_name", NotSupported("not sent by Istio")),
            ("use_hash_policy", NotSupported("not sent by Istio")),
        ],
    ),
    (
        "envoy.config.route.v3.WeightedCluster.ClusterWeight",
        &[
            ("name", Generated(Weighted)),
            ("cluster_header", NotSupported("not sent by Istio")),
            ("weight", Generated(Weighted)),
            (
                "metadata_match",
                NotSupported("subsets of endpoints are clusters of their own"),
            ),
            ("request_headers_to_add", Generated(Mutation)),
            ("request_headers_to_remove", Generated(Mutation)),
            ("response_headers_to_add", Generated(Mutation)),
            ("response_headers_to_remove", Generated(Mutation)),
            ("typed_per_filter_config", Generated(Fault)),
            ("host_rewrite_literal", Generated(Mutation)),
        ],
    ),
    (
        "envoy.config.route.v3.DirectResponseAction",
        &[
            ("status", Generated(Direct)),
            ("body", Generated(Direct)),
            ("body_format", EXTENSION),
        ],
    ),
    (
        "envoy.config.core.v3.DataSource",
        &[
            ("filename", FROM_FILES),
            ("inline_bytes", Generated(Direct)),
            ("inline_string", Generated(Core)),
            ("environment_variable", FROM_FILES),
            ("watched_directory", FROM_FILES),
        ],
    ),
    (
        "envoy.config.route.v3.RedirectAction",
        &[
            ("https_redirect", Generated(Redirect)),
            ("scheme_redirect", Generated(Redirect)),
            ("host_redirect", Generated(Redirect)),
            ("port_redirect", Generated(Redirect)),
            ("path_redirect", Generated(Redirect)),
            ("prefix_rewrite", Generated(Redirect)),
            ("regex_rewrite", Generated(Redirect)),
            ("path_rewrite", NotSupported("not sent by Istio")),
            ("response_code", Generated(Redirect)),
            ("strip_query", Generated(Redirect)),
        ],
    ),
    (
        "envoy.config.route.v3.FilterConfig",
        &[
            ("config", Generated(Fault)),
            (
                "is_optional",
                NotSupported("about filters that one side does not know"),
            ),
            ("disabled", Generated(Fault)),
        ],
    ),
    (
        "envoy.extensions.filters.http.fault.v3.HTTPFault",
        &[
            ("delay", Generated(Fault)),
            ("abort", Generated(Fault)),
            ("upstream_cluster", Generated(Fault)),
            ("headers", Generated(Fault)),
            ("downstream_nodes", Generated(Fault)),
            ("max_active_faults", Generated(Fault)),
            (
                "response_rate_limit",
                NotSupported("slow bodies are not served"),
            ),
            ("delay_percent_runtime", RUNTIME),
            ("abort_percent_runtime", RUNTIME),
            ("delay_duration_runtime", RUNTIME),
            ("abort_http_status_runtime", RUNTIME),
            ("max_active_faults_runtime", RUNTIME),
            ("response_rate_limit_percent_runtime", RUNTIME),
            ("abort_grpc_status_runtime", RUNTIME),
            (
                "disable_downstream_cluster_stats",
                NotSupported("statistics"),
            ),
            ("filter_metadata", NotSupported("nothing reads it")),
        ],
    ),
    (
        "envoy.extensions.filters.common.fault.v3.FaultDelay",
        &[
            ("fixed_delay", Generated(Fault)),
            ("header_delay", Generated(Fault)),
            ("percentage", Generated(Fault)),
        ],
    ),
    (
        "envoy.extensions.filters.http.fault.v3.FaultAbort",
        &[
            ("http_status", Generated(Fault)),
            ("grpc_status", Generated(Fault)),
            ("header_abort", Generated(Fault)),
            ("percentage", Generated(Fault)),
            ("response_body", Generated(Fault)),
        ],
    ),
    (
        "envoy.config.core.v3.HeaderValueOption",
        &[
            ("header", Generated(Mutation)),
            ("append", NotSupported("deprecated; append_action says it")),
            ("append_action", Generated(Mutation)),
            ("keep_empty_value", Generated(Mutation)),
        ],
    ),
    (
        "envoy.config.core.v3.HeaderValue",
        &[
            ("key", Generated(Mutation)),
            ("value", Generated(Mutation)),
            (
                "raw_value",
                NotSupported("for keys with bytes that are no text; not sent by Istio"),
            ),
        ],
    ),
];

/// All entries: message, field, status.
pub(crate) fn all() -> impl Iterator<Item = (&'static str, &'static str, Status)> {
    FIELDS.iter().flat_map(|(message, fields)| {
        fields
            .iter()
            .map(|(field, status)| (*message, *field, *status))
    })
}

/// What the list says of a field.
pub(crate) fn status(message: &str, field: &str) -> Option<Status> {
    let (_, fields) = FIELDS.iter().find(|(name, _)| *name == message)?;
    let (_, status) = fields.iter().find(|(name, _)| *name == field)?;
    Some(*status)
}
