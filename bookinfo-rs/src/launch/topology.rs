//! Who runs in the demo, and at which addresses.

use std::net::{IpAddr, Ipv4Addr, TcpListener};

/// One process behind `mesh.serve`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// `reviews`.
    pub service: &'static str,
    /// `v2`.
    pub version: &'static str,
    /// Its own address: istiod finds a workload's services by address alone.
    pub ip: IpAddr,
}

impl Workload {
    /// `reviews-v2`: the workload's name, and its pod's.
    pub fn name(&self) -> String {
        format!("{}-{}", self.service, self.version)
    }

    /// `bookinfo-reviews`.
    pub fn service_account(&self) -> String {
        format!("bookinfo-{}", self.service)
    }
}

/// Service, version, and the last two bytes of the address.
const WORKLOADS: [(&str, &str, [u8; 2]); 8] = [
    ("productpage", "v1", [10, 1]),
    ("reviews", "v1", [11, 1]),
    ("reviews", "v2", [11, 2]),
    ("reviews", "v3", [11, 3]),
    ("ratings", "v1", [12, 1]),
    ("details", "v1", [13, 1]),
    ("details", "v2", [13, 2]),
    // The stand-in for Google Books, which details v2 asks.
    ("googleapis", "v1", [14, 1]),
];

/// The ingress's address as a node; it listens elsewhere.
const INGRESS: [u8; 2] = [15, 1];

/// Whether every address can be listened on: Linux has all of 127.0.0.0/8, others only 127.0.0.1.
pub fn bindable() -> bool {
    WORKLOADS
        .iter()
        .all(|(_, _, last)| TcpListener::bind((own(*last), 0)).is_ok())
}

/// All workloads and the ingress's address: each its own where these are `bindable`, else 127.0.0.1 for all.
pub fn workloads(bindable: bool) -> (Vec<Workload>, IpAddr) {
    let ip = |last| {
        if bindable {
            own(last)
        } else {
            IpAddr::V4(Ipv4Addr::LOCALHOST)
        }
    };
    let all = WORKLOADS
        .into_iter()
        .map(|(service, version, last)| Workload {
            service,
            version,
            ip: ip(last),
        });
    (all.collect(), ip(INGRESS))
}

const fn own([c, d]: [u8; 2]) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, c, d))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_has_its_own_address_or_all_have_the_one_there_is() {
        for (bindable, distinct) in [(true, 9), (false, 1)] {
            let (all, ingress) = workloads(bindable);
            assert_eq!(all.len(), 8);
            let ips: BTreeSet<IpAddr> = all.iter().map(|w| w.ip).chain([ingress]).collect();
            assert_eq!(ips.len(), distinct, "{ips:?}");
            assert!(ips.iter().all(IpAddr::is_loopback));
            assert_eq!(!bindable, ips.contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)));
            let names: BTreeSet<String> = all.iter().map(Workload::name).collect();
            assert_eq!(names.len(), 8, "{names:?}");
        }
    }
}
