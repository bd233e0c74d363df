//! One resource type on an incremental stream: what was subscribed, which versions we have, and what
//! must be sent (Envoy's xDS protocol description, "Incremental xDS").

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;

use super::sotw::{Due, Names, status};
use crate::resource::ResourceType;

/// How many answers wait at most. Each response has one of its own, and a server that sends without
/// ever reading must not make them grow: it loses the oldest.
const MOST_UNANSWERED: usize = 64;

/// The subscription to one type.
#[derive(Debug)]
pub(super) struct Subscription {
    resource_type: ResourceType,
    /// The names that the server knows of on this stream. `None`: nothing was sent.
    sent: Option<Names>,
    /// Whether these are all.
    is_wildcard: bool,
    /// Of the accepted resources, as this server numbers them; kept over streams.
    versions: BTreeMap<Arc<str>, Arc<str>>,
    /// Responses that have not been answered, each with the reasons if it was not wholly accepted.
    unanswered: VecDeque<(String, Option<String>)>,
}

impl Subscription {
    pub(super) fn new(resource_type: ResourceType) -> Self {
        Self {
            resource_type,
            sent: None,
            is_wildcard: false,
            versions: BTreeMap::new(),
            unanswered: VecDeque::new(),
        }
    }

    /// A new stream knows nothing of us; what we have is told in its first request.
    pub(super) fn restart(&mut self) {
        self.sent = None;
        self.unanswered.clear();
    }

    /// Another server has changed what we have since: its versions mean nothing to this one.
    pub(super) fn forget_versions(&mut self) {
        self.versions.clear();
    }

    /// Whether anything was asked for on this stream.
    pub(super) const fn is_open(&self) -> bool {
        self.sent.is_some()
    }

    pub(super) const fn sent(&self) -> Option<&Names> {
        self.sent.as_ref()
    }

    /// Whether the server was asked for a resource of this name.
    pub(super) fn is_asked(&self, name: &str) -> bool {
        let named = |sent: &Names| sent.contains(name);
        self.is_wildcard || self.sent.as_ref().is_some_and(named)
    }

    /// Records a resource that was taken. One that was not asked for is not kept, so neither is its version.
    pub(super) fn accepted(&mut self, name: Arc<str>, version: Arc<str>) {
        if self.is_asked(&name) {
            self.versions.insert(name, version);
        }
    }

    /// Records that the server has taken a resource away.
    pub(super) fn removed(&mut self, name: &str) {
        self.versions.remove(name);
    }

    /// Records a response that must be answered.
    pub(super) fn received(&mut self, nonce: String, errors: Option<String>) {
        if self.unanswered.len() == MOST_UNANSWERED {
            self.unanswered.pop_front();
        }
        self.unanswered.push_back((nonce, errors));
    }

    /// The request that must be sent now, if any. `names` is `None` for a wildcard; `cached` says
    /// what we have of the type, and is asked at the start of a stream only.
    ///
    /// An answer and a changed subscription go out as one request, and all changes that come before
    /// the wire takes it are one: a name that came and went is not in it.
    pub(super) fn request(
        &mut self,
        names: Option<Names>,
        cached: impl FnOnce() -> Vec<Arc<str>>,
    ) -> Option<Due<DeltaDiscoveryRequest>> {
        let wildcard = names.is_none();
        self.is_wildcard = wildcard;
        let names = names.unwrap_or_default();
        let first = self.sent.is_none();
        // The first request of a type with no names would mean "everything".
        if first && names.is_empty() && !wildcard {
            return None;
        }
        let former = self.sent.clone().unwrap_or_default();
        let changed = !Arc::ptr_eq(&former, &names) && former != names;
        if !first && !changed && self.unanswered.is_empty() {
            return None;
        }
        let mut request = DeltaDiscoveryRequest {
            type_url: self.resource_type.type_url().to_owned(),
            ..DeltaDiscoveryRequest::default()
        };
        if first {
            let version = |name: &Arc<str>| self.versions.get(name).map_or("", |version| version);
            let known = cached().into_iter();
            let known = known.filter(|name| wildcard || names.contains(name));
            request.initial_resource_versions = known
                .map(|name| (name.to_string(), version(&name).to_owned()))
                .collect();
        }
        if let Some((nonce, errors)) = self.unanswered.pop_front() {
            request.response_nonce = nonce;
            request.error_detail = errors.map(status);
        }
        if changed {
            let text = |name: &Arc<str>| name.to_string();
            request.resource_names_subscribe = names.difference(&former).map(text).collect();
            request.resource_names_unsubscribe = former.difference(&names).map(text).collect();
            self.versions.retain(|name, _| names.contains(name));
        }
        self.sent = Some(Arc::clone(&names));
        Some(Due {
            request,
            new_names: (first || changed).then_some(names),
        })
    }
}
