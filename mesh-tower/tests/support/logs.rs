//! What this library logs: one line for each event and span, with all of its fields.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex, OnceLock};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{DefaultGuard, set_default, set_global_default};
use tracing::{Event, Metadata, Subscriber};

#[derive(Clone, Default)]
pub(crate) struct Logs(Arc<Mutex<Vec<String>>>);

impl Logs {
    /// What this thread logs until the guard goes.
    pub(crate) fn of_this_thread() -> (Self, DefaultGuard) {
        let logs = Self::default();
        let guard = set_default(logs.clone());
        (logs, guard)
    }

    /// What the process logs from the first time that somebody asks, but for threads with logs of their own.
    pub(crate) fn of_all() -> &'static Self {
        static ALL: OnceLock<Logs> = OnceLock::new();
        ALL.get_or_init(|| {
            let logs = Self::default();
            set_global_default(logs.clone()).unwrap();
            logs
        })
    }

    /// The lines in which this stands.
    pub(crate) fn with(&self, part: &str) -> Vec<String> {
        let lines = self.0.lock().unwrap();
        let found = lines.iter().filter(|line| line.contains(part));
        found.cloned().collect()
    }

    fn push(&self, line: Line) {
        self.0.lock().unwrap().push(line.0);
    }
}

struct Line(String);

impl Line {
    fn of(metadata: &Metadata<'_>) -> Self {
        Self(format!("{} {}", metadata.level(), metadata.target()))
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, " {field}={value:?}");
    }
}

impl Subscriber for Logs {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("mesh_")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut line = Line::of(span.metadata());
        span.record(&mut line);
        self.push(line);
        Id::from_u64(1)
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::of(event.metadata());
        event.record(&mut line);
        self.push(line);
    }

    fn record(&self, _span: &Id, values: &Record<'_>) {
        let mut line = Line("span".to_owned());
        values.record(&mut line);
        self.push(line);
    }

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}
