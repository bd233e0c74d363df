//! Who sent a request, by a signed token in it: Envoy's `envoy.filters.http.jwt_authn`, which is what Istio makes of
//! `RequestAuthentication`.
//!
//! [`check`] looks for tokens where the [`Rules`] say, and comes to an [`Outcome`]. The time is an argument, and so is the
//! cryptography ([`Verify`]). What a token said is the [`Value`](crate::authz::Value) that policy reads.
//!
//! Texts of refusals, their order, the places of tokens and the form of headers are Envoy's. Where Envoy is lenient with
//! a token, this is not:
//! - There is no `none` and no `HS256`: an algorithm of shared keys is not representable, and neither are its keys.
//! - The key has to fit the algorithm: the curve of `ES256` is P-256, an RSA key has 2048 bits at least, and `use` and
//!   `key_ops` are looked at.
//! - Base64url is without padding, blanks and stray bits; there are exactly two dots; JSON is not nested deeper than
//!   [`DEEPEST`].
//! - An extension that must be understood (`crit`, RFC 7515, 4.1.11) is not, and refuses.
//! - `exp: 0` is long past; in Envoy it means that there is no `exp`.
//! - All places of a provider are looked at, with every line, parameter and cookie of a name. Two different tokens for
//!   one provider are refused, even where both are good: policy would look at one of them, and the application maybe at
//!   the other.

mod check;
mod claims;
mod effects;
mod json;
mod jwk;
mod outcome;
mod place;
mod rules;
mod token;

pub use check::{Fetched, Verify, check};
pub use effects::Verified;
pub use json::DEEPEST;
pub use jwk::{Curve, InvalidJwks, Jwk, Jwks, KeyType};
pub use outcome::{Answer, Outcome, Why};
pub(crate) use place::is_named;
pub use rules::{
    Audiences, ClaimToHeader, DEFAULT_CLOCK_SKEW, Expiration, HeaderPlace, Keys, Otherwise,
    PayloadHeader, Places, Provider, RemoteJwks, Requirement, Rule, Rules,
};
pub use token::{Alg, LONGEST};
