//! The listeners of a server in the dialect of sidecars -> what it is to do with connections.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_core::server::Inbound;
use mesh_core::snapshot::Missing;

use super::Assembler;
use super::entries::{Entry, Held};
use crate::decode::Invalid;
use crate::decode::inbound::{self, InboundListener, Side, rules};
use crate::resource::ResourceType;

/// The listeners that came, each in its last good version.
#[derive(Debug, Default)]
pub(super) struct Inbounds {
    good: BTreeMap<Arc<str>, Good>,
    /// Of listeners that came and could not be used, and of which there is none before that.
    faults: BTreeMap<Arc<str>, Arc<str>>,
    is_answered: bool,
    /// Whether a good one differs from when it was published.
    is_changed: bool,
    published: Option<Published>,
}

#[derive(Debug)]
struct Good {
    listener: InboundListener,
    wire: Vec<u8>,
}

/// What was published, as far as two of them can be compared.
#[derive(Debug, PartialEq)]
enum Published {
    Rules,
    Closed(Arc<str>),
    Open(Arc<str>),
}

impl Inbounds {
    /// Something has been said of listeners.
    pub(super) fn answered(&mut self) {
        self.is_answered = true;
    }

    pub(super) const fn is_answered(&self) -> bool {
        self.is_answered
    }

    /// Whether a listener is there in just this form.
    pub(super) fn is_same(&self, name: &str, wire: &[u8]) -> bool {
        self.good.get(name).is_some_and(|good| good.wire == wire)
    }

    pub(super) fn set(&mut self, name: &Arc<str>, listener: InboundListener, wire: Vec<u8>) {
        self.faults.remove(name);
        self.good.insert(Arc::clone(name), Good { listener, wire });
        self.is_changed = true;
    }

    /// There is no such listener, or it is not one of a server.
    pub(super) fn remove(&mut self, name: &str) {
        self.faults.remove(name);
        self.is_changed |= self.good.remove(name).is_some();
    }

    /// These are all that there are.
    pub(super) fn retain(&mut self, is_told: impl Fn(&Arc<str>) -> bool) {
        let before = self.good.len();
        self.good.retain(|name, _| is_told(name));
        self.is_changed |= self.good.len() != before;
        self.faults.retain(|name, _| is_told(name));
    }

    /// A listener came and cannot be used. The last good one stays; one without a name may be any.
    pub(super) fn refuse(&mut self, name: &Arc<str>, fault: Arc<str>) {
        self.is_answered = true;
        if !self.good.contains_key(name) {
            self.faults.insert(Arc::clone(name), fault);
        }
    }

    /// The clusters that servers call by the present rules.
    pub(super) fn callees(&self) -> BTreeSet<Arc<str>> {
        let all = self.good.iter();
        let rules = rules(all.map(|(name, good)| (name, &good.listener)));
        rules.map(|rules| rules.callees()).unwrap_or_default()
    }

    /// The names of those that can be used.
    pub(super) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.good.keys()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.good.contains_key(name)
    }

    pub(super) fn knows(&self, name: &str) -> bool {
        self.has(name) || self.faults.contains_key(name)
    }

    pub(super) fn ignored(&self) -> impl Iterator<Item = Arc<str>> {
        self.good.iter().flat_map(|(name, good)| {
            let all = good.listener.ignored.iter();
            all.map(move |what| format!("listener {name:?}: {what}").into())
        })
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        let entry = |name: &Arc<str>, held| Entry {
            resource_type: ResourceType::Listener,
            name: Arc::clone(name),
            held,
            wire: None,
        };
        let good = self.good.keys();
        let good = good.map(move |name| entry(name, Held::Usable));
        let faults = self.faults.iter().filter(|(name, _)| !name.is_empty());
        good.chain(faults.map(move |(name, fault)| entry(name, Held::Refused(fault))))
    }

    /// What is to be published, if it differs from what was. `server` is whom errors name.
    pub(super) fn take_changed(&mut self, server: &Arc<str>, side: Side) -> Option<Arc<Inbound>> {
        let is_changed = std::mem::take(&mut self.is_changed);
        let all = self.good.iter();
        let all = all.map(|(name, good)| (name, &good.listener));
        // The first in the order of names is the one without a name, which may be any of them.
        let fault = self.faults.values().next();
        let (next, inbound) = match (self.good.is_empty(), fault) {
            (false, _) if self.published == Some(Published::Rules) && !is_changed => return None,
            (false, _) => (Published::Rules, Inbound::Rules(rules(all)?.into())),
            (true, Some(fault)) => (
                Published::Closed(Arc::clone(fault)),
                Inbound::Closed(Arc::clone(fault)),
            ),
            // A gateway serves nothing but the servers of a `Gateway`.
            (true, None) if self.is_answered && side == Side::Gateway => {
                let none: Arc<str> = format!("no listener of a gateway from {server}: its selector has to meet the labels of this node").into();
                (Published::Closed(Arc::clone(&none)), Inbound::Closed(none))
            }
            (true, None) if self.is_answered => {
                let who: Arc<str> = format!("no inbound listener from {server}").into();
                (Published::Open(Arc::clone(&who)), Inbound::Open(who))
            }
            (true, None) => return None,
        };
        if self.published.as_ref() == Some(&next) && next != Published::Rules {
            return None;
        }
        self.published = Some(next);
        Some(Arc::new(inbound))
    }
}

impl Assembler {
    /// Records that a listener was sent and cannot be used. One that is there stays.
    pub(crate) fn listener_refused(&mut self, name: &Arc<str>, fault: Arc<str>) {
        match (&self.listeners, &mut self.inbound) {
            (None, Some(inbound)) => inbound.refuse(name, fault),
            _ => self.missing(ResourceType::Listener, name, Missing::NotReceived(fault)),
        }
    }

    /// Of listeners of servers something has been said.
    pub(crate) fn inbound_answered(&mut self) {
        if let Some(inbound) = &mut self.inbound {
            inbound.answered();
        }
    }

    /// Takes a listener, if it is one of a server and servers have asked.
    ///
    /// # Errors
    /// When it is malformed.
    pub(crate) fn set_inbound(
        &mut self,
        name: &Arc<str>,
        version: &Arc<str>,
        bytes: Vec<u8>,
    ) -> Result<(), Invalid> {
        let (None, Some(all)) = (&self.listeners, &mut self.inbound) else {
            return self.servers.set(name, version, bytes);
        };
        let side = self.side;
        if !inbound::is_inbound(&bytes, side)? {
            // Most are of clients, and nothing was ever kept of them.
            if !all.knows(name) {
                return Ok(());
            }
            all.remove(name);
        } else if !all.is_same(name, &bytes) {
            let listener = inbound::decode(&bytes, version, side)?;
            for table in &listener.tables {
                self.hosts.want(table.clone());
            }
            all.set(name, listener, bytes);
        }
        self.link_callees();
        Ok(())
    }

    /// The name whose coming is waited for where a type is asked for without names.
    pub(crate) fn awaited(&self, resource_type: ResourceType) -> Option<Arc<BTreeSet<Arc<str>>>> {
        // Nobody knows how the listeners of a gateway are called.
        let waits = resource_type == ResourceType::Listener
            && self.side == Side::Workload
            && self.listeners.is_none()
            && self.inbound.is_some();
        waits.then(|| Arc::new([inbound::VIRTUAL.into()].into()))
    }

    pub(super) fn take_inbound(&mut self) -> Option<Arc<Inbound>> {
        let (server, side) = (&self.server, self.side);
        let Some(inbound) = &mut self.inbound else {
            return self.servers.take_changed();
        };
        inbound.take_changed(server, side)
    }
}
