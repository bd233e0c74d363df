//! One history: a machine that a control plane talks to, a mesh that follows it, and who calls and visits it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use axum::Router;
use mesh_core::server::Inbound;
use mesh_core::snapshot::TableKey;
use mesh_xds::ads::Machine;
use mesh_xds::{Node, ResourceType, Wanted};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::plane::{self, Entry, Plane, Socket, Way};
use super::wire::Seen;
use crate::live::Live;
use crate::random::{Randomness, SplitMix};
use crate::security::{Permits, Security};
use crate::server::Door;
use crate::tls::tests::pki::{Authority, Leaf};
use crate::{Error, Mesh, MeshClient};

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) calls: u64,
    /// Calls with a response from the wire: it answers plaintext alone.
    pub(super) answered: u64,
    /// Calls that failed for the plaintext that they would have been.
    pub(super) held_back: u64,
    pub(super) visits: u64,
    /// Bytes that a visitor was given.
    pub(super) received: u64,
    /// Requests in plaintext that the application saw.
    pub(super) let_in: u64,
    pub(super) refused_updates: u64,
    pub(super) timeouts: u64,
    pub(super) seen: Seen,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.answered += other.answered;
        self.held_back += other.held_back;
        self.visits += other.visits;
        self.received += other.received;
        self.let_in += other.let_in;
        self.refused_updates += other.refused_updates;
        self.timeouts += other.timeouts;
    }
}

pub(super) struct Play<'a> {
    rng: StdRng,
    numbers: SplitMix,
    machine: Machine,
    now: Instant,
    nonce: u32,
    mesh: Mesh,
    client: MeshClient,
    plane: &'a Plane,
    root: &'a Authority,
    ours: &'a Leaf,
    door: SocketAddr,
    serving: JoinHandle<()>,
    let_in: Arc<AtomicU64>,
    /// Whether there are rules for visitors: without, they wait.
    is_told: bool,
    tally: Tally,
}

impl Drop for Play<'_> {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A mesh that the test feeds.
fn fed(security: Security) -> Mesh {
    let mesh = Mesh::builder().security(security).seed(1).build().unwrap();
    let mut shared = Arc::into_inner(mesh.shared).unwrap();
    let store = Arc::clone(&shared.store);
    let door = Arc::new(Door::new(
        Inbound::Waiting,
        security,
        &Node::sidecar("reviews", "default"),
        Arc::clone(&store),
    ));
    shared.door = Arc::clone(&door);
    let (errors, edges) = (Arc::clone(&shared.errors), Arc::clone(&shared.edges));
    shared.live = Arc::new(Live::new(
        errors,
        edges,
        door,
        Permits::new(security, store),
    ));
    Mesh {
        shared: Arc::new(shared),
    }
}

impl<'a> Play<'a> {
    pub(super) async fn begin(
        security: Security,
        seed: u64,
        plane: &'a Plane,
        (root, ours): (&'a Authority, &'a Leaf),
    ) -> Self {
        let mut machine = Machine::new(Node::sidecar("reviews", "default"), "plane:15010");
        machine.want(TableKey::Port(plane.address.port()));
        machine.want(Wanted::Inbound);
        machine.connected();
        let mesh = fed(security);
        let let_in = Arc::<AtomicU64>::default();
        let (door, serving) = serve(&mesh, &let_in).await;
        Self {
            rng: StdRng::seed_from_u64(seed),
            numbers: Randomness::new(seed).next(),
            machine,
            now: Instant::now(),
            nonce: 0,
            client: mesh.client(),
            mesh,
            plane,
            root,
            ours,
            door,
            serving,
            let_in,
            is_told: false,
            tally: Tally::default(),
        }
    }

    pub(super) async fn run(&mut self) -> Tally {
        self.sent();
        if self.rng.random() {
            self.set_up();
        }
        for _ in 0..self.rng.random_range(1..8_u32) {
            match self.rng.random_range(0..12_u32) {
                0..3 => {
                    let socket = Socket::any(&mut self.rng);
                    self.clusters(socket);
                }
                3 | 4 => {
                    let way = Way::any(&mut self.rng);
                    self.routes(way);
                }
                5 => {
                    let says_istio = self.rng.random();
                    self.endpoints(says_istio);
                }
                6 | 7 => {
                    let entry = Entry::any(&mut self.rng);
                    self.listeners(entry);
                }
                8 => self.cut(),
                9 => self.later(),
                10 => self.certified(),
                _ => {
                    self.call().await;
                    self.visit().await;
                }
            }
        }
        self.plainly();
        self.call().await;
        self.visit().await;
        self.tally.let_in = self.let_in.load(SeqCst);
        std::mem::take(&mut self.tally)
    }

    /// A mesh that works when the rest begins: with mutual TLS, as likely as not.
    fn set_up(&mut self) {
        self.certified();
        let socket = plane::any_of(&[Socket::Mutual, Socket::ByEndpoint], &mut self.rng);
        self.clusters(socket);
        self.routes(Way::Mirrored);
        let says_istio = self.rng.random();
        self.endpoints(says_istio);
    }

    /// What it refused last, and what it waits for.
    pub(super) fn told(&self) -> String {
        let live = self.mesh.shared.live.load();
        let table = live.tables.get(&TableKey::Port(self.plane.address.port()));
        let waiting = table.map(|table| {
            table
                .targets()
                .map(|it| it.waiting_for.clone())
                .collect::<Vec<_>>()
        });
        format!("{:?}, waits: {waiting:?}", self.machine.status().rejected)
    }

    /// Rules by which all is plaintext.
    fn plainly(&mut self) {
        let socket = plane::any_of(
            &[Socket::Unsaid, Socket::Raw, Socket::ByEndpoint],
            &mut self.rng,
        );
        self.clusters(socket);
        let way = plane::any_of(&[Way::One, Way::Mirrored, Way::Beyond], &mut self.rng);
        self.routes(way);
        // They are asked for once routes lead there.
        self.endpoints(false);
        let entry = plane::any_of(&[Entry::Plaintext, Entry::Permissive], &mut self.rng);
        self.listeners(entry);
    }

    fn clusters(&mut self, one: Socket) {
        self.update(ResourceType::Cluster, self.plane.clusters(one));
    }

    fn endpoints(&mut self, says_istio: bool) {
        let all = self.plane.endpoints(says_istio);
        self.update(ResourceType::Endpoints, all);
    }

    fn routes(&mut self, way: Way) {
        self.update(ResourceType::Route, self.plane.routes(way));
    }

    fn listeners(&mut self, entry: Entry) {
        self.update(ResourceType::Listener, self.plane.listeners(entry));
    }

    fn update(&mut self, of: ResourceType, resources: Vec<envoy_types::pb::google::protobuf::Any>) {
        self.nonce += 1;
        let response = plane::response(of, self.nonce, resources);
        self.machine.received(response);
        self.publish();
        self.sent();
    }

    /// The stream ends, and another one begins.
    fn cut(&mut self) {
        self.machine
            .disconnected("gone", self.now, &mut self.numbers);
        self.publish();
        self.machine.connected();
        self.sent();
    }

    /// As long as nothing is waited for any more.
    fn later(&mut self) {
        self.now += Duration::from_secs(self.rng.random_range(1..40));
        let due = self.machine.wake_at().is_some_and(|at| at <= self.now);
        self.tally.timeouts += u64::from(due);
        self.publish();
        self.sent();
    }

    /// Our certificate comes, or cannot be had.
    fn certified(&mut self) {
        let store = &self.mesh.shared.store;
        match self.rng.random() {
            true => drop(store.offer(&self.ours.material(&[self.root])).unwrap()),
            false => store.failed(&"the authority is away"),
        }
    }

    fn sent(&mut self) {
        while let Some(request) = self.machine.request(self.now) {
            self.tally.refused_updates += u64::from(request.error_detail.is_some());
        }
    }

    fn publish(&mut self) {
        if let Some(assembled) = self.machine.assemble(self.now) {
            let inbound = assembled.inbound.as_deref();
            self.is_told |= inbound.is_some_and(|it| !matches!(it, Inbound::Waiting));
            self.mesh.shared.live.publish(&assembled, &mut self.numbers);
        }
    }

    /// What waits for its rules would wait for real time: it is not asked.
    async fn call(&mut self) {
        let key = TableKey::Port(self.plane.address.port());
        let host = self.plane.address.to_string();
        let live = self.mesh.shared.live.load();
        let target = live.tables.get(&key).and_then(|table| table.find(&host));
        let waits = target.is_none_or(|target| target.waiting_for.is_some());
        drop(live);
        if waits {
            return;
        }
        self.tally.calls += 1;
        let answered = self.client.get(&format!("http://{host}/")).await;
        let held_back = |error: &Error| error.to_string().contains("Security::Required");
        self.tally.held_back += u64::from(answered.as_ref().is_err_and(held_back));
        self.tally.answered += u64::from(answered.is_ok_and(|it| it.status() == 200));
    }

    async fn visit(&mut self) {
        if !self.is_told {
            return;
        }
        self.tally.visits += 1;
        let mut visitor = TcpStream::connect(self.door).await.unwrap();
        let request = b"GET / HTTP/1.1\r\nhost: reviews\r\nconnection: close\r\n\r\n";
        // Who is not let in may find the connection closed.
        drop(visitor.write_all(request).await);
        let mut bytes = Vec::new();
        drop(visitor.read_to_end(&mut bytes).await);
        self.tally.received += bytes.len() as u64;
    }
}

async fn serve(mesh: &Mesh, let_in: &Arc<AtomicU64>) -> (SocketAddr, JoinHandle<()>) {
    let listener = mesh.listen("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr();
    let let_in = Arc::clone(let_in);
    let app = Router::new().fallback(move || {
        let_in.fetch_add(1, SeqCst);
        std::future::ready("seen")
    });
    (
        address,
        tokio::spawn(async move { listener.serve(app).await.unwrap() }),
    )
}
