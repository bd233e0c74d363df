//! The listeners of servers in gRPC's dialect, one for each address -> what is to be done with connections to it
//! (gRPC A36).
//!
//! An address is served once its listener came and can be used, and until the listener is taken away. An update that
//! cannot be used leaves the former one; one that is for another address ends the service.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use mesh_core::server::{Addresses, Inbound};
use mesh_core::snapshot::Missing;

use super::Assembler;
use super::entries::{Entry, Held};
use crate::decode::Invalid;
use crate::decode::inbound::grpc::{self, ServerListenerResource};
use crate::resource::ResourceType;
use crate::server_listener::ServerListener;

/// Those that were asked for, by name.
#[derive(Debug, Default)]
pub(super) struct Servers {
    all: BTreeMap<Arc<str>, Server>,
    is_changed: bool,
}

#[derive(Debug)]
struct Server {
    bound: SocketAddr,
    state: State,
}

#[derive(Debug)]
enum State {
    Waiting,
    Good(ServerListenerResource, Vec<u8>),
    /// It came, and is for another address.
    Elsewhere(Arc<str>),
    Closed(Arc<str>),
}

impl Servers {
    /// Returns whether it is new.
    pub(super) fn want(&mut self, listener: &ServerListener) -> bool {
        if self.knows(listener.name()) {
            return false;
        }
        let server = Server {
            bound: listener.bound(),
            state: State::Waiting,
        };
        self.all.insert(Arc::clone(listener.name()), server);
        self.is_changed = true;
        true
    }

    pub(super) fn knows(&self, name: &str) -> bool {
        self.all.contains_key(name)
    }

    /// Whether a usable one is there.
    pub(super) fn has(&self, name: &str) -> bool {
        let state = self.all.get(name).map(|server| &server.state);
        matches!(state, Some(State::Good(..) | State::Elsewhere(_)))
    }

    /// One that is not wanted is not waited for.
    pub(super) fn is_answered(&self, name: &str) -> bool {
        let state = self.all.get(name).map(|server| &server.state);
        !matches!(state, Some(State::Waiting))
    }

    pub(super) fn is_all_answered(&self) -> bool {
        self.all.keys().all(|name| self.is_answered(name))
    }

    /// The names of those that are there.
    pub(super) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.all.keys().filter(|name| self.has(name))
    }

    /// Takes one in wire form.
    pub(super) fn set(
        &mut self,
        name: &str,
        version: &Arc<str>,
        wire: Vec<u8>,
    ) -> Result<(), Invalid> {
        let Some(server) = self.all.get_mut(name) else {
            return Ok(());
        };
        if matches!(&server.state, State::Good(_, same) if *same == wire) {
            return Ok(());
        }
        let decoded = grpc::decode(&wire, version)?;
        server.state = match decoded.address == server.bound {
            true => State::Good(decoded, wire),
            // gRPC A36: it is no fault of the listener's.
            false => State::Elsewhere(
                format!(
                    "listener {name:?} of version {version:?} is for {}, and the server is bound to {}",
                    decoded.address, server.bound
                )
                .into(),
            ),
        };
        self.is_changed = true;
        Ok(())
    }

    /// One did not come, or cannot be used; if there is one, it stays.
    pub(super) fn miss(&mut self, name: &str, why: Missing) {
        if !self.has(name) {
            self.gone(name, why);
        }
    }

    /// The control plane has taken one away, or says that there is none.
    pub(super) fn gone(&mut self, name: &str, why: Missing) {
        if let Some(server) = self.all.get_mut(name) {
            let (Missing::NoSuch(reason) | Missing::NotReceived(reason)) = why;
            server.state = State::Closed(reason);
            self.is_changed = true;
        }
    }

    /// What is to be published, if it differs from what was.
    pub(super) fn take_changed(&mut self) -> Option<Arc<Inbound>> {
        if !std::mem::take(&mut self.is_changed) {
            return None;
        }
        let mut all = Addresses::default();
        for server in self.all.values() {
            match &server.state {
                State::Waiting => all.wait(server.bound),
                State::Good(listener, _) => all.serve(server.bound, Arc::clone(&listener.rules)),
                State::Elsewhere(why) | State::Closed(why) => {
                    all.close(server.bound, Arc::clone(why));
                }
            }
        }
        Some(Arc::new(Inbound::ByAddress(Arc::new(all))))
    }

    pub(super) fn ignored(&self) -> impl Iterator<Item = Arc<str>> {
        let good = self
            .all
            .iter()
            .filter_map(|(name, server)| match &server.state {
                State::Good(listener, _) => Some((name, &listener.ignored)),
                State::Waiting | State::Elsewhere(_) | State::Closed(_) => None,
            });
        good.flat_map(|(name, ignored)| {
            let all = ignored.iter();
            all.map(move |what| format!("listener {name:?}: {what}").into())
        })
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.all.iter().map(|(name, server)| Entry {
            resource_type: ResourceType::Listener,
            name: Arc::clone(name),
            held: match &server.state {
                State::Waiting => Held::Waiting,
                State::Good(..) | State::Elsewhere(_) => Held::Usable,
                State::Closed(_) => Held::Absent,
            },
            wire: None,
        })
    }
}

impl Assembler {
    /// Asks for the listener of an address. Returns whether it is new.
    pub(super) fn want_server(&mut self, listener: &ServerListener) -> bool {
        let Some(listeners) = &mut self.listeners else {
            return false;
        };
        listeners.also_ask(listener.name());
        self.servers.want(listener)
    }
}
