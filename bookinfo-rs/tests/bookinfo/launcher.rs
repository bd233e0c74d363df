//! The launcher as a process: what it starts, what it prints, and that nothing outlives it.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Output, Stdio};
use std::time::Instant;

use bookinfo_rs::outside::Outside;
use http::{HeaderMap, StatusCode};

use crate::process::{Launcher, PATIENCE, Process, bookinfo, configuration, send, until};

/// The children of a process, with the name that their arguments give.
fn children(parent: u32) -> Vec<(u32, String)> {
    let pids = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| parent_of(*pid) == Some(parent))
        .map(|pid: u32| (pid, arguments(pid)))
        .collect()
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

fn arguments(pid: u32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line)
        .split('\0')
        .skip(1)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Whether a process with these arguments is still there (and not merely unburied, or another by now).
fn lives((pid, line): &(u32, String)) -> bool {
    arguments(*pid) == *line
}

async fn page(url: &str) -> String {
    let reply = Outside::default()
        .get(&format!("{url}/productpage"), &HeaderMap::new())
        .await
        .unwrap();
    assert_eq!(reply.status, StatusCode::OK);
    reply.text()
}

#[tokio::test]
async fn ctrl_c_leaves_nothing_behind() {
    let launcher = Launcher::start(&[]);
    let children = children(launcher.pid());
    assert_eq!(
        children.len(),
        10,
        "control plane, eight workloads, ingress: {children:?}"
    );
    assert!(page(&launcher.url).await.contains("Reviews served by:"));
    let folder = launcher.folder.clone();
    assert!(folder.join("workloads.yaml").exists());
    let status = launcher.signal("INT").await;
    assert!(status.success(), "{status}");
    assert!(!folder.exists());
    assert!(!children.iter().any(lives), "{children:?}");
}

#[tokio::test]
async fn not_even_a_sigkill_leaves_anything_behind() {
    let launcher = Launcher::start(&[]);
    let children = children(launcher.pid());
    assert_eq!(children.len(), 10);
    let folder = launcher.folder.clone();
    assert!(!launcher.signal("KILL").await.success());
    until("all children end", || {
        (!children.iter().any(lives)).then_some(())
    })
    .await;
    until("the folder is gone", || (!folder.exists()).then_some(())).await;
}

#[tokio::test]
async fn a_child_that_dies_is_named() {
    let mut child = bookinfo(&[]).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut process = Process(child);
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert!(line.contains("Bookinfo is up"), "{line}");
    let all = children(process.0.id());
    let victim = all
        .iter()
        .find(|(_, line)| line.contains("service ratings"))
        .unwrap();
    send(victim.0, "KILL");
    let status = until("the launcher ends", || process.0.try_wait().unwrap()).await;
    assert_eq!(status.code(), Some(1));
    let mut error = String::new();
    process
        .0
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut error)
        .unwrap();
    assert!(
        error.contains("bookinfo: ratings-v1 ended unexpectedly (signal: 9"),
        "{error}"
    );
    assert!(!all.iter().any(lives));
}

/// Runs a launcher that is expected to refuse, and returns its last line.
fn refusal(arguments: &[&str]) -> String {
    let Output {
        status,
        stderr,
        stdout,
    } = bookinfo(arguments).output().unwrap();
    let error = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1), "{error}");
    assert!(stdout.is_empty());
    error.trim_end().to_owned()
}

#[test]
fn what_cannot_be_is_one_sentence_with_the_flag() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let error = refusal(&["--port", &port]);
    assert!(
        error.lines().count() == 1 && error.contains(&port) && error.contains("--port"),
        "{error}"
    );
    let error = refusal(&["--config", "/nonexistent/mesh"]);
    assert!(
        error.lines().count() == 1
            && error.contains("/nonexistent/mesh")
            && error.contains("--config"),
        "{error}"
    );
    let error = refusal(&["--control-plane", "127.0.0.1:1"]);
    assert!(
        error.lines().count() == 1 && error.contains("--config DIR"),
        "{error}"
    );
    let error = refusal(&["service", "reviews", "--version", "v9"]);
    assert!(
        error.contains("v9") || error.contains("GRPC_XDS_BOOTSTRAP"),
        "{error}"
    );
}

#[test]
fn a_wrong_configuration_is_refused_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.yaml"), "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec:\n  nonsense: 1\n").unwrap();
    let error = refusal(&["--config", dir.path().to_str().unwrap()]);
    assert!(
        error.contains("a.yaml:5") && error.contains("nonsense"),
        "{error}"
    );
}

/// A control plane of our own, at a fixed place.
struct ControlPlane {
    process: Process,
    address: String,
    _stdin: Option<ChildStdin>,
}

impl ControlPlane {
    fn start(dir: &Path, listen: &str) -> Self {
        let arguments = [
            "control-plane",
            "--config",
            dir.to_str().unwrap(),
            "--listen",
            listen,
        ];
        let mut child = bookinfo(&arguments)
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let stdin = child.stdin.take();
        let process = Process(child);
        let said: serde_json::Value = serde_json::from_str(&line).unwrap();
        Self {
            process,
            address: said["listening"].as_str().unwrap().to_owned(),
            _stdin: stdin,
        }
    }
}

fn listing(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

/// Plays a tour; whether it succeeded, and its JSON.
fn tour(arguments: &[&str]) -> (bool, serde_json::Value) {
    let out = tempfile::tempdir().unwrap();
    let json = out.path().join("tour.json");
    let mut command = bookinfo(&["tour", "--json", json.to_str().unwrap()]);
    let Output {
        status,
        stdout,
        stderr,
    } = command.args(arguments).output().unwrap();
    let (table, error) = (
        String::from_utf8_lossy(&stdout),
        String::from_utf8_lossy(&stderr),
    );
    assert!(json.exists(), "{table}{error}");
    (
        status.success(),
        serde_json::from_slice(&fs::read(json).unwrap()).unwrap(),
    )
}

#[test]
fn a_task_passes_and_its_control_fails_each_check() {
    let (good, rows) = tour(&["--only", "ab-testing"]);
    assert!(good, "{rows}");
    let (good, control) = tour(&["--only", "ab-testing", "--control"]);
    assert!(good, "{control}");
    for (rows, pass) in [(&rows, true), (&control, false)] {
        let rows = rows.as_array().unwrap();
        assert_eq!(rows.len(), 2);
        for row in rows {
            assert_eq!(
                (&row["task"], &row["pass"]),
                (&"ab-testing".into(), &pass.into())
            );
            let mut fields: Vec<_> = row.as_object().unwrap().keys().collect();
            fields.sort();
            assert_eq!(fields, ["expected", "observed", "pass", "task"]);
        }
    }
}

#[test]
fn a_control_is_red_where_the_baseline_is_not_there() {
    let dir = configuration();
    let task = Path::new(env!("CARGO_MANIFEST_DIR")).join("tasks/virtual-service-reviews-v1.yaml");
    fs::copy(task, dir.path().join("reviews.yaml")).unwrap();
    let (good, rows) = tour(&[
        "--only",
        "ab-testing",
        "--control",
        "--config",
        dir.path().to_str().unwrap(),
    ]);
    assert!(!good, "{rows}");
}

#[test]
fn a_tour_leaves_the_folder_of_a_foreign_control_plane_as_it_was() {
    let dir = configuration();
    let before = listing(dir.path());
    let control_plane = ControlPlane::start(dir.path(), "127.0.0.1:0");
    let dir_name = dir.path().to_str().unwrap();
    let uri = format!("http://{}", control_plane.address);
    let (good, rows) = tour(&[
        "--only",
        "ab-testing",
        "--control-plane",
        &uri,
        "--config",
        dir_name,
    ]);
    assert!(good, "{rows}");
    assert_eq!(listing(dir.path()), before);
}

#[tokio::test]
async fn calls_go_on_without_a_control_plane_and_edits_when_it_is_back() {
    let dir = configuration();
    let mut control_plane = ControlPlane::start(dir.path(), "127.0.0.1:0");
    let address = control_plane.address.clone();
    let launcher = Launcher::start(&[
        "--control-plane",
        &address,
        "--config",
        dir.path().to_str().unwrap(),
    ]);
    control_plane.process.0.kill().unwrap();
    control_plane.process.0.wait().unwrap();
    for _ in 0..30 {
        let page = page(&launcher.url).await;
        assert!(!page.contains("Error fetching") && !page.contains("currently unavailable"));
    }
    let task = Path::new(env!("CARGO_MANIFEST_DIR")).join("tasks/virtual-service-reviews-v3.yaml");
    let text = fs::read_to_string(task).unwrap();
    mesh_istio::apply(
        dir.path(),
        &text,
        Path::new("virtual-service-reviews-v3.yaml"),
    )
    .unwrap();
    let _control_plane = ControlPlane::start(dir.path(), &address);
    let deadline = Instant::now() + PATIENCE;
    let mut streak = 0;
    while streak < 20 {
        streak = if page(&launcher.url).await.contains("reviews-v3") {
            streak + 1
        } else {
            0
        };
        assert!(Instant::now() < deadline, "the edit is not in force");
    }
    let workloads = dir.path().join("workloads.yaml");
    assert!(workloads.exists());
    assert!(launcher.signal("TERM").await.success());
    assert!(!workloads.exists() && dir.path().join("gateway.yaml").exists());
}
