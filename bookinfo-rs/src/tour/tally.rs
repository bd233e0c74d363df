//! Requests of which each did one thing or the other, judged within 5 sigma.

use std::fmt;

use super::judge::Check;

/// What came of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// What the rule brings about.
    Effect,
    /// What there is without the rule.
    Plain,
    /// Neither.
    Other,
}

impl Outcome {
    /// The one or the other, if the request was answered as it should be in either case.
    pub(crate) const fn of(effect: bool, plain: bool) -> Self {
        match (effect, plain) {
            (true, false) => Self::Effect,
            (false, true) => Self::Plain,
            _ => Self::Other,
        }
    }
}

/// So many of each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) effect: u32,
    pub(crate) plain: u32,
    pub(crate) other: u32,
}

impl Tally {
    /// Whether this can be a draw in which the rule has effect on this share of the requests. A share of 0 or 1 is
    /// exact; what is neither never belongs.
    pub(crate) fn fits(self, share: f64) -> bool {
        let n = f64::from(self.effect + self.plain);
        let sigma = (n * share * (1.0 - share)).sqrt();
        self.other == 0 && n > 0.0 && (f64::from(self.effect) - n * share).abs() <= 5.0 * sigma
    }
}

impl FromIterator<Outcome> for Tally {
    fn from_iter<T: IntoIterator<Item = Outcome>>(outcomes: T) -> Self {
        let mut tally = Self::default();
        for outcome in outcomes {
            *match outcome {
                Outcome::Effect => &mut tally.effect,
                Outcome::Plain => &mut tally.plain,
                Outcome::Other => &mut tally.other,
            } += 1;
        }
        tally
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            effect,
            plain,
            other,
        } = self;
        write!(f, "{effect} of {}", effect + plain)?;
        match other {
            0 => Ok(()),
            _ => write!(f, ", and {other} that are neither"),
        }
    }
}

impl Check {
    /// A check of the share of requests on which the rule has effect: on none without it.
    pub(crate) fn share(of: &str, share: f64, tally: Tally) -> Self {
        let n = tally.effect + tally.plain + tally.other;
        Self {
            expected: format!("{of}: {:.0} % (5 sigma of {n})", share * 100.0),
            observed: tally.to_string(),
            pass: tally.fits(share),
            is_baseline: tally.fits(0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(effect: u32, plain: u32, other: u32) -> Tally {
        Tally {
            effect,
            plain,
            other,
        }
    }

    #[test]
    fn a_share_fits_within_5_sigma_and_not_beyond() {
        assert!(tally(300, 700, 0).fits(0.3));
        assert!(tally(228, 772, 0).fits(0.3));
        assert!(!tally(227, 773, 0).fits(0.3), "5 sigma of 1000 are 72.5");
        assert!(!tally(300, 699, 1).fits(0.3), "what is neither never fits");
        assert!(tally(9, 0, 0).fits(1.0) && !tally(8, 1, 0).fits(1.0));
        assert!(!tally(0, 0, 0).fits(0.0), "nothing is no evidence");
    }

    #[test]
    fn a_check_passes_by_its_rule_alone() {
        let good = Check::share("lost", 1.0, tally(9, 0, 0));
        assert!(good.pass && !good.is_baseline, "{good:?}");
        assert_eq!(
            (&*good.expected, &*good.observed),
            ("lost: 100 % (5 sigma of 9)", "9 of 9")
        );
        let control = Check::share("lost", 1.0, tally(0, 9, 0));
        assert!(!control.pass && control.is_baseline, "{control:?}");
        let broken = Check::share("lost", 1.0, tally(8, 0, 1));
        assert!(!broken.pass && !broken.is_baseline, "{broken:?}");
    }

    #[test]
    fn an_outcome_that_is_both_or_none_is_neither() {
        assert_eq!(Outcome::of(true, false), Outcome::Effect);
        assert_eq!(Outcome::of(false, true), Outcome::Plain);
        assert_eq!(Outcome::of(true, true), Outcome::Other);
        assert_eq!(Outcome::of(false, false), Outcome::Other);
    }
}
