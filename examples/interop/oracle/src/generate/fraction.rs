//! `RouteMatch.runtime_fraction`: nearly always none or all, so that the outcome is certain.

use envoy_types::pb::envoy::config::core::v3::RuntimeFractionalPercent;
use envoy_types::pb::envoy::r#type::v3::FractionalPercent;
use envoy_types::pb::envoy::r#type::v3::fractional_percent::DenominatorType;

use crate::dice::Dice;

/// Any fraction.
pub(super) fn fraction(d: &mut Dice) -> RuntimeFractionalPercent {
    let denominator = *d.of(&[
        DenominatorType::Hundred,
        DenominatorType::TenThousand,
        DenominatorType::Million,
    ]);
    let whole = whole(denominator);
    let numerator = match d.below(8) {
        0..=2 => 0,
        3..=5 => whole,
        6 => whole.saturating_mul(7),
        _ => whole / 3,
    };
    RuntimeFractionalPercent {
        default_value: Some(FractionalPercent {
            numerator,
            denominator: denominator.into(),
        }),
        // Nobody sets it: neither side has a runtime layer.
        runtime_key: d.text(&["", "oracle.fraction"]),
    }
}

/// Of none, or of all (or more than all, which is the same).
pub(super) fn certain(d: &mut Dice, all: bool) -> FractionalPercent {
    let denominator = *d.of(&[
        DenominatorType::Hundred,
        DenominatorType::TenThousand,
        DenominatorType::Million,
    ]);
    let whole = whole(denominator);
    FractionalPercent {
        numerator: if all {
            *d.of(&[whole, whole, whole.saturating_mul(7)])
        } else {
            0
        },
        denominator: denominator.into(),
    }
}

/// How many make the whole.
pub(crate) const fn whole(denominator: DenominatorType) -> u32 {
    match denominator {
        DenominatorType::Hundred => 100,
        DenominatorType::TenThousand => 10_000,
        DenominatorType::Million => 1_000_000,
    }
}
