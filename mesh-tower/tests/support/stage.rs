//! A backend whose every answer a test gives by hand.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::Backend;

/// The requests that arrive.
pub(crate) struct Stage {
    pub(crate) backend: Backend,
    arrivals: mpsc::UnboundedReceiver<Arrival>,
}

/// A request that waits for its answer. `answer` is closed when the caller has gone.
pub(crate) struct Arrival {
    pub(crate) request: Request,
    pub(crate) answer: oneshot::Sender<Response>,
}

/// The rest of an answer; closed when the caller has gone.
pub(crate) type Rest = mpsc::UnboundedSender<Result<Bytes, std::io::Error>>;

impl Stage {
    pub(crate) async fn start() -> Self {
        let (arrived, arrivals) = mpsc::unbounded_channel();
        let app = Router::new().fallback(move |request: Request| {
            let arrived = arrived.clone();
            async move {
                let (answer, answered) = oneshot::channel();
                arrived.send(Arrival { request, answer }).ok().unwrap();
                answered.await.unwrap_or_default()
            }
        });
        Self {
            backend: Backend::serve("v1", app).await,
            arrivals,
        }
    }

    /// The next request.
    pub(crate) async fn arrival(&mut self) -> Arrival {
        self.arrivals.recv().await.unwrap()
    }

    /// How many have arrived that nobody has looked at.
    pub(crate) fn waiting(&self) -> usize {
        self.arrivals.len()
    }
}

impl Arrival {
    /// Answers with 200 and a whole body.
    pub(crate) fn answer(self, text: &'static str) {
        self.answer.send(Response::new(Body::from(text))).unwrap();
    }

    /// Reads the request's body in the background, and tells whether it was whole: a server that does not
    /// read learns of nothing.
    pub(crate) fn read(&mut self) -> JoinHandle<bool> {
        let request = std::mem::take(&mut self.request);
        let read = axum::body::to_bytes(request.into_body(), usize::MAX);
        tokio::spawn(async move { read.await.is_ok() })
    }

    /// Answers with 200 and a body that comes as the test sends it.
    pub(crate) fn begin(self) -> Rest {
        let (rest, frames) = mpsc::unbounded_channel();
        let body = Body::from_stream(UnboundedReceiverStream::new(frames));
        self.answer.send(Response::new(body)).unwrap();
        rest
    }
}
