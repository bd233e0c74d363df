//! Who a workload is: SPIFFE ids in trust domains, and the rule by which a peer's certificate is judged.
//!
//! Nothing here reads a certificate: whoever does hands over a [`PeerCertificate`], and [`PeerRule::check`] says whether
//! it is whom the configuration wants. There is no rule that takes anybody.

mod peer;
mod san;
mod spiffe;
mod trust_domain;

pub use peer::{Domains, Peer, PeerCertificate, PeerRule, SanFault, Sans};
pub use san::{DnsPattern, NotOneName, SanMatcher};
pub use spiffe::{NotSpiffe, SpiffeId};
pub use trust_domain::{NotTrustDomain, TrustDomain};
