//! What is known of the link to one control plane: its stream, what was said on it, when to come back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::{Rng, RngExt};

use super::peer::{Peer, Variant};
use super::sotw::Names;
use super::{delta, sotw};
use crate::resource::ResourceType;

/// The first pause before a stream is opened again; it grows by 1.6 up to [`LONGEST_BACKOFF`].
const BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);

/// The subscriptions, in the variant that the stream speaks.
#[derive(Debug)]
pub(super) enum Subscriptions {
    StateOfTheWorld(Box<[sotw::Subscription; ResourceType::ALL.len()]>),
    Delta(Box<[delta::Subscription; ResourceType::ALL.len()]>),
}

impl Subscriptions {
    pub(super) fn new(variant: Variant) -> Self {
        match variant {
            Variant::StateOfTheWorld => {
                Self::StateOfTheWorld(Box::new(ResourceType::ALL.map(sotw::Subscription::new)))
            }
            Variant::Delta => {
                Self::Delta(Box::new(ResourceType::ALL.map(delta::Subscription::new)))
            }
        }
    }

    fn restart(&mut self) {
        match self {
            Self::StateOfTheWorld(all) => all.iter_mut().for_each(sotw::Subscription::restart),
            Self::Delta(all) => all.iter_mut().for_each(delta::Subscription::restart),
        }
    }

    fn forget_versions(&mut self) {
        match self {
            Self::StateOfTheWorld(all) => {
                all.iter_mut().for_each(sotw::Subscription::forget_version);
            }
            Self::Delta(all) => all
                .iter_mut()
                .for_each(delta::Subscription::forget_versions),
        }
    }

    fn is_open(&self, of: ResourceType) -> bool {
        match self {
            Self::StateOfTheWorld(all) => all[of as usize].is_open(),
            Self::Delta(all) => all[of as usize].is_open(),
        }
    }

    fn sent(&self, of: ResourceType) -> Option<&Names> {
        match self {
            Self::StateOfTheWorld(all) => all[of as usize].sent(),
            Self::Delta(all) => all[of as usize].sent(),
        }
    }
}

/// One control plane, and the stream to it.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) peer: Peer,
    pub(super) subscriptions: Subscriptions,
    /// Whether requests may go out.
    pub(super) connected: bool,
    /// Whether this stream has sent its first request, which carries the node.
    pub(super) introduced: bool,
    /// Whether this stream has brought a response.
    pub(super) heard: bool,
    /// Whether the last stream ended without one: the control plane cannot be reached (gRPC A57).
    pub(super) failing: bool,
    pub(super) reconnect_at: Option<Instant>,
    /// When a resource that was asked for on this stream counts as not existing.
    pub(super) deadlines: BTreeMap<(ResourceType, Arc<str>), Instant>,
    backoff: Duration,
}

impl Link {
    pub(super) fn new(peer: Peer) -> Self {
        Self {
            subscriptions: Subscriptions::new(peer.variant),
            peer,
            connected: false,
            introduced: false,
            heard: false,
            failing: false,
            reconnect_at: None,
            deadlines: BTreeMap::new(),
            backoff: BACKOFF,
        }
    }

    pub(super) const fn variant(&self) -> Variant {
        match self.subscriptions {
            Subscriptions::StateOfTheWorld(_) => Variant::StateOfTheWorld,
            Subscriptions::Delta(_) => Variant::Delta,
        }
    }

    pub(super) fn open(&mut self) {
        self.connected = true;
        self.introduced = false;
        self.heard = false;
        self.reconnect_at = None;
        self.deadlines.clear();
        self.subscriptions.restart();
    }

    /// The stream broke, or could not be opened.
    pub(super) fn fail(&mut self, now: Instant, rng: &mut impl Rng) {
        if self.heard {
            self.backoff = BACKOFF;
        }
        self.failing = !self.heard;
        self.shut();
        let jitter = rng.random_range(0.8..1.2);
        self.reconnect_at = Some(now + self.backoff.mul_f64(jitter));
        self.backoff = self.backoff.mul_f64(1.6).min(LONGEST_BACKOFF);
    }

    /// There is no stream any more.
    fn shut(&mut self) {
        self.connected = false;
        self.heard = false;
        self.deadlines.clear();
    }

    /// Nobody needs this control plane for now.
    pub(super) fn rest(&mut self) {
        self.shut();
        self.failing = false;
        self.reconnect_at = None;
        self.backoff = BACKOFF;
        self.subscriptions.forget_versions();
    }

    /// Another control plane takes over: what this one knows of us is no longer so.
    pub(super) fn lose(&mut self) {
        self.subscriptions.forget_versions();
    }

    /// The server does not speak the incremental variant, as it says itself. Returns whether there is another to try.
    /// One that has answered on this stream does speak it: then it is an error like any other.
    pub(super) fn speak_state_of_the_world(&mut self) -> bool {
        let is_believed = self.variant() == Variant::Delta && !self.heard;
        if is_believed {
            self.shut();
            self.subscriptions = Subscriptions::new(Variant::StateOfTheWorld);
        }
        is_believed
    }

    /// A response of a type that was asked for has arrived.
    pub(super) fn hear(&mut self) {
        self.heard = true;
        self.failing = false;
    }

    pub(super) fn is_open(&self, of: ResourceType) -> bool {
        self.connected && self.subscriptions.is_open(of)
    }

    /// The names that this stream was last asked for.
    pub(super) fn sent(&self, of: ResourceType) -> Names {
        self.subscriptions.sent(of).cloned().unwrap_or_default()
    }

    pub(super) fn start_deadlines(
        &mut self,
        of: ResourceType,
        names: &Names,
        now: Instant,
        is_answered: impl Fn(&str) -> bool,
    ) {
        self.deadlines
            .retain(|(other, name), _| *other != of || names.contains(name));
        let patience = self.peer.features.patience();
        for name in names.iter().filter(|name| !is_answered(name)) {
            let key = (of, Arc::clone(name));
            self.deadlines.entry(key).or_insert(now + patience);
        }
    }

    /// Takes out what is overdue.
    pub(super) fn overdue(&mut self, now: Instant) -> Vec<(ResourceType, Arc<str>)> {
        let mut overdue = Vec::new();
        self.deadlines.retain(|key, at| {
            let waits = *at > now;
            if !waits {
                overdue.push(key.clone());
            }
            waits
        });
        overdue
    }
}
