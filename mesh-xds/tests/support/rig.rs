//! A machine on a stream that the test plays by hand, with a clock that the test moves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use envoy_types::pb::envoy::service::discovery::v3::DiscoveryRequest;
use envoy_types::pb::google::protobuf::Any;
use mesh_core::snapshot::{Snapshot, TableKey, Target};
use mesh_xds::ads::Machine;
use mesh_xds::{Assembled, Dialect, ListenerName, Node, ResourceType};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::wire::{self, CDS, EDS, LDS, RDS};

pub(crate) const TABLE: TableKey = TableKey::Port(9080);

pub(crate) struct Rig {
    pub(crate) machine: Machine,
    pub(crate) now: Instant,
    pub(crate) rng: StdRng,
    /// What was published last.
    pub(crate) snapshot: Snapshot,
    nonces: u32,
}

impl Rig {
    /// A machine that wants [`TABLE`], on an open stream, before its first request.
    pub(crate) fn new() -> Self {
        let mut machine = Machine::new(Node::sidecar("reviews", "default"), "plane:15010");
        machine.want(TABLE);
        machine.connected();
        Self {
            machine,
            now: Instant::now(),
            rng: StdRng::seed_from_u64(1),
            snapshot: Snapshot::default(),
            nonces: 0,
        }
    }

    /// The same after its first requests.
    pub(crate) fn introduced() -> Self {
        let mut rig = Self::new();
        rig.sent();
        rig
    }

    /// Host `a` with cluster `one` on port 1, and host `b` with cluster `two` on port 2.
    pub(crate) fn configured() -> Self {
        let mut rig = Self::introduced();
        rig.configure();
        rig
    }

    fn configure(&mut self) {
        for of in [CDS, RDS, EDS] {
            self.deliver(of, "1", good(of));
        }
        assert_eq!(self.ports("a"), [Some(1)]);
        assert_eq!(self.ports("b"), [Some(2)]);
    }

    /// The same in either dialect.
    pub(crate) fn configured_in(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Sidecar => Self::configured(),
            Dialect::Grpc => Self::configured_in_grpc(),
        }
    }

    fn configured_in_grpc() -> Self {
        let node = Node::sidecar("reviews", "default").with_dialect(Dialect::Grpc);
        let mut machine = Machine::new(node, "plane:15010");
        for name in ["a:9080", "b:9080"] {
            machine.want(name.parse::<ListenerName>().expect("host:port"));
        }
        machine.connected();
        let mut rig = Self {
            machine,
            ..Self::new()
        };
        rig.sent();
        // Clusters are asked for once routes name them.
        rig.deliver(LDS, "1", good(LDS));
        rig.deliver(RDS, "1", good(RDS));
        rig.configure();
        rig
    }

    /// Everything that is to be sent now.
    pub(crate) fn sent(&mut self) -> Vec<DiscoveryRequest> {
        let now = self.now;
        std::iter::from_fn(|| self.machine.request(now))
            .map(|request| wire::read(&request))
            .collect()
    }

    /// A response without an answer yet.
    pub(crate) fn receive(
        &mut self,
        of: ResourceType,
        version: &str,
        resources: Vec<Any>,
    ) -> String {
        self.nonces += 1;
        let nonce = format!("nonce {}", self.nonces);
        let response = wire::response(of, version, &nonce, resources);
        self.machine.received(response);
        nonce
    }

    /// A response, what is published after it, and what is sent after it.
    pub(crate) fn deliver(
        &mut self,
        of: ResourceType,
        version: &str,
        resources: Vec<Any>,
    ) -> Vec<DiscoveryRequest> {
        self.receive(of, version, resources);
        self.assemble();
        self.sent()
    }

    /// The one answer to a response.
    pub(crate) fn answer(
        &mut self,
        of: ResourceType,
        version: &str,
        resources: Vec<Any>,
    ) -> DiscoveryRequest {
        let sent = self.deliver(of, version, resources);
        let mut answers = sent.into_iter().filter(|r| r.type_url == of.type_url());
        let answer = answers.next().expect("an answer");
        assert_eq!(answers.next(), None, "more than one answer");
        assert_eq!(answer.response_nonce, format!("nonce {}", self.nonces));
        answer
    }

    pub(crate) fn assemble(&mut self) -> Option<Assembled> {
        let assembled = self.machine.assemble(self.now);
        if let Some(assembled) = &assembled {
            self.snapshot = assembled.snapshot.clone();
        }
        assembled
    }

    pub(crate) fn after(&mut self, time: Duration) -> Option<Assembled> {
        self.now += time;
        self.assemble()
    }

    pub(crate) fn reconnect(&mut self) {
        self.disconnect();
        self.machine.connected();
    }

    pub(crate) fn disconnect(&mut self) {
        self.machine.disconnected("gone", self.now, &mut self.rng);
    }

    pub(crate) fn target(&self, authority: &str) -> Option<&Arc<Target>> {
        self.snapshot.tables.get(&TABLE)?.find(authority)
    }

    /// The ports of the endpoints that an authority leads to, cluster by cluster: `None` is a
    /// cluster that is missing, 0 is one without endpoints.
    pub(crate) fn ports(&self, authority: &str) -> Vec<Option<u16>> {
        let target = self.target(authority).expect("a target");
        assert_eq!(target.waiting_for, None, "{authority} waits");
        let port = |cluster: &Arc<mesh_core::cluster::Cluster>| {
            cluster.endpoints.first().map_or(0, |e| e.address.port())
        };
        let clusters = target.clusters.iter();
        clusters.map(|cluster| cluster.as_ref().map(port)).collect()
    }
}

/// The resources of [`Rig::configured_in`].
pub(crate) fn good(of: ResourceType) -> Vec<Any> {
    match of {
        ResourceType::Cluster => wire::clusters(&["one", "two"]),
        ResourceType::Endpoints => vec![wire::endpoints("one", 1), wire::endpoints("two", 2)],
        ResourceType::Route => {
            let hosts = vec![wire::host("a", &["one"]), wire::host("b", &["two"])];
            vec![wire::routes("9080", hosts)]
        }
        ResourceType::Listener => ["a:9080", "b:9080"]
            .map(|name| wire::listener(name, "9080"))
            .into(),
    }
}

/// The error text of a NACK.
pub(crate) fn error(request: &DiscoveryRequest) -> &str {
    let detail = request.error_detail.as_ref().expect("a NACK");
    assert_eq!(detail.code, 3, "INVALID_ARGUMENT");
    &detail.message
}
