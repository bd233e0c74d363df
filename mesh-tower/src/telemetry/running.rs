//! One call that runs.

use std::sync::Arc;

use http::StatusCode;

use super::cells::{Cells, Outcome};

/// Counts a call until it is dropped. A caller that drops his call is counted as well, as failed.
#[derive(Debug)]
pub(crate) struct Running {
    cells: Arc<Cells>,
    outcome: Outcome,
}

impl Running {
    pub(crate) fn start(cells: Arc<Cells>) -> Self {
        cells.start();
        Self {
            cells,
            outcome: Outcome::Failed,
        }
    }

    pub(crate) const fn answered(&mut self, status: StatusCode) {
        self.outcome = Outcome::Answered(status);
    }

    /// The response broke off.
    pub(crate) const fn broken_off(&mut self) {
        self.outcome = Outcome::Failed;
    }

    /// It ended with an error of this flag.
    pub(super) fn failed(self, flags: &str) {
        self.cells.failed_with(flags);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.cells.end(self.outcome);
    }
}
