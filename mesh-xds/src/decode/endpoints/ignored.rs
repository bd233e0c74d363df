//! What a load assignment asks for and does not get here.

use envoy_types::pb::envoy::config::endpoint::v3::{
    LbEndpoint, LocalityLbEndpoints, cluster_load_assignment::Policy, lb_endpoint::HostIdentifier,
};

use crate::decode::ignored::Ignored;

impl Ignored {
    pub(super) fn assignment_policy(&mut self, policy: &Policy) {
        self.each(&[
            ("drop_overloads", !policy.drop_overloads.is_empty()),
            (
                "endpoint_stale_after",
                policy.endpoint_stale_after.is_some(),
            ),
            ("weighted_priority_health", policy.weighted_priority_health),
        ]);
    }

    pub(super) fn group(&mut self, group: &LocalityLbEndpoints) {
        if group.lb_config.is_some() {
            self.add("endpoints in a resource of their own (LEDS) have no effect");
        }
    }

    pub(super) fn lb_endpoint(&mut self, endpoint: &LbEndpoint) {
        if let Some(HostIdentifier::Endpoint(host)) = &endpoint.host_identifier {
            let further = !host.additional_addresses.is_empty();
            self.each(&[("additional_addresses", further)]);
        }
    }
}
