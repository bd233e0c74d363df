//! Rules that change under connections that are open.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use mesh_core::server::Inbound;

use super::scene::{
    PAGE, RATINGS, Scene, connect, in_mesh, mtls, permissive, pipeline, rules, secured, strict,
};
use crate::server::connection::{Began, Connection};
use crate::tls::tests::scene::exactly;
use crate::tls::tests::scene::until;

#[tokio::test]
async fn an_edit_to_strict_drains_plaintext_connections() {
    let scene = Scene::ruled(&permissive([]));
    let address = scene.serve().await;
    let mut idle = connect(address).await;
    idle.get("/").await;
    let mut busy = connect(address).await;
    busy.send("/slow", "").await.unwrap();
    let mut page = secured(address, scene.workload(PAGE)).await.unwrap();
    page.get("/").await;
    until("all three are there", || scene.seen.load(SeqCst) >= 3).await;
    scene.publish(&strict());
    idle.ends().await.unwrap();
    // What runs ends well.
    scene.gate.add_permits(1);
    let answer = busy.answer().await.unwrap();
    assert!(answer.starts_with("http/1.1 200"), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    busy.ends().await.unwrap();
    // Whom the new rules take stays.
    assert!(page.get("/").await.contains(PAGE));
}

/// The control of the test above.
#[tokio::test]
async fn an_edit_that_takes_plaintext_drains_nothing() {
    let scene = Scene::ruled(&permissive([]));
    let mut client = connect(scene.serve().await).await;
    client.get("/").await;
    for _ in 0..3 {
        scene.publish(&permissive([]));
        assert!(client.get("/").await.starts_with("http/1.1 200"));
    }
}

#[tokio::test]
async fn whom_new_terms_do_not_take_is_drained() {
    let scene = Scene::ruled(&strict());
    let address = scene.serve().await;
    let mut page = secured(address, scene.workload(PAGE)).await.unwrap();
    let mut ratings = secured(address, scene.workload(RATINGS)).await.unwrap();
    assert!(page.get("/").await.contains(PAGE));
    assert!(ratings.get("/").await.contains(RATINGS));
    scene.publish(&rules([mtls(exactly(PAGE), false, &pipeline([]))]));
    ratings.ends().await.unwrap();
    assert!(page.get("/").await.contains(PAGE));
}

#[tokio::test]
async fn rules_that_are_gone_end_all() {
    let scene = Scene::ruled(&rules([mtls(in_mesh(), false, &pipeline([]))]));
    let address = scene.serve().await;
    let mut page = secured(address, scene.workload(PAGE)).await.unwrap();
    page.get("/").await;
    scene.publish(&Inbound::Closed("the listener is gone".into()));
    page.ends().await.unwrap();
    connect(address).await.ask("/", "").await.unwrap_err();
    assert_eq!(scene.closed("no_rules"), 1);
}

/// A handshake takes a while, and rules may be gone at its end.
#[tokio::test]
async fn nobody_comes_in_while_nothing_is_known() {
    for (inbound, comes_in) in [
        (Inbound::Waiting, false),
        (Inbound::ByAddress(Arc::default()), false),
        (Inbound::Closed("gone".into()), false),
        (Inbound::Open("nobody has rules".into()), true),
        (permissive([]), true),
    ] {
        let scene = Scene::ruled(&permissive([]));
        let door = &scene.mesh.shared.door;
        let began = Began::Plaintext(door.security.inbound("test").unwrap());
        scene.publish(&inbound);
        let address = SocketAddr::from(([127, 0, 0, 1], 9080));
        let entered = Connection::enter(door, address, began);
        assert_eq!(entered.is_ok(), comes_in, "{inbound:?}");
        // And who is inside stays, by the rules of before.
        let Ok(inside) = entered else { continue };
        scene.publish(&Inbound::Waiting);
        assert!(!inside.is_leaving());
    }
}

#[cfg(feature = "axum")]
#[tokio::test(start_paused = true)]
async fn a_server_that_is_not_told_refuses_and_is_cut() {
    use crate::PeerIdentity;

    let scene = Scene::ruled(&permissive([]));
    let listener = scene.mesh.listen("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr();
    let app = scene.app().layer(scene.mesh.inbound());
    let app = app.into_make_service_with_connect_info::<PeerIdentity>();
    tokio::spawn(axum::serve(listener, app).into_future());
    let (mut idle, mut asking) = (connect(address).await, connect(address).await);
    assert!(idle.get("/").await.contains("plaintext"));
    assert!(asking.get("/").await.contains("plaintext"));
    scene.publish(&strict());
    let refused = asking.get("/").await;
    assert!(refused.starts_with("http/1.1 503"), "{refused}");
    assert!(refused.contains("connection: close\r\n"), "{refused}");
    asking.ends().await.unwrap();
    // The time for draining is up: the clock is paused.
    drop(idle.ends().await);
    assert_eq!(scene.seen.load(SeqCst), 2);
}
