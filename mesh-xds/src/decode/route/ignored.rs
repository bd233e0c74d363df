//! What a route configuration asks for and does not get here.

use std::collections::HashMap;

use envoy_types::pb::envoy::config::route::v3 as pb;
use envoy_types::pb::envoy::config::route::v3::virtual_host::TlsRequirementType;
use envoy_types::pb::google::protobuf::Any;

use super::{fault, own_rules};

pub(super) use crate::decode::ignored::Ignored;

impl Ignored {
    pub(super) fn configuration(&mut self, configuration: &pb::RouteConfiguration) {
        self.at("the route configuration");
        self.each(&[
            ("vhds", configuration.vhds.is_some()),
            ("vhost_header", !configuration.vhost_header.is_empty()),
            (
                "ignore_path_parameters_in_path_matching",
                configuration.ignore_path_parameters_in_path_matching,
            ),
        ]);
        self.filters(&configuration.typed_per_filter_config);
    }

    #[allow(deprecated, reason = "Envoy still serves it")]
    pub(super) fn virtual_host(&mut self, host: &pb::VirtualHost) {
        self.at(format!("virtual host {:?}", host.name));
        self.each(&[
            ("matcher", host.matcher.is_some()),
            (
                "require_tls EXTERNAL_ONLY, which is taken for ALL,",
                host.require_tls == i32::from(TlsRequirementType::ExternalOnly),
            ),
            ("rate_limits", !host.rate_limits.is_empty()),
            ("cors", host.cors.is_some()),
            ("retry_policy", host.retry_policy.is_some()),
            ("hedge_policy", host.hedge_policy.is_some()),
            (
                "include_attempt_count_in_response",
                host.include_attempt_count_in_response,
            ),
        ]);
        self.filters(&host.typed_per_filter_config);
    }

    pub(super) fn route(&mut self, route: &pb::Route) {
        self.at(format!("route {:?}", route.name));
        self.filters(&route.typed_per_filter_config);
    }

    #[allow(deprecated, reason = "Envoy still serves them")]
    pub(super) fn action(&mut self, action: &pb::RouteAction) {
        self.each(&[
            ("metadata_match", action.metadata_match.is_some()),
            ("path_rewrite_policy", action.path_rewrite_policy.is_some()),
            ("retry_policy", action.retry_policy.is_some()),
            ("priority", action.priority != 0),
            ("rate_limits", !action.rate_limits.is_empty()),
            ("cors", action.cors.is_some()),
            ("upgrade_configs", !action.upgrade_configs.is_empty()),
            (
                "internal_redirect_policy",
                action.internal_redirect_policy.is_some() || action.internal_redirect_action != 0,
            ),
            ("hedge_policy", action.hedge_policy.is_some()),
        ]);
    }

    /// What is said to other filters than that of faults, and than those whose rules leave a route unserved.
    pub(super) fn filters(&mut self, configs: &HashMap<String, Any>) {
        let others = configs.iter();
        let others =
            others.filter(|(name, any)| *name != fault::FILTER && !own_rules::is_rules(any));
        for (name, _) in others {
            self.add(format!(
                "typed_per_filter_config[{name:?}] has no effect yet"
            ));
        }
    }
}
