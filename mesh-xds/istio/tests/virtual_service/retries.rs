use envoy_types::pb::envoy::config::route::v3::{RetryPolicy, retry_policy::retry_priority};
use envoy_types::pb::envoy::extensions::retry::priority::previous_priorities::v3::PreviousPrioritiesConfig;
use prost::Message;

use super::*;

fn policy(rest: &str) -> RetryPolicy {
    action(&one(rest)).retry_policy.unwrap()
}

#[test]
fn absent_is_the_default_and_none_is_none() {
    let default = policy("name: r");
    assert_eq!(default.num_retries.map(|n| n.value), Some(2));
    assert_eq!(default.host_selection_retry_max_attempts, 5);
    assert_eq!(default.retry_host_predicate.len(), 1);
    assert!(default.retry_priority.is_none() && default.retry_back_off.is_none());
    assert!(
        action(&one("retries: { attempts: 0 }"))
            .retry_policy
            .is_none()
    );
    assert!(action(&one("retries: {}")).retry_policy.is_none());
}

#[test]
fn every_field() {
    let all = policy(
        "retries: { attempts: 3, perTryTimeout: 100ms, backoff: 10ms, retryOn: 'reset,503', retryRemoteLocalities: true, retryIgnorePreviousHosts: false }",
    );
    assert_eq!(all.num_retries.map(|n| n.value), Some(3));
    let nanos = |d: Option<envoy_types::pb::google::protobuf::Duration>| d.map(|d| d.nanos);
    assert_eq!(nanos(all.per_try_timeout), Some(100_000_000));
    let backoff = all.retry_back_off.unwrap();
    assert_eq!(nanos(backoff.base_interval), Some(10_000_000));
    assert!(backoff.max_interval.is_none());
    assert!(all.retry_host_predicate.is_empty());
    let priority = all.retry_priority.unwrap();
    assert_eq!(priority.name, "envoy.retry_priorities.previous_priorities");
    let Some(retry_priority::ConfigType::TypedConfig(config)) = priority.config_type else {
        panic!()
    };
    let config = PreviousPrioritiesConfig::decode(config.value.as_slice()).unwrap();
    assert_eq!(config.update_frequency, 2);
}

#[test]
fn codes_move_to_their_own_list() {
    for (given, words, codes) in [
        (
            "reset,503,429",
            "reset,retriable-status-codes",
            &[503, 429][..],
        ),
        (
            "retriable-status-codes,503",
            "retriable-status-codes",
            &[503],
        ),
        ("'503'", ",retriable-status-codes", &[503]),
        ("5xx", "5xx", &[]),
    ] {
        let policy = policy(&format!(
            "retries: {{ attempts: 1, retryOn: {} }}",
            match given.contains(',') {
                true => format!("'{given}'"),
                false => given.to_owned(),
            }
        ));
        assert_eq!(policy.retry_on, words, "{given}");
        assert_eq!(policy.retriable_status_codes, codes, "{given}");
    }
}
