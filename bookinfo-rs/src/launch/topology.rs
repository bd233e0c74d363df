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

/// All workloads and the ingress's address: each its own where the system lets us bind them, else 127.0.0.1 for all.
pub fn workloads() -> (Vec<Workload>, IpAddr) {
    let own = |[c, d]: [u8; 2]| IpAddr::V4(Ipv4Addr::new(127, 0, c, d));
    let bindable = WORKLOADS
        .iter()
        .all(|(_, _, last)| TcpListener::bind((own(*last), 0)).is_ok());
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
