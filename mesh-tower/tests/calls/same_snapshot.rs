//! One folder, two ways in: read here, or served by the control plane. The snapshots are the same.

use std::collections::BTreeMap;
use std::time::Instant;

use mesh_control_plane::ControlPlane;
use mesh_core::Snapshot;
use mesh_core::snapshot::TableKey;
use mesh_istio::Config;
use mesh_xds::ads::{self, Control, Machine, Server, Status};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::{mpsc, watch};

use crate::support::{Backend, Folder, node};

const TABLES: [TableKey; 2] = [TableKey::Port(9080), TableKey::Port(80)];

#[tokio::test]
async fn a_folder_gives_the_same_snapshot_with_and_without_a_control_plane() {
    let (v1, v2) = (Backend::start("v1").await, Backend::start("v2").await);
    let folder = Folder::reviews("HTTP", &[("v1", v1.address), ("v2", v2.address)]);
    folder.routes(
        "  - match:\n    - headers: { end-user: { exact: jason } }\n      uri: { prefix: /reviews }\n    route:\n    - destination: { host: reviews, subset: v2 }\n\
         \x20 - route:\n    - destination: { host: reviews, subset: v1 }\n      weight: 90\n    - destination: { host: reviews, subset: missing }\n      weight: 10\n",
    );
    let alone = without_control_plane(&folder);
    let served = with_control_plane(&folder).await;
    assert_eq!(alone, served);
    assert!(
        alone
            .values()
            .any(|target| target.contains("end-user") && target.contains(&v2.address.to_string()))
    );

    folder.split(&[("v1", 1)]);
    assert_ne!(
        without_control_plane(&folder),
        served,
        "the comparison sees a difference"
    );
}

fn without_control_plane(folder: &Folder) -> BTreeMap<String, String> {
    let resources = Config::load(folder.path())
        .unwrap()
        .config
        .resources(&node());
    let mut machine = Machine::new(node(), "folder");
    for table in TABLES {
        machine.want(table);
    }
    machine.replaced(&"1".into(), &resources);
    described(&machine.assemble(Instant::now()).unwrap().snapshot)
}

async fn with_control_plane(folder: &Folder) -> BTreeMap<String, String> {
    let control_plane = ControlPlane::start(folder.path(), "127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let server = Server::parse(&control_plane.local_addr().to_string()).unwrap();
    let machine = Machine::new(node(), "control plane");
    let (want, wanted) = mpsc::unbounded_channel();
    for table in TABLES {
        want.send(table.into()).unwrap();
    }
    let (published, mut snapshots) = mpsc::unbounded_channel();
    let control = Control {
        wanted,
        status: watch::Sender::new(Status::default()),
        lookups: mesh_xds::dns::Lookups::default(),
        csds: Default::default(),
    };
    let publish = move |assembled: mesh_xds::Assembled| drop(published.send(assembled.snapshot));
    let running = tokio::spawn(ads::run(
        server,
        machine,
        control,
        StdRng::seed_from_u64(1),
        publish,
    ));
    loop {
        // The last table is complete when the route to the missing subset has been given up.
        let snapshot = snapshots.recv().await.unwrap();
        let complete = |key| {
            snapshot
                .tables
                .get(&key)
                .is_some_and(|table| table.targets().all(|t| t.waiting_for.is_none()))
        };
        if TABLES.into_iter().all(complete) {
            running.abort();
            return described(&snapshot);
        }
    }
}

/// Every target of every table, in words.
fn described(snapshot: &Snapshot) -> BTreeMap<String, String> {
    let targets = |key: &TableKey| {
        let table = snapshot.tables.get(key);
        table
            .into_iter()
            .flat_map(|table| table.targets())
            .map(|target| {
                (
                    format!("{key} {}", target.host.name()),
                    format!("{target:?}"),
                )
            })
            .collect::<Vec<_>>()
    };
    TABLES.iter().flat_map(targets).collect()
}
