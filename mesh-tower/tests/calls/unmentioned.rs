//! What is served and not ruled: ports that the inbound listener does not mention, and servers without one.

use std::net::SocketAddr;

use axum::Router;
use mesh_istio::Options;
use mesh_tower::{Mesh, Node};
use mesh_xds::{ResourceType, Resources};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::ads::Scripted;
use crate::support::logs::Logs;
use crate::support::until;

/// Two workloads of one address, of which the first has the port and may not be asked by GET, and none by one more verb.
const RULES: &str = "\
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
spec: { address: 127.0.0.1, ports: { http: PORT }, labels: { app: hi, version: v1 } }
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: hi-v2, namespace: default }
spec: { address: 127.0.0.1, ports: { http: 1 }, labels: { app: hi, version: v2 } }
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: hi, namespace: default }
spec:
  selector: { matchLabels: { version: v1 } }
  action: DENY
  rules: [ { to: [ { operation: { methods: [GET] } } ] } ]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: all, namespace: default }
spec:
  action: DENY
  rules: [ { to: [ { operation: { methods: [VERB] } } ] } ]
";

/// What istiod sends to the servers of a node under these rules.
fn listeners(node: &Node, at: SocketAddr, verb: &str) -> Resources {
    let port = at.port().to_string();
    let rules = RULES.replace("PORT", &port).replace("VERB", verb);
    let options = Options::default().certificates(true);
    let loaded = options.parse([("rules.yaml".into(), rules)]).unwrap();
    Resources {
        listeners: loaded.config.resources(node).listeners,
        ..Resources::default()
    }
}

/// The status of one GET, on a connection of its own.
async fn status(address: SocketAddr) -> String {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: hi\r\nconnection: close\r\n\r\n";
    tcp.write_all(request).await.unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
    answer.get(9..12).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_port_that_is_served_and_not_mentioned_is_warned_of() {
    let logs = Logs::of_all();
    for (name, is_guarded) in [("hello", false), ("hi-v1", true)] {
        // Nothing is said of servers yet: there is no listener that could mention a port.
        let (server, plane) = Scripted::start(Resources::default()).await;
        let node = Node::sidecar(name, "default");
        let builder = Mesh::builder().xds(plane.to_string()).node(node.clone());
        let mesh = builder.build().unwrap();
        let listener = mesh.listen("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr();
        tokio::spawn(listener.serve(Router::new().fallback(|| async { "hi" })));
        let told = || logs.with(&format!("does not mention port {},", address.port()));
        assert_eq!(status(address).await, "200");
        assert_eq!(told(), [""; 0]);

        let push = |verb| {
            let listeners = listeners(&node, address, verb);
            server.push(ResourceType::Listener, |held| *held = listeners);
        };
        push("PUT");
        if is_guarded {
            until("the policy", || async { status(address).await == "403" }).await;
            // The control: nothing is told of a port that is mentioned.
            assert_eq!(told(), [""; 0]);
            continue;
        }
        until("the warning", || async { !told().is_empty() }).await;
        // That is what it warns of: the policy is not enforced. However many connect, it is told once.
        for _ in 0..2 {
            assert_eq!(status(address).await, "200");
        }
        let lines = told();
        assert_eq!(lines.len(), 1, "{lines:?}");
        for part in [
            "WARN mesh_tower",
            "the inbound listener of version \"",
            "sidecar~127.0.0.1~hello.default~default.svc.cluster.local",
            "give the port to a service whose WorkloadEntry or endpoint has this node's address, and run under that name and namespace",
        ] {
            assert!(lines[0].contains(part), "{part:?} is not in {lines:?}");
        }
        // Of another version again.
        push("PATCH");
        until("the next", || async { told().len() > 1 }).await;
        let lines = told();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert_ne!(lines[0], lines[1]);
    }
}

/// Who gave a mesh certificates takes its callers to be proven.
#[cfg(feature = "tls")]
#[tokio::test]
async fn plaintext_for_want_of_rules_is_warned_of_where_there_are_certificates() {
    let logs = Logs::of_all();
    for (has_certificates, level) in [(true, "WARN "), (false, "INFO ")] {
        let (_server, plane) = Scripted::start(Resources::default()).await;
        let folder = tempfile::TempDir::new().unwrap();
        let builder = Mesh::builder().xds(plane.to_string());
        let builder = match has_certificates {
            true => builder.certificates(mesh_tower::Files::new(folder.path())),
            false => builder,
        };
        let mesh = builder.build().unwrap();
        let listener = mesh.listen("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr();
        tokio::spawn(listener.serve(Router::new().fallback(|| async { "hi" })));
        assert_eq!(status(address).await, "200");
        let told = || logs.with(&format!("no inbound listener from {plane}"));
        until("the line", || async { !told().is_empty() }).await;
        let lines = told();
        let line = lines.concat();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(line.starts_with(level), "{line}");
        assert!(line.contains("all of them are served"), "{line}");
        assert!(line.contains(" reason=no inbound listener from"), "{line}");
        assert_eq!(line.contains("--certificates"), has_certificates, "{line}");
    }
}
