//! What was seen, and whether that is what should be: counts of versions, judged within 5 sigma.

use std::fmt;

/// Requests counted by the version of reviews that answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Answers of v1, v2, v3.
    pub versions: [u32; 3],
    /// Everything else: no answer, another status, a page that contradicts itself.
    pub errors: u32,
}

/// The shares of v1, v2, v3 that should be seen; they add up to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Shares(pub [f64; 3]);

/// One thing that was checked.
#[derive(Debug, Clone)]
pub(crate) struct Check {
    /// What should be, in words.
    pub expected: String,
    /// What was, in words.
    pub observed: String,
    /// Whether the one is the other.
    pub pass: bool,
    /// Whether that is what is seen without any rule.
    pub is_baseline: bool,
}

impl Shares {
    /// All of v1.
    pub(crate) const V1: Self = Self([1.0, 0.0, 0.0]);
    /// All of v2.
    pub(crate) const V2: Self = Self([0.0, 1.0, 0.0]);
    /// All of v3.
    pub(crate) const V3: Self = Self([0.0, 0.0, 1.0]);
    /// What no rule at all gives.
    pub(crate) const BASELINE: Self = Self([1.0 / 3.0; 3]);

    /// Whether a sample can be a draw from these shares. A share of 0 or 1 is exact; errors never belong.
    pub(crate) fn fit(self, sample: &Sample) -> bool {
        let n = f64::from(sample.answers());
        sample.errors == 0
            && n > 0.0
            && self.0.iter().zip(sample.versions).all(|(share, count)| {
                let sigma = (n * share * (1.0 - share)).sqrt();
                (f64::from(count) - n * share).abs() <= 5.0 * sigma
            })
    }
}

impl fmt::Display for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = self.0.iter().zip(1..).filter(|(share, _)| **share > 0.0);
        let texts: Vec<String> = named
            .map(|(share, version)| format!("v{version} {:.0} %", share * 100.0))
            .collect();
        f.write_str(&texts.join(", "))
    }
}

impl Sample {
    /// Counts one request.
    pub(crate) fn count(&mut self, seen: Option<Version>) {
        match seen {
            Some(Version(version @ 1..=3)) => self.versions[usize::from(version) - 1] += 1,
            _ => self.errors += 1,
        }
    }

    /// The requests that were answered properly.
    pub(crate) fn answers(&self) -> u32 {
        self.versions.iter().sum()
    }
}

impl FromIterator<Option<Version>> for Sample {
    fn from_iter<T: IntoIterator<Item = Option<Version>>>(seen: T) -> Self {
        let mut sample = Self::default();
        seen.into_iter().for_each(|seen| sample.count(seen));
        sample
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [v1, v2, v3] = self.versions;
        write!(f, "v1 {v1}, v2 {v2}, v3 {v3}, errors {}", self.errors)
    }
}

impl Check {
    /// A check of shares alone.
    pub(crate) fn shares(of: &str, shares: Shares, sample: Sample) -> Self {
        let n = sample.answers() + sample.errors;
        Self {
            expected: format!("{of}: {shares} (5 sigma of {n})"),
            observed: sample.to_string(),
            pass: shares.fit(&sample),
            is_baseline: Shares::BASELINE.fit(&sample),
        }
    }
}

/// A version of reviews: 1, 2 or 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version(pub u8);

impl Version {
    /// The version in a pod's name, `reviews-v2` or `reviews-v2-5f64...`.
    pub(crate) fn of_pod(pod: &str) -> Option<Self> {
        let digit = pod.strip_prefix("reviews-v")?.bytes().next()?;
        matches!(digit, b'1'..=b'3').then(|| Self(digit - b'0'))
    }

    /// The version that a page shows, if its pod and its stars agree and nothing on it failed.
    pub(crate) fn of_page(page: &str) -> Option<Self> {
        if page.contains("Error fetching product") || page.contains("currently unavailable") {
            return None;
        }
        let (_, rest) = page.split_once("Reviews served by:")?;
        let version = Self::of_pod(&rest[rest.find("reviews-v")?..])?;
        let (black, red) = (
            page.contains("text-black-500"),
            page.contains("text-red-500"),
        );
        let agree = matches!(
            (version.0, black, red),
            (1, false, false) | (2, true, false) | (3, false, true)
        );
        agree.then_some(version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(versions: [u32; 3], errors: u32) -> Sample {
        Sample { versions, errors }
    }

    #[test]
    fn shares_fit_within_5_sigma_and_not_beyond() {
        let canary = Shares([0.9, 0.0, 0.1]);
        assert!(canary.fit(&sample([900, 0, 100], 0)));
        assert!(canary.fit(&sample([853, 0, 147], 0)));
        assert!(
            !canary.fit(&sample([852, 0, 148], 0)),
            "5 sigma of 1000 are 47.4"
        );
        assert!(
            !canary.fit(&sample([899, 1, 100], 0)),
            "a share of nothing is exact"
        );
        assert!(!canary.fit(&sample([900, 0, 99], 1)), "an error never fits");
        assert!(
            !Shares::V1.fit(&sample([0, 0, 0], 0)),
            "nothing is no evidence"
        );
        assert!(Shares::V1.fit(&sample([5, 0, 0], 0)));
    }

    #[test]
    fn the_baseline_fits_no_expectation_and_no_expectation_the_baseline() {
        let baseline = sample([34, 33, 33], 0);
        assert!(Shares::BASELINE.fit(&baseline));
        for shares in [
            Shares::V1,
            Shares::V2,
            Shares::V3,
            Shares([0.9, 0.0, 0.1]),
            Shares([0.5, 0.0, 0.5]),
        ] {
            assert!(!shares.fit(&baseline), "{shares}");
        }
        assert!(!Shares::BASELINE.fit(&sample([100, 0, 0], 0)));
        assert!(!Shares::BASELINE.fit(&sample([33, 33, 33], 1)));
    }

    #[test]
    fn a_page_must_agree_with_itself() {
        let page = |pod: &str, class: &str| {
            format!("<i class=\"{class}\"></i>Reviews served by: <code>{pod}</code>")
        };
        assert_eq!(Version::of_page(&page("reviews-v1", "")), Some(Version(1)));
        assert_eq!(
            Version::of_page(&page("reviews-v2-abc", "star text-black-500")),
            Some(Version(2))
        );
        assert_eq!(
            Version::of_page(&page("reviews-v3", "star text-red-500")),
            Some(Version(3))
        );
        assert_eq!(
            Version::of_page(&page("reviews-v1", "star text-red-500")),
            None
        );
        assert_eq!(Version::of_page(&page("reviews-v2", "")), None);
        assert_eq!(Version::of_page(&page("reviews-v9", "")), None);
        assert_eq!(Version::of_page("Error fetching product reviews"), None);
    }
}
