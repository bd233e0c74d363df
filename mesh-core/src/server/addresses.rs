//! What a server knows of each address where it listens: in gRPC's dialect each has a listener of its own (gRPC A36).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::rules::{Inbound, Rules};

/// By address as bound. Of an address that is not in it nothing is known yet.
#[derive(Debug, Clone, Default)]
pub struct Addresses(BTreeMap<SocketAddr, Inbound>);

static WAITING: Inbound = Inbound::Waiting;

impl Addresses {
    /// Nothing is known of it yet: connections to it wait.
    pub fn wait(&mut self, bound: SocketAddr) {
        self.0.insert(bound, Inbound::Waiting);
    }

    /// It is served by these.
    pub fn serve(&mut self, bound: SocketAddr, rules: Arc<Rules>) {
        self.0.insert(bound, Inbound::Rules(rules));
    }

    /// It is not served, for this reason.
    pub fn close(&mut self, bound: SocketAddr, reason: Arc<str>) {
        self.0.insert(bound, Inbound::Closed(reason));
    }

    /// All of them, in the order of addresses.
    pub fn iter(&self) -> impl Iterator<Item = (SocketAddr, &Inbound)> {
        self.0.iter().map(|(bound, state)| (*bound, state))
    }
}

impl Inbound {
    /// What holds for a listener that is bound there: all of it, where listeners are not told apart.
    pub fn at(&self, bound: SocketAddr) -> &Self {
        match self {
            Self::ByAddress(all) => all.0.get(&bound).unwrap_or(&WAITING),
            Self::Waiting | Self::Open(_) | Self::Rules(_) | Self::Closed(_) => self,
        }
    }
}
