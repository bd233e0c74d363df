//! `envoy.type.v3.FractionalPercent`: how many requests of all.

use rand::{Rng, RngExt};

/// A share of all requests: a numerator over a hundred, ten thousand or a million. More than the whole is the whole
/// (gRPC A28). The default is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fraction {
    numerator: u32,
    denominator: Denominator,
}

/// `FractionalPercent.DenominatorType`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Denominator {
    /// `HUNDRED`
    #[default]
    Hundred,
    /// `TEN_THOUSAND`
    TenThousand,
    /// `MILLION`
    Million,
}

/// What [`Fraction::millionths`] are of.
pub(super) const MILLION: u32 = 1_000_000;

impl Fraction {
    /// All of them.
    pub const ALL: Self = Self::new(100, Denominator::Hundred);

    /// So many of so many.
    pub const fn new(numerator: u32, denominator: Denominator) -> Self {
        Self {
            numerator,
            denominator,
        }
    }

    /// The same with a smaller numerator; the denominator stays (Envoy's percentages in headers).
    #[must_use]
    pub fn at_most(self, numerator: u32) -> Self {
        Self {
            numerator: self.numerator.min(numerator),
            ..self
        }
    }

    /// In millionths, 1,000,000 at most.
    pub fn millionths(self) -> u32 {
        let scale = match self.denominator {
            Denominator::Hundred => 10_000,
            Denominator::TenThousand => 100,
            Denominator::Million => 1,
        };
        self.numerator.saturating_mul(scale).min(MILLION)
    }

    /// Throws the dice; none and all need none.
    pub fn draw(self, rng: &mut impl Rng) -> bool {
        match self.millionths() {
            0 => false,
            MILLION => true,
            some => rng.random_range(0..MILLION) < some,
        }
    }
}
