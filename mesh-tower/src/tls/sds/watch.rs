//! One secret on one stream of the state of the world: what is taken is acknowledged, what is wrong refused.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as pb;
use envoy_types::pb::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use envoy_types::pb::google::protobuf::Any;
use envoy_types::pb::google::rpc;
use mesh_xds::link::{Local, Method, told};
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::{Code, Status};
use zeroize::Zeroize;

use super::held::Held;
use super::secret;
use crate::tls::provider::Certificates;

const STREAM_SECRETS: Method = Method {
    path: "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets",
    header: None,
    // A chain and some hundred roots.
    largest_response: 4 << 20,
};
const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
/// Istio's agent wants a node with an id, and makes nothing of it.
const NODE: &str = "mesh-tower";
/// How long the first answer may take before it is said that it does not come; it is waited for in any case.
const ANSWER: Duration = Duration::from_secs(10);
/// How many requests the agent may leave unread: there is one for each of its responses.
const UNREAD: usize = 16;

/// Which secret, by the names that Istio's agent gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// The certificate with its key.
    Pair,
    /// Whom to believe.
    Roots,
}

/// Why a stream ended, or nothing is offered.
#[derive(Debug, thiserror::Error)]
pub(super) enum SdsError {
    #[error("{0:?} is no path of a socket; give an absolute one")]
    Path(Arc<Path>),
    #[error(
        "the SDS socket {0:?}: {1}; Istio's agent listens there in a pod that has one, and it is tried again"
    )]
    Call(Arc<Path>, String),
    #[error(
        "the SDS socket {0:?}: the secret {1:?} does not come, {ANSWER:?} after it was asked for"
    )]
    Late(Arc<Path>, &'static str),
    #[error("the SDS socket {0:?}: the secret {1:?} of version {2:?} is refused: {3}")]
    Refused(Arc<Path>, &'static str, String, String),
    #[error("the SDS socket {0:?}: the agent does not read what we answer")]
    Deaf(Arc<Path>),
}

impl Which {
    const fn name(self) -> &'static str {
        match self {
            Self::Pair => "default",
            Self::Roots => "ROOTCA",
        }
    }

    /// The field of a secret.
    pub(super) const fn holds(self) -> &'static str {
        match self {
            Self::Pair => "tls_certificate",
            Self::Roots => "validation_context",
        }
    }
}

/// The requests of a stream.
struct Asking {
    which: Which,
    path: Arc<Path>,
    /// The last that was taken.
    version: String,
    requests: mpsc::Sender<DiscoveryRequest>,
}

/// Follows one secret until its stream ends. `took` is told of each that is taken.
pub(super) async fn follow(
    which: Which,
    local: &Local,
    held: &Mutex<Held>,
    to: &Certificates,
    took: impl Fn(),
) -> SdsError {
    let path: Arc<Path> = local.path().into();
    let failed = |status: Status| SdsError::Call(Arc::clone(&path), told(&status));
    let (requests, asked) = mpsc::channel(UNREAD);
    let mut asking = Asking {
        which,
        path: Arc::clone(&path),
        version: String::new(),
        requests,
    };
    if let Err(ended) = asking.ask(String::new(), None) {
        return ended;
    }
    let mut opening = std::pin::pin!(local.stream(STREAM_SECRETS, asked));
    let opened = match timeout(ANSWER, &mut opening).await {
        Ok(opened) => opened,
        Err(_) => {
            to.failed(&SdsError::Late(Arc::clone(&path), which.name()));
            opening.await
        }
    };
    let mut responses = match opened {
        Ok(responses) => responses,
        Err(status) => return failed(status),
    };
    loop {
        let answered = match responses.message().await {
            Ok(Some(response)) => asking.answer(response, held, to, &took),
            Ok(None) => return failed(Status::unavailable("the stream ended")),
            Err(status) => return failed(status),
        };
        if let Err(ended) = answered {
            return ended;
        }
    }
}

impl Asking {
    /// Takes a response, or refuses it.
    fn answer(
        &mut self,
        response: DiscoveryResponse,
        held: &Mutex<Held>,
        to: &Certificates,
        took: &impl Fn(),
    ) -> Result<(), SdsError> {
        let version = response.version_info;
        match self.taken(response.resources, held, to) {
            Ok(()) => {
                self.version = version;
                took();
                self.ask(response.nonce, None)
            }
            Err(reason) => {
                let (path, name) = (Arc::clone(&self.path), self.which.name());
                to.failed(&SdsError::Refused(path, name, version, reason.clone()));
                let status = rpc::Status {
                    code: Code::InvalidArgument as i32,
                    message: reason,
                    details: Vec::new(),
                };
                self.ask(response.nonce, Some(status))
            }
        }
    }

    /// A response without any takes nothing away: the last good stays, as in Envoy.
    fn taken(
        &self,
        resources: Vec<Any>,
        held: &Mutex<Held>,
        to: &Certificates,
    ) -> Result<(), String> {
        // A mesh that is gone has no use for it.
        let Some(store) = to.store() else {
            return Ok(());
        };
        let crypto = store.crypto()?;
        let Some(secret) = one(resources)? else {
            return Ok(());
        };
        if secret.name != self.which.name() {
            let shown: String = secret.name.chars().take(64).collect();
            return Err(format!("{shown:?} was not asked for on this stream"));
        }
        let secret = secret::read(self.which, secret, crypto);
        let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
        secret
            .and_then(|secret| held.take(secret, to))
            .map_err(|fault| fault.to_string())
    }

    fn ask(&self, nonce: String, error: Option<rpc::Status>) -> Result<(), SdsError> {
        let request = DiscoveryRequest {
            version_info: self.version.clone(),
            node: Some(Node {
                id: NODE.to_owned(),
                ..Node::default()
            }),
            resource_names: vec![self.which.name().to_owned()],
            type_url: SECRET.to_owned(),
            response_nonce: nonce,
            error_detail: error,
            ..DiscoveryRequest::default()
        };
        let sent = self.requests.try_send(request);
        sent.map_err(|_| SdsError::Deaf(Arc::clone(&self.path)))
    }
}

/// The one secret of a response. Its bytes hold a key: they are wiped.
fn one(mut resources: Vec<Any>) -> Result<Option<pb::Secret>, String> {
    let read = match &*resources {
        [] => Ok(None),
        [one] if one.type_url == SECRET => pb::Secret::decode(&*one.value)
            .map(Some)
            .map_err(|error| format!("it cannot be read: {error}")),
        [_] => Err("it is of another type than a secret".to_owned()),
        more => Err(format!("{} resources where one was asked for", more.len())),
    };
    for resource in &mut resources {
        resource.value.zeroize();
    }
    read
}
