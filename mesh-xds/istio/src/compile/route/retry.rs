//! `RetryPolicy` from `HTTPRetry`.

use envoy_types::pb::envoy::config::route::v3::{self as pb, retry_policy as parts};
use envoy_types::pb::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use envoy_types::pb::envoy::extensions::retry::priority::previous_priorities::v3::PreviousPrioritiesConfig;

use crate::compile::proto;
use crate::kinds::http_route::{Retries, is_status};

/// istiod's own policy, for routes and meshes that say nothing.
const RETRY_ON: &str =
    "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes";
const RETRIES: u32 = 2;

/// istiod's default where the rule says nothing; nothing where it turns retries off.
pub(in crate::compile) fn policy(from: Option<&Retries>) -> Option<pb::RetryPolicy> {
    let attempts = from.map_or(RETRIES, |r| r.attempts);
    if attempts == 0 {
        return None;
    }
    let (retry_on, codes) = retry_on(from.and_then(|r| r.retry_on.as_deref()));
    let other_hosts = from.and_then(|r| r.ignore_previous_hosts).unwrap_or(true);
    let other_localities = from.is_some_and(|r| r.remote_localities);
    let backoff = from.and_then(|r| r.backoff);
    Some(pb::RetryPolicy {
        retry_on,
        num_retries: Some(proto::uint32(attempts)),
        per_try_timeout: from.and_then(|r| r.per_try_timeout).map(proto::duration),
        retry_priority: other_localities.then(previous_priorities),
        retry_host_predicate: other_hosts.then(previous_hosts).into_iter().collect(),
        host_selection_retry_max_attempts: 5,
        retriable_status_codes: codes,
        retry_back_off: backoff.map(|base| parts::RetryBackOff {
            base_interval: Some(proto::duration(base)),
            max_interval: None,
        }),
        ..pb::RetryPolicy::default()
    })
}

fn previous_hosts() -> parts::RetryHostPredicate {
    let config = proto::any(&PreviousHostsPredicate {});
    parts::RetryHostPredicate {
        name: "envoy.retry_host_predicates.previous_hosts".to_owned(),
        config_type: Some(parts::retry_host_predicate::ConfigType::TypedConfig(config)),
    }
}

fn previous_priorities() -> parts::RetryPriority {
    let config = proto::any(&PreviousPrioritiesConfig {
        update_frequency: 2,
    });
    parts::RetryPriority {
        name: "envoy.retry_priorities.previous_priorities".to_owned(),
        config_type: Some(parts::retry_priority::ConfigType::TypedConfig(config)),
    }
}

/// Status codes among the conditions move to a list of their own.
fn retry_on(given: Option<&str>) -> (String, Vec<u32>) {
    let Some(given) = given else {
        return (RETRY_ON.to_owned(), Vec::new());
    };
    let (mut words, mut codes) = (Vec::new(), Vec::new());
    for part in given.split(',') {
        match part.parse::<u32>() {
            Ok(code) if is_status(code) => codes.push(code),
            _ => words.push(part),
        }
    }
    let mut words = words.join(",");
    if !codes.is_empty() && !words.contains("retriable-status-codes") {
        // With the comma also where there is no other condition, as istiod writes it.
        words.push_str(",retriable-status-codes");
    }
    (words, codes)
}
