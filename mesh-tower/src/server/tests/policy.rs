//! What becomes of requests.

use std::sync::atomic::Ordering::SeqCst;

use mesh_core::authz::{Action, Operation, Permission, Principal, Source};
use mesh_core::matcher::StringMatcher;
use mesh_core::server::Step;

use super::scene::{PAGE, RATINGS, Scene, connect, deny_all, permissive, rbac, secured};
use crate::tls::tests::scene::until;

fn exact(text: &str) -> StringMatcher {
    StringMatcher::Exact(text.as_bytes().into())
}

#[tokio::test]
async fn the_next_request_of_a_connection_follows_a_new_policy() {
    let scene = Scene::ruled(&permissive([]));
    let mut client = connect(scene.serve().await).await;
    assert!(client.get("/").await.starts_with("http/1.1 200"));
    scene.publish(&permissive([deny_all()]));
    let denied = client.get("/").await;
    assert!(denied.starts_with("http/1.1 403 forbidden\r\n"), "{denied}");
    assert!(denied.contains("content-type: text/plain\r\n"), "{denied}");
    assert!(denied.ends_with("\r\n\r\nRBAC: access denied"), "{denied}");
    assert!(!denied.contains("connection: close"), "{denied}");
    assert_eq!(scene.seen.load(SeqCst), 1);
    scene.publish(&permissive([]));
    assert!(client.get("/").await.starts_with("http/1.1 200"));
}

#[tokio::test]
async fn grpc_is_denied_in_its_own_words() {
    let scene = Scene::ruled(&permissive([deny_all()]));
    let mut client = connect(scene.serve().await).await;
    let grpc = "content-type: application/grpc\r\n";
    let denied = client.ask("/", grpc).await.unwrap();
    assert!(denied.starts_with("http/1.1 200 ok\r\n"), "{denied}");
    assert!(denied.contains("grpc-status: 7\r\n"), "{denied}");
    assert!(
        denied.contains("grpc-message: rbac: access denied\r\n"),
        "{denied}"
    );
    assert_eq!(scene.seen.load(SeqCst), 0);
}

#[tokio::test]
async fn a_filter_that_is_not_served_denies() {
    let scene = Scene::ruled(&permissive([Step::Deny("envoy.filters.http.lua".into())]));
    let mut client = connect(scene.serve().await).await;
    let denied = client.get("/").await;
    assert!(denied.starts_with("http/1.1 403"), "{denied}");
    assert!(
        !denied.contains("lua"),
        "a client learns no names: {denied}"
    );
}

#[tokio::test]
async fn only_the_named_principal_passes() {
    let page = Principal::Is(Source::Authenticated(Some(exact(PAGE))));
    let allow = rbac(Action::Allow, Permission::Any, page);
    let scene = Scene::ruled(&permissive([allow]));
    let address = scene.serve().await;
    let mut page = secured(address, scene.workload(PAGE)).await.unwrap();
    let mut ratings = secured(address, scene.workload(RATINGS)).await.unwrap();
    assert!(page.get("/").await.starts_with("http/1.1 200"));
    assert!(ratings.get("/").await.starts_with("http/1.1 403"));
    assert!(
        connect(address)
            .await
            .get("/")
            .await
            .starts_with("http/1.1 403")
    );
    // The control: without the policy all three pass.
    scene.publish(&permissive([]));
    assert!(ratings.get("/").await.starts_with("http/1.1 200"));
}

/// Istio's labels of who calls; without the certificate they say nothing.
#[tokio::test]
async fn metrics_tell_whom_a_certificate_has_proven() {
    let scene = Scene::ruled(&permissive([]));
    let address = scene.serve().await;
    let mut page = secured(address, scene.workload(PAGE)).await.unwrap();
    page.get("/").await;
    page.get("/").await;
    connect(address).await.get("/").await;
    let count = |security: &str, principal: &str| {
        let text = scene.mesh.prometheus();
        let mut lines = text
            .lines()
            .filter(|line| line.starts_with("istio_requests_total{"))
            .filter(|line| line.contains(&format!("connection_security_policy=\"{security}\"")))
            .filter(|line| line.contains(&format!("source_principal=\"{principal}\"")));
        let value = lines.next()?.rsplit_once(' ')?.1.parse().ok()?;
        lines.next().is_none().then_some(value)
    };
    // A call is counted when its answer has left.
    let are_counted =
        || count("mutual_tls", PAGE) == Some(2) && count("none", "unknown") == Some(1);
    until("all three are counted", are_counted).await;
    assert_eq!(count("mutual_tls", RATINGS), None::<u32>);
}

/// What is judged is what the application gets.
#[tokio::test]
async fn the_path_that_is_judged_is_the_one_that_is_served() {
    let path = Permission::Is(Operation::UrlPath(exact("/admin")));
    let scene = Scene::ruled(&permissive([rbac(Action::Deny, path, Principal::Any)]));
    let mut client = connect(scene.serve().await).await;
    for path in ["/admin", "//admin", "/x/../admin", "/./admin?x", "/%61dmin"] {
        let denied = client.get(path).await;
        assert!(denied.starts_with("http/1.1 403"), "{path}: {denied}");
    }
    let told = client.get("/x/..//other").await;
    assert!(told.contains("plaintext /other\n"), "{told}");
}

#[tokio::test]
async fn a_head_with_two_meanings_is_refused() {
    let scene = Scene::ruled(&permissive([]));
    let mut client = connect(scene.serve().await).await;
    let refused = client.ask("/", "host: other\r\n").await.unwrap();
    assert!(refused.starts_with("http/1.1 400"), "{refused}");
    let refused = client.ask("http://other/", "").await.unwrap();
    assert!(refused.starts_with("http/1.1 400"), "{refused}");
    assert_eq!(scene.seen.load(SeqCst), 0);
    client.get("/").await;
    assert_eq!(scene.seen.load(SeqCst), 1);
}

const SPOOFED: &str = "x-forwarded-client-cert: By=me;URI=spiffe://cluster.local/ns/default/sa/admin\r\n\
    x-envoy-original-path: /public\r\n\
    x-envoy-peer-metadata-id: sidecar~1.2.3.4\r\n\
    x-envoy-internal: true\r\n\
    x-request-id: 7\r\n";

#[tokio::test]
async fn spoofed_headers_do_not_arrive() {
    let scene = Scene::ruled(&permissive([]));
    let address = scene.serve().await;
    let told = connect(address).await.ask("/", SPOOFED).await.unwrap();
    let (_, told) = told.split_once("\r\n\r\n").unwrap();
    assert_eq!(told, "plaintext /\nx-request-id: 7\n");

    // A workload may say what its own proxy did; its certificate is told beside what it forwards.
    let mut page = secured(address, scene.workload(PAGE)).await.unwrap();
    let told = page.ask("/", SPOOFED).await.unwrap();
    let (_, told) = told.split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<&str> = told.lines().skip(1).collect();
    lines.sort_unstable();
    let [path, cert, id] = *lines else {
        panic!("{told}");
    };
    assert_eq!(path, "x-envoy-original-path: /public");
    assert_eq!(id, "x-request-id: 7");
    let (theirs, ours) = cert.split_once(',').unwrap();
    assert!(theirs.ends_with("/sa/admin"), "{cert}");
    let reviews = "By=spiffe://cluster.local/ns/default/sa/reviews;Hash=";
    assert!(ours.starts_with(reviews), "{cert}");
    assert!(
        ours.ends_with(&format!(";Subject=\"\";URI={PAGE}")),
        "{cert}"
    );

    // The control: without rules all of it arrives.
    scene.publish(&super::scene::open());
    let told = connect(address).await.ask("/", SPOOFED).await.unwrap();
    assert!(
        told.contains("x-envoy-internal: true") && told.contains("By=me"),
        "{told}"
    );
}

#[tokio::test]
async fn a_request_that_passes_costs_no_allocation() {
    use crate::server::connection::{Began, Connection};
    use crate::server::guard::Guard;

    let page = Principal::Is(Source::Authenticated(Some(exact(PAGE))));
    let denied = rbac(Action::Deny, Permission::Any, page);
    let scene = Scene::ruled(&permissive([denied]));
    let door = &scene.mesh.shared.door;
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 9080));
    let permit = door.security.inbound("test").unwrap();
    let connection = Connection::enter(door, address, Began::Plaintext(permit)).unwrap();
    let asked = |path: &str| {
        let mut request = http::Request::get(path)
            .header("host", "reviews")
            .body(())
            .unwrap();
        let peer = crate::PeerIdentity {
            address,
            connection: std::sync::Arc::clone(&connection),
        };
        request.extensions_mut().insert(peer.clone());
        let mut passed = None;
        let allocated = allocation_counter::measure(|| {
            let guard = Guard::of(&mut request, Some(&peer), door);
            passed = Some(guard.pass(request, Some(&peer)).is_ok());
        });
        assert_eq!(passed, Some(true), "{path}");
        allocated.count_total
    };
    asked("/");
    assert_eq!(asked("/reviews/0?x=1"), 0);
    assert!(asked("//reviews/0") > 0, "the counter counts");
}
