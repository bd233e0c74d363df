//! The stream to one of the control planes: requests out, responses in.

use std::sync::Arc;
use std::time::Instant;

use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryResponse, ResourceError, ResourceName,
};
use rand::Rng;

use super::accept::{Accepted, Batch, Scope, accept, errors};
use super::link::{Link, Subscriptions};
use super::machine::Machine;
use super::peer::Variant;
use super::request::Request;
use super::sotw::{Due, Names};
use crate::resource::ResourceType;

/// How much of the errors of one response a NACK holds.
const LONGEST_NACK: usize = 4096;
/// How many errors of one response are logged; the status holds them all.
const MOST_LOGGED: usize = 20;

/// The stream to one control plane of a [`Machine`]; from [`Machine::at`].
#[derive(Debug)]
pub struct At<'a> {
    pub(super) machine: &'a mut Machine,
    pub(super) server: usize,
}

impl At<'_> {
    fn link(&mut self) -> &mut Link {
        // `Machine::at` has checked the index.
        &mut self.machine.links[self.server]
    }

    fn is_active(&self) -> bool {
        self.machine.active == self.server
    }

    /// The variant that the next stream is to be opened in, or that the open one speaks.
    pub fn variant(&self) -> Variant {
        self.machine.links[self.server].variant()
    }

    /// When a new stream is to be opened; `None` while one is open, or at the very start.
    pub fn reconnect_at(&self) -> Option<Instant> {
        self.machine.links[self.server].reconnect_at
    }

    /// A stream is being opened: requests may go out.
    pub fn connected(&mut self) {
        self.link().open();
        if self.is_active() {
            let assembler = &mut self.machine.assembler;
            for of in ResourceType::ALL {
                let names = assembler.names(of).unwrap_or_default();
                assembler.requested(of, names);
            }
        }
    }

    /// A stream ended, or could not be opened. Everything that is cached stays in force (gRPC A57). One
    /// that brought no response makes the next control plane of the list be used if something is wanted
    /// that is not cached (gRPC A71).
    pub fn disconnected(&mut self, error: impl Into<Arc<str>>, now: Instant, rng: &mut impl Rng) {
        self.link().fail(now, rng);
        let error = error.into();
        if self.is_active() {
            self.machine.assembler.pause();
            self.machine.status.connected = false;
        }
        if self.machine.links.len() > 1 && self.link().failing {
            // Another one may change what is cached before this one answers: a server that is told its
            // own last version may think that nothing is to be sent.
            self.link().lose();
        }
        self.machine.status.last_error = Some(match self.machine.links.len() {
            1 => error,
            _ => format!("{}: {error}", self.machine.links[self.server].peer.name).into(),
        });
        self.machine.fall_back();
    }

    /// The server answered `UNIMPLEMENTED`. Returns whether another variant is to be tried at once; if
    /// not, the stream is to be reported as [`Self::disconnected`].
    pub fn unimplemented(&mut self) -> bool {
        self.link().speak_state_of_the_world()
    }

    /// A response of a state-of-the-world stream has arrived. Types that we do not subscribe to are ignored.
    pub fn received(&mut self, response: DiscoveryResponse) {
        let Some(resource_type) = self.subscribed(&response.type_url, Variant::StateOfTheWorld)
        else {
            return;
        };
        let version: Arc<str> = response.version_info.into();
        let keep = self.link().peer.features.ignore_resource_deletion;
        let batch = Batch::state(resource_type, &version, response.resources, keep)
            .with_errors(&response.resource_errors);
        let (accepted, faults) = self.take(batch, response.resource_errors);
        if let Subscriptions::StateOfTheWorld(all) = &mut self.link().subscriptions {
            let names = accepted.names();
            all[resource_type as usize].received(&version, response.nonce, faults, names);
        }
        self.settle_deadlines(resource_type);
    }

    /// A response of an incremental stream has arrived. Types that we do not subscribe to are ignored.
    pub fn received_delta(&mut self, response: DeltaDiscoveryResponse) {
        let Some(resource_type) = self.subscribed(&response.type_url, Variant::Delta) else {
            return;
        };
        let version: Arc<str> = response.system_version_info.into();
        let constrained = response.removed_resource_names.into_iter();
        let constrained = constrained.map(|ResourceName { name, .. }| name);
        let mut removed: Vec<String> = response.removed_resources;
        removed.extend(constrained);
        if let Subscriptions::Delta(all) = &mut self.link().subscriptions {
            let subscription = &mut all[resource_type as usize];
            removed.iter().for_each(|name| subscription.removed(name));
        }
        if resource_type.is_full_state() && self.link().peer.features.ignore_resource_deletion {
            removed.clear();
        }
        let batch = Batch::changes(resource_type, &version, response.resources, removed);
        let (accepted, faults) = self.take(batch, response.resource_errors);
        if let Subscriptions::Delta(all) = &mut self.link().subscriptions {
            let subscription = &mut all[resource_type as usize];
            for (name, version) in accepted.taken {
                subscription.accepted(name, version);
            }
            subscription.received(response.nonce, faults);
        }
        self.settle_deadlines(resource_type);
    }

    fn subscribed(&mut self, type_url: &str, variant: Variant) -> Option<ResourceType> {
        let link = self.link();
        let resource_type = ResourceType::from_type_url(type_url)
            .filter(|of| link.variant() == variant && link.is_open(*of));
        if resource_type.is_none() {
            tracing::debug!(type_url, "response of a type that was not asked for");
            self.machine.strays.add(type_url);
            self.machine.tell_ignored();
        }
        resource_type
    }

    /// Hands a response to the cache. Returns what became of it, and what a NACK is to say.
    fn take(
        &mut self,
        batch: Batch,
        resource_errors: Vec<ResourceError>,
    ) -> (Accepted, Option<String>) {
        self.machine.heard(self.server);
        let Machine {
            assembler,
            status,
            rejected,
            history,
            ..
        } = &mut *self.machine;
        let resource_type = batch.resource_type;
        match &batch.scope {
            Scope::State { .. } if resource_type.is_full_state() => {
                history.forgive_all(resource_type);
            }
            Scope::State { .. } => {}
            Scope::Changes { removed } => {
                removed
                    .iter()
                    .for_each(|name| history.forgive(resource_type, name));
            }
        }
        let accepted = accept(assembler, batch);
        history.heard(assembler, resource_type, &accepted);
        history.errors(assembler, resource_type, &resource_errors);
        let told: Vec<Arc<str>> = accepted
            .rejected
            .iter()
            .map(|rejected| rejected.to_string().into())
            .collect();
        let faults = (!told.is_empty()).then(|| joined(&told));
        let mut texts = told;
        texts.extend(errors(assembler, resource_type, resource_errors));
        for text in texts.iter().take(MOST_LOGGED) {
            tracing::warn!(node = %status.node, server = %status.server, "{text}; the last good version stays");
        }
        rejected.insert(resource_type, texts);
        status.rejected = rejected.values().flatten().cloned().collect();
        if matches!(resource_type, ResourceType::Route | ResourceType::Listener) {
            self.machine.tell_ignored();
        }
        (accepted, faults)
    }

    fn settle_deadlines(&mut self, resource_type: ResourceType) {
        let Machine {
            assembler, links, ..
        } = &mut *self.machine;
        links[self.server]
            .deadlines
            .retain(|(of, name), _| *of != resource_type || !assembler.is_answered(*of, name));
    }

    /// The next request to send on a state-of-the-world stream, if there is one and the stream is open.
    /// Call until `None`.
    pub fn request(&mut self, now: Instant) -> Option<Request> {
        let Due { mut request, .. } = self.due(now, |machine, server, of| {
            let names = machine.names(of);
            match &mut machine.links[server].subscriptions {
                Subscriptions::StateOfTheWorld(all) => all[of as usize].request(names),
                Subscriptions::Delta(_) => None,
            }
        })?;
        request.node = self.introduction();
        Some(request)
    }

    /// The same for an incremental stream.
    pub fn request_delta(&mut self, now: Instant) -> Option<DeltaDiscoveryRequest> {
        let Due { mut request, .. } = self.due(now, |machine, server, of| {
            let names = machine.names(of);
            let Machine {
                assembler, links, ..
            } = machine;
            match &mut links[server].subscriptions {
                Subscriptions::Delta(all) => {
                    all[of as usize].request(names, || assembler.cached(of))
                }
                Subscriptions::StateOfTheWorld(_) => None,
            }
        })?;
        request.node = self.introduction();
        Some(request)
    }

    /// What `next` says is due of the first type that has anything; its clocks start.
    fn due<R>(
        &mut self,
        now: Instant,
        mut next: impl FnMut(&mut Machine, usize, ResourceType) -> Option<Due<R>>,
    ) -> Option<Due<R>> {
        if !self.link().connected {
            return None;
        }
        let (resource_type, due) = ResourceType::ALL
            .into_iter()
            .find_map(|of| Some((of, next(self.machine, self.server, of)?)))?;
        // An answer that asks for nothing new starts no clock.
        if let Some(names) = &due.new_names {
            self.asked(resource_type, names, now);
        }
        Some(due)
    }

    fn asked(&mut self, resource_type: ResourceType, names: &Names, now: Instant) {
        let is_active = self.is_active();
        let Machine {
            assembler, links, ..
        } = &mut *self.machine;
        if is_active {
            assembler.requested(resource_type, Arc::clone(names));
        }
        let awaited = assembler.awaited(resource_type);
        let names = awaited.as_ref().unwrap_or(names);
        links[self.server].start_deadlines(resource_type, names, now, |name| {
            assembler.is_answered(resource_type, name)
        });
    }

    /// The node, once a stream.
    fn introduction(&mut self) -> Option<envoy_types::pb::envoy::config::core::v3::Node> {
        let introduced = std::mem::replace(&mut self.link().introduced, true);
        (!introduced).then(|| self.machine.node.to_proto())
    }
}

/// All errors of a response in one text, as far as they fit.
fn joined(texts: &[Arc<str>]) -> String {
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
