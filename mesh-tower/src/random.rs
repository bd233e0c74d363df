//! Random numbers of one mesh: seedable, lock-free, and not shared with any other mesh.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::TryRng;

/// The odd constant of SplitMix64 (Steele, Lea, Flood 2014).
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// Hands every request a generator of its own. Written by every request, so on a cache line of its own.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Randomness(AtomicU64);

impl Randomness {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// The generator of the next request. Sequences of one seed are the same in every run.
    pub(crate) fn next(&self) -> SplitMix {
        SplitMix(mixed(self.0.fetch_add(GAMMA, Ordering::Relaxed)))
    }
}

/// SplitMix64: two multiplications a number, and good enough to split traffic.
#[derive(Debug, Default)]
pub(crate) struct SplitMix(u64);

impl TryRng for SplitMix {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((self.try_next_u64()? >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0 = self.0.wrapping_add(GAMMA);
        Ok(mixed(self.0))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(8) {
            let word = self.try_next_u64()?.to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
        Ok(())
    }
}

const fn mixed(state: u64) -> u64 {
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
