//! The same calls by a control plane: its restarts, its absence, its updates under load.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use mesh_control_plane::ControlPlane;
use mesh_tower::{Mesh, MeshClient, Variant};

use crate::support::{Backend, Closed, Folder, URL, answers, node, until, within_five_sigma};

const ANY: &str = "127.0.0.1:0";

async fn start(folder: &Folder, listen: SocketAddr) -> ControlPlane {
    ControlPlane::start(folder.path(), listen).await.unwrap()
}

fn mesh_of(address: SocketAddr) -> Mesh {
    Mesh::builder()
        .xds(format!("http://{address}"))
        .node(node())
        .seed(7)
        .build()
        .unwrap()
}

async fn serves(client: &MeshClient, name: &str) -> bool {
    match client.get(URL).await {
        Ok(response) => response.into_body().text().await.unwrap().starts_with(name),
        Err(_) => false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_splits_as_a_folder_does() {
    let (v1, v2) = (Backend::start("v1").await, Backend::start("v2").await);
    let folder = Folder::reviews("HTTP", &[("v1", v1.address), ("v2", v2.address)]);
    folder.split(&[("v1", 90), ("v2", 10)]);
    let control_plane = start(&folder, ANY.parse().unwrap()).await;
    let mesh = mesh_of(control_plane.local_addr());
    mesh.ready(Duration::from_secs(10)).await.unwrap();
    let counts = answers(&mesh.client(), 1000).await;
    println!("seed 7: {counts:?}");
    assert!(within_five_sigma(counts["v2"], 1000, 0.1), "{counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn losing_the_control_plane_changes_nothing_and_its_return_goes_on() {
    let (v1, v2) = (Backend::start("v1").await, Backend::start("v2").await);
    let folder = Folder::reviews("HTTP", &[("v1", v1.address), ("v2", v2.address)]);
    folder.split(&[("v1", 1)]);
    let control_plane = start(&folder, ANY.parse().unwrap()).await;
    let address = control_plane.local_addr();
    let mesh = mesh_of(address);
    let client = mesh.client();
    assert_eq!(answers(&client, 20).await["v1"], 20);

    control_plane.shutdown().await;
    until("the loss to be seen", || async { !mesh.status().connected }).await;
    let generation = mesh.generation();
    assert_eq!(answers(&client, 50).await["v1"], 50);
    assert_eq!(mesh.generation(), generation);

    folder.split(&[("v2", 1)]);
    let _again = start(&folder, address).await;
    until("the edit made meanwhile", || serves(&client, "v2")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_stands_in_for_one_that_is_away_in_either_variant() {
    let (v1, v2) = (Backend::start("v1").await, Backend::start("v2").await);
    let folder = Folder::reviews("HTTP", &[("v1", v1.address), ("v2", v2.address)]);
    folder.split(&[("v1", 1)]);
    let second = start(&folder, ANY.parse().unwrap()).await;
    for variant in [Variant::Delta, Variant::StateOfTheWorld] {
        let preferred = Folder::reviews("HTTP", &[("v1", v1.address), ("v2", v2.address)]);
        preferred.split(&[("v2", 1)]);
        let closed = Closed::new();
        let away = closed.address;
        let mesh = Mesh::builder()
            .xds(format!("http://{away}"))
            .fallback(second.local_addr().to_string())
            .variant(variant)
            .node(node())
            .seed(7)
            .build()
            .unwrap();
        let client = mesh.client();
        assert_eq!(answers(&client, 20).await["v1"], 20, "{variant:?}");
        assert!(
            mesh.status()
                .server
                .contains(&second.local_addr().port().to_string())
        );

        drop(closed);
        let _first = start(&preferred, away).await;
        until("the preferred one", || serves(&client, "v2")).await;
        until("it to be told", || async {
            mesh.status().server.contains(&away.port().to_string())
        })
        .await;
    }
    let error = Mesh::builder().xds("127.0.0.1:1").fallback("ftp://b:1");
    let error = error.build().unwrap_err().to_string();
    assert!(error.contains("ftp://b:1"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_starts_first_waits_for_its_control_plane() {
    let v1 = Backend::start("v1").await;
    let folder = Folder::reviews("HTTP", &[("v1", v1.address)]);
    let closed = Closed::new();
    let address = closed.address;
    let mesh = mesh_of(address);
    let early = tokio::spawn({
        let client = mesh.client();
        async move { client.get(URL).await.map(|response| response.status()) }
    });
    until("the first failed connection", || async {
        mesh.status().last_error.is_some()
    })
    .await;
    assert!(!early.is_finished(), "the call waits");
    drop(closed);
    let _control_plane = start(&folder, address).await;
    assert_eq!(early.await.unwrap().unwrap(), 200);
}

#[tokio::test]
async fn a_call_that_waited_in_vain_names_node_resource_server_and_error() {
    let closed = Closed::new();
    let address = closed.address;
    let mesh = mesh_of(address);
    until("the first failed connection", || async {
        mesh.status().last_error.is_some()
    })
    .await;
    tokio::time::pause();
    let text = mesh.client().get(URL).await.unwrap_err().to_string();
    for part in [
        "503 NFCF",
        "reviews:9080",
        "\"9080\" (RDS)",
        &address.to_string(),
        "sidecar~127.0.0.1~productpage-v1.default",
        "refused",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_edits_under_load_fail_no_request() {
    let (v1, v2) = (Backend::start("v1").await, Backend::start("v2").await);
    let folder = Folder::reviews("HTTP", &[("v1", v1.address), ("v2", v2.address)]);
    folder.split(&[("v1", 1)]);
    let control_plane = start(&folder, ANY.parse().unwrap()).await;
    let client = mesh_of(control_plane.local_addr()).client();
    assert!(serves(&client, "v1").await);

    let stop = Arc::new(AtomicBool::new(false));
    let sent = Arc::new(AtomicUsize::new(0));
    let load = tokio::spawn(load_500_per_second(
        client.clone(),
        Arc::clone(&stop),
        Arc::clone(&sent),
    ));
    for edit in 0..100 {
        let wanted = if edit % 2 == 0 { "v2" } else { "v1" };
        folder.split(&[(wanted, 1)]);
        until("an edit", || serves(&client, wanted)).await;
    }
    stop.store(true, SeqCst);
    let failed = load.await.unwrap();
    println!("{} requests beside 100 edits", sent.load(SeqCst));
    assert!(failed.is_empty(), "{failed:?}");
    assert!(sent.load(SeqCst) >= 500, "the load was real");
}

/// Open loop; returns the errors.
async fn load_500_per_second(
    client: MeshClient,
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
) -> Vec<String> {
    let mut tick = tokio::time::interval(Duration::from_millis(2));
    let mut calls = tokio::task::JoinSet::new();
    while !stop.load(SeqCst) {
        tick.tick().await;
        sent.fetch_add(1, SeqCst);
        let client = client.clone();
        calls.spawn(async move {
            match client.get(URL).await {
                Ok(response) if response.status().is_success() => response
                    .into_body()
                    .text()
                    .await
                    .err()
                    .map(|error| error.to_string()),
                Ok(response) => Some(response.status().to_string()),
                Err(error) => Some(error.to_string()),
            }
        });
    }
    calls.join_all().await.into_iter().flatten().collect()
}
