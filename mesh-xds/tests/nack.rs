//! Clusters, load assignments and routes with one mistake each: which are refused, with the field's path.
//!
//! A row's verdict is Envoy's in the dialect of sidecars and that of gRPC's C core in the other one, or it tells why
//! not. The last tests ask a stock Envoy and a C core for theirs.

use std::path::Path;
use std::process::{Command, Stdio};

use envoy_types::pb::envoy::config::bootstrap::v3::{
    Bootstrap as BootstrapMessage, bootstrap::StaticResources,
};
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use envoy_types::pb::google::protobuf::Any;
use grpc_core::Core;
use mesh_xds::{Dialect, ResourceType};
use prost::Message;
use rig::{Rig, error};
use wire::{CDS, EDS, LDS, RDS};

#[allow(clippy::too_many_lines, reason = "tables")]
#[path = "nack/clusters.rs"]
mod clusters;
#[allow(clippy::too_many_lines, reason = "tables")]
#[path = "nack/endpoints.rs"]
mod endpoints;
#[path = "nack/grpc_core.rs"]
mod grpc_core;
#[allow(clippy::too_many_lines, reason = "tables")]
#[path = "nack/listeners.rs"]
mod listeners;
#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/rig.rs"]
mod rig;
#[allow(clippy::too_many_lines, reason = "tables")]
#[path = "nack/routes.rs"]
mod routes;
#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/server.rs"]
mod server;
#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/wire.rs"]
mod wire;

/// What becomes of a resource with a mistake. The peer is Envoy in the dialect of sidecars, gRPC's C core in the other.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Verdict {
    /// Refused, by the peer too. The text stands in the NACK.
    Refused(&'static str),
    /// Refused in both dialects, and by Envoy; the C core takes it, for it looks at less.
    Unread(&'static str),
    /// Refused here only, for the reason that is told.
    OnlyHere(&'static str, &'static str),
    /// The peer takes it, and so does this client; the rule says otherwise, and where from.
    Taken(&'static str),
    /// The peer refuses it, this client takes it, for the reason that is told.
    OnlyThere(&'static str),
}
use Verdict::{OnlyHere, OnlyThere, Refused, Taken, Unread};

impl Verdict {
    /// What the NACK of this client says.
    const fn here(self) -> Option<&'static str> {
        match self {
            Refused(text) | Unread(text) | OnlyHere(text, _) => Some(text),
            Taken(_) | OnlyThere(_) => None,
        }
    }

    /// Whether the peer refuses it.
    fn there(self, dialect: Dialect) -> bool {
        match self {
            Refused(_) | OnlyThere(_) => true,
            Unread(_) => dialect == Dialect::Sidecar,
            OnlyHere(..) | Taken(_) => false,
        }
    }
}

/// One mistake in a good resource.
struct Row<T> {
    /// What is wrong, by the rule that says so: a gRFC, or the field's constraint.
    rule: &'static str,
    sidecar: Verdict,
    grpc: Verdict,
    change: fn(&mut T),
}

impl<T: Judged> Row<T> {
    /// With one verdict in both dialects.
    const fn new(rule: &'static str, verdict: Verdict, change: fn(&mut T)) -> Self {
        Self {
            rule,
            sidecar: verdict,
            grpc: verdict,
            change,
        }
    }

    /// With another verdict in gRPC's.
    const fn grpc(mut self, verdict: Verdict) -> Self {
        self.grpc = verdict;
        self
    }

    const fn verdict(&self, dialect: Dialect) -> Verdict {
        match dialect {
            Dialect::Sidecar => self.sidecar,
            Dialect::Grpc => self.grpc,
        }
    }

    fn changed(&self, dialect: Dialect) -> T {
        let mut good = T::good(dialect);
        (self.change)(&mut good);
        good
    }
}

trait Judged: Message + Default {
    const TYPE: ResourceType;
    /// Those that have such resources.
    const DIALECTS: &[Dialect] = &[Dialect::Sidecar, Dialect::Grpc];

    fn good(dialect: Dialect) -> Self;
    /// A configuration of Envoy's that holds it.
    fn bootstrap(&self) -> BootstrapMessage;

    fn any(&self) -> Any {
        wire::any(Self::TYPE, self)
    }

    /// What the NACK of it says; `None` for an ACK.
    fn nack(&self, dialect: Dialect) -> Option<String> {
        let mut rig = Rig::configured_in(dialect);
        let mut resources = vec![self.any()];
        if Self::TYPE == CDS {
            resources.push(wire::cluster("two"));
        }
        let answer = rig.answer(Self::TYPE, "2", resources);
        let is_nack = answer.error_detail.is_some();
        is_nack.then(|| error(&answer).to_owned())
    }
}

fn of_cluster(cluster: Cluster) -> BootstrapMessage {
    BootstrapMessage {
        static_resources: Some(StaticResources {
            clusters: vec![cluster],
            ..StaticResources::default()
        }),
        // Without these it does not ask for endpoints.
        node: Some(Node {
            id: "a".to_owned(),
            cluster: "a".to_owned(),
            ..Node::default()
        }),
        ..BootstrapMessage::default()
    }
}

impl Judged for Cluster {
    const TYPE: ResourceType = CDS;

    fn good(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Sidecar => clusters::good(),
            Dialect::Grpc => clusters::by_name(),
        }
    }

    fn bootstrap(&self) -> BootstrapMessage {
        of_cluster(self.clone())
    }
}

impl Judged for ClusterLoadAssignment {
    const TYPE: ResourceType = EDS;

    fn good(_: Dialect) -> Self {
        endpoints::good()
    }

    /// Envoy judges a static cluster's endpoints as those of EDS.
    fn bootstrap(&self) -> BootstrapMessage {
        of_cluster(Cluster {
            load_assignment: Some(self.clone()),
            ..clusters::good()
        })
    }
}

impl Judged for RouteConfiguration {
    const TYPE: ResourceType = RDS;

    fn good(_: Dialect) -> Self {
        routes::good()
    }

    fn bootstrap(&self) -> BootstrapMessage {
        routes::bootstrap(self)
    }
}

impl Judged for Listener {
    const TYPE: ResourceType = LDS;
    const DIALECTS: &[Dialect] = &[Dialect::Grpc];

    fn good(_: Dialect) -> Self {
        listeners::good()
    }

    /// Envoy has none of its own; a `RouteConfiguration` comes in one.
    fn bootstrap(&self) -> BootstrapMessage {
        BootstrapMessage::default()
    }
}

/// The lines on which a verdict is not what the row says.
fn differences<T: Judged>(rows: &[Row<T>], dialect: Dialect) -> Vec<String> {
    let differs = |row: &Row<T>| {
        let nack = row.changed(dialect).nack(dialect);
        let expected = row.verdict(dialect);
        let is_right = match (expected.here(), &nack) {
            (Some(path), Some(text)) => text.contains(&format!("rejected: {path}")),
            (None, None) => true,
            _ => false,
        };
        let rule = row.rule;
        (!is_right).then(|| format!("{dialect:?}, {rule}: expected {expected:?}, got {nack:?}"))
    };
    rows.iter().filter_map(differs).collect()
}

#[track_caller]
fn all_hold<T: Judged>(rows: &[Row<T>]) {
    for &dialect in T::DIALECTS {
        let good = T::good(dialect).nack(dialect);
        assert_eq!(good, None, "without a mistake it is taken");
        let all = differences(rows, dialect);
        assert!(all.is_empty(), "\n{}", all.join("\n"));
    }
}

#[test]
fn clusters_are_judged_as_the_rows_say() {
    all_hold(&clusters::rows());
}

#[test]
fn endpoints_are_judged_as_the_rows_say() {
    all_hold(&endpoints::rows());
}

#[test]
fn routes_are_judged_as_the_rows_say() {
    all_hold(&routes::rows());
}

#[test]
fn listeners_are_judged_as_the_rows_say() {
    all_hold(&listeners::rows());
}

/// The control: a table whose mistakes are left out, or whose places are wrong, is found.
#[test]
fn a_wrong_table_is_found() {
    for &dialect in Cluster::DIALECTS {
        let refused = |row: &Row<Cluster>| row.verdict(dialect).here().is_some();
        let rows: Vec<_> = clusters::rows().into_iter().filter(refused).collect();
        let count = rows.len();
        let elsewhere = Refused("elsewhere");
        let misplaced = rows
            .iter()
            .map(|row| Row::new(row.rule, elsewhere, row.change));
        let misplaced: Vec<_> = misplaced.collect();
        assert_eq!(differences(&misplaced, dialect).len(), count);
        let harmless = rows.into_iter().map(|row| Row {
            change: |_| {},
            ..row
        });
        let harmless: Vec<_> = harmless.collect();
        assert_eq!(differences(&harmless, dialect).len(), count);
    }
}

/// One NACK tells every mistake of a resource, at its place.
#[track_caller]
fn all_at_once<T: Judged>(rows: &[Row<T>], dialect: Dialect, together: &[&str]) {
    let mut resource = T::good(dialect);
    let chosen = rows.iter().filter(|row| together.contains(&row.rule));
    let mut places = Vec::new();
    for row in chosen {
        (row.change)(&mut resource);
        let place = row.verdict(dialect).here();
        places.push(place.unwrap_or_else(|| panic!("{} is not refused", row.rule)));
    }
    assert_eq!(places.len(), together.len());
    let text = resource.nack(dialect).expect("a NACK");
    for place in places {
        assert!(text.contains(place), "{place:?} is not in {text}");
    }
}

#[test]
fn all_mistakes_of_a_resource_are_told_at_once() {
    let dialect = Dialect::Sidecar;
    all_at_once(&clusters::rows(), dialect, clusters::TOGETHER);
    all_at_once(&endpoints::rows(), dialect, endpoints::TOGETHER);
    all_at_once(&routes::rows(), dialect, routes::TOGETHER);
    let dialect = Dialect::Grpc;
    all_at_once(&clusters::rows(), dialect, clusters::TOGETHER_IN_GRPC);
    all_at_once(&endpoints::rows(), dialect, endpoints::TOGETHER_IN_GRPC);
    all_at_once(&routes::rows(), dialect, routes::TOGETHER_IN_GRPC);
    all_at_once(&listeners::rows(), dialect, listeners::TOGETHER_IN_GRPC);
}

/// One that is refused spoils no other of the same response, and what there was before stays.
#[test]
fn a_refused_resource_spoils_no_other() {
    let good = wire::any(EDS, &wire::assignment("two", &[wire::addr(9)]));
    for &dialect in ClusterLoadAssignment::DIALECTS {
        let mut rig = Rig::configured_in(dialect);
        for row in endpoints::rows() {
            if row.verdict(dialect).here().is_none() {
                continue;
            }
            let bad = row.changed(dialect).any();
            rig.answer(EDS, row.rule, vec![bad, good.clone()]);
            assert_eq!(rig.ports("a"), [Some(1)], "{}", row.rule);
            assert_eq!(rig.ports("b"), [Some(9)], "{}", row.rule);
        }
    }
}

/// So it is with the cluster and the routes that gRPC alone refuses.
#[test]
fn what_grpc_refuses_leaves_the_former_in_use() {
    let mut rig = Rig::configured_in(Dialect::Grpc);
    let only_grpc = |sidecar: Verdict, grpc: Verdict| sidecar.here() != grpc.here();
    for row in clusters::rows() {
        if only_grpc(row.sidecar, row.grpc) && row.grpc.here().is_some() {
            let bad = row.changed(Dialect::Grpc).any();
            rig.answer(CDS, row.rule, vec![bad, wire::cluster("two")]);
            assert_eq!(rig.ports("a"), [Some(1)], "{}", row.rule);
        }
    }
    for row in routes::rows() {
        if only_grpc(row.sidecar, row.grpc) && row.grpc.here().is_some() {
            rig.answer(RDS, row.rule, vec![row.changed(Dialect::Grpc).any()]);
            assert_eq!(rig.ports("a"), [Some(1)], "{}", row.rule);
            assert_eq!(rig.ports("b"), [Some(2)], "{}", row.rule);
        }
    }
}

/// Whether a stock Envoy takes a configuration, and what it says.
fn envoy(binary: &Path, dir: &Path, bootstrap: &BootstrapMessage) -> (bool, String) {
    let file = dir.join("bootstrap.pb");
    std::fs::write(&file, bootstrap.encode_to_vec()).expect("the folder can be written");
    let done = Command::new(binary)
        .args(["--mode", "validate", "-l", "error", "--config-path"])
        .arg(&file)
        .stdin(Stdio::null())
        .output()
        .expect("MESH_ENVOY can be run");
    let text = String::from_utf8_lossy(&done.stderr).into_owned();
    (done.status.success(), text)
}

fn asked<T: Judged>(binary: &Path, rows: &[Row<T>], differences: &mut Vec<String>) {
    let dir = std::env::temp_dir().join(format!("mesh-xds-nack-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a folder");
    let dialect = Dialect::Sidecar;
    let (takes, text) = envoy(binary, &dir, &T::good(dialect).bootstrap());
    if !takes {
        differences.push(format!("the good resource: {text}"));
    }
    for row in rows {
        let (takes, text) = envoy(binary, &dir, &row.changed(dialect).bootstrap());
        if takes == row.sidecar.there(dialect) {
            differences.push(format!("{}: Envoy takes it: {takes}; {text}", row.rule));
        }
    }
    std::fs::remove_dir_all(&dir).expect("the folder can be removed");
}

#[test]
#[ignore = "needs a stock Envoy: MESH_ENVOY=$(bash examples/interop/envoy.sh install), then -- --ignored"]
fn a_stock_envoy_judges_alike() {
    let binary = std::env::var_os("MESH_ENVOY").expect("MESH_ENVOY names the binary");
    let mut all = Vec::new();
    asked(Path::new(&binary), &clusters::rows(), &mut all);
    asked(Path::new(&binary), &endpoints::rows(), &mut all);
    asked(Path::new(&binary), &routes::rows(), &mut all);
    assert!(all.is_empty(), "\n{}", all.join("\n"));
}

async fn asked_core<T: Judged>(core: &mut Core, rows: &[Row<T>], differences: &mut Vec<String>) {
    let dialect = Dialect::Grpc;
    if let Some(text) = core.nack(T::TYPE, &T::good(dialect).any()).await {
        differences.push(format!("the good resource: {text}"));
    }
    for row in rows {
        let nack = core.nack(T::TYPE, &row.changed(dialect).any()).await;
        if nack.is_some() != row.grpc.there(dialect) {
            differences.push(format!("{}: the C core says {nack:?}", row.rule));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs gRPC's C core: MESH_GRPCIO=$(bash examples/interop/grpcio.sh install), then -- --ignored"]
async fn grpc_core_judges_alike() {
    let python = std::env::var_os("MESH_GRPCIO").expect("MESH_GRPCIO names a python with grpcio");
    let mut core = Core::start(&python).await;
    let mut all = Vec::new();
    asked_core(&mut core, &clusters::rows(), &mut all).await;
    asked_core(&mut core, &endpoints::rows(), &mut all).await;
    asked_core(&mut core, &routes::rows(), &mut all).await;
    asked_core(&mut core, &listeners::rows(), &mut all).await;
    assert!(all.is_empty(), "\n{}", all.join("\n"));
}
