use envoy_types::pb::envoy::r#type::v3::fractional_percent::DenominatorType;

use super::*;

const RATINGS: &str = "outbound|9080||ratings.default.svc.cluster.local";

/// Cluster, numerator, denominator.
fn mirrors(rest: &str) -> Vec<(String, u32, DenominatorType)> {
    let policies = action(&one(rest)).request_mirror_policies;
    let each = policies.into_iter().map(|policy| {
        assert_eq!(policy.trace_sampled.map(|v| v.value), Some(false));
        assert!(policy.disable_shadow_host_suffix_append);
        let share = policy.runtime_fraction.unwrap().default_value.unwrap();
        (policy.cluster, share.numerator, share.denominator())
    });
    each.collect()
}

#[test]
fn one_mirror_and_its_share() {
    let all = (RATINGS.to_owned(), 100, DenominatorType::Hundred);
    assert_eq!(mirrors("mirror: { host: ratings }"), [all]);
    for (share, expected) in [
        (
            "mirrorPercentage: { value: 12.5 }",
            Some((125_000, DenominatorType::Million)),
        ),
        ("mirrorPercent: 30", Some((30, DenominatorType::Hundred))),
        ("mirror_percent: 30", Some((30, DenominatorType::Hundred))),
        (
            "mirrorPercentage: { value: 1 }\n    mirrorPercent: 0",
            Some((10_000, DenominatorType::Million)),
        ),
        ("mirrorPercentage: {}", None),
        ("mirrorPercent: 0", None),
    ] {
        let found = mirrors(&format!("mirror: {{ host: ratings }}\n    {share}"));
        let expected = expected.map(|(n, d)| (RATINGS.to_owned(), n, d));
        assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{share}");
    }
}

#[test]
fn several_mirrors() {
    let found = mirrors(
        "mirrors:
    - destination: { host: ratings, subset: v2 }
    - { destination: { host: reviews, port: { number: 81 } }, percentage: { value: 1 } }
    - { destination: { host: reviews }, percentage: { value: 0 } }",
    );
    let expected = [
        (RATINGS.replace("||", "|v2|"), 100, DenominatorType::Hundred),
        (
            format!("outbound|81||{HOST}"),
            10_000,
            DenominatorType::Million,
        ),
    ];
    assert_eq!(found, expected);
}
