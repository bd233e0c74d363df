//! A control plane that speaks either variant over the same state: it sends what the stream does not
//! have, in whole or as a difference.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use envoy_types::pb::google::protobuf::Any;
use mesh_xds::{Dialect, ResourceType};

use crate::wire::{self, CDS};

/// All resources of each type, by name.
pub(crate) type State = [BTreeMap<String, Any>; 4];

pub(crate) enum Response {
    StateOfTheWorld(DiscoveryResponse),
    Delta(DeltaDiscoveryResponse),
}

/// What a stream has of one type.
#[derive(Debug, Default)]
struct Subscribed {
    /// `None` until the first request.
    names: Option<BTreeSet<String>>,
    /// The version of what was sent; `None` where the stream was told that there is nothing.
    sent: BTreeMap<String, Option<String>>,
    /// Whether a response was sent: the first of a full state is due though there is nothing, as that is said by it.
    begun: bool,
    /// Of the last response.
    nonce: String,
    /// Whether the last request was not read, since a response had crossed it.
    has_crossed: bool,
    /// Nonces that were not answered.
    unanswered: Vec<String>,
}

#[derive(Default)]
pub(crate) struct Model {
    /// In gRPC's, clusters are asked for by name.
    dialect: Dialect,
    pub(crate) state: State,
    /// A broken server: it does not say what it has taken away.
    pub(crate) hides_removals: bool,
    /// A broken server: it does not read the request after one that was crossed either.
    pub(crate) is_deaf: bool,
    subscribed: [Subscribed; 4],
    pending: [VecDeque<Response>; 4],
    nonces: u32,
    /// How many requests said that something was refused.
    pub(crate) nacks: usize,
    /// How many requests were crossed.
    pub(crate) crossed: usize,
}

fn version(any: &Any) -> String {
    let mut hasher = DefaultHasher::new();
    any.value.hash(&mut hasher);
    format!("{:x}", hasher.finish())
}

impl Model {
    pub(crate) fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            ..Self::default()
        }
    }

    fn is_wildcard(&self, of: ResourceType) -> bool {
        of == CDS && self.dialect == Dialect::Sidecar
    }

    /// What the client is subscribed to, as this side understands it. Of a wildcard, `None` is not even that.
    pub(crate) fn names(&self) -> [Option<BTreeSet<String>>; 4] {
        ResourceType::ALL.map(|of| {
            let names = self.subscribed[of as usize].names.clone();
            // No request for named resources and none that names any are the same.
            names.or_else(|| (!self.is_wildcard(of)).then(BTreeSet::new))
        })
    }

    pub(crate) fn has_unanswered(&self) -> bool {
        self.subscribed.iter().any(|of| !of.unanswered.is_empty())
    }

    pub(crate) fn break_off(&mut self) {
        self.subscribed = Default::default();
        self.pending = Default::default();
    }

    pub(crate) fn pending(&mut self, of: ResourceType) -> Option<Response> {
        self.pending[of as usize].pop_front()
    }

    pub(crate) fn read(&mut self, request: DiscoveryRequest) {
        let of = ResourceType::from_type_url(&request.type_url).expect("a known type");
        self.nacks += usize::from(request.error_detail.is_some());
        let is_wildcard = self.is_wildcard(of);
        let subscribed = &mut self.subscribed[of as usize];
        // A response has crossed it: as istiod and go-control-plane do, which wait for the answer to that one.
        let is_crossed = request.response_nonce != subscribed.nonce;
        let had_crossed = std::mem::replace(&mut subscribed.has_crossed, is_crossed);
        self.crossed += usize::from(is_crossed);
        if is_crossed {
            return;
        }
        // A changed subscription repeats the last nonce.
        let answers = |sent: &String| *sent == request.response_nonce;
        subscribed.unanswered.retain(|sent| !answers(sent));
        if self.is_deaf && had_crossed {
            return;
        }
        let names: BTreeSet<String> = request.resource_names.into_iter().collect();
        subscribed
            .sent
            .retain(|name, _| is_wildcard || names.contains(name));
        subscribed.names = Some(names);
    }

    pub(crate) fn read_delta(&mut self, request: DeltaDiscoveryRequest) {
        let of = ResourceType::from_type_url(&request.type_url).expect("a known type");
        self.nacks += usize::from(request.error_detail.is_some());
        let subscribed = &mut self.subscribed[of as usize];
        if !request.response_nonce.is_empty() {
            let answers = |sent: &String| *sent == request.response_nonce;
            let at = subscribed.unanswered.iter().position(answers);
            subscribed
                .unanswered
                .remove(at.expect("one answer to what was sent"));
        }
        let is_first = subscribed.names.is_none();
        assert!(is_first || request.initial_resource_versions.is_empty());
        let known = request.initial_resource_versions.into_iter();
        subscribed
            .sent
            .extend(known.map(|(name, version)| (name, Some(version))));
        let names = subscribed.names.get_or_insert_default();
        for name in request.resource_names_unsubscribe {
            assert!(names.remove(&name), "{name} was not subscribed");
            subscribed.sent.remove(&name);
        }
        for name in request.resource_names_subscribe {
            assert!(names.insert(name.clone()), "{name} is subscribed twice");
        }
    }

    /// Sends what the streams do not have.
    pub(crate) fn push(&mut self, delta: bool) {
        for of in ResourceType::ALL {
            match delta {
                true => self.push_delta(of),
                false => self.push_state(of),
            }
        }
    }

    fn news(&self, of: ResourceType) -> Option<BTreeMap<String, Option<Any>>> {
        let all = &self.state[of as usize];
        let subscribed = &self.subscribed[of as usize];
        let names = subscribed.names.as_ref()?;
        let known: BTreeSet<&String> = match self.is_wildcard(of) {
            true => all.keys().chain(subscribed.sent.keys()).collect(),
            false => names.iter().collect(),
        };
        let mut news = BTreeMap::new();
        for name in known {
            let now = all.get(name);
            if subscribed.sent.get(name) != Some(&now.map(version)) {
                news.insert(name.clone(), now.cloned());
            }
        }
        Some(news)
    }

    /// Records what is sent, and makes a nonce for it.
    fn note(&mut self, of: ResourceType, news: &BTreeMap<String, Option<Any>>) -> String {
        self.nonces += 1;
        let nonce = self.nonces.to_string();
        let is_wildcard = self.is_wildcard(of);
        let subscribed = &mut self.subscribed[of as usize];
        for (name, any) in news {
            subscribed
                .sent
                .insert(name.clone(), any.as_ref().map(version));
        }
        if is_wildcard {
            // A whole set needs no memory of what is not in it.
            subscribed.sent.retain(|_, version| version.is_some());
        }
        subscribed.begun = true;
        subscribed.unanswered.push(nonce.clone());
        subscribed.nonce.clone_from(&nonce);
        nonce
    }

    fn push_state(&mut self, of: ResourceType) {
        let is_first = of.is_full_state() && !self.subscribed[of as usize].begun;
        let Some(news) = self.news(of) else { return };
        let Subscribed { names, sent, .. } = &self.subscribed[of as usize];
        // That something is gone is said of full states only, by not saying it again.
        let is_full = of.is_full_state();
        let is_gone = |(name, any): (&String, &Option<Any>)| {
            any.is_none() && sent.get(name).is_some_and(Option::is_some)
        };
        let is_news = news.values().any(Option::is_some) || is_full && news.iter().any(is_gone);
        if !is_news && !is_first {
            return;
        }
        let is_asked = |name: &String| {
            self.is_wildcard(of) || names.as_ref().is_some_and(|names| names.contains(name))
        };
        let all = self.state[of as usize].iter();
        let resources = match is_full {
            true => all
                .filter(|(name, _)| is_asked(name))
                .map(|(_, any)| any.clone())
                .collect(),
            false => news.values().flatten().cloned().collect(),
        };
        let nonce = self.note(of, &news);
        let response = wire::response(of, &nonce, &nonce, resources);
        self.subscribed[of as usize].unanswered = vec![nonce];
        self.pending[of as usize].push_back(Response::StateOfTheWorld(response));
    }

    fn push_delta(&mut self, of: ResourceType) {
        let is_first = of.is_full_state() && !self.subscribed[of as usize].begun;
        let Some(news) = self.news(of) else { return };
        if news.is_empty() && !is_first {
            return;
        }
        let nonce = self.note(of, &news);
        let (mut resources, mut removed) = (Vec::new(), Vec::new());
        for (name, any) in news {
            match any {
                Some(any) => resources.push(Resource {
                    name,
                    version: version(&any),
                    resource: Some(any),
                    ..Resource::default()
                }),
                None => removed.push(name),
            }
        }
        if self.hides_removals {
            removed.clear();
        }
        let response = DeltaDiscoveryResponse {
            system_version_info: nonce.clone(),
            type_url: of.type_url().to_owned(),
            resources,
            removed_resources: removed,
            nonce,
            ..DeltaDiscoveryResponse::default()
        };
        self.pending[of as usize].push_back(Response::Delta(response));
    }
}
