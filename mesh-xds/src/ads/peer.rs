//! What is known of a control plane before it is reached.

use std::sync::Arc;
use std::time::Duration;

use crate::assemble::DOES_NOT_EXIST_AFTER;

/// The variant of the protocol that a stream speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Variant {
    /// `StreamAggregatedResources`: a request lists all names, a CDS response all clusters.
    StateOfTheWorld,
    /// `DeltaAggregatedResources`: both sides send what has changed. A server that answers
    /// `UNIMPLEMENTED` is spoken to in the other variant.
    Delta,
}

/// `server_features` of a bootstrap (gRPC A30), as far as they are served. All are off by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Features {
    /// `ignore_resource_deletion` (gRPC A53): a cluster that the control plane no longer lists stays in use.
    pub ignore_resource_deletion: bool,
    /// `resource_timer_is_transient_error` (gRPC A88): the control plane is slow; a resource may take 30 s
    /// instead of 15 before it counts as not existing. Calls wait no longer for that.
    pub resource_timer_is_transient_error: bool,
}

impl Features {
    /// Reads the strings of a bootstrap; unknown ones are ignored (gRPC A30).
    pub fn from_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut features = Self::default();
        for name in names {
            match name {
                "ignore_resource_deletion" => features.ignore_resource_deletion = true,
                "resource_timer_is_transient_error" => {
                    features.resource_timer_is_transient_error = true;
                }
                _ => {}
            }
        }
        features
    }

    /// How long a resource that was asked for by name may take.
    pub(super) const fn patience(self) -> Duration {
        match self.resource_timer_is_transient_error {
            true => Duration::from_secs(30),
            false => DOES_NOT_EXIST_AFTER,
        }
    }
}

/// A control plane as a [`Machine`](super::Machine) sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// What errors call it: its address, or a folder.
    pub name: Arc<str>,
    /// The variant that is tried first.
    pub variant: Variant,
    /// What its bootstrap says of it.
    pub features: Features,
}

impl<T: Into<Arc<str>>> From<T> for Peer {
    fn from(name: T) -> Self {
        Self {
            name: name.into(),
            variant: Variant::StateOfTheWorld,
            features: Features::default(),
        }
    }
}
