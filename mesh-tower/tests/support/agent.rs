//! An agent of a machine: a gRPC server on a socket in the file system, with secrets as Istio's agent has them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use envoy_types::pb::envoy::config::core::v3::{DataSource, data_source::Specifier};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as pb;
use envoy_types::pb::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use envoy_types::util::pack_any;
use futures_util::future::{Ready, ready};
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt, stream};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use pb::secret::Type;
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tonic::{Response, Status, Streaming};
use tonic_prost::ProstCodec;

/// What it gives and what it was told.
#[derive(Default)]
struct State {
    /// By their names: what a response holds.
    secrets: BTreeMap<String, Vec<pb::Secret>>,
    said: Vec<DiscoveryRequest>,
}

/// A socket, and who serves it, as long as it runs.
pub(crate) struct Agent {
    folder: TempDir,
    state: Arc<Mutex<State>>,
    /// Counts what was given.
    version: watch::Sender<u64>,
    runtime: Option<Runtime>,
}

fn inline(text: &str) -> Option<DataSource> {
    let specifier = Some(Specifier::InlineBytes(text.as_bytes().to_vec()));
    Some(DataSource {
        specifier,
        ..DataSource::default()
    })
}

/// A certificate with its key, as PEM.
pub(crate) fn pair(chain: &str, key: &str) -> pb::Secret {
    pb::Secret {
        name: "default".to_owned(),
        r#type: Some(Type::TlsCertificate(pb::TlsCertificate {
            certificate_chain: inline(chain),
            private_key: inline(key),
            ..pb::TlsCertificate::default()
        })),
    }
}

/// Authorities, as PEM.
pub(crate) fn roots(pem: &str) -> pb::Secret {
    pb::Secret {
        name: "ROOTCA".to_owned(),
        r#type: Some(Type::ValidationContext(pb::CertificateValidationContext {
            trusted_ca: inline(pem),
            ..pb::CertificateValidationContext::default()
        })),
    }
}

impl Agent {
    /// It has nothing to give yet.
    pub(crate) fn start() -> Self {
        let mut agent = Self::stopped();
        agent.restart();
        agent
    }

    /// There is no socket yet.
    pub(crate) fn stopped() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
            state: Arc::default(),
            version: watch::Sender::new(0),
            runtime: None,
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// Ends all connections; there is no socket any more.
    pub(crate) fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
            std::fs::remove_file(self.path()).unwrap();
        }
    }

    /// Listens again.
    pub(crate) fn restart(&mut self) {
        self.stop();
        let runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = { runtime }.worker_threads(1).enable_all().build().unwrap();
        let listener = {
            let _inside = runtime.enter();
            UnixListener::bind(self.path()).unwrap()
        };
        let service = Secrets {
            state: Arc::clone(&self.state),
            version: self.version.clone(),
        };
        runtime.spawn(accept(listener, service));
        self.runtime = Some(runtime);
    }

    /// Pushes a secret.
    pub(crate) fn gives(&self, secret: pb::Secret) {
        let name = secret.name.clone();
        self.answers(&name, vec![secret]);
    }

    /// Answers who asks for `name` by these.
    pub(crate) fn answers(&self, name: &str, secrets: Vec<pb::Secret>) {
        let mut state = self.state.lock().unwrap();
        state.secrets.insert(name.to_owned(), secrets);
        drop(state);
        self.version.send_modify(|version| *version += 1);
    }

    /// What it was told, without the first word of each stream: the name, the version that is in use, and why a later one
    /// is not.
    pub(crate) fn heard(&self) -> Vec<(String, String, Option<String>)> {
        let state = self.state.lock().unwrap();
        let heard = state.said.iter().filter(|it| !it.response_nonce.is_empty());
        heard
            .map(|request| {
                let error = request.error_detail.as_ref();
                let error = error.map(|status| status.message.clone());
                let name = request.resource_names.concat();
                (name, request.version_info.clone(), error)
            })
            .collect()
    }

    /// How many streams were opened.
    pub(crate) fn streams(&self) -> usize {
        let state = self.state.lock().unwrap();
        let first = |it: &&DiscoveryRequest| it.response_nonce.is_empty();
        state.said.iter().filter(first).count()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop();
    }
}

#[derive(Clone)]
struct Secrets {
    state: Arc<Mutex<State>>,
    version: watch::Sender<u64>,
}

impl tonic::server::StreamingService<DiscoveryRequest> for Secrets {
    type Response = DiscoveryResponse;
    type ResponseStream = BoxStream<'static, Result<DiscoveryResponse, Status>>;
    type Future = Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<DiscoveryRequest>>) -> Self::Future {
        let one = Stream {
            secrets: self.clone(),
            requests: request.into_inner(),
            changes: self.version.subscribe(),
            sent: None,
            asked: None,
        };
        let answers = stream::unfold(one, |mut one| async move {
            one.next().await.map(|answer| (Ok(answer), one))
        });
        ready(Ok(Response::new(answers.boxed())))
    }
}

struct Stream {
    secrets: Secrets,
    requests: Streaming<DiscoveryRequest>,
    changes: watch::Receiver<u64>,
    asked: Option<String>,
    /// What was sent last.
    sent: Option<Vec<pb::Secret>>,
}

impl Stream {
    async fn next(&mut self) -> Option<DiscoveryResponse> {
        loop {
            let version = *self.changes.borrow_and_update();
            if let Some(answer) = self.answer(version) {
                return Some(answer);
            }
            tokio::select! {
                request = self.requests.message() => {
                    let request = request.ok()??;
                    assert!(!request.node.as_ref()?.id.is_empty(), "Istio's agent wants a node");
                    self.asked = Some(request.resource_names.concat());
                    self.secrets.state.lock().unwrap().said.push(request);
                }
                changed = self.changes.changed() => changed.ok()?,
            }
        }
    }

    /// If there is something new.
    fn answer(&mut self, version: u64) -> Option<DiscoveryResponse> {
        let name = self.asked.as_ref()?;
        let state = self.secrets.state.lock().unwrap();
        let secrets = state.secrets.get(name)?;
        if self.sent.as_ref() == Some(secrets) {
            return None;
        }
        self.sent = Some(secrets.clone());
        Some(DiscoveryResponse {
            version_info: format!("v{version}"),
            nonce: format!("n{version}"),
            resources: secrets.iter().cloned().map(pack_any).collect(),
            ..DiscoveryResponse::default()
        })
    }
}

async fn accept(listener: UnixListener, secrets: Secrets) {
    while let Ok((socket, _)) = listener.accept().await {
        let secrets = secrets.clone();
        let app = tower::service_fn(move |request: http::Request<hyper::body::Incoming>| {
            answer(request, secrets.clone()).map(Ok::<_, std::convert::Infallible>)
        });
        tokio::spawn(async move {
            let serving = auto::Builder::new(TokioExecutor::new());
            let service = TowerToHyperService::new(app);
            drop(
                serving
                    .serve_connection(TokioIo::new(socket), service)
                    .await,
            );
        });
    }
}

async fn answer(
    request: http::Request<hyper::body::Incoming>,
    secrets: Secrets,
) -> http::Response<tonic::body::Body> {
    assert_eq!(
        request.uri().path(),
        "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets"
    );
    let codec = ProstCodec::<DiscoveryResponse, DiscoveryRequest>::default();
    tonic::server::Grpc::new(codec)
        .streaming(secrets, request)
        .await
}

/// A socket on which somebody listens who speaks no gRPC.
pub(crate) fn garbage(path: &Path) {
    use tokio::io::AsyncWriteExt;
    let listener = UnixListener::bind(path).unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            drop(
                socket
                    .write_all(b"no frames of HTTP/2 at all, but something")
                    .await,
            );
        }
    });
}
