//! What a cluster asks for and does not get here.

use envoy_types::pb::envoy::config::cluster::v3 as pb;

use crate::decode::ignored::Ignored;

impl Ignored {
    #[allow(deprecated, reason = "Envoy still serves them")]
    pub(super) fn cluster(&mut self, cluster: &pb::Cluster) {
        self.each(&[
            ("circuit_breakers", cluster.circuit_breakers.is_some()),
            ("outlier_detection", cluster.outlier_detection.is_some()),
            ("health_checks", !cluster.health_checks.is_empty()),
            ("lb_subset_config", cluster.lb_subset_config.is_some()),
            ("filters", !cluster.filters.is_empty()),
            ("lrs_server", cluster.lrs_server.is_some()),
            ("preconnect_policy", cluster.preconnect_policy.is_some()),
            (
                "upstream_bind_config",
                cluster.upstream_bind_config.is_some(),
            ),
            ("upstream_config", cluster.upstream_config.is_some()),
            (
                "max_requests_per_connection",
                cluster.max_requests_per_connection.is_some(),
            ),
            (
                "per_connection_buffer_limit_bytes",
                cluster.per_connection_buffer_limit_bytes.is_some(),
            ),
            ("respect_dns_ttl", cluster.respect_dns_ttl),
            (
                "dns_failure_refresh_rate",
                cluster.dns_failure_refresh_rate.is_some(),
            ),
        ]);
        for name in cluster.typed_extension_protocol_options.keys() {
            if name != super::HTTP_OPTIONS {
                self.add(format!("protocol options {name:?} have no effect"));
            }
        }
    }
}
