//! One resource type on a state-of-the-world stream: versions, nonces, and what must be sent
//! (gRPC A27; the rules are those of Envoy's xDS protocol description).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use envoy_types::pb::google::rpc;

use super::request::Request;
use crate::resource::ResourceType;

/// gRPC's INVALID_ARGUMENT.
const INVALID_ARGUMENT: i32 = 3;

/// What a NACK says.
pub(super) const fn status(message: String) -> rpc::Status {
    rpc::Status {
        code: INVALID_ARGUMENT,
        message,
        details: Vec::new(),
    }
}

/// A set of names; shared, because an unchanged one is told apart by its address.
pub(super) type Names = Arc<BTreeSet<Arc<str>>>;

/// What must be sent, and whether the names in it differ from those last sent on this stream.
pub(super) struct Due<R> {
    pub(super) request: R,
    pub(super) new_names: Option<Names>,
}

/// The subscription to one type.
#[derive(Debug)]
pub(super) struct Subscription {
    resource_type: ResourceType,
    /// Of the last accepted response; kept over streams.
    version: Arc<str>,
    /// Of the last response on this stream; empty on a new one.
    nonce: String,
    /// The names that were last sent on this stream. `None`: nothing was.
    sent: Option<Names>,
    /// The same on the wire.
    wire: Vec<Bytes>,
    /// A response that has not been answered, with the reasons if it was not wholly accepted.
    unanswered: Option<Option<String>>,
    regained: Regained,
}

/// Names that came back after others were let go. A server ignores a request that one of its responses has
/// crossed (xDS protocol, stale nonces), so it may never have read that a name was let go, and then sends nothing
/// when the name is there again. Such a name has to be left out of one request with the newest nonce.
#[derive(Debug, Default)]
struct Regained {
    /// Whether this stream was ever asked for less than before.
    has_let_go: bool,
    /// How often each name that has not come yet may still be left out; a server that answers each request and
    /// does not have the resource is not to be asked for ever.
    tries: BTreeMap<Arc<str>, u8>,
}

/// How often a name is left out: once when it returns, and once more when that request was crossed as well.
const MOST_TRIES: u8 = 2;

impl Regained {
    fn note(&mut self, sent: &Names, names: &Names) {
        self.tries.retain(|name, _| names.contains(name));
        if self.has_let_go {
            for name in names.difference(sent) {
                let key = Arc::clone(name);
                self.tries.entry(key).or_insert(MOST_TRIES);
            }
        }
        self.has_let_go |= !sent.is_subset(names);
    }

    /// What is to be left out of an answer.
    fn take_due(&mut self) -> BTreeSet<Arc<str>> {
        let due = self.tries.iter_mut().filter(|(_, tries)| **tries > 0);
        let due = due.map(|(name, tries)| {
            *tries -= 1;
            Arc::clone(name)
        });
        due.collect()
    }
}

impl Subscription {
    pub(super) fn new(resource_type: ResourceType) -> Self {
        Self {
            resource_type,
            version: "".into(),
            nonce: String::new(),
            sent: None,
            wire: Vec::new(),
            unanswered: None,
            regained: Regained::default(),
        }
    }

    /// A new stream knows nothing of us but the version.
    pub(super) fn restart(&mut self) {
        self.nonce.clear();
        self.sent = None;
        self.unanswered = None;
        self.regained = Regained::default();
    }

    /// Another server has changed what we have since: a server that is told its own last version may
    /// think that nothing is to be sent.
    pub(super) fn forget_version(&mut self) {
        self.version = "".into();
    }

    pub(super) const fn sent(&self) -> Option<&Names> {
        self.sent.as_ref()
    }

    /// Whether anything was asked for on this stream.
    pub(super) const fn is_open(&self) -> bool {
        self.sent.is_some()
    }

    /// Records a response: wholly accepted (ACK), or with errors (NACK: the version stays). `names` are those of the
    /// resources in it, good or bad.
    pub(super) fn received<'a>(
        &mut self,
        version: &Arc<str>,
        nonce: String,
        errors: Option<String>,
        names: impl IntoIterator<Item = &'a Arc<str>>,
    ) {
        if let Some(sent) = &self.sent {
            // What came for a name that is not in the last request was not kept.
            for name in names.into_iter().filter(|name| sent.contains(*name)) {
                self.regained.tries.remove(name);
            }
        }
        self.nonce = nonce;
        if errors.is_none() {
            self.version = Arc::clone(version);
        }
        self.unanswered = Some(errors);
    }

    /// The request that must be sent now, if any. `names` is `None` for a wildcard.
    ///
    /// An answer and a changed subscription go out as one request, unless names came back ([`Regained`]): there is
    /// never more than one waiting per type, so a server that reads slowly makes nothing grow.
    pub(super) fn request(&mut self, names: Option<Names>) -> Option<Due<Request>> {
        let wildcard = names.is_none();
        let mut names = names.unwrap_or_default();
        let mut is_whole = true;
        if let Some(sent) = &self.sent {
            if !Arc::ptr_eq(sent, &names) {
                self.regained.note(sent, &names);
            }
            if self.unanswered.is_some() {
                let left_out = self.regained.take_due();
                if !left_out.is_empty() {
                    is_whole = false;
                    names = Arc::new(names.difference(&left_out).cloned().collect());
                }
            }
        }
        let first = self.sent.is_none();
        // The first request of a type with no names would mean "everything".
        if first && names.is_empty() && !wildcard {
            return None;
        }
        let same = |sent: &Names| Arc::ptr_eq(sent, &names) || *sent == names;
        let changed = !self.sent.as_ref().is_some_and(same);
        if !changed && self.unanswered.is_none() {
            return None;
        }
        let error_detail = self.unanswered.take().flatten().map(status);
        if changed {
            self.wire = names
                .iter()
                .map(|name| Bytes::copy_from_slice(name.as_bytes()))
                .collect();
        }
        let request = Request {
            version_info: self.version.to_string(),
            node: None,
            resource_names: self.wire.clone(),
            type_url: self.resource_type.type_url().to_owned(),
            response_nonce: self.nonce.clone(),
            error_detail,
        };
        self.sent = Some(Arc::clone(&names));
        Some(Due {
            request,
            new_names: (changed && is_whole).then_some(names),
        })
    }
}
