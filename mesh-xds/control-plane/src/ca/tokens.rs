//! Bearer tokens: whoever holds one is the workload that it was made for. The authority keeps their hashes alone.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::{digest, rand};
use mesh_core::identity::SpiffeId;
use zeroize::Zeroizing;

use super::caller::{Caller, NotProven, Proof};

/// A token: 256 random bits in hexadecimal. It is overwritten when it is dropped, and cannot be shown or copied.
///
/// ```compile_fail,E0277
/// fn shown(token: mesh_control_plane::ca::Token) { format!("{token:?}"); }
/// ```
/// ```compile_fail,E0599
/// fn copied(token: mesh_control_plane::ca::Token) { drop(token.clone()); }
/// ```
#[expect(missing_debug_implementations, reason = "it must not be shown")]
pub struct Token(Zeroizing<String>);

/// Whose token is whose: a line `SHA-256-in-hex expiry-in-unix-seconds spiffe-id` for each; empty lines and those that
/// begin with `#` say nothing. The tokens themselves cannot be found from it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tokens(BTreeMap<Hash, Holder>);

type Hash = [u8; 32];

#[derive(Debug, Clone, PartialEq, Eq)]
struct Holder {
    id: SpiffeId,
    /// Unix seconds.
    expires: u64,
}

/// A file of tokens that cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum InvalidTokens {
    /// It cannot be read.
    #[error("the tokens in {} cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// One of its lines is wrong.
    #[error("line {line} is no `SHA-256-in-hex expiry-in-unix-seconds spiffe-id`: {reason}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
}

impl Token {
    /// The text that is sent.
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl Tokens {
    /// Reads a file of them.
    ///
    /// # Errors
    /// When it cannot be read or a line is wrong: nobody is known then.
    pub fn read(path: &Path) -> Result<Self, InvalidTokens> {
        let text = std::fs::read_to_string(path);
        let path = path.to_owned();
        text.map_err(|source| InvalidTokens::Read { path, source })?
            .parse()
    }

    /// A new token for a workload, with the line of it that the authority keeps. `None` if the system has no random bits.
    pub fn mint(id: &SpiffeId, ttl: Duration, now: SystemTime) -> Option<(Token, String)> {
        let mut bits = Zeroizing::new([0; 32]);
        rand::fill(&mut *bits).ok()?;
        let token = Zeroizing::new(hex(&*bits));
        let expires = seconds(now).saturating_add(ttl.as_secs());
        let line = format!("{} {expires} {id}\n", hex(&hash(&token)));
        Some((Token(token), line))
    }

    /// Who holds a token. It is looked up by its hash, so how long that takes says nothing about tokens that exist.
    ///
    /// # Errors
    /// When it is not known or has expired.
    pub fn caller(&self, token: &str, now: SystemTime) -> Result<Caller, NotProven> {
        let holder = self.0.get(&hash(token)).ok_or(NotProven::Unknown)?;
        match seconds(now) < holder.expires {
            true => Ok(Caller::new(holder.id.clone(), Proof::Token)),
            false => Err(NotProven::Expired),
        }
    }
}

impl FromStr for Tokens {
    type Err = InvalidTokens;

    fn from_str(text: &str) -> Result<Self, InvalidTokens> {
        let mut all = BTreeMap::new();
        for (at, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let (hash, holder) = entry(line).map_err(|reason| InvalidTokens::Line {
                line: at + 1,
                reason,
            })?;
            if all.insert(hash, holder).is_some() {
                return Err(InvalidTokens::Line {
                    line: at + 1,
                    reason: "the same token stands in a line before".to_owned(),
                });
            }
        }
        Ok(Self(all))
    }
}

fn entry(line: &str) -> Result<(Hash, Holder), String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [hash, expires, id] = words[..] else {
        return Err(format!("it has {} words", words.len()));
    };
    let hash = unhex(hash).ok_or("the first word is not 64 hexadecimal digits")?;
    let expires = expires
        .parse()
        .map_err(|error| format!("the second word: {error}"))?;
    let id = id
        .parse()
        .map_err(|error| format!("the third word: {error}"))?;
    Ok((hash, Holder { id, expires }))
}

fn hash(token: &str) -> Hash {
    let mut out = [0; 32];
    let digest = digest::digest(&digest::SHA256, token.as_bytes());
    for (to, from) in out.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    out
}

fn hex(bytes: &[u8]) -> String {
    // Written in place: a text that grows leaves copies of itself behind.
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn unhex(text: &str) -> Option<Hash> {
    let mut out = [0; 32];
    if text.len() != 2 * out.len() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(out)
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
