//! Clients of which nobody knows the labels, where policies are chosen by labels.

use mesh_control_plane::Options;
use mesh_xds::{Node, ResourceType};

use super::logs::Logs;
use super::*;

/// Two workloads at the address of every client of this file.
const WORKLOADS: &str = "\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: hi, namespace: default }
spec:
  hosts: [hi.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [ { number: 80, name: http, protocol: HTTP } ]
  workloadSelector: { labels: { app: hi } }
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: hi-v1, namespace: default }
spec: { address: 127.0.0.1, ports: { http: 9001 }, labels: { app: hi, version: v1 } }
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: hi-v2, namespace: default }
spec: { address: 127.0.0.1, ports: { http: 9002 }, labels: { app: hi, version: v2 } }
";

/// A policy of each kind, by labels or for all.
fn policies(selects: bool) -> String {
    let selector = match selects {
        true => "{ matchLabels: { app: hi } }",
        false => "{ matchLabels: {} }",
    };
    format!(
        "apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{ name: hi, namespace: default }}
spec: {{ selector: {selector}, action: DENY, rules: [ {{ to: [ {{ operation: {{ methods: [PUT] }} }} ] }} ] }}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{ name: hi, namespace: default }}
spec: {{ selector: {selector}, mtls: {{ mode: PERMISSIVE }} }}
"
    )
}

/// One that has connected, and was answered.
async fn connected(plane: &ControlPlane, node: &Node) -> Client {
    let mut client = Client::connect(plane.local_addr()).await;
    client.node = Some(node.to_proto());
    client.ask(ResourceType::Cluster, &[]).await;
    client.next(ResourceType::Cluster).await;
    client
}

#[tokio::test]
async fn a_client_that_no_selector_can_select_is_warned_of() {
    let (logs, _guard) = Logs::of_this_thread();
    let dir = tempfile::tempdir().unwrap();
    put(&dir.path().join("workloads.yaml"), WORKLOADS);
    put(&dir.path().join("policies.yaml"), &policies(false));
    let options = Options::default().certificates(true);
    let plane = ControlPlane::start_with(dir.path(), loopback(), options);
    let plane = plane.await.unwrap();
    let told = || logs.with("no WorkloadEntry");
    let stranger: Node = "sidecar~127.0.0.1~hello.default~default.svc.cluster.local"
        .parse()
        .unwrap();
    // The control: what is for all is for it too.
    let stays = connected(&plane, &stranger).await;
    assert_eq!(told(), [""; 0]);

    // Who is connected already is told of with the policies.
    put(&dir.path().join("policies.yaml"), &policies(true));
    let begun = Instant::now();
    while told().is_empty() {
        assert!(begun.elapsed() < LIMIT, "nothing was told");
        tokio::task::yield_now().await;
    }
    let first = told();
    assert_eq!(first.len(), 1, "{first:?}");
    for part in [
        "WARN mesh_control_plane",
        &*stranger.id(),
        "version=2",
        "there is no WorkloadEntry \"hello\" in namespace \"default\", and the node's metadata has no LABELS",
        "no policy with a selector applies to it (AuthorizationPolicy default/hi, PeerAuthentication default/hi)",
        "give it the name and namespace of its WorkloadEntry, or metadata LABELS",
    ] {
        assert!(first[0].contains(part), "{part:?} is not in {first:?}");
    }

    // Named rightly, with labels of its own, or of a namespace without policies.
    for good in [
        Node::sidecar("hi-v1", "default"),
        stranger.clone().with_labels([("app", "hi")]),
        Node::sidecar("hello", "elsewhere"),
    ] {
        connected(&plane, &good).await;
        assert_eq!(told().len(), 1, "{:?}", told());
    }
    connected(&plane, &stranger).await;
    assert_eq!(told().len(), 2, "{:?}", told());
    drop(stays);
}
