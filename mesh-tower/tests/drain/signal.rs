//! A process that is asked to end by a signal. The process is this test binary again, with one test.

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use mesh_tower::Mesh;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::wire::{Client, Gate, Protocol, goes_away, refused, text};

/// Its value is how many milliseconds the child gives to requests that run, or [`UNASKED`].
const CHILD: &str = "MESH_TOWER_TEST_DRAIN_CHILD";
/// The child does not ask for signals.
const UNASKED: &str = "unasked";
const NEVER: u64 = 3_600_000;

/// The child: serves until a signal, and ends as a `main` would.
#[tokio::test]
async fn child() {
    let Ok(within) = std::env::var(CHILD) else {
        return;
    };
    let mesh = Mesh::builder().build().unwrap();
    if within != UNASKED {
        let within = Duration::from_millis(within.parse().unwrap());
        mesh.drain_on_signal_within(within).unwrap();
    }
    let gate = Gate::new();
    let listener = mesh.listen("127.0.0.1:0").await.unwrap();
    println!("\nlistening {}", listener.local_addr());
    let report = async {
        loop {
            gate.entered().await;
            println!("\nentered -");
        }
    };
    // The closed input opens the gate.
    let release = async {
        mesh.draining().await;
        println!("\ndraining -");
        let mut word = String::new();
        let mut input = BufReader::new(tokio::io::stdin());
        input.read_line(&mut word).await.unwrap();
        gate.open.add_permits(10);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        served = listener.serve(gate.app()) => served.unwrap(),
        () = report => {}
        () = release => {}
    }
    println!("\nserved -");
    // Not the harness's end: tokio's thread that reads the input could keep the process.
    std::process::exit(0);
}

struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    address: SocketAddr,
}

impl Process {
    async fn start(within: impl ToString) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "signal::child", "--nocapture"])
            .env(CHILD, within.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = said(&mut lines, "listening ").await.parse().unwrap();
        Self {
            child,
            lines,
            address,
        }
    }

    async fn signal(&self, name: &str) {
        let pid = self.child.id().unwrap().to_string();
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status();
        assert!(sent.await.unwrap().success());
    }

    async fn ended(mut self) -> ExitStatus {
        // Kept until here: a closed input is a word to the child.
        let input = self.child.stdin.take();
        let status = tokio::time::timeout(Duration::from_secs(60), async {
            self.child.wait().await.unwrap()
        })
        .await
        .expect("the child ends");
        drop(input);
        status
    }
}

async fn said(lines: &mut Lines<BufReader<ChildStdout>>, start: &str) -> String {
    while let Some(line) = lines.next_line().await.unwrap() {
        if let Some(rest) = line.strip_prefix(start) {
            return rest.to_owned();
        }
    }
    panic!("the child ended without {start:?}");
}

#[tokio::test]
async fn a_signal_drains_and_the_process_ends_well() {
    for (signal, protocol) in [("TERM", Protocol::Http1), ("INT", Protocol::Http2)] {
        let mut process = Process::start(NEVER).await;
        let mut client = Client::connect(process.address, protocol).await;
        let second = client.second_stream();
        let slow = tokio::spawn(async move { (client.get("/slow").await.unwrap(), client) });
        said(&mut process.lines, "entered").await;
        process.signal(signal).await;
        said(&mut process.lines, "draining").await;
        refused(process.address).await;
        if let Some(second) = second {
            goes_away(second).await;
        }
        assert!(!slow.is_finished(), "the request still runs");
        drop(process.child.stdin.take());
        let (response, client) = slow.await.unwrap();
        assert_eq!(response.status(), 200);
        if protocol == Protocol::Http1 {
            assert_eq!(response.headers()["connection"], "close");
        }
        assert_eq!(text(response).await, "done");
        client.ended.await.unwrap().unwrap();
        said(&mut process.lines, "served").await;
        assert_eq!(process.ended().await.code(), Some(0));
    }
}

#[tokio::test]
async fn an_endless_request_is_cut_in_time() {
    let mut process = Process::start(20).await;
    let mut client = Client::connect(process.address, Protocol::Http1).await;
    let endless = tokio::spawn(async move { client.get("/endless").await });
    said(&mut process.lines, "entered").await;
    process.signal("TERM").await;
    endless.await.unwrap().unwrap_err();
    assert_eq!(process.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_does_not_wait() {
    let mut process = Process::start(NEVER).await;
    let mut client = Client::connect(process.address, Protocol::Http2).await;
    let endless = tokio::spawn(async move { client.get("/endless").await });
    said(&mut process.lines, "entered").await;
    process.signal("TERM").await;
    said(&mut process.lines, "draining").await;
    assert!(!endless.is_finished(), "one signal waits");
    process.signal("TERM").await;
    endless.await.unwrap().unwrap_err();
    assert_eq!(process.ended().await.code(), Some(0));
}

/// The control: a mesh that was not asked leaves signals alone, and they kill.
#[tokio::test]
async fn a_mesh_that_is_not_asked_takes_no_signal() {
    let process = Process::start(UNASKED).await;
    process.signal("TERM").await;
    let status = process.ended().await;
    assert_eq!((status.code(), status.signal()), (None, Some(15)));
}

#[tokio::test]
async fn outside_of_a_runtime_it_says_so() {
    let mesh = Mesh::builder().build().unwrap();
    let error = std::thread::spawn(move || mesh.drain_on_signal().unwrap_err());
    let text = error.join().unwrap().to_string();
    assert!(text.contains("tokio runtime"), "{text}");
}
