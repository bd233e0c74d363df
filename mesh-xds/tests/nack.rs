//! Clusters, load assignments and routes with one mistake each: which are refused, with the field's path.
//!
//! A row's verdict is Envoy's, of whose dialect the client is. The last test asks a stock Envoy for it; where gRPC
//! would refuse what Envoy takes, the row says so.

use std::path::Path;
use std::process::{Command, Stdio};

use envoy_types::pb::envoy::config::bootstrap::v3::{
    Bootstrap as BootstrapMessage, bootstrap::StaticResources,
};
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use prost::Message;
use rig::{Rig, error};
use wire::{CDS, EDS, RDS};

#[allow(clippy::too_many_lines, reason = "tables")]
#[path = "nack/clusters.rs"]
mod clusters;
#[allow(clippy::too_many_lines, reason = "tables")]
#[path = "nack/endpoints.rs"]
mod endpoints;
#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/rig.rs"]
mod rig;
#[allow(clippy::too_many_lines, reason = "tables")]
#[path = "nack/routes.rs"]
mod routes;
#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/wire.rs"]
mod wire;

/// What becomes of a resource with a mistake.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Verdict {
    /// Refused, by Envoy too. The text stands in the NACK.
    Refused(&'static str),
    /// Refused here only, for the reason that is told.
    OnlyHere(&'static str, &'static str),
    /// Envoy takes it, and so does this client; gRPC refuses it, by this rule.
    Taken(&'static str),
    /// Envoy refuses it, this client takes it, for the reason that is told.
    OnlyEnvoy(&'static str),
}
use Verdict::{OnlyEnvoy, OnlyHere, Refused, Taken};

/// One mistake in a good resource.
struct Row<T> {
    /// What is wrong, by the rule that says so: a gRFC, or the field's constraint.
    rule: &'static str,
    verdict: Verdict,
    change: fn(&mut T),
}

impl<T> Row<T> {
    const fn new(rule: &'static str, verdict: Verdict, change: fn(&mut T)) -> Self {
        Self {
            rule,
            verdict,
            change,
        }
    }

    fn changed(&self, mut good: T) -> T {
        (self.change)(&mut good);
        good
    }
}

/// What a NACK of this resource says; `None` for an ACK.
trait Judged: Message + Default + Clone {
    fn good() -> Self;
    fn nack(&self) -> Option<String>;
    /// A configuration of Envoy's that holds it.
    fn bootstrap(&self) -> BootstrapMessage;
}

fn told(
    answer: &envoy_types::pb::envoy::service::discovery::v3::DiscoveryRequest,
) -> Option<String> {
    answer
        .error_detail
        .is_some()
        .then(|| error(answer).to_owned())
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
    fn good() -> Self {
        clusters::good()
    }

    fn nack(&self) -> Option<String> {
        let mut rig = Rig::configured();
        told(&rig.answer(CDS, "2", vec![wire::any(CDS, self), wire::cluster("two")]))
    }

    fn bootstrap(&self) -> BootstrapMessage {
        of_cluster(self.clone())
    }
}

impl Judged for ClusterLoadAssignment {
    fn good() -> Self {
        endpoints::good()
    }

    fn nack(&self) -> Option<String> {
        let mut rig = Rig::configured();
        told(&rig.answer(EDS, "2", vec![wire::any(EDS, self)]))
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
    fn good() -> Self {
        routes::good()
    }

    fn nack(&self) -> Option<String> {
        let mut rig = Rig::configured();
        told(&rig.answer(RDS, "2", vec![wire::any(RDS, self)]))
    }

    fn bootstrap(&self) -> BootstrapMessage {
        routes::bootstrap(self)
    }
}

/// The lines on which a verdict is not what the row says.
fn differences<T: Judged>(rows: &[Row<T>]) -> Vec<String> {
    let differs = |row: &Row<T>| {
        let nack = row.changed(T::good()).nack();
        let is_right = match (row.verdict, &nack) {
            (Refused(path) | OnlyHere(path, _), Some(text)) => {
                let place = format!("rejected: {path}");
                text.contains(&place)
            }
            (Taken(_) | OnlyEnvoy(_), None) => true,
            _ => false,
        };
        (!is_right).then(|| format!("{}: expected {:?}, got {nack:?}", row.rule, row.verdict))
    };
    rows.iter().filter_map(differs).collect()
}

#[track_caller]
fn all_hold<T: Judged>(rows: &[Row<T>]) {
    assert_eq!(T::good().nack(), None, "without a mistake it is taken");
    let all = differences(rows);
    assert!(all.is_empty(), "\n{}", all.join("\n"));
}

#[test]
fn clusters_are_judged_as_by_envoy() {
    all_hold(&clusters::rows());
}

#[test]
fn endpoints_are_judged_as_by_envoy() {
    all_hold(&endpoints::rows());
}

#[test]
fn routes_are_judged_as_by_envoy() {
    all_hold(&routes::rows());
}

/// The control: a table whose mistakes are left out, or whose places are wrong, is found.
#[test]
fn a_wrong_table_is_found() {
    let harmless = |row: Row<Cluster>| Row {
        change: |_| {},
        ..row
    };
    let refused = |row: &Row<Cluster>| matches!(row.verdict, Refused(_) | OnlyHere(..));
    let rows: Vec<_> = clusters::rows().into_iter().filter(refused).collect();
    let count = rows.len();
    let elsewhere = |row: &Row<Cluster>| Row {
        verdict: Refused("elsewhere"),
        ..*row
    };
    let misplaced: Vec<_> = rows.iter().map(elsewhere).collect();
    assert_eq!(differences(&misplaced).len(), count);
    let harmless: Vec<_> = rows.into_iter().map(harmless).collect();
    assert_eq!(differences(&harmless).len(), count);
}

/// One NACK tells every mistake of a resource, at its place.
#[track_caller]
fn all_at_once<T: Judged>(rows: &[Row<T>], together: &[&str]) {
    let mut resource = T::good();
    let chosen = rows.iter().filter(|row| together.contains(&row.rule));
    let mut places = Vec::new();
    for row in chosen {
        (row.change)(&mut resource);
        let Refused(path) = row.verdict else {
            panic!("{} is not refused", row.rule)
        };
        places.push(path);
    }
    assert_eq!(places.len(), together.len());
    let text = resource.nack().expect("a NACK");
    for place in places {
        assert!(text.contains(place), "{place:?} is not in {text}");
    }
}

#[test]
fn all_mistakes_of_a_resource_are_told_at_once() {
    all_at_once(&clusters::rows(), clusters::TOGETHER);
    all_at_once(&endpoints::rows(), endpoints::TOGETHER);
    all_at_once(&routes::rows(), routes::TOGETHER);
}

/// One that is refused spoils no other of the same response, and what there was before stays.
#[test]
fn a_refused_resource_spoils_no_other() {
    let mut rig = Rig::configured();
    let good = wire::any(EDS, &wire::assignment("two", &[wire::addr(9)]));
    for row in endpoints::rows() {
        let (Refused(_) | OnlyHere(..)) = row.verdict else {
            continue;
        };
        let bad = wire::any(EDS, &row.changed(endpoints::good()));
        rig.answer(EDS, row.rule, vec![bad, good.clone()]);
        assert_eq!(rig.ports("a"), [Some(1)], "{}", row.rule);
        assert_eq!(rig.ports("b"), [Some(9)], "{}", row.rule);
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
    let (takes, text) = envoy(binary, &dir, &T::good().bootstrap());
    if !takes {
        differences.push(format!("the good resource: {text}"));
    }
    for row in rows {
        let (takes, text) = envoy(binary, &dir, &row.changed(T::good()).bootstrap());
        let expected = matches!(row.verdict, Taken(_) | OnlyHere(..));
        if takes != expected {
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
