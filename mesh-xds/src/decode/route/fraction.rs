//! `envoy.type.v3.FractionalPercent`, and where a runtime may change one: there is no runtime here, so what counts is
//! its `default_value`.

use envoy_types::pb::envoy::config::core::v3::RuntimeFractionalPercent;
use envoy_types::pb::envoy::r#type::v3::{FractionalPercent, fractional_percent::DenominatorType};
use mesh_core::route::{Denominator, Fraction};

use crate::decode::Invalid;

pub(super) fn fraction(wire: &FractionalPercent) -> Result<Fraction, Invalid> {
    let denominator = match DenominatorType::try_from(wire.denominator) {
        Ok(DenominatorType::Hundred) => Denominator::Hundred,
        Ok(DenominatorType::TenThousand) => Denominator::TenThousand,
        Ok(DenominatorType::Million) => Denominator::Million,
        Err(_) => return Err(Invalid::new("denominator", "is unknown")),
    };
    Ok(Fraction::new(wire.numerator, denominator))
}

/// `None` where nothing is said.
pub(super) fn runtime(
    wire: Option<&RuntimeFractionalPercent>,
) -> Result<Option<Fraction>, Invalid> {
    let Some(wire) = wire else {
        return Ok(None);
    };
    let field = "runtime_fraction.default_value";
    let value = wire.default_value.as_ref();
    let value = value.ok_or_else(|| Invalid::new(field, "is missing"))?;
    fraction(value)
        .map(Some)
        .map_err(|error| error.within(field))
}
