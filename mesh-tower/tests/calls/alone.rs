//! Layers around services that know nothing of a mesh.

mod repeat;
mod routes;
mod stats;
mod timeout;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use axum::body::Body;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

/// The other end of a body; it ends when this is dropped.
type Frames = mpsc::UnboundedSender<Result<&'static str, std::io::Error>>;

/// A body whose frames come as a test sends them.
fn streamed() -> (Frames, Body) {
    let (frames, body) = mpsc::unbounded_channel();
    (
        frames,
        Body::from_stream(UnboundedReceiverStream::new(body)),
    )
}

/// Counts what is dropped.
#[derive(Default, Clone)]
struct Drops(Arc<AtomicUsize>);

struct Guard(Drops);

impl Drops {
    fn guard(&self) -> Guard {
        Guard(self.clone())
    }

    fn count(&self) -> usize {
        self.0.load(SeqCst)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, SeqCst);
    }
}
