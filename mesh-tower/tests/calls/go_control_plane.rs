//! The same calls under a control plane that stands on go-control-plane, by both variants of xDS.
//!
//! Runs when `MESH_GO_CONTROL_PLANE` names the program of `examples/interop/go-control-plane`.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use mesh_tower::{CallInfo, Mesh, MeshClient, Variant};

use crate::support::{Backend, URL, answers, node, text_of, until, within_five_sigma};

const ANY: &str = "127.0.0.1:0";
const RATINGS: &str = "http://ratings:9080/ratings/0";
const N: usize = 2000;
const SEED: u64 = 7;

/// `MESH_GO_CONTROL_PLANE=$(bash examples/interop/go-control-plane.sh install) cargo test -p mesh-tower --test calls go_control_plane -- --ignored`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Go: MESH_GO_CONTROL_PLANE=$(bash examples/interop/go-control-plane.sh install), then go_control_plane -- --ignored"]
async fn delta_follows_go_control_plane() {
    follows(Variant::Delta).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Go: MESH_GO_CONTROL_PLANE=$(bash examples/interop/go-control-plane.sh install), then go_control_plane -- --ignored"]
async fn the_state_of_the_world_follows_go_control_plane() {
    follows(Variant::StateOfTheWorld).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Go: MESH_GO_CONTROL_PLANE=$(bash examples/interop/go-control-plane.sh install), then go_control_plane -- --ignored"]
async fn an_endpoint_moves_beside_clusters_that_nothing_refers_to() {
    for (variant, ads, is_answered) in [
        (Variant::Delta, true, true),
        (Variant::StateOfTheWorld, false, true),
        // In its ADS mode the cache answers a list of names only if nothing of the snapshot is missing in it. We ask
        // for the endpoints of the clusters that are referred to; so the endpoints wait until all of them are.
        (Variant::StateOfTheWorld, true, false),
    ] {
        let mut scene = Scene::start(variant, ads).await;
        scene.plane.tell("split 80 20");
        assert_eq!(ratings(&scene.client).await, "ratings");
        scene.plane.tell("remove");
        if variant == Variant::StateOfTheWorld {
            until("the smaller list of names", || {
                let seen = scene.plane.tell("seen");
                async move { seen.ends_with("endpoints 1") }
            })
            .await;
        }

        let moved = Backend::start("moved").await;
        scene.plane.tell(&format!("move {}", moved.address));
        if !is_answered {
            assert_eq!(ratings(&scene.client).await, "ratings");
            scene.plane.tell("split 80 20");
        }
        until("the move", || async {
            ratings(&scene.client).await == "moved"
        })
        .await;
        let seen = scene.plane.tell("seen");
        assert!(seen.starts_with("streams 1, nacks 0, "), "{seen}");
        assert_eq!(seen.contains("unanswered 0"), is_answered, "{seen}");
    }
}

async fn follows(variant: Variant) {
    let mut scene = Scene::start(variant, true).await;
    scene.split(80, 20).await;
    let before = scene.share_of_v1().await;
    assert!(
        within_five_sigma(before, N, 0.8),
        "seed {SEED}: {before} of {N}"
    );
    // The control: before the edit it is not the split of after it.
    assert!(
        !within_five_sigma(before, N, 0.2),
        "seed {SEED}: {before} of {N}"
    );

    scene.split(20, 80).await;
    let after = scene.share_of_v1().await;
    assert!(
        within_five_sigma(after, N, 0.2),
        "seed {SEED}: {after} of {N}"
    );

    scene.virtual_host_goes_and_returns().await;
    let seen = scene.plane.tell("seen");
    assert!(seen.starts_with("streams 1, nacks 0, "), "{seen}");
    scene.goes_on_without_it().await;
}

/// The program, what it sends calls to, and a mesh under it.
struct Scene {
    backends: [Backend; 3],
    plane: Plane,
    mesh: Mesh,
    client: MeshClient,
}

impl Scene {
    async fn start(variant: Variant, ads: bool) -> Self {
        let backends = [
            Backend::start("v1").await,
            Backend::start("v2").await,
            Backend::start("ratings").await,
        ];
        let plane = Plane::start(ANY, ads, &backends);
        let mesh = Mesh::builder()
            .xds(format!("http://{}", plane.address))
            .variant(variant)
            .node(node())
            .seed(SEED)
            .build()
            .unwrap();
        Self {
            backends,
            plane,
            client: mesh.client(),
            mesh,
        }
    }

    /// Sets another split and waits until a call took the route that is named after it.
    async fn split(&mut self, v1: u32, v2: u32) {
        self.plane.tell(&format!("split {v1} {v2}"));
        let client = self.client.clone().with_call_info();
        let name = &*format!("split-{v1}-{v2}");
        until(name, || async {
            client.get(URL).await.is_ok_and(|response| {
                let info = response.extensions().get::<CallInfo>().unwrap();
                info.route.starts_with(name)
            })
        })
        .await;
    }

    async fn share_of_v1(&self) -> usize {
        let counts = answers(&self.client, N).await;
        counts.get("v1").copied().unwrap_or_default()
    }

    async fn virtual_host_goes_and_returns(&mut self) {
        self.plane.tell("remove");
        until("the virtual host to be gone", || async {
            self.client
                .get(URL)
                .await
                .is_err_and(|error| error.is_no_route() && error.flags() == "NR")
        })
        .await;
        assert_eq!(ratings(&self.client).await, "ratings");
        self.split(80, 20).await;
        let back = self.share_of_v1().await;
        assert!(
            within_five_sigma(back, N, 0.8),
            "seed {SEED}: {back} of {N}"
        );
    }

    async fn goes_on_without_it(mut self) {
        self.plane.kill();
        until("the loss to be seen", || async {
            !self.mesh.status().connected
        })
        .await;
        let generation = self.mesh.generation();
        let without = self.share_of_v1().await;
        assert!(
            within_five_sigma(without, N, 0.8),
            "seed {SEED}: {without} of {N}"
        );
        assert_eq!(self.mesh.generation(), generation);

        // It has no snapshot until the edit, and its versions begin again.
        self.plane = Plane::start(&self.plane.address, true, &self.backends);
        self.split(0, 100).await;
        assert_eq!(self.share_of_v1().await, 0);
        assert_eq!(ratings(&self.client).await, "ratings");
        assert_eq!(self.mesh.status().rejected, []);
        let seen = self.plane.tell("seen");
        assert!(seen.contains("nacks 0, "), "{seen}");
    }
}

async fn ratings(client: &MeshClient) -> String {
    let (status, text) = text_of(client.get(RATINGS).await.unwrap()).await;
    assert_eq!(status, 200);
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// The running program; it is killed when this is dropped.
struct Plane {
    process: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    address: String,
}

impl Plane {
    fn start(listen: &str, ads: bool, backends: &[Backend]) -> Self {
        let program = std::env::var("MESH_GO_CONTROL_PLANE").expect(
            "MESH_GO_CONTROL_PLANE names the program that examples/interop/go-control-plane.sh builds",
        );
        let mut process = Command::new(&program)
            .args(["-listen", listen, &format!("-ads={ads}")])
            .args(backends.iter().map(|backend| backend.address.to_string()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("MESH_GO_CONTROL_PLANE={program}: {error}"));
        let input = process.stdin.take().unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap()).lines();
        let address = output.next().expect("its address").unwrap();
        Self {
            process,
            input,
            output,
            address,
        }
    }

    /// One command; returns the line that answers it.
    fn tell(&mut self, command: &str) -> String {
        writeln!(self.input, "{command}").unwrap();
        self.output.next().expect("a line").unwrap()
    }

    /// As a crash ends it; once more does nothing.
    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.kill();
    }
}
