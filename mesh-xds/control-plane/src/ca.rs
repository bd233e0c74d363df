//! The certificate authority of the mesh.
//!
//! ```text
//! workload: key, CSR --- token, or its present certificate ---> Caller --+
//!                    <--- leaf, intermediates, root ---- Authority::sign +
//! launcher: Authority::issue -> key and chain -> Issued::write: cert-chain.pem, key.pem, root-cert.pem
//! ```
//! A certificate carries one name: the SPIFFE id of who has proven to be it, a [`Caller`]. Of a request the key is taken
//! and that the asker holds it; the names in it are never read. What is signed is what istiod signs: no subject, the id as a
//! critical URI name, for servers and clients, from two minutes ago on.

mod authority;
mod caller;
mod csr;
mod files;
mod held;
mod issued;
mod pem;
mod proto;
mod secret;
pub(crate) mod service;
mod tokens;

pub use authority::{Authority, SignError};
pub use caller::{Caller, NotProven, Proof};
pub use csr::{Csr, InvalidCsr};
pub use files::OpenError;
pub use held::{Held, NotHeld};
pub use issued::{Issued, WriteError};
pub use tokens::{InvalidTokens, Token, Tokens};

use std::time::Duration;

/// How long a certificate is valid when nobody says it: istiod's 24 hours.
pub const DEFAULT_TTL: Duration = Duration::from_hours(24);
/// The longest that a certificate is valid unless [`Authority::with_longest`] says otherwise: istiod's
/// `MAX_WORKLOAD_CERT_TTL`, 90 days.
pub const LONGEST_TTL: Duration = Duration::from_hours(90 * 24);
