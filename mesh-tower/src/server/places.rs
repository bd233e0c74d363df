//! Where a mesh listens, and what the rules say of it there.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use mesh_core::server::{Chosen, Inbound, Opening, Rules};
use mesh_xds::{Node, NodeType};

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

/// The listeners that are there, and whose they are.
#[derive(Debug)]
pub(super) struct Places {
    security: Security,
    /// The id by which the control plane knows us: it decides which ports our listener mentions.
    node: String,
    node_type: NodeType,
    all: Mutex<All>,
}

#[derive(Debug, Default)]
struct All {
    bound: BTreeMap<SocketAddr, Served>,
    /// By port: the version of the rules that was last told not to mention it.
    told: HashMap<u16, Arc<str>>,
}

#[derive(Debug, Clone, Copy)]
struct Served {
    /// By which rules know it.
    port: u16,
    /// Whether connections are accepted: until then it may be said that it stands for another port.
    has_begun: bool,
}

impl Places {
    pub(super) fn new(security: Security, node: &Node) -> Self {
        Self {
            security,
            node: node.id(),
            node_type: node.node_type,
            all: Mutex::default(),
        }
    }

    fn all(&self) -> std::sync::MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why one of them is not served, if it is not.
    pub(super) fn lack(&self, inbound: &Inbound) -> Option<String> {
        let all = self.all();
        let mut lacks =
            (all.bound.iter()).filter_map(|(bound, at)| self.lacks(inbound, *bound, at));
        lacks.next()
    }

    fn lacks(&self, inbound: &Inbound, bound: SocketAddr, at: &Served) -> Option<String> {
        match inbound.at(bound) {
            Inbound::Rules(rules) => {
                let shut = self.mentioned(rules, at.port).err()?;
                Some(format!("rules for connections to {bound}: {shut}"))
            }
            Inbound::Waiting => Some(format!("rules for connections to {bound} (LDS)")),
            Inbound::Closed(reason) => Some(format!("rules for connections to {bound}: {reason}")),
            Inbound::Open(_) | Inbound::ByAddress(_) => None,
        }
    }

    /// Warns of ports that are served and that these rules do not mention, once for each port and version: what was
    /// written for a service is not enforced there, and nothing else would tell.
    pub(super) fn warn(&self, inbound: &Inbound) {
        if self.security == Security::Required {
            return;
        }
        let mut all = self.all();
        let All { bound, told } = &mut *all;
        for (bound, at) in bound.iter().filter(|(_, at)| at.has_begun) {
            let Inbound::Rules(rules) = inbound.at(*bound) else {
                continue;
            };
            if rules.mentions(at.port) {
                told.remove(&at.port);
            } else if told.get(&at.port) != Some(&rules.version) {
                told.insert(at.port, Arc::clone(&rules.version));
                tracing::warn!(
                    "{}, which is served: connections to it are taken, or closed, as the listener has it for ports that it does not mention, and policies that were written for the workload may be missing; {}",
                    self.unmentioned(rules, at.port),
                    self.remedy()
                );
            }
        }
    }

    /// Who requires TLS opens no port of which nothing was said: the mode of the workload may be what somebody forgot to
    /// set for it, and its policies were written for others.
    fn mentioned(&self, rules: &Rules, port: u16) -> Result<(), Arc<str>> {
        if self.security != Security::Required || rules.mentions(port) {
            return Ok(());
        }
        Err(format!(
            "{}, and Builder::security(Security::Required) opens no such port; {}",
            self.unmentioned(rules, port),
            self.remedy()
        )
        .into())
    }

    fn unmentioned(&self, rules: &Rules, port: u16) -> String {
        let (version, node) = (&rules.version, &self.node);
        format!(
            "the inbound listener of version {version:?} for the node {node:?} does not mention port {port}"
        )
    }

    /// A control plane finds the ports of a workload by its address and, where several share that, by its name; those of a
    /// gateway by its labels.
    const fn remedy(&self) -> &'static str {
        match self.node_type {
            NodeType::Sidecar => {
                "give the port to a service whose WorkloadEntry or endpoint has this node's address, and run under that name and namespace"
            }
            NodeType::Router => {
                "give the port to a server of a Gateway whose selector has this node's labels, or say by MeshListener::as_gateway_port for which it stands"
            }
        }
    }
}

/// Keeps in mind that a listener is there, as long as it is.
pub(super) struct Place {
    door: Arc<Door>,
    bound: SocketAddr,
}

impl Place {
    pub(super) fn new(door: &Arc<Door>, bound: SocketAddr) -> Self {
        let served = Served {
            port: bound.port(),
            has_begun: false,
        };
        door.places.all().bound.insert(bound, served);
        Self {
            door: Arc::clone(door),
            bound,
        }
    }

    /// Connections are accepted from now on; rules know it by this port.
    pub(super) fn begin(&self, port: u16) {
        let served = Served {
            port,
            has_begun: true,
        };
        self.door.places.all().bound.insert(self.bound, served);
        self.door.places.warn(&self.door.ways().inbound);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.door.places.all().bound.remove(&self.bound);
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
    places: &Places,
) -> Result<Chosen<'a>, Closing> {
    let mentioned = places.mentioned(rules, local.port());
    mentioned.map_err(Closing::NoRules)?;
    Ok(rules.port(local.port()).choose(opening))
}
