//! How connections are let in.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use mesh_core::server::{Addresses, Inbound};
use tokio::time::Instant;

use super::scene::{
    PAGE, Scene, connect, in_mesh, mtls, node, open, permissive, pipeline, plain, rules, rules_of,
    secured, strict,
};
use crate::security::Security;
use crate::tls::tests::pki::Authority;
use crate::tls::tests::scene::until;
use crate::tls::tests::scene::{BOTH, their_client};

#[tokio::test]
async fn permissive_takes_both_and_tells_them_apart() {
    let scene = Scene::ruled(&permissive([]));
    let address = scene.serve().await;
    let told = connect(address).await.get("/").await;
    assert!(told.contains("\r\n\r\nplaintext /"), "{told}");
    let mut page = secured(address, scene.workload(PAGE)).await.unwrap();
    let told = page.get("/").await;
    assert!(told.contains(&format!("\r\n\r\n{PAGE} /")), "{told}");
}

#[tokio::test]
async fn strict_resets_a_plaintext_caller() {
    let scene = Scene::ruled(&strict());
    let address = scene.serve().await;
    let refused = connect(address).await.ask("/", "").await.unwrap_err();
    assert!(
        matches!(
            refused.kind(),
            ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof
        ),
        "{refused:?}"
    );
    assert_eq!(scene.closed("plaintext_refused"), 1);
    // The same server takes a workload, and the same client is answered where both are taken.
    let told = secured(address, scene.workload(PAGE))
        .await
        .unwrap()
        .get("/")
        .await;
    assert!(told.contains(PAGE), "{told}");
    scene.publish(&permissive([]));
    assert!(connect(address).await.get("/").await.contains("plaintext"));
}

#[tokio::test]
async fn who_proves_nothing_gets_nowhere() {
    let scene = Scene::ruled(&strict());
    let address = scene.serve().await;
    let names = |mut config: rustls::ClientConfig| {
        config.alpn_protocols = vec![b"istio-http/1.1".to_vec(), b"istio".to_vec()];
        config
    };
    let other = Authority::new("other").workload(PAGE);
    let anonymous = their_client(None, BOTH[0]);
    let foreign = their_client(Some(&other), BOTH[0]);
    let abroad = scene
        .root
        .workload("spiffe://elsewhere/ns/default/sa/productpage");
    let abroad = their_client(Some(&abroad), BOTH[0]);
    for config in [anonymous, foreign, abroad] {
        let got = match secured(address, names(config)).await {
            // TLS 1.3 tells a client of its refusal after its handshake.
            Ok(mut client) => client.ask("/", "").await.unwrap_err(),
            Err(error) => error,
        };
        assert_ne!(got.kind(), ErrorKind::TimedOut, "{got}");
    }
    // The client may hear of it before it is counted: handshakes have a thread of their own.
    until("they are counted", || scene.closed("handshake") >= 3).await;
    assert_eq!(scene.seen.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[tokio::test]
async fn tls_without_the_names_of_istio_is_closed_where_plaintext_is_taken() {
    let scene = Scene::ruled(&permissive([]));
    let address = scene.serve().await;
    let mut config = scene.workload(PAGE);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    secured(address, config).await.err().unwrap();
    assert_eq!(scene.closed("tls_refused"), 1);
    // Where plaintext alone is taken, no TLS is.
    scene.publish(&rules([plain(&pipeline([]))]));
    secured(address, scene.workload(PAGE)).await.err().unwrap();
    assert_eq!(scene.closed("tls_refused"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_closed() {
    let scene = Scene::ruled(&permissive([]));
    let address = scene.serve().await;
    let begun = Instant::now();
    let mut silent = connect(address).await;
    silent.ends().await.unwrap();
    let waited = begun.elapsed();
    assert!(
        waited >= Duration::from_secs(10) && waited < Duration::from_secs(11),
        "{waited:?}"
    );
    // One that says nothing and ends is not worth a line.
    assert_eq!(scene.mesh.stats().closed, [("handshake", 1)].into());
}

#[tokio::test]
async fn who_is_silent_holds_up_nobody() {
    let scene = Scene::ruled(&permissive([]));
    let address = scene.serve().await;
    let silent = connect(address).await;
    assert!(connect(address).await.get("/").await.contains("plaintext"));
    drop(silent);
}

#[tokio::test]
async fn a_connection_waits_for_the_first_rules() {
    for (inbound, is_served) in [
        (permissive([]), true),
        (open(), true),
        (strict(), false),
        (Inbound::Closed("the listener was refused".into()), false),
    ] {
        let scene = Scene::waiting();
        let address = scene.serve().await;
        let mut early = connect(address).await;
        early.send("/", "").await.unwrap();
        // It is accepted before anything is known.
        let is_accepted = || scene.mesh.shared.drain.members_now() >= 2;
        until("it is accepted", is_accepted).await;
        scene.publish(&inbound);
        assert_eq!(early.answer().await.is_ok(), is_served, "{inbound:?}");
        assert_eq!(connect(address).await.ask("/", "").await.is_ok(), is_served);
    }
}

#[tokio::test(start_paused = true)]
async fn without_rules_a_connection_is_closed_in_time() {
    let scene = Scene::waiting();
    let address = scene.serve().await;
    let begun = Instant::now();
    connect(address).await.ends().await.unwrap();
    let waited = begun.elapsed();
    assert!(
        waited >= Duration::from_secs(15) && waited < Duration::from_secs(16),
        "{waited:?}"
    );
    assert_eq!(scene.mesh.stats().closed, [("rules_not_known", 1)].into());
}

#[tokio::test]
async fn security_that_is_required_lets_no_plaintext_in() {
    for inbound in [permissive([]), open()] {
        let scene = Scene::with(Security::Required);
        scene.publish(&inbound);
        let address = scene.serve().await;
        connect(address).await.ask("/", "").await.unwrap_err();
        assert_eq!(scene.closed("no_rules"), 1, "{inbound:?}");
    }
    // Who is inside leaves with the rules.
    let scene = Scene::with(Security::Required);
    let address = scene.serve().await;
    let chain = || mtls(in_mesh(), false, &pipeline([]));
    scene.publish(&rules_of(address.port(), [chain()]));
    let mut page = secured(address, scene.workload(PAGE)).await.unwrap();
    assert!(page.get("/").await.starts_with("http/1.1 200"));
    scene.publish(&open());
    let left = page.ask("/", "").await;
    assert!(left.is_err() || left.is_ok_and(|left| left.starts_with("http/1.1 503")));
    assert_eq!(scene.seen.load(SeqCst), 1);
    let scene = Scene::with(Security::Disabled);
    scene.publish(&rules([mtls(in_mesh(), false, &pipeline([]))]));
    let address = scene.serve().await;
    secured(address, scene.workload(PAGE)).await.err().unwrap();
    assert_eq!(scene.closed("no_rules"), 1);
}

/// Of a port that no listener mentions nobody has said how it is to be served.
#[tokio::test]
async fn security_that_is_required_opens_no_port_that_is_not_mentioned() {
    let chain = || mtls(in_mesh(), false, &pipeline([]));
    for (security, is_served) in [(Security::Required, false), (Security::AsConfigured, true)] {
        let scene = Scene::with(security);
        let address = scene.serve().await;
        scene.publish(&strict());
        let page = secured(address, scene.workload(PAGE)).await;
        assert_eq!(page.is_ok(), is_served, "{security:?}");
        assert_eq!(scene.closed("no_rules"), u64::from(!is_served));
        let lacks = scene.mesh.shared.door.lacks();
        let port = format!("does not mention port {},", address.port());
        let id = node().id();
        let parts = [
            &*port,
            &*id,
            "give the port to a service whose WorkloadEntry or endpoint has this node's address, and run under that name and namespace",
        ];
        let is_told = |why: String| parts.iter().all(|part| why.contains(part));
        assert_eq!(lacks.is_some_and(is_told), !is_served);

        // Once it is mentioned it is served, and no longer than that.
        scene.publish(&rules_of(address.port(), [chain()]));
        let mut page = secured(address, scene.workload(PAGE)).await.unwrap();
        assert!(page.get("/").await.starts_with("http/1.1 200"));
        assert_eq!(scene.mesh.shared.door.lacks(), None);
        scene.publish(&strict());
        let left = page.ask("/", "").await;
        let is_left = left.is_err() || left.is_ok_and(|left| left.starts_with("http/1.1 503"));
        assert_eq!(is_left, !is_served, "{security:?}");
    }
}

/// It is by the port for which it stands that rules mention it.
#[tokio::test]
async fn a_listener_that_stands_for_another_port_is_ready_when_that_is_mentioned() {
    const PORT: u16 = 8443;
    for stands_for in [Some(PORT), None] {
        let scene = Scene::with(Security::Required);
        scene.publish(&rules_of(PORT, [mtls(in_mesh(), false, &pipeline([]))]));
        let listener = scene.mesh.listen("127.0.0.1:0").await.unwrap();
        let listener = match stands_for {
            Some(port) => listener.as_gateway_port(port),
            None => listener,
        };
        let address = listener.local_addr();
        tokio::spawn(listener.serve(scene.app()));
        let page = secured(address, scene.workload(PAGE)).await;
        assert_eq!(page.is_ok(), stands_for.is_some());
        let lacks = scene.mesh.shared.door.lacks();
        assert_eq!(lacks.is_none(), stands_for.is_some(), "{lacks:?}");
    }
}

/// Listeners of one mesh that differ by their addresses (gRPC A36).
#[tokio::test]
async fn each_address_is_served_by_its_own_rules() {
    let scene = Scene::waiting();
    let [one, two] = [scene.serve().await, scene.serve().await];
    let publish = |states: [Option<Inbound>; 2]| {
        let mut all = Addresses::default();
        for (bound, state) in [one, two].into_iter().zip(states) {
            match state {
                Some(Inbound::Rules(rules)) => all.serve(bound, rules),
                Some(_) => all.close(bound, "it is gone".into()),
                None => all.wait(bound),
            }
        }
        scene.publish(&Inbound::ByAddress(Arc::new(all)));
    };
    let plain = |at: SocketAddr| rules_of(at.port(), [plain(&pipeline([]))]);
    let mut early = connect(two).await;
    early.send("/", "").await.unwrap();
    publish([Some(plain(one)), None]);
    let mut first = connect(one).await;
    assert!(first.get("/").await.contains("plaintext"));
    assert!(
        scene
            .mesh
            .shared
            .door
            .lacks()
            .is_some_and(|it| it.contains(&two.to_string()))
    );
    // It has waited for its own.
    publish([Some(plain(one)), Some(plain(two))]);
    assert!(early.answer().await.unwrap().contains("plaintext"));
    assert_eq!(scene.mesh.shared.door.lacks(), None);
    publish([Some(open()), Some(plain(two))]);
    first.ask("/", "").await.unwrap_err();
    connect(one).await.ask("/", "").await.unwrap_err();
    assert_eq!(scene.closed("no_rules"), 1);
    assert!(
        early.get("/").await.contains("plaintext"),
        "the other one stays"
    );
}

#[tokio::test]
async fn a_connection_over_tls_ends_with_a_word() {
    let scene = Scene::ruled(&strict());
    let address = scene.serve().await;
    let mut page = secured(address, scene.workload(PAGE)).await.unwrap();
    page.get("/").await;
    scene.mesh.shutdown_within(Duration::from_secs(3600)).await;
    // Without close_notify this is an error.
    page.ends().await.unwrap();
}

#[tokio::test]
async fn connections_that_ended_are_forgotten() {
    let scene = Scene::ruled(&permissive([]));
    let address = scene.serve().await;
    let mut client = connect(address).await;
    client.get("/").await;
    assert_eq!(scene.mesh.shared.door.inside_now(), 1);
    drop(client);
    let is_empty = || scene.mesh.shared.door.inside_now() == 0;
    until("nobody is inside", is_empty).await;
}

/// Over HTTP/2, with Istio's name for it.
#[tokio::test]
async fn http_2_over_tls_is_told_by_its_end() {
    let scene = Scene::ruled(&permissive([]));
    let address = scene.serve().await;
    let mut config = scene.workload(PAGE);
    config.alpn_protocols = [&b"istio-h2"[..], b"istio", b"h2"]
        .map(<[u8]>::to_vec)
        .into();
    let tls = secured(address, config).await.unwrap().0;
    assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (sender, connection) = h2::client::handshake(tls).await.unwrap();
    let driving = tokio::spawn(connection);
    let mut sender = sender.ready().await.unwrap();
    // What a client says of the scheme is not believed, and is no reason to refuse it.
    let request = http::Request::get("http://reviews/").body(()).unwrap();
    let (response, _) = sender.send_request(request, true).unwrap();
    let mut body = response.await.unwrap().into_body();
    let told = body.data().await.unwrap().unwrap();
    assert!(told.starts_with(format!("{PAGE} /").as_bytes()), "{told:?}");
    // An edit by which nobody comes in any more: GOAWAY, and the end.
    scene.publish(&rules([plain(&pipeline([]))]));
    driving.await.unwrap().unwrap();
}

/// The mesh believes these, and shows a new certificate.
fn believes(scene: &Scene, roots: &[&Authority]) {
    let ours = scene
        .root
        .workload("spiffe://cluster.local/ns/default/sa/reviews");
    let material = ours.material(roots);
    scene.mesh.shared.door.store.offer(&material).unwrap();
}

#[tokio::test]
async fn who_is_not_believed_any_more_has_to_go() {
    let scene = Scene::ruled(&strict());
    let second = Authority::new("second");
    believes(&scene, &[&scene.root, &second]);
    let address = scene.serve().await;
    let mut ours = secured(address, scene.workload(PAGE)).await.unwrap();
    let leaf = second.workload(PAGE);
    let mut config = their_client(Some(&leaf), BOTH[0]);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut theirs = secured(address, config).await.unwrap();
    assert!(theirs.get("/").await.contains(PAGE));
    believes(&scene, &[&scene.root]);
    // Nothing that is on its way is lost: it is served, and told to come anew.
    let told = async {
        loop {
            let answer = theirs.get("/").await;
            assert!(answer.starts_with("http/1.1 200"), "{answer}");
            if answer.contains("connection: close\r\n") {
                return theirs.ends().await;
            }
        }
    };
    let told = tokio::time::timeout(Duration::from_secs(20), told).await;
    told.expect("it is told").unwrap();
    let answer = ours.get("/").await;
    assert!(answer.contains(PAGE) && !answer.contains("connection: close"));
}
