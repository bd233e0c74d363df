//! The same calls under a control plane that stands on go-control-plane, by both variants of xDS.
//!
//! Runs when `MESH_GO_CONTROL_PLANE` names the program of `examples/interop/go-control-plane`.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use mesh_tower::{Mesh, MeshClient, Variant};

use crate::support::{Backend, answers, node, text_of, until, within_five_sigma};

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

async fn follows(variant: Variant) {
    let backends = [
        Backend::start("v1").await,
        Backend::start("v2").await,
        Backend::start("ratings").await,
    ];
    let mut plane = Plane::start(ANY, &backends);
    plane.tell("split 80 20");
    let mesh = Mesh::builder()
        .xds(format!("http://{}", plane.address))
        .variant(variant)
        .node(node())
        .seed(SEED)
        .build()
        .unwrap();
    mesh.ready(Duration::from_secs(10)).await.unwrap();
    let client = mesh.client();

    let before = share_of_v1(&client).await;
    assert!(within_five_sigma(before, N, 0.8), "{before} of {N}");
    // The control: the split of after the edit is told from this one.
    assert!(!within_five_sigma(before, N, 0.2), "{before} of {N}");
    edit(&mut plane, &mesh, "split 20 80").await;
    let after = share_of_v1(&client).await;
    assert!(within_five_sigma(after, N, 0.2), "{after} of {N}");

    plane.tell("remove");
    until("the virtual host to be gone", || async {
        client
            .get(crate::support::URL)
            .await
            .is_err_and(|error| error.is_no_route() && error.flags() == "NR")
    })
    .await;
    assert_eq!(ratings(&client).await, "ratings");
    edit(&mut plane, &mesh, "split 80 20").await;
    let back = share_of_v1(&client).await;
    assert!(within_five_sigma(back, N, 0.8), "{back} of {N}");
    assert_eq!(plane.tell("seen"), "opened 1, nacked 0");

    let address = plane.address.clone();
    drop(plane);
    until("the loss to be seen", || async { !mesh.status().connected }).await;
    let generation = mesh.generation();
    let without = share_of_v1(&client).await;
    assert!(within_five_sigma(without, N, 0.8), "{without} of {N}");
    assert_eq!(mesh.generation(), generation);

    // It has no snapshot until the edit, and its versions begin again.
    let mut again = Plane::start(&address, &backends);
    edit(&mut again, &mesh, "split 0 100").await;
    until("the edit after the restart", || async {
        mesh.status().connected && share_of_v1(&client).await == 0
    })
    .await;
    assert_eq!(ratings(&client).await, "ratings");
    assert_eq!(mesh.status().rejected, []);
    assert!(again.tell("seen").ends_with(", nacked 0"));
}

/// Sets another snapshot and waits until it is in force.
async fn edit(plane: &mut Plane, mesh: &Mesh, command: &str) {
    let generation = mesh.generation();
    plane.tell(command);
    until(command, || async { mesh.generation() > generation }).await;
}

async fn share_of_v1(client: &MeshClient) -> usize {
    let counts = answers(client, N).await;
    println!("seed {SEED}: {counts:?}");
    counts.get("v1").copied().unwrap_or_default()
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
    fn start(listen: &str, backends: &[Backend]) -> Self {
        let program = std::env::var("MESH_GO_CONTROL_PLANE").expect(
            "MESH_GO_CONTROL_PLANE names the program that examples/interop/go-control-plane.sh builds",
        );
        let mut process = Command::new(&program)
            .args(["-listen", listen])
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
}

impl Drop for Plane {
    fn drop(&mut self) {
        // Without its own end, as a crash.
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}
