//! What a listener asks for and does not get here. Of a listener only what concerns calls counts: how a server would
//! accept connections is nothing to a client.

use envoy_types::pb::envoy::config::core::v3::HttpProtocolOptions;
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use envoy_types::pb::google::protobuf::BoolValue;

use crate::decode::ignored::Ignored;

impl Ignored {
    pub(super) fn listener(&mut self, listener: &Listener) {
        self.each(&[("access_log", !listener.access_log.is_empty())]);
    }

    #[allow(deprecated, reason = "Envoy still serves it")]
    pub(super) fn manager(&mut self, manager: &HttpConnectionManager) {
        self.each(&[
            ("access_log", !manager.access_log.is_empty()),
            ("tracing", manager.tracing.is_some()),
            ("add_user_agent", is_set(manager.add_user_agent)),
            ("via", !manager.via.is_empty()),
            (
                "http_protocol_options",
                manager.http_protocol_options.is_some(),
            ),
            (
                "http2_protocol_options",
                manager.http2_protocol_options.is_some(),
            ),
            (
                "max_request_headers_kb",
                manager.max_request_headers_kb.is_some(),
            ),
            ("stream_idle_timeout", manager.stream_idle_timeout.is_some()),
            (
                "stream_flush_timeout",
                manager.stream_flush_timeout.is_some(),
            ),
            ("request_timeout", manager.request_timeout.is_some()),
            (
                "request_headers_timeout",
                manager.request_headers_timeout.is_some(),
            ),
            (
                "early_header_mutation_extensions",
                !manager.early_header_mutation_extensions.is_empty(),
            ),
            ("upgrade_configs", !manager.upgrade_configs.is_empty()),
            ("normalize_path", is_set(manager.normalize_path)),
            ("merge_slashes", manager.merge_slashes),
            (
                "path_with_escaped_slashes_action",
                manager.path_with_escaped_slashes_action != 0,
            ),
            (
                "request_id_extension",
                manager.request_id_extension.is_some(),
            ),
            ("local_reply_config", manager.local_reply_config.is_some()),
            (
                "scheme_header_transformation",
                manager.scheme_header_transformation.is_some(),
            ),
        ]);
        if let Some(options) = &manager.common_http_protocol_options {
            self.common_options(options);
        }
    }

    fn common_options(&mut self, options: &HttpProtocolOptions) {
        self.each(&[
            (
                "common_http_protocol_options.idle_timeout",
                options.idle_timeout.is_some(),
            ),
            (
                "common_http_protocol_options.max_connection_duration",
                options.max_connection_duration.is_some(),
            ),
            (
                "common_http_protocol_options.max_headers_count",
                options.max_headers_count.is_some(),
            ),
            (
                "common_http_protocol_options.max_response_headers_kb",
                options.max_response_headers_kb.is_some(),
            ),
            (
                "common_http_protocol_options.max_requests_per_connection",
                options.max_requests_per_connection.is_some(),
            ),
            (
                "common_http_protocol_options.headers_with_underscores_action",
                options.headers_with_underscores_action != 0,
            ),
        ]);
    }
}

fn is_set(flag: Option<BoolValue>) -> bool {
    flag.is_some_and(|flag| flag.value)
}
