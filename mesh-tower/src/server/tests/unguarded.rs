//! Servers of others that lack the layer.

use std::sync::atomic::Ordering::SeqCst;

use super::scene::{Scene, connect, deny_all, permissive};
use crate::MeshStream;
#[cfg(feature = "axum")]
use crate::PeerIdentity;

/// A server of HTTP/1.1 and HTTP/2 of which the mesh knows nothing.
async fn serve(scene: &Scene) -> std::net::SocketAddr {
    use futures_util::StreamExt;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use hyper_util::server::conn::auto::Builder;
    use hyper_util::service::TowerToHyperService;

    let listener = scene.mesh.listen("127.0.0.1:0").await.unwrap();
    let (address, app) = (listener.local_addr(), scene.app());
    tokio::spawn(async move {
        let mut incoming = listener.incoming();
        while let Some(stream) = incoming.next().await {
            let stream: MeshStream = stream.unwrap();
            let app = TowerToHyperService::new(app.clone());
            tokio::spawn(async move {
                let builder = Builder::new(TokioExecutor::new());
                drop(builder.serve_connection(TokioIo::new(stream), app).await);
            });
        }
    });
    address
}

#[tokio::test]
async fn policies_that_nobody_asks_serve_nothing() {
    let scene = Scene::ruled(&permissive([deny_all()]));
    let address = serve(&scene).await;
    connect(address).await.ask("/", "").await.unwrap_err();
    assert_eq!(
        scene.seen.load(SeqCst),
        0,
        "not a byte of the request is read"
    );

    // Somewhere there is a layer, and it is not asked: the request is served, and nobody gets the answer.
    drop(scene.mesh.inbound());
    connect(address).await.ask("/", "").await.unwrap_err();

    // The control: no policy, nothing to ask.
    scene.publish(&permissive([]));
    assert!(connect(address).await.get("/").await.contains("nobody /"));
}

#[tokio::test]
async fn nor_over_http_2() {
    for (steps, is_served) in [(vec![deny_all()], false), (vec![], true)] {
        let scene = Scene::ruled(&permissive(steps));
        drop(scene.mesh.inbound());
        let tcp = connect(serve(&scene).await).await.0;
        let (mut sender, connection) = h2::client::handshake(tcp).await.unwrap();
        let driving = tokio::spawn(connection);
        let request = http::Request::get("http://reviews/").body(()).unwrap();
        let (response, _) = sender.send_request(request, true).unwrap();
        assert_eq!(response.await.is_ok(), is_served);
        drop(driving);
    }
}

/// A listener of others, whose connections no rule knows.
#[cfg(feature = "axum")]
#[tokio::test]
async fn requests_of_unknown_connections_are_refused() {
    let scene = Scene::ruled(&permissive([]));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = scene.app().layer(scene.mesh.inbound());
    tokio::spawn(axum::serve(listener, app).into_future());
    let refused = connect(address).await.get("/").await;
    assert!(refused.starts_with("http/1.1 500"), "{refused}");
    scene.publish(&super::scene::open());
    assert!(connect(address).await.get("/").await.contains("nobody /"));
}

/// Nothing is known of whom to let in.
#[tokio::test]
async fn requests_of_unknown_connections_are_refused_while_rules_are_waited_for() {
    let scene = Scene::waiting();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = scene.app().layer(scene.mesh.inbound());
    assert!(scene.mesh.shared.listens(), "the rules are asked for");
    tokio::spawn(axum::serve(listener, app).into_future());
    let refused = connect(address).await.get("/").await;
    assert!(refused.starts_with("http/1.1 500"), "{refused}");
}

/// The handler that axum has chosen is the one that policies judge.
#[cfg(feature = "axum")]
#[tokio::test]
async fn a_path_that_axum_has_routed_otherwise_is_refused() {
    use axum::routing::get;

    let scene = Scene::ruled(&permissive([]));
    let listener = scene.mesh.listen("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr();
    let app = axum::Router::new()
        .route("/admin/{*rest}", get(async || "admin"))
        .route("/public", get(async || "public"))
        .layer(scene.mesh.inbound());
    let app = app.into_make_service_with_connect_info::<PeerIdentity>();
    tokio::spawn(axum::serve(listener, app).into_future());
    for (path, says) in [("/admin/x", "admin"), ("/public", "public")] {
        let answered = connect(address).await.get(path).await;
        assert!(answered.ends_with(says), "{answered}");
    }
    for path in ["/admin/../public", "/admin/./x", "/admin//x"] {
        let refused = connect(address).await.get(path).await;
        assert!(refused.starts_with("http/1.1 400"), "{path}: {refused}");
    }
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn with_the_layer_axum_asks() {
    let scene = Scene::ruled(&permissive([deny_all()]));
    let listener = scene.mesh.listen("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr();
    let app = scene.app().layer(scene.mesh.inbound());
    let app = app.into_make_service_with_connect_info::<PeerIdentity>();
    tokio::spawn(axum::serve(listener, app).into_future());
    let denied = connect(address).await.get("/").await;
    assert!(denied.starts_with("http/1.1 403"), "{denied}");
    scene.publish(&permissive([]));
    assert!(
        connect(address)
            .await
            .get("/")
            .await
            .contains("plaintext /")
    );
}

#[cfg(feature = "tonic-server")]
#[tokio::test]
async fn with_the_layer_tonic_asks() {
    let scene = Scene::ruled(&permissive([deny_all()]));
    let listener = scene.mesh.listen("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr();
    let server = tonic::transport::Server::builder()
        .accept_http1(true)
        .layer(scene.mesh.inbound())
        .serve_with_incoming(scene.app(), listener.incoming());
    tokio::spawn(server);
    let denied = connect(address).await.get("/").await;
    assert!(denied.starts_with("http/1.1 403"), "{denied}");
    scene.publish(&permissive([]));
    assert!(
        connect(address)
            .await
            .get("/")
            .await
            .contains("plaintext /")
    );
}
