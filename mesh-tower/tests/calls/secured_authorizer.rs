//! An authorizer that is a workload of the mesh: it is asked over mutual TLS.

use std::net::SocketAddr;
use std::path::Path;

use mesh_tower::Files;
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;

use super::ext_authz::{GRPC, Grpc, SERVICES, Scene, node, resources_of, simple};
use super::mtls::certified;
use crate::support::plane::{Plane, shows};
use crate::support::tls::{Authority, Leaf, workload};

const ASKING: &str = "spiffe://cluster.local/ns/default/sa/asking";
const AUTHORIZER: &str = "spiffe://cluster.local/ns/default/sa/authorizer";
const OTHER: &str = "spiffe://cluster.local/ns/default/sa/other";

fn write(folder: &Path, own: &Leaf, root: &Authority) {
    for (name, text) in [
        ("cert-chain.pem", own.certificate.pem()),
        ("key.pem", own.key.serialize_pem()),
        ("root-cert.pem", root.pem()),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
}

/// A server that asks somebody at this address, who has to be [`AUTHORIZER`]; once it has a certificate.
async fn scene(authorizer: SocketAddr, files: &TempDir) -> Scene {
    let workload = "{ address: 127.0.0.1, serviceAccount: authorizer, ";
    let services = SERVICES.replace("{ address: 127.0.0.1, ", workload);
    assert!(services.contains(workload));
    let resources = resources_of(&node(), &services, GRPC, "", authorizer);
    let files = Files::new(files.path());
    let scene = Scene::of(resources, |builder| builder.certificates(files)).await;
    certified(&scene.mesh).await;
    scene
}

#[tokio::test]
async fn an_authorizer_of_the_mesh_is_asked_over_mutual_tls() {
    let root = Authority::called("the mesh");
    let own = root.issue(&workload(ASKING));
    let files = TempDir::new().unwrap();
    write(files.path(), &own, &root);

    let authorizer = Grpc::new(simple);
    let app = || authorizer.routes().into_axum_router();
    let shown = |id: &str| shows(&root.issue(&workload(id)), Some(&root));
    let plane = Plane::start(shown(AUTHORIZER), app()).await;
    let asks = scene(plane.address, &files).await;
    assert_eq!(asks.get("/yes", &[]).await.0, 200);
    assert_eq!(asks.get("/no", &[]).await.0, 401);
    assert_eq!(authorizer.paths(), ["/yes", "/no"]);
    let clients = plane.seen().clients;
    let ours =
        |client: &Option<CertificateDer<'static>>| client.as_ref() == Some(own.certificate.der());
    assert!(!clients.is_empty() && clients.iter().all(ours));

    // The controls: another workload at its address hears of no request, nor does who takes plaintext.
    let plane = Plane::start(shown(OTHER), app()).await;
    let asks = scene(plane.address, &files).await;
    assert_eq!(asks.get("/yes", &[]).await.0, 403);
    assert!(plane.seen().opened > 0);
    let (plain, address) = Grpc::start(simple).await;
    let asks = scene(address, &files).await;
    assert_eq!(asks.get("/yes", &[]).await.0, 403);
    assert_eq!((authorizer.paths().len(), plain.paths().len()), (2, 0));
}
