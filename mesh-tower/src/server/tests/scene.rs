//! A mesh that waits for its rules, an application, and clients.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use axum::Router;
use axum::extract::Request;
use mesh_core::authz::{Action, Permission, Policy, Principal, Rbac, RuleSet};
use mesh_core::identity::PeerRule;
use mesh_core::request::PathNormalization;
use mesh_core::server::{Chain, Demand, Inbound, Pipeline, Port, Remote, Rules, Step, Xfcc};
use mesh_core::tls::{ClientAuth, RootName};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;

use crate::security::Security;
use crate::server::door::Door;
use crate::tls::tests::pki::Authority;
use crate::tls::tests::scene::{BOTH, server_terms, store, their_client};
use crate::{Mesh, Node, PeerIdentity};

pub(super) const PAGE: &str = "spiffe://cluster.local/ns/default/sa/productpage";
pub(super) const RATINGS: &str = "spiffe://cluster.local/ns/default/sa/ratings";

pub(super) struct Scene {
    pub(super) mesh: Mesh,
    pub(super) root: Authority,
    /// How many requests the application has seen.
    pub(super) seen: Arc<AtomicUsize>,
    /// Lets `/slow` go on.
    pub(super) gate: Arc<Semaphore>,
}

/// Who the mesh of a scene is.
pub(super) fn node() -> Node {
    Node::sidecar("reviews-v1", "default")
}

impl Scene {
    /// Nothing is published yet.
    pub(super) fn waiting() -> Self {
        Self::with(Security::AsConfigured)
    }

    pub(super) fn with(security: Security) -> Self {
        let root = Authority::new("root");
        let mesh = Mesh::builder().security(security).build().unwrap();
        let mut shared = Arc::into_inner(mesh.shared).unwrap();
        let door = Door::new(Inbound::Waiting, security, &node(), store(&root));
        shared.door = Arc::new(door);
        Self {
            mesh: Mesh {
                shared: Arc::new(shared),
            },
            root,
            seen: Arc::default(),
            gate: Arc::new(Semaphore::new(0)),
        }
    }

    pub(super) fn ruled(inbound: &Inbound) -> Self {
        let scene = Self::waiting();
        scene.publish(inbound);
        scene
    }

    pub(super) fn publish(&self, inbound: &Inbound) {
        self.mesh.shared.door.publish(inbound);
    }

    /// Tells of each request: who asks, for what, and with which headers of proxies.
    pub(super) fn app(&self) -> Router {
        let (seen, gate) = (Arc::clone(&self.seen), Arc::clone(&self.gate));
        Router::new().fallback(move |request: Request| {
            let (seen, gate) = (Arc::clone(&seen), Arc::clone(&gate));
            async move {
                seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                if request.uri().path() == "/slow" {
                    gate.acquire().await.unwrap().forget();
                }
                told(&request)
            }
        })
    }

    pub(super) async fn serve(&self) -> SocketAddr {
        let listener = self.mesh.listen("127.0.0.1:0").await.unwrap();
        let (address, app) = (listener.local_addr(), self.app());
        tokio::spawn(async move { listener.serve(app).await.unwrap() });
        address
    }

    pub(super) fn closed(&self, kind: &str) -> u64 {
        let mut all = self.mesh.shared.door.closed.counts();
        all.find(|(name, _)| *name == kind).unwrap().1
    }

    /// A client of the mesh, with Istio's names for HTTP/1.1.
    pub(super) fn workload(&self, uri: &str) -> ClientConfig {
        let leaf = self.root.workload(uri);
        let mut config = their_client(Some(&leaf), BOTH[0]);
        let names = [&b"istio-http/1.1"[..], b"istio", b"http/1.1"];
        config.alpn_protocols = names.map(<[u8]>::to_vec).to_vec();
        config
    }
}

fn told(request: &Request) -> String {
    let peer = request.extensions().get::<PeerIdentity>();
    let peer = peer.map(|peer| (peer.is_encrypted(), peer.spiffe().map(ToString::to_string)));
    let mut text = match peer {
        None => "nobody".to_owned(),
        Some((false, None)) => "plaintext".to_owned(),
        Some((true, Some(spiffe))) => spiffe,
        Some(other) => format!("{other:?}"),
    };
    text.push_str(&format!(" {}\n", request.uri().path()));
    for (name, value) in request.headers() {
        if name.as_str().starts_with("x-") {
            text.push_str(&format!("{name}: {}\n", value.to_str().unwrap()));
        }
    }
    text
}

pub(super) fn pipeline(steps: impl Into<Box<[Step]>>) -> Arc<Pipeline> {
    Arc::new(Pipeline {
        name: "listener virtualInbound".into(),
        paths: PathNormalization::MergeSlashes,
        xfcc: Xfcc::AppendForward,
        remote: Remote::default(),
        gateway: None,
        steps: steps.into(),
    })
}

pub(super) fn rbac(action: Action, permission: Permission, principal: Principal) -> Step {
    let policy = Policy::new([permission], [principal]).unwrap();
    let policies = [("ns[default]-policy[test]-rule[0]".into(), policy)];
    let rules = RuleSet::new(action, policies).unwrap();
    Step::Authorize(Rbac::new(Some(rules), None))
}

pub(super) fn deny_all() -> Step {
    rbac(Action::Deny, Permission::Any, Principal::Any)
}

pub(super) fn in_mesh() -> PeerRule {
    PeerRule::InMesh
}

pub(super) fn mtls(peer: PeerRule, demands_istio: bool, pipeline: &Arc<Pipeline>) -> Chain {
    let terms = server_terms(ClientAuth::Required {
        roots: RootName::Workload,
        peer,
    });
    let names = ["istio", "istio-http/1.1", "istio-h2"];
    let names = names.map(|name| Box::from(name.as_bytes()));
    Chain {
        name: "0.0.0.0_9080".into(),
        demand: Demand {
            alpn: match demands_istio {
                true => names.into(),
                false => [].into(),
            },
            ..Demand::default()
        },
        tls: Some(Arc::new(terms.into())),
        pipeline: Arc::clone(pipeline),
    }
}

pub(super) fn plain(pipeline: &Arc<Pipeline>) -> Chain {
    Chain {
        name: "0.0.0.0_9080".into(),
        demand: Demand::default(),
        tls: None,
        pipeline: Arc::clone(pipeline),
    }
}

pub(super) fn rules(chains: impl Into<Box<[Chain]>>) -> Inbound {
    let rules = Rules::new("1".into(), BTreeMap::new(), Port::new(chains));
    Inbound::Rules(Arc::new(rules))
}

/// The same that mention this port.
pub(super) fn rules_of(port: u16, chains: impl Into<Box<[Chain]>>) -> Inbound {
    let ports = [(port, Port::new(chains))].into();
    let rules = Rules::new("1".into(), ports, Port::new([]));
    Inbound::Rules(Arc::new(rules))
}

pub(super) fn permissive(steps: impl Into<Box<[Step]>>) -> Inbound {
    let pipeline = pipeline(steps);
    rules([mtls(in_mesh(), true, &pipeline), plain(&pipeline)])
}

pub(super) fn strict() -> Inbound {
    rules([mtls(in_mesh(), false, &pipeline([]))])
}

pub(super) fn open() -> Inbound {
    Inbound::Open("the test".into())
}

/// A client of HTTP/1.1 that holds its connection in the hand.
pub(super) struct Client<T>(pub(super) T);

pub(super) async fn connect(address: SocketAddr) -> Client<TcpStream> {
    Client(TcpStream::connect(address).await.unwrap())
}

pub(super) type Secured = tokio_rustls::client::TlsStream<TcpStream>;

pub(super) async fn secured(
    address: SocketAddr,
    config: ClientConfig,
) -> std::io::Result<Client<Secured>> {
    let tcp = TcpStream::connect(address).await?;
    let name = ServerName::try_from("reviews").unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, tcp).await.map(Client)
}

impl<T: AsyncRead + AsyncWrite + Unpin> Client<T> {
    pub(super) async fn get(&mut self, path: &str) -> String {
        self.ask(path, "").await.unwrap()
    }

    pub(super) async fn send(&mut self, path: &str, headers: &str) -> std::io::Result<()> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: reviews\r\n{headers}\r\n");
        self.0.write_all(request.as_bytes()).await
    }

    pub(super) async fn ask(&mut self, path: &str, headers: &str) -> std::io::Result<String> {
        self.send(path, headers).await?;
        self.answer().await
    }

    /// The head and the body of the next answer.
    pub(super) async fn answer(&mut self) -> std::io::Result<String> {
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(self.0.read_u8().await?);
        }
        let head = String::from_utf8(answer).unwrap().to_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        self.0.read_exact(&mut body).await?;
        Ok(head + &String::from_utf8(body).unwrap())
    }

    /// The connection ends, without another byte.
    pub(super) async fn ends(&mut self) -> std::io::Result<()> {
        let mut rest = Vec::new();
        let read = self.0.read_to_end(&mut rest).await;
        assert_eq!(String::from_utf8_lossy(&rest), "");
        read.map(drop)
    }
}
