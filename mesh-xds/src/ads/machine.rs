//! The xDS client without its sockets: events in, requests and snapshots out.
//!
//! It never waits. Whoever drives it asks [`Machine::request`] for what to send,
//! [`Machine::assemble`] for what to publish, and [`Machine::wake_at`] for when to come back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use envoy_types::pb::envoy::service::discovery::v3::DiscoveryResponse;
use mesh_core::snapshot::{Missing, TableKey};
use rand::{Rng, RngExt};

use super::accept::{accept, accept_all};
use super::request::Request;
use super::sotw::{Due, Names, Subscription};
use crate::assemble::{Assembled, Assembler, DOES_NOT_EXIST_AFTER};
use crate::dns::{Answer, Lookup};
use crate::node::Node;
use crate::resource::{ResourceType, Resources};

/// The first pause before a stream is opened again; it grows by 1.6 up to [`LONGEST_BACKOFF`].
const BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);
/// How much of the errors of one response a NACK holds.
const LONGEST_NACK: usize = 4096;
/// How many errors of one response are logged; the status holds them all.
const MOST_LOGGED: usize = 20;

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
    /// What the route configurations in force ask for and do not get, each kind once: how often, and where first.
    pub ignored: Vec<Arc<str>>,
}

/// The protocol and the cache behind it.
#[derive(Debug)]
pub struct Machine {
    node: Node,
    assembler: Assembler,
    subscriptions: [Subscription; ResourceType::ALL.len()],
    connected: bool,
    /// Whether this stream has sent its first request, which carries the node.
    introduced: bool,
    /// Whether this stream has brought a response.
    heard: bool,
    backoff: Duration,
    reconnect_at: Option<Instant>,
    /// When a resource that was asked for on this stream counts as not existing.
    deadlines: BTreeMap<(ResourceType, Arc<str>), Instant>,
    status: Status,
    rejected: BTreeMap<ResourceType, Vec<Arc<str>>>,
}

impl Machine {
    /// A machine that has not connected yet. `server` is what errors call the other side.
    pub fn new(node: Node, server: impl Into<Arc<str>>) -> Self {
        let status = Status {
            node: node.id().into(),
            server: server.into(),
            ..Status::default()
        };
        Self {
            assembler: Assembler::new(&node.namespace),
            node,
            subscriptions: ResourceType::ALL.map(Subscription::new),
            connected: false,
            introduced: false,
            heard: false,
            backoff: BACKOFF,
            reconnect_at: None,
            deadlines: BTreeMap::new(),
            status,
            rejected: BTreeMap::new(),
        }
    }

    /// How the link stands.
    pub const fn status(&self) -> &Status {
        &self.status
    }

    /// Asks for a table; returns whether it is new.
    pub fn want(&mut self, table: TableKey) -> bool {
        self.assembler.want(table)
    }

    /// The names that clusters of type `STRICT_DNS` and `LOGICAL_DNS` need looked up, and how often. To be asked after
    /// each [`Machine::assemble`].
    pub fn lookups(&self) -> BTreeMap<Lookup, Duration> {
        self.assembler.wanted_lookups()
    }

    /// A name was looked up. Addresses that were found stay when a later look-up fails.
    pub fn looked_up(&mut self, lookup: &Lookup, answer: Answer) {
        self.assembler.set_answer(lookup, answer);
    }

    /// A stream is being opened: requests may go out.
    pub fn connected(&mut self) {
        self.connected = true;
        self.introduced = false;
        self.heard = false;
        self.reconnect_at = None;
        self.deadlines.clear();
        self.subscriptions
            .iter_mut()
            .for_each(Subscription::restart);
        let names = self.assembler.endpoint_names();
        self.assembler.endpoints_requested(names);
    }

    /// A stream ended, or could not be opened. Everything that is cached stays in force (gRPC A57).
    pub fn disconnected(&mut self, error: impl Into<Arc<str>>, now: Instant, rng: &mut impl Rng) {
        self.connected = false;
        self.deadlines.clear();
        self.assembler.pause();
        self.status.connected = false;
        self.status.last_error = Some(error.into());
        if self.heard {
            self.backoff = BACKOFF;
        }
        self.heard = false;
        let jitter = rng.random_range(0.8..1.2);
        self.reconnect_at = Some(now + self.backoff.mul_f64(jitter));
        self.backoff = self.backoff.mul_f64(1.6).min(LONGEST_BACKOFF);
    }

    /// When a new stream is to be opened; `None` while one is open, or at the very start.
    pub const fn reconnect_at(&self) -> Option<Instant> {
        self.reconnect_at
    }

    /// A response has arrived. Types that we do not subscribe to are ignored.
    pub fn received(&mut self, response: DiscoveryResponse) {
        let resource_type = ResourceType::from_type_url(&response.type_url)
            .filter(|of| self.subscriptions[*of as usize].is_open());
        let Some(resource_type) = resource_type else {
            tracing::debug!(
                type_url = response.type_url,
                "response of a type that was not asked for"
            );
            return;
        };
        self.heard = true;
        self.status.connected = true;
        self.assembler.resume();
        let version: Arc<str> = response.version_info.into();
        let rejected = accept(
            &mut self.assembler,
            resource_type,
            &version,
            response.resources,
        );
        let texts: Vec<Arc<str>> = rejected
            .iter()
            .map(|rejected| rejected.to_string().into())
            .collect();
        for text in texts.iter().take(MOST_LOGGED) {
            tracing::warn!(node = %self.status.node, server = %self.status.server, "{text}; the last good version stays");
        }
        let errors = (!texts.is_empty()).then(|| told(&texts));
        self.rejected.insert(resource_type, texts);
        self.status.rejected = self.rejected.values().flatten().cloned().collect();
        if resource_type == ResourceType::Route {
            self.status.ignored = self.assembler.ignored();
        }
        self.subscriptions[resource_type as usize].received(&version, response.nonce, errors);
        self.deadlines.retain(|(of, name), _| {
            *of != resource_type || !is_answered(&self.assembler, *of, name)
        });
    }

    /// Takes a whole set of resources from no stream (a folder): what is not in it does not exist.
    pub fn replaced(&mut self, version: &Arc<str>, resources: &Resources) {
        let rejected = accept_all(&mut self.assembler, version, resources);
        self.status.connected = true;
        self.status.ignored = self.assembler.ignored();
        self.status.rejected = rejected
            .iter()
            .map(|rejected| rejected.to_string().into())
            .collect();
        for text in &self.status.rejected {
            tracing::warn!("{text}");
        }
    }

    /// The next request to send, if there is one and a stream is open. Call until `None`.
    pub fn request(&mut self, now: Instant) -> Option<Request> {
        if !self.connected {
            return None;
        }
        let (resource_type, due) = ResourceType::ALL.into_iter().find_map(|resource_type| {
            let names = self.names(resource_type);
            let due = self.subscriptions[resource_type as usize].request(names)?;
            Some((resource_type, due))
        })?;
        let Due {
            mut request,
            new_names,
        } = due;
        if !self.introduced {
            self.introduced = true;
            request.node = Some(self.node.to_proto());
        }
        // An answer that asks for nothing new starts no clock.
        if let Some(names) = new_names {
            self.start_deadlines(resource_type, &names, now);
        }
        Some(request)
    }

    /// What is subscribed; `None` is a wildcard.
    fn names(&mut self, resource_type: ResourceType) -> Option<Names> {
        match resource_type {
            ResourceType::Cluster => None,
            ResourceType::Endpoints => Some(self.assembler.endpoint_names()),
            ResourceType::Route => {
                let names = self.assembler.wanted().map(|key| key.to_string().into());
                Some(Arc::new(names.collect()))
            }
        }
    }

    fn start_deadlines(&mut self, resource_type: ResourceType, names: &Names, now: Instant) {
        self.deadlines
            .retain(|(of, name), _| *of != resource_type || names.contains(name));
        if resource_type == ResourceType::Endpoints {
            self.assembler.endpoints_requested(Arc::clone(names));
        }
        for name in names.iter() {
            if !is_answered(&self.assembler, resource_type, name) {
                let key = (resource_type, Arc::clone(name));
                self.deadlines
                    .entry(key)
                    .or_insert(now + DOES_NOT_EXIST_AFTER);
            }
        }
    }

    /// Publishes what has become complete by now. `None` when nothing changed.
    pub fn assemble(&mut self, now: Instant) -> Option<Assembled> {
        self.expire(now);
        self.assembler.assemble(now)
    }

    /// When to call [`Self::assemble`] although nothing has arrived.
    pub fn wake_at(&self) -> Option<Instant> {
        self.deadlines
            .values()
            .copied()
            .min()
            .into_iter()
            .chain(self.assembler.wake_at())
            .min()
    }

    fn expire(&mut self, now: Instant) {
        let overdue: Vec<_> = self
            .deadlines
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(key, _)| key.clone())
            .collect();
        for key in overdue {
            self.deadlines.remove(&key);
            let (resource_type, name) = key;
            tracing::warn!(%resource_type, %name, "does not exist: the control plane did not send it in 15 s");
            match (resource_type, name.parse()) {
                (ResourceType::Route, Ok(table)) => {
                    let Status { node, server, .. } = &self.status;
                    let reason = format!(
                        "{server} did not send {resource_type} {name:?} to node {node:?} in 15 s"
                    );
                    self.assembler
                        .table_absent(table, Missing::NotReceived(reason.into()));
                }
                (ResourceType::Endpoints, _) => self.assembler.endpoints_absent(name),
                _ => {}
            }
        }
    }
}

/// All errors of a response in one text, as far as they fit.
fn told(texts: &[Arc<str>]) -> String {
    let mut told = String::new();
    for (at, text) in texts.iter().enumerate() {
        if told.len() + text.len() > LONGEST_NACK && at > 0 {
            told.push_str(&format!("; and {} more", texts.len() - at));
            break;
        }
        if at > 0 {
            told.push_str("; ");
        }
        told.push_str(text);
    }
    told
}

fn is_answered(assembler: &Assembler, resource_type: ResourceType, name: &str) -> bool {
    match resource_type {
        ResourceType::Cluster => true,
        ResourceType::Endpoints => assembler.has_endpoints(name),
        ResourceType::Route => name.parse().is_ok_and(|table| assembler.is_answered(table)),
    }
}
