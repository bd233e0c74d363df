//! The xDS client without its sockets: events in, requests and snapshots out.
//!
//! It never waits. Whoever drives it asks [`Machine::request`] for what to send,
//! [`Machine::assemble`] for what to publish, and [`Machine::wake_at`] for when to come back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use envoy_types::pb::envoy::service::discovery::v3::DiscoveryResponse;
use envoy_types::pb::envoy::service::status::v3::ClientConfig;
use mesh_core::snapshot::Missing;
use rand::Rng;

use super::accept::accept_all;
use super::at::At;
use super::history::History;
use super::link::Link;
use super::peer::Peer;
use super::request::Request;
use super::sotw::Names;
use super::strays::Strays;
use crate::assemble::{Assembled, Assembler};
use crate::csds::client_config;
use crate::dns::{Answer, Lookup};
use crate::listener_name::Wanted;
use crate::node::{Node, NodeType};
use crate::resource::{ResourceType, Resources};

/// How the link to the control plane stands; what errors of waiting calls quote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Our node id.
    pub node: Arc<str>,
    /// The control plane's address, or the folder.
    pub server: Arc<str>,
    /// Whether a stream is open and has brought a response.
    pub connected: bool,
    /// Why it is not, or why the last one ended.
    pub last_error: Option<Arc<str>>,
    /// The faults of the last response of each type that had any.
    pub rejected: Vec<Arc<str>>,
    /// What the resources in force ask for and do not get, each kind once: how often, and where first. After it
    /// the responses of types that were not asked for.
    pub ignored: Vec<Arc<str>>,
}

/// The protocol and the cache behind it.
#[derive(Debug)]
pub struct Machine {
    pub(super) node: Node,
    pub(super) assembler: Assembler,
    /// The control planes in the order of preference; never empty.
    pub(super) links: Vec<Link>,
    /// Which of them is in use. Those before it are tried again and again, those after it rest.
    pub(super) active: usize,
    pub(super) status: Status,
    pub(super) rejected: BTreeMap<ResourceType, Vec<Arc<str>>>,
    pub(super) history: History,
    pub(super) strays: Strays,
}

impl Machine {
    /// A machine that has not connected yet, in the dialect of its node. `server` is what errors call the other side.
    pub fn new(node: Node, server: impl Into<Peer>) -> Self {
        Self::with_fallback(node, server.into(), [])
    }

    /// The same with control planes that stand in for the first, in the order of preference (gRPC A71).
    pub fn with_fallback(node: Node, first: Peer, others: impl IntoIterator<Item = Peer>) -> Self {
        let status = Status {
            node: node.id().into(),
            server: Arc::clone(&first.name),
            ..Status::default()
        };
        let all = std::iter::once(first).chain(others);
        let mut assembler = Assembler::new(&node.namespace, node.dialect());
        if node.node_type == NodeType::Router {
            assembler = assembler.of_gateway();
        }
        assembler.served_by(&status.server);
        Self {
            assembler,
            node,
            links: all.map(Link::new).collect(),
            active: 0,
            status,
            rejected: BTreeMap::new(),
            history: History::default(),
            strays: Strays::default(),
        }
    }

    /// How the link stands.
    pub const fn status(&self) -> &Status {
        &self.status
    }

    /// Asks for a table, or in gRPC's dialect for a listener; returns whether it is new. What the dialect has no word
    /// for is not asked for.
    pub fn want(&mut self, wanted: impl Into<Wanted>) -> bool {
        let is_new = self.assembler.want(wanted.into());
        self.fall_back();
        is_new
    }

    /// The names that clusters of type `STRICT_DNS` and `LOGICAL_DNS` need looked up, and how often. To be asked after
    /// each [`Machine::assemble`]; it is the same `Arc` while nothing of it changes.
    pub fn lookups(&self) -> Arc<BTreeMap<Lookup, Duration>> {
        self.assembler.wanted_lookups()
    }

    /// A name was looked up. Addresses that were found stay when a later look-up fails.
    pub fn looked_up(&mut self, lookup: &Lookup, answer: Answer) {
        self.assembler.set_answer(lookup, answer);
    }

    /// How many of the control planes, from the first, must have a stream now, or be tried again: the one
    /// in use and those that are preferred to it. Streams to the others are to be closed.
    pub const fn servers_in_use(&self) -> usize {
        self.active + 1
    }

    /// The stream to one of the control planes, counted from 0; the last one if there are fewer.
    pub fn at(&mut self, server: usize) -> At<'_> {
        let server = server.min(self.links.len() - 1);
        At {
            machine: self,
            server,
        }
    }

    /// [`At::connected`] of the first control plane.
    pub fn connected(&mut self) {
        self.at(0).connected();
    }

    /// [`At::disconnected`] of the first control plane.
    pub fn disconnected(&mut self, error: impl Into<Arc<str>>, now: Instant, rng: &mut impl Rng) {
        self.at(0).disconnected(error, now, rng);
    }

    /// [`At::reconnect_at`] of the first control plane.
    pub fn reconnect_at(&self) -> Option<Instant> {
        self.links.first().and_then(|link| link.reconnect_at)
    }

    /// [`At::received`] of the first control plane.
    pub fn received(&mut self, response: DiscoveryResponse) {
        self.at(0).received(response);
    }

    /// [`At::request`] of the first control plane.
    pub fn request(&mut self, now: Instant) -> Option<Request> {
        self.at(0).request(now)
    }

    /// Turns to the next control plane while the one in use cannot be reached and something is wanted that is
    /// not cached (gRPC A71).
    pub(super) fn fall_back(&mut self) {
        let is_last = self.active + 1 == self.links.len();
        if is_last || !self.links[self.active].failing || self.assembler.has_all() {
            return;
        }
        self.active += 1;
        let server = Arc::clone(&self.links[self.active].peer.name);
        tracing::warn!(%server, "falls back to the next control plane: something is wanted that the former ones have not sent");
        self.assembler.served_by(&server);
        self.status.server = server;
    }

    /// A response came from a control plane: it is the one in use, and those behind it rest.
    pub(super) fn heard(&mut self, server: usize) {
        self.links[server].hear();
        if server < self.active {
            self.links[server + 1..].iter_mut().for_each(Link::rest);
            self.active = server;
            let name = Arc::clone(&self.links[server].peer.name);
            tracing::info!(server = %name, "a preferred control plane is back");
            self.assembler.served_by(&name);
            self.status.server = name;
            for of in ResourceType::ALL {
                let names = self.links[server].sent(of);
                self.assembler.requested(of, names);
            }
        }
        self.status.connected = true;
        self.assembler.resume();
    }

    /// Takes a whole set of resources from no stream (a folder): what is not in it does not exist.
    pub fn replaced(&mut self, version: &Arc<str>, resources: &Resources) {
        let accepted = accept_all(&mut self.assembler, version, resources);
        for (resource_type, accepted) in &accepted {
            self.history.forgive_all(*resource_type);
            self.history
                .heard(&self.assembler, *resource_type, accepted);
        }
        self.status.connected = true;
        self.tell_ignored();
        self.status.rejected = accepted
            .iter()
            .flat_map(|(_, accepted)| &accepted.rejected)
            .map(|rejected| rejected.to_string().into())
            .collect();
        for text in &self.status.rejected {
            tracing::warn!("{text}");
        }
    }

    /// How the client stands, resource by resource (gRPC A40): `envoy.service.status.v3.ClientConfig` with the
    /// control plane in use, or the folder, as its `client_scope`. Clusters come with their contents, if those
    /// are asked for; of other types the wire form is not kept.
    pub fn client_config(&self, with_contents: bool) -> ClientConfig {
        let entries = self.assembler.entries().into_iter();
        let entries = entries.map(|entry| {
            let record = self.history.of(entry.resource_type, &entry.name);
            (entry, record)
        });
        client_config(&self.node, &self.status.server, entries, with_contents)
    }

    /// What is subscribed; `None` is a wildcard.
    pub(super) fn names(&mut self, resource_type: ResourceType) -> Option<Names> {
        self.assembler.names(resource_type)
    }

    /// Publishes what has become complete by now. `None` when nothing changed.
    pub fn assemble(&mut self, now: Instant) -> Option<Assembled> {
        self.expire(now);
        let assembled = self.assembler.assemble(now);
        // Clusters are looked into when a route first names them.
        if self.assembler.take_ignored_changed() {
            self.tell_ignored();
        }
        assembled
    }

    pub(super) fn tell_ignored(&mut self) {
        self.status.ignored = self.assembler.ignored();
        self.status.ignored.extend(self.strays.told());
    }

    /// When to call [`Self::assemble`] although nothing has arrived.
    pub fn wake_at(&self) -> Option<Instant> {
        self.links[self.active]
            .deadlines
            .values()
            .copied()
            .min()
            .into_iter()
            .chain(self.assembler.wake_at())
            .min()
    }

    /// Only the control plane in use can say that something does not exist.
    fn expire(&mut self, now: Instant) {
        let link = &mut self.links[self.active];
        let patience = link.peer.features.patience().as_secs();
        let is_slow = link.peer.features.resource_timer_is_transient_error;
        for (resource_type, name) in link.overdue(now) {
            tracing::warn!(%resource_type, %name, "does not exist: the control plane did not send it in {patience} s");
            if is_slow {
                self.history.timed_out(resource_type, &name);
            }
            let Status { node, server, .. } = &self.status;
            let reason = format!(
                "{server} did not send {resource_type} {name:?} to node {node:?} in {patience} s"
            );
            self.assembler
                .missing(resource_type, &name, Missing::NotReceived(reason.into()));
        }
    }
}
