//! `ClusterLoadAssignment.policy`.

use envoy_types::pb::envoy::config::endpoint::v3 as pb;
use envoy_types::pb::envoy::r#type::v3::fractional_percent::DenominatorType;
use mesh_core::lb::Overprovisioning;

use crate::decode::{Faults, Invalid, duration};

pub(super) fn decode(assignment: &pb::ClusterLoadAssignment) -> Result<Overprovisioning, Invalid> {
    let Some(policy) = &assignment.policy else {
        return Ok(Overprovisioning::default());
    };
    let mut faults = Faults::default();
    if policy.drop_overloads.len() > 1 {
        let reason = format_args!(
            "has {} categories; Envoy takes one",
            policy.drop_overloads.len()
        );
        faults.add(Invalid::new("drop_overloads", reason));
    }
    for (at, drop) in policy.drop_overloads.iter().enumerate() {
        let mut add = |field: &str, reason: &str| {
            faults.add(Invalid::new(
                format!("drop_overloads[{at}].{field}"),
                reason,
            ));
        };
        if drop.category.is_empty() {
            add("category", "is empty");
        }
        let denominator = drop
            .drop_percentage
            .map_or(0, |percent| percent.denominator);
        if DenominatorType::try_from(denominator).is_err() {
            let reason = format!("{denominator} is no denominator");
            add("drop_percentage.denominator", &reason);
        }
    }
    if let Some(after) = &policy.endpoint_stale_after
        && duration(after).is_none_or(|after| after.is_zero())
    {
        let reason = "must be positive, and at most 315576000000 s";
        faults.add(Invalid::new("endpoint_stale_after", reason));
    }
    let factor = policy.overprovisioning_factor.map(|factor| factor.value);
    if factor == Some(0) {
        let reason = "must be at least 1 (percent)";
        faults.add(Invalid::new("overprovisioning_factor", reason));
    }
    faults.or(Some(match factor {
        None => Overprovisioning::default(),
        Some(factor) => Overprovisioning::Envoy { factor },
    }))
}
