//! The control plane of row `push`: a process of its own that sends all of its clusters anew, each of them changed, for
//! each line of its input, and says when the client has acknowledged them.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use envoy_types::pb::google::protobuf::{Struct, Value, value::Kind};
use mesh_tower::Mesh;
use mesh_xds::ResourceType;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Empty, Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use crate::error::BenchError;
use crate::resources::{assignment, eds, leading, named, of_path, to};
use crate::{paired, server};

pub(super) const PORT: u16 = 9080;
/// The host that is called.
pub(super) const CALLED: &str = "called.default.svc.cluster.local";
/// Its cluster, which changes with the others.
const CALLED_CLUSTER: &str = "outbound|9080||called.default.svc.cluster.local";
const CLUSTERS: usize = 10_000;
/// What makes a cluster as long as one of istiod's with its TLS contexts; 10,000 of them are 50 MB.
const PADDING: usize = 5_000;

/// The process, from its parent's side.
pub(super) struct Plane {
    server: server::Server,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Plane {
    pub(super) async fn start(backend: SocketAddr) -> Result<Self, BenchError> {
        let backend = backend.to_string();
        let mut server = server::Server::spawn(&["plane-push", &backend]).await?;
        let (commands, answers) = server.talk()?;
        Ok(Self {
            server,
            commands,
            answers,
        })
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// Pushes again and again, each when the last is acknowledged, until it is done; how many were.
    pub(super) async fn push_until(&mut self, done: &AtomicBool) -> Result<usize, BenchError> {
        let mut taken = 0;
        while !done.load(Relaxed) {
            self.commands.write_all(b"push\n").await?;
            match self.answers.next_line().await?.as_deref() {
                Some(TAKEN) => taken += 1,
                other => {
                    let told = format!("instead of taking a push, the client answered {other:?}");
                    return Err(BenchError::Configuration(told));
                }
            }
        }
        Ok(taken)
    }
}

const TAKEN: &str = "taken";

/// The process itself: prints its address, serves until its input ends.
pub(crate) fn serve(backend: SocketAddr) -> Result<(), BenchError> {
    paired::runtime()?.block_on(async {
        let failed = |error: String| BenchError::Server(error);
        let mesh = Mesh::builder()
            .build()
            .map_err(|error| failed(error.to_string()))?;
        let listener = mesh
            .listen("127.0.0.1:0")
            .await
            .map_err(|error| failed(error.to_string()))?;
        say(&listener.local_addr().to_string())?;
        let pushes = watch::Sender::new(1);
        let service = Service {
            backend,
            pushes: pushes.clone(),
        };
        let service = AggregatedDiscoveryServiceServer::new(service);
        let commands = async {
            let mut lines = BufReader::new(tokio::io::stdin()).lines();
            while lines.next_line().await?.is_some() {
                pushes.send_modify(|version| *version += 1);
            }
            Ok(())
        };
        tokio::select! {
            served = listener.serve(tonic::service::Routes::new(service).prepare()) => {
                served.map_err(|error| failed(error.to_string()))
            }
            ended = commands => ended,
        }
    })
}

fn say(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

struct Service {
    backend: SocketAddr,
    /// The version of the clusters.
    pushes: watch::Sender<u64>,
}

/// One client's stream.
struct Session {
    backend: SocketAddr,
    version: u64,
    /// The names last answered, by type.
    names: BTreeMap<String, Vec<String>>,
}

impl Session {
    /// The answer to a request, if it needs one. The acknowledgement of a push is told.
    fn answer(&mut self, request: DiscoveryRequest) -> io::Result<Option<DiscoveryResponse>> {
        if let Some(error) = request.error_detail {
            say(&error.message)?;
        } else if request.type_url == ResourceType::Cluster.type_url()
            && self.version > 1
            && request.response_nonce == self.version.to_string()
        {
            say(TAKEN)?;
        }
        let asked = request.resource_names;
        let before = self.names.insert(request.type_url.clone(), asked.clone());
        let new = before.as_ref() != Some(&asked);
        Ok(new.then(|| self.response(&request.type_url, &asked)))
    }

    fn response(&self, type_url: &str, asked: &[String]) -> DiscoveryResponse {
        let resources = match ResourceType::from_type_url(type_url) {
            Some(ResourceType::Cluster) => clusters(self.version),
            Some(ResourceType::Endpoints) => vec![
                named(
                    type_url,
                    CALLED_CLUSTER,
                    &assignment(CALLED_CLUSTER, self.backend),
                )
                .1,
            ],
            Some(ResourceType::Route) => vec![named(type_url, "", &table()).1],
            _ => Vec::new(),
        };
        let named = |name: &str| asked.iter().any(|asked| asked == name);
        let is_asked = match ResourceType::from_type_url(type_url) {
            Some(ResourceType::Endpoints) => named(CALLED_CLUSTER),
            Some(ResourceType::Route) => named(&PORT.to_string()),
            _ => true,
        };
        DiscoveryResponse {
            version_info: self.version.to_string(),
            nonce: self.version.to_string(),
            type_url: type_url.to_owned(),
            resources: if is_asked { resources } else { Vec::new() },
            ..DiscoveryResponse::default()
        }
    }
}

/// All of them, other than in every version before.
fn clusters(version: u64) -> Vec<envoy_types::pb::google::protobuf::Any> {
    let type_url = ResourceType::Cluster.type_url();
    (0..CLUSTERS)
        .map(|at| {
            let name = match at {
                0 => CALLED_CLUSTER.to_owned(),
                _ => format!("outbound|9080||service-{at:05}.default.svc.cluster.local"),
            };
            let mut cluster = eds(&name);
            let padding = format!("{version:0PADDING$}");
            let fields = BTreeMap::from([("padding".to_owned(), text(padding))]);
            let fields = Struct {
                fields: fields.into_iter().collect(),
            };
            cluster.metadata = Some(core::Metadata {
                filter_metadata: [("bench".to_owned(), fields)].into(),
                ..Default::default()
            });
            named(type_url, &name, &cluster).1
        })
        .collect()
}

const fn text(text: String) -> Value {
    Value {
        kind: Some(Kind::StringValue(text)),
    }
}

fn table() -> route::RouteConfiguration {
    let all = of_path(route::route_match::PathSpecifier::Prefix("/".to_owned()));
    let host = route::VirtualHost {
        name: format!("{CALLED}:{PORT}"),
        domains: vec![CALLED.to_owned()],
        routes: vec![leading(0, all, to(CALLED_CLUSTER))],
        ..Default::default()
    };
    route::RouteConfiguration {
        name: PORT.to_string(),
        virtual_hosts: vec![host],
        ignore_port_in_host_matching: true,
        ..Default::default()
    }
}

type Responses = Pin<Box<dyn Stream<Item = Result<DiscoveryResponse, Status>> + Send>>;

#[tonic::async_trait]
impl AggregatedDiscoveryService for Service {
    type StreamAggregatedResourcesStream = Responses;
    type DeltaAggregatedResourcesStream = Empty<Result<DeltaDiscoveryResponse, Status>>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Responses>, Status> {
        let (out, responses) = mpsc::channel(1);
        let mut session = Session {
            backend: self.backend,
            version: *self.pushes.borrow(),
            names: BTreeMap::new(),
        };
        let mut pushes = self.pushes.subscribe();
        let mut requests = request.into_inner();
        tokio::spawn(async move {
            loop {
                let response = tokio::select! {
                    request = requests.next() => {
                        let Some(Ok(request)) = request else { return };
                        match session.answer(request) {
                            Ok(response) => response,
                            Err(_) => return, // nobody reads what it says any more
                        }
                    }
                    changed = pushes.changed() => {
                        if changed.is_err() { return }
                        session.version = *pushes.borrow_and_update();
                        Some(session.response(ResourceType::Cluster.type_url(), &[]))
                    }
                };
                if let Some(response) = response
                    && out.send(Ok(response)).await.is_err()
                {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(responses))))
    }

    async fn delta_aggregated_resources(
        &self,
        _: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("state of the world only"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_is_fifty_megabytes_and_every_cluster_of_it_is_changed() {
        let (first, second) = (clusters(1), clusters(2));
        let bytes: usize = first.iter().map(|any| any.value.len()).sum();
        assert!((50_000_000..60_000_000).contains(&bytes), "{bytes}");
        assert!(first.iter().zip(&second).all(|(a, b)| a.value != b.value));
    }
}
