//! A small random source for the faulty variants of ratings: splitmix64, seeded by a value.

use std::sync::atomic::{AtomicU64, Ordering};

use super::settings::SettingsError;

/// A sequence of coin throws, shared by all requests.
#[derive(Debug)]
pub struct Dice(AtomicU64);

impl Dice {
    /// The sequence of this seed.
    pub const fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// True half of the time.
    pub fn heads(&self) -> bool {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) & 1 == 0
    }
}

/// Random bytes of the operating system.
///
/// # Errors
/// When it has none.
pub fn random<const N: usize>() -> Result<[u8; N], SettingsError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| SettingsError::Random {
        reason: error.to_string(),
    })?;
    Ok(bytes)
}
