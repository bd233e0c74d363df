//! gRPC's dialect of a control plane: each target by its own listener.

use std::time::Duration;

use mesh_control_plane::ControlPlane;
use mesh_tower::{Dialect, Mesh, Variant};

use crate::support::{Backend, Folder, answers, node, until, within_five_sigma};

const BOTH: [Variant; 2] = [Variant::Delta, Variant::StateOfTheWorld];

async fn start(folder: &Folder) -> ControlPlane {
    let any = "127.0.0.1:0".parse().unwrap();
    ControlPlane::start(folder.path(), any).await.unwrap()
}

fn mesh_of(control_plane: &ControlPlane, variant: Variant) -> Mesh {
    Mesh::builder()
        .xds(control_plane.local_addr().to_string())
        .dialect(Dialect::Grpc)
        .variant(variant)
        .node(node())
        .seed(7)
        .build()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_splits_and_follows_edits_in_either_variant() {
    let (v1, v2) = (Backend::start("v1").await, Backend::start("v2").await);
    for variant in BOTH {
        let folder = Folder::reviews("HTTP", &[("v1", v1.address), ("v2", v2.address)]);
        folder.split(&[("v1", 90), ("v2", 10)]);
        let control_plane = start(&folder).await;
        let mesh = mesh_of(&control_plane, variant);
        let client = mesh.client();
        let counts = answers(&client, 1000).await;
        println!("seed 7, {variant:?}: {counts:?}");
        assert!(within_five_sigma(counts["v2"], 1000, 0.1), "{counts:?}");
        folder.split(&[("v2", 1)]);
        until("the edit", || async {
            answers(&client, 20).await.get("v2") == Some(&20)
        })
        .await;
        assert_eq!(mesh.status().rejected, [], "{variant:?}");
        control_plane.shutdown().await;
        assert_eq!(answers(&client, 20).await["v2"], 20, "last good stays");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_spelling_of_a_host_has_a_listener_and_the_same_routes() {
    let v1 = Backend::start("v1").await;
    let folder = Folder::reviews("HTTP", &[("v1", v1.address)]);
    let control_plane = start(&folder).await;
    let client = mesh_of(&control_plane, Variant::Delta).client();
    for host in [
        "reviews",
        "reviews.default",
        "reviews.default.svc.cluster.local",
        "REVIEWS",
    ] {
        let response = client.get(&format!("http://{host}:9080/")).await.unwrap();
        assert_eq!(response.status(), 200, "{host}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vanished_listener_is_explained_and_comes_back() {
    let v1 = Backend::start("v1").await;
    for variant in BOTH {
        let folder = Folder::reviews("HTTP", &[("v1", v1.address)]);
        let service = std::fs::read_to_string(folder.path().join("service.yaml")).unwrap();
        let control_plane = start(&folder).await;
        let client = mesh_of(&control_plane, variant).client();
        assert_eq!(answers(&client, 5).await["v1"], 5);

        folder.write("service.yaml", "# nothing\n");
        // What it leads to may go before it.
        until(&format!("{variant:?}: the listener to vanish"), || async {
            let Err(error) = client.get("http://reviews:9080/").await else {
                return false;
            };
            let text = error.to_string();
            assert!(text.contains("listener \"reviews:9080\""), "{text:?}");
            text.contains("has taken it away")
        })
        .await;

        folder.write("service.yaml", &service);
        until("the listener to return", || async {
            client.get("http://reviews:9080/").await.is_ok()
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_dialect_has_no_word_for_is_refused_with_its_reason() {
    let v1 = Backend::start("v1").await;
    let folder = Folder::reviews("HTTP", &[("v1", v1.address)]);
    let control_plane = start(&folder).await;
    let mesh = mesh_of(&control_plane, Variant::Delta);
    let secure = mesh.client().get("https://reviews:9080/").await;
    let secure = secure.unwrap_err().to_string();
    assert!(secure.contains("no rules for https"), "{secure}");
    let gateway = mesh.gateway(8080).get("http://reviews/").await;
    let gateway = gateway.unwrap_err().to_string();
    assert!(gateway.contains("a gateway's routes"), "{gateway}");
    let strange = mesh.client().get("http://*.default:9080/").await;
    let strange = strange.unwrap_err().to_string();
    assert!(strange.contains("one host"), "{strange}");

    let grpc = || Mesh::builder().dialect(Dialect::Grpc);
    let declared = grpc().xds("127.0.0.1:1").declare(9080).build();
    let declared = declared.unwrap_err().to_string();
    assert!(declared.contains("declare(9080)"), "{declared}");
    let yaml = grpc().yaml(folder.path()).build().unwrap_err().to_string();
    assert!(yaml.contains("dialect of sidecars"), "{yaml}");
}

#[cfg(feature = "grpc")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_asks_for_its_listener_and_is_ready() {
    use crate::support::grpc::{Server, client, note};

    let server = Server::start("v1").await;
    let folder = Folder::reviews("GRPC", &[("v1", server.address)]);
    let control_plane = start(&folder).await;
    let mesh = mesh_of(&control_plane, Variant::Delta);
    mesh.ready(Duration::from_secs(10)).await.unwrap();
    let mut client = client(&mesh);
    mesh.ready(Duration::from_secs(10)).await.unwrap();
    assert!(mesh.generation() > 0, "what a channel is for has come");
    let answer = client.unary(note("hello", 0)).await.unwrap();
    assert_eq!(answer.into_inner(), note("v1 hello", 0));
}

/// An istiod that reads a folder. It is stopped when this goes.
pub(crate) struct Istiod {
    state: tempfile::TempDir,
}

impl Istiod {
    pub(crate) fn start(folder: &Folder) -> Self {
        let this = Self {
            state: tempfile::TempDir::new().unwrap(),
        };
        let started = this.script(["start".as_ref(), folder.path(), "mesh.yaml".as_ref()]);
        assert!(started, "istiod.sh start");
        this
    }

    fn script<const N: usize>(&self, arguments: [&std::path::Path; N]) -> bool {
        let interop = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/interop");
        let mut script = std::process::Command::new("bash");
        script.arg("istiod.sh").args(arguments).arg(self.state());
        script.current_dir(interop).status().unwrap().success()
    }

    /// Where its addresses and its root are.
    pub(crate) fn state(&self) -> std::path::PathBuf {
        self.state.path().join("state")
    }

    fn address(&self) -> String {
        let address = std::fs::read_to_string(self.state().join("xds-address")).unwrap();
        address.trim().to_owned()
    }
}

impl Drop for Istiod {
    fn drop(&mut self) {
        self.script(["stop".as_ref()]);
    }
}

/// By the real istiod, in either variant: what [`a_client_splits_and_follows_edits_in_either_variant`] does.
///
/// `cargo test -p mesh-tower --features yaml --test calls -- --ignored dialect::` (it needs Go or the cached binary, as
/// `examples/interop/README.md` says; `.ci/istiod.sh` runs it)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an istiod; .ci/istiod.sh runs it"]
async fn istiod_serves_its_grpc_dialect() {
    let (v1, v2) = (Backend::start("v1").await, Backend::start("v2").await);
    let folder = Folder::reviews("HTTP", &[("v1", v1.address), ("v2", v2.address)]);
    folder.split(&[("v1", 90), ("v2", 10)]);
    let istiod = Istiod::start(&folder);
    let mesh_in = |variant| {
        let mesh = Mesh::builder().xds(istiod.address()).node(node()).seed(7);
        let mesh = mesh.dialect(Dialect::Grpc).variant(variant);
        mesh.build().unwrap()
    };
    let meshes = BOTH.map(mesh_in);
    for mesh in &meshes {
        let counts = answers(&mesh.client(), 1000).await;
        println!("seed 7: {counts:?}");
        assert!(within_five_sigma(counts["v2"], 1000, 0.1), "{counts:?}");
        let full = "http://reviews.default.svc.cluster.local:9080/";
        assert_eq!(mesh.client().get(full).await.unwrap().status(), 200);
    }
    folder.split(&[("v2", 1)]);
    for mesh in &meshes {
        let client = mesh.client();
        until("the edit", || async {
            answers(&client, 20).await.get("v2") == Some(&20)
        })
        .await;
        assert_eq!(mesh.status().rejected, []);
    }
    std::fs::remove_file(folder.path().join("service.yaml")).unwrap();
    for mesh in &meshes {
        let client = mesh.client();
        until("the listener to vanish", || async {
            client.get("http://reviews:9080/").await.is_err()
        })
        .await;
        let error = client.get("http://reviews:9080/").await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("listener \"reviews:9080\""), "{text}");
    }
}
