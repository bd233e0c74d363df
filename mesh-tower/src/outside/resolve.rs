//! From a host's name to its addresses.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mesh_core::request::without_brackets;
use mesh_xds::dns::Resolver;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long addresses are used before the name is looked up again. The system's resolver tells no
/// time to live; this is short against how long a moved service is still reached at its old place.
const KEPT: Duration = Duration::from_secs(30);

/// The addresses of one host. One look-up runs at a time, and whoever waited for it takes its outcome.
#[derive(Debug)]
pub(super) struct Addresses {
    host: Box<str>,
    port: u16,
    resolver: Resolver,
    last: Mutex<Option<Found>>,
    /// How many look-ups have ended.
    lookups: AtomicU64,
}

#[derive(Debug, Clone)]
struct Found {
    outcome: Result<Arc<[SocketAddr]>, Arc<io::Error>>,
    at: Instant,
}

impl Addresses {
    pub(super) fn new(host: &str, port: u16, resolver: Resolver) -> Self {
        Self {
            host: host.into(),
            port,
            resolver,
            last: Mutex::default(),
            lookups: AtomicU64::new(0),
        }
    }

    pub(super) async fn get(&self) -> Result<Arc<[SocketAddr]>, Arc<io::Error>> {
        let plain = without_brackets(&self.host);
        if let Ok(ip) = plain.parse::<IpAddr>() {
            return Ok([SocketAddr::new(ip, self.port)].into());
        }
        let before = self.lookups.load(Ordering::Acquire);
        let mut last = self.last.lock().await;
        if let Some(found) = &*last {
            let waited = self.lookups.load(Ordering::Acquire) != before;
            let fresh = found.outcome.is_ok() && found.at.elapsed() < KEPT;
            if waited || fresh {
                return found.outcome.clone();
            }
        }
        let outcome = match self.resolver.resolve(plain, self.port).await {
            Ok(addresses) if addresses.is_empty() => {
                Err(Arc::new(io::Error::other("the name has no addresses")))
            }
            Ok(addresses) => Ok(interleaved(addresses).into()),
            Err(error) => Err(Arc::new(error)),
        };
        *last = Some(Found {
            outcome: outcome.clone(),
            at: Instant::now(),
        });
        self.lookups.fetch_add(1, Ordering::Release);
        outcome
    }

    /// None of the addresses answers: the next call looks again.
    pub(super) async fn forget(&self) {
        *self.last.lock().await = None;
    }
}

/// Families in turn, so that a broken one costs one attempt (RFC 8305, section 4).
fn interleaved(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == first_is_v6);
    let mut out = Vec::with_capacity(first.len() + second.len());
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    loop {
        let before = out.len();
        out.extend(first.next());
        out.extend(second.next());
        if out.len() == before {
            return out;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let parse = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().filter_map(|text| text.parse().ok()).collect()
        };
        let given = parse(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"]);
        let wanted = parse(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"]);
        assert_eq!(interleaved(given), wanted);
    }
}
