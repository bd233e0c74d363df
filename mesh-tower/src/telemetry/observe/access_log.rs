//! One line for each call and request, written by a thread of its own.

use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use super::record::Record;

/// How many lines wait for a slow writer, unless it is told otherwise.
const CAPACITY: usize = 4096;

/// An access log, for [`Builder::access_log`](crate::Builder::access_log): a line for each call of a client, and for
/// each request behind [`Mesh::inbound`](crate::Mesh::inbound), when its response has ended.
///
/// The text is Istio's default format, `accessLogFile` without `accessLogFormat`; with [`json`](Self::json) its
/// default JSON. What is not known is `-`, or `null`:
/// * `%BYTES_RECEIVED%` where the length of the request's body is not known at its beginning,
/// * the names of TLS, and the addresses of this side.
///
/// A thread writes the lines. No call ever waits for it: when more than [`capacity`](Self::capacity) lines wait,
/// further ones are dropped, and counted in [`Stats::access_log_dropped`](crate::Stats::access_log_dropped). Lines that
/// wait when the process ends are lost.
#[derive(Clone)]
pub struct AccessLog {
    // Locked by the writing threads alone: a builder that is cloned makes two meshes, and lines must stay whole.
    writer: Arc<Mutex<dyn Write + Send>>,
    format: Format,
    capacity: usize,
}

#[derive(Debug, Clone, Copy)]
enum Format {
    Text,
    Json,
}

impl AccessLog {
    /// To the standard output.
    pub fn stdout() -> Self {
        Self::to(io::stdout())
    }

    /// To any writer. It is flushed whenever no further line waits.
    pub fn to(writer: impl Write + Send + 'static) -> Self {
        Self {
            writer: Arc::new(Mutex::new(writer)),
            format: Format::Text,
            capacity: CAPACITY,
        }
    }

    /// Lines of JSON, with Istio's keys.
    #[must_use]
    pub fn json(self) -> Self {
        Self {
            format: Format::Json,
            ..self
        }
    }

    /// How many lines wait for the writer at most, one or more; 4096 by default.
    #[must_use]
    pub fn capacity(self, lines: usize) -> Self {
        Self {
            capacity: lines,
            ..self
        }
    }

    /// Starts the thread that writes. It ends with the last that sends it lines.
    pub(super) fn start(self) -> io::Result<Lines> {
        let (records, queue) = sync_channel(self.capacity.max(1));
        let dropped = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&dropped);
        std::thread::Builder::new()
            .name("mesh-access-log".to_owned())
            .spawn(move || self.write(&queue, &counted))?;
        Ok(Lines { records, dropped })
    }

    fn write(&self, queue: &Receiver<Box<Record>>, dropped: &AtomicU64) {
        let mut next = queue.recv().ok();
        while let Some(record) = next {
            let line = match self.format {
                Format::Text => record.text(),
                Format::Json => record.json(),
            };
            let waiting = queue.try_recv();
            let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
            if writer.write_all(line.as_bytes()).is_err() {
                dropped.fetch_add(1, Relaxed);
            }
            if waiting.is_err() {
                // What a writer cannot take now it may take with the next line.
                let _ = writer.flush();
            }
            drop(writer);
            next = match waiting {
                Ok(record) => Some(record),
                Err(TryRecvError::Empty) => queue.recv().ok(),
                Err(TryRecvError::Disconnected) => None,
            };
        }
    }
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessLog")
            .field("format", &self.format)
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

/// The way to the thread that writes.
#[derive(Debug)]
pub(super) struct Lines {
    records: SyncSender<Box<Record>>,
    dropped: Arc<AtomicU64>,
}

impl Lines {
    /// Hands a line over, or drops it.
    pub(super) fn push(&self, record: Box<Record>) {
        if self.records.try_send(record).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}
