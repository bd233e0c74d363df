//! What a route configuration asks for and does not get here: not a reason to refuse it, and not to be
//! passed over in silence.

use std::collections::{BTreeMap, HashMap};

use envoy_types::pb::envoy::config::route::v3 as pb;
use envoy_types::pb::envoy::config::route::v3::virtual_host::TlsRequirementType;
use envoy_types::pb::google::protobuf::Any;

use super::fault;

/// What is ignored, with how often and where first.
#[derive(Debug, Default)]
pub(super) struct Ignored {
    what: BTreeMap<String, (usize, String)>,
    /// Where decoding is at the moment.
    place: String,
}

impl Ignored {
    pub(super) fn add(&mut self, what: impl Into<String>) {
        let place = &self.place;
        let entry = self.what.entry(what.into());
        entry.or_insert_with(|| (0, place.clone())).0 += 1;
    }

    pub(super) fn configuration(&mut self, configuration: &pb::RouteConfiguration) {
        self.place = "the route configuration".to_owned();
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
        self.place = format!("virtual host {:?}", host.name);
        self.each(&[
            ("matcher", host.matcher.is_some()),
            (
                "require_tls",
                host.require_tls != i32::from(TlsRequirementType::None),
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
        self.place = format!("route {:?}", route.name);
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
            (
                "cluster_not_found_response_code",
                action.cluster_not_found_response_code != 0,
            ),
        ]);
    }

    /// What is said to other filters than that of faults.
    pub(super) fn filters(&mut self, configs: &HashMap<String, Any>) {
        for name in configs.keys().filter(|name| *name != fault::FILTER) {
            self.add(format!(
                "typed_per_filter_config[{name:?}] has no effect yet"
            ));
        }
    }

    fn each(&mut self, fields: &[(&str, bool)]) {
        for (what, _) in fields.iter().filter(|(_, set)| *set) {
            self.add(format!("{what} has no effect yet"));
        }
    }

    /// All of it, in words.
    pub(super) fn told(self) -> Vec<String> {
        let told = |(what, (count, place))| match count {
            1 => format!("{what}: {place}"),
            _ => format!("{what}: {count} times, first at {place}"),
        };
        self.what.into_iter().map(told).collect()
    }
}
