//! The refusals of clients, for the log and for whoever asks.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::session::Nack;

/// How many are kept.
const MAX_NACKS: usize = 256;

/// The last refusals, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Nacks(Mutex<VecDeque<Nack>>);

impl Nacks {
    /// Logs and keeps one.
    pub(crate) fn record(&self, nack: Nack) {
        let Nack {
            node,
            type_url,
            version,
            message,
        } = &nack;
        // Debug form: the text is the client's, it must not break lines of the log.
        tracing::warn!(?node, ?type_url, ?version, error = ?message, "update refused by the client; it keeps its last good");
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == MAX_NACKS {
            kept.pop_front();
        }
        kept.push_back(nack);
    }

    /// A copy of all that are kept.
    pub(crate) fn all(&self) -> Vec<Nack> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .cloned()
            .collect()
    }
}
