//! Where a mesh listens, and what the rules say of it there.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use mesh_core::server::{Chosen, Inbound, Opening, Rules};

use super::closed::Closing;
use super::door::Door;
use crate::security::Security;

/// A connection's place: where its listener is bound, and the address that it came to.
#[derive(Debug, Clone, Copy)]
pub(super) struct At {
    pub(super) bound: SocketAddr,
    pub(super) local: SocketAddr,
}

#[cfg(all(test, feature = "tls"))]
impl From<SocketAddr> for At {
    fn from(bound: SocketAddr) -> Self {
        Self {
            bound,
            local: bound,
        }
    }
}

/// The addresses of the listeners that are there.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<BTreeSet<SocketAddr>>);

impl Places {
    fn all(&self) -> std::sync::MutexGuard<'_, BTreeSet<SocketAddr>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why one of them is not served, if it is not.
    pub(super) fn lack(&self, inbound: &Inbound, security: Security) -> Option<String> {
        let all = self.all();
        let mut lacks = all
            .iter()
            .filter_map(|bound| lack(inbound, *bound, security));
        lacks.next()
    }
}

fn lack(inbound: &Inbound, bound: SocketAddr, security: Security) -> Option<String> {
    match inbound.at(bound) {
        Inbound::Rules(rules) => {
            let shut = mentioned(rules, bound.port(), security).err()?;
            Some(format!("rules for connections to {bound}: {shut}"))
        }
        Inbound::Waiting => Some(format!("rules for connections to {bound} (LDS)")),
        Inbound::Closed(reason) => Some(format!("rules for connections to {bound}: {reason}")),
        Inbound::Open(_) | Inbound::ByAddress(_) => None,
    }
}

/// Keeps in mind that a listener is there, as long as it is.
pub(super) struct Place {
    door: Arc<Door>,
    bound: SocketAddr,
}

impl Place {
    pub(super) fn new(door: &Arc<Door>, bound: SocketAddr) -> Self {
        door.places.all().insert(bound);
        Self {
            door: Arc::clone(door),
            bound,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.door.places.all().remove(&self.bound);
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bound.fmt(f)
    }
}

/// What becomes of a connection by these rules.
pub(super) fn choose<'a>(
    rules: &'a Rules,
    local: SocketAddr,
    opening: &Opening<'_>,
    security: Security,
) -> Result<Chosen<'a>, Closing> {
    mentioned(rules, local.port(), security).map_err(Closing::NoRules)?;
    Ok(rules.port(local.port()).choose(opening))
}

/// Who requires TLS opens no port of which nothing was said: the mode of the workload may be what somebody forgot to set
/// for it, and its policies were written for others.
fn mentioned(rules: &Rules, port: u16, security: Security) -> Result<(), Arc<str>> {
    if security != Security::Required || rules.mentions(port) {
        return Ok(());
    }
    let version = &rules.version;
    Err(format!(
        "the inbound listener of version {version:?} does not mention port {port}, and Builder::security(Security::Required) opens no such port; make it the target port of a service that has an endpoint at the node's address"
    )
    .into())
}
