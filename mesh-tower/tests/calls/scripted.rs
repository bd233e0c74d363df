//! What our own control plane never does: updates in any order, clusters that demand TLS, bad resources.

use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::TransportSocket;
use envoy_types::util::pack_any;
use mesh_istio::Config;
use mesh_tower::{CallInfo, Mesh, MeshClient, Sent};
use mesh_xds::{ResourceType, Resources};
use prost::Message;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use crate::support::ads::Scripted;
use crate::support::{Backend, Folder, URL, node, until};

fn mesh_of(address: std::net::SocketAddr) -> Mesh {
    Mesh::builder()
        .xds(address.to_string())
        .node(node())
        .seed(7)
        .build()
        .unwrap()
}

fn resources(folder: &Folder) -> Resources {
    Config::load(folder.path())
        .unwrap()
        .config
        .resources(&node())
}

const V1: &str = "outbound|9080|v1|reviews.default.svc.cluster.local";

#[tokio::test]
async fn a_cluster_that_demands_tls_is_never_called_in_plaintext() {
    let v1 = Backend::start("v1").await;
    let folder = Folder::reviews("HTTP", &[("v1", v1.address)]);
    folder.split(&[("v1", 1)]);
    let plain = resources(&folder);
    let (server, address) = Scripted::start(plain.clone()).await;
    let client = mesh_of(address).client();
    client.get(URL).await.unwrap();

    let mut demanding = Cluster::decode(&*plain.clusters[V1].value).unwrap();
    demanding.transport_socket = Some(TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: None,
    });
    server.push(ResourceType::Cluster, |held| {
        held.clusters.insert(V1.to_owned(), pack_any(demanding));
    });
    until("the demand", || async { client.get(URL).await.is_err() }).await;
    let error = client.get(URL).await.unwrap_err();
    assert_eq!((error.flags(), error.sent()), ("UF", Sent::NotSent));
    assert!(
        error
            .to_string()
            .contains("TLS is demanded by the transport socket of cluster"),
        "{error}"
    );
}

#[tokio::test]
async fn a_bad_cluster_is_refused_by_name_and_the_last_good_one_stays() {
    let v1 = Backend::start("v1").await;
    let folder = Folder::reviews("HTTP", &[("v1", v1.address)]);
    folder.split(&[("v1", 1)]);
    let good = resources(&folder);
    let (server, address) = Scripted::start(good.clone()).await;
    let mesh = mesh_of(address);
    let client = mesh.client();
    client.get(URL).await.unwrap();

    server.push(ResourceType::Route, |held| {
        let route = held.routes.get_mut("9080").unwrap();
        route.value.truncate(route.value.len() / 2);
    });
    until("the NACK", || async {
        !server.nacks.lock().unwrap().is_empty()
    })
    .await;
    assert!(
        server.nacks.lock().unwrap()[0].contains("route configuration"),
        "{:?}",
        server.nacks
    );
    assert_eq!(client.get(URL).await.unwrap().status(), 200);
    assert!(!mesh.status().rejected.is_empty());
    server.push(ResourceType::Route, |held| {
        held.routes = good.routes.clone()
    });
    until("the good one", || async {
        mesh.status().rejected.is_empty()
    })
    .await;
}

/// Version `at` of a configuration: its route, cluster and endpoint all tell which it is.
fn version(at: usize, backends: &[Backend]) -> Resources {
    let backend = &backends[at % backends.len()];
    let subset = format!("s{at}");
    let folder = Folder::reviews("HTTP", &[(subset.as_str(), backend.address)]);
    folder.routes(&format!(
        "  - name: r{at}\n    route:\n    - destination: {{ host: reviews, subset: s{at} }}\n"
    ));
    resources(&folder)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn updates_in_any_order_never_show_a_request_two_versions() {
    const SEED: u64 = 0xacdc;
    println!("seed {SEED:#x}");
    let mut rng = StdRng::seed_from_u64(SEED);
    let backends = [
        Backend::start("a").await,
        Backend::start("b").await,
        Backend::start("c").await,
    ];
    let (server, address) = Scripted::start(version(0, &backends)).await;
    let client = mesh_of(address).client().with_call_info();
    assert_eq!(one(&client, &backends).await, 0);

    let mut seen = 0;
    for at in 1..=200 {
        let next = version(at, &backends);
        let mut order = ResourceType::ALL;
        order.shuffle(&mut rng);
        for resource_type in order {
            server.push(resource_type, |held| match resource_type {
                ResourceType::Cluster => held.clusters = next.clusters.clone(),
                ResourceType::Endpoints => held.endpoints = next.endpoints.clone(),
                ResourceType::Route => held.routes = next.routes.clone(),
                ResourceType::Listener => {}
            });
            for _ in 0..rng.random_range(0..4) {
                let now = one(&client, &backends).await;
                assert!(
                    now >= seen && now <= at,
                    "version {now} after {seen} while {at} is on its way"
                );
                seen = now;
            }
        }
        // Half of the updates are given the time to arrive, half are overtaken by the next.
        if rng.random_bool(0.5) {
            until("the update", || async {
                one(&client, &backends).await == at
            })
            .await;
            seen = at;
        }
    }
    until("the last update", || async {
        one(&client, &backends).await == 200
    })
    .await;
}

/// Makes a call and returns the version that it saw, in route, cluster and endpoint alike.
async fn one(client: &MeshClient, backends: &[Backend]) -> usize {
    let response = tokio::time::timeout(Duration::from_secs(20), client.get(URL))
        .await
        .unwrap()
        .unwrap();
    let info = response.extensions().get::<CallInfo>().unwrap().clone();
    let at: usize = info
        .route
        .trim_start_matches('r')
        .split('.')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(
        &*info.cluster,
        format!("outbound|9080|s{at}|reviews.default.svc.cluster.local")
    );
    assert_eq!(info.endpoint, Some(backends[at % backends.len()].address));
    at
}
