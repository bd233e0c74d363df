//! The client's own status service: `envoy.service.status.v3.ClientStatusDiscoveryService` (gRPC A40), by which
//! tools ask a client what it wants, what it has and what it refused.
//!
//! Nothing is prepared for those who may ask: a question goes to whoever drives the machine, and it composes
//! the answer then.

mod config;
mod overview;
mod service;

use envoy_types::pb::envoy::service::status::v3::ClientConfig;
use tokio::sync::{mpsc, oneshot};

use crate::ads::Machine;
pub(crate) use config::client_config;
pub use overview::{Overview, RefusedUpdate, ResourceState};
pub use service::CsdsService;

/// How many questions wait; the askers of more wait themselves.
const MOST_WAITING: usize = 8;

/// Asks a machine that another thread drives. Does not keep it running.
#[derive(Debug, Clone)]
pub struct Csds {
    questions: mpsc::Sender<Question>,
}

/// The machine's side of it: the questions. By default nobody asks any.
#[derive(Debug, Default)]
pub struct Questions {
    /// `None` when nobody can ask any more.
    asked: Option<mpsc::Receiver<Question>>,
}

/// What a tool wants to know; to be answered by [`Question::answer`].
#[derive(Debug)]
pub struct Question {
    with_contents: bool,
    reply: oneshot::Sender<ClientConfig>,
}

/// The two sides.
pub fn channel() -> (Csds, Questions) {
    let (questions, asked) = mpsc::channel(MOST_WAITING);
    (Csds { questions }, Questions { asked: Some(asked) })
}

impl Csds {
    /// How the client stands; resources with their contents if those are asked for. `None` when the client has
    /// ended.
    pub async fn ask(&self, with_contents: bool) -> Option<ClientConfig> {
        let (reply, answer) = oneshot::channel();
        let question = Question {
            with_contents,
            reply,
        };
        self.questions.send(question).await.ok()?;
        answer.await.ok()
    }

    /// The gRPC service. It can be cloned, and served beside others.
    pub fn service(self) -> CsdsService {
        CsdsService::new(self)
    }
}

impl Questions {
    /// The next question. Waits for ever when nobody can ask any. Can be dropped and called again without loss.
    pub async fn next(&mut self) -> Question {
        loop {
            match &mut self.asked {
                None => std::future::pending().await,
                Some(asked) => match asked.recv().await {
                    Some(question) => return question,
                    None => self.asked = None,
                },
            }
        }
    }
}

impl Question {
    /// Answers it from what the machine knows now.
    pub fn answer(self, machine: &Machine) {
        if self.reply.is_closed() {
            return;
        }
        // The asker may be gone in the meantime; then nobody misses the answer.
        let _ = self.reply.send(machine.client_config(self.with_contents));
    }
}
