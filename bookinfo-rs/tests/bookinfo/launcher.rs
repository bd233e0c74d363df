//! The launcher as a process: what it starts, what it prints, and that nothing outlives it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::Output;

use crate::process::{
    ControlPlane, Launcher, Process, bookinfo, configuration, contents, is_good, page, send, shows,
    until,
};

/// The children of a process, with the name that their arguments give.
pub(crate) fn children(parent: u32) -> Vec<(u32, String)> {
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

#[tokio::test]
async fn ctrl_c_leaves_nothing_behind() {
    let launcher = Launcher::start(&[]);
    let children = children(launcher.pid());
    assert_eq!(
        children.len(),
        11,
        "janitor, control plane, eight workloads, ingress: {children:?}"
    );
    assert!(page(&launcher.url).await.contains("Reviews served by:"));
    let folder = launcher.folder.clone();
    let workloads = fs::read_to_string(folder.join("workloads.yaml")).unwrap();
    let addresses: BTreeSet<_> = workloads
        .lines()
        .filter_map(|line| line.strip_prefix("  address: "))
        .collect();
    assert_eq!(addresses.len(), 8, "{addresses:?}");
    assert!(
        addresses
            .iter()
            .all(|address| address.starts_with("127.0.1") && address.len() > "127.0.1.1".len()),
        "{addresses:?}"
    );
    let status = launcher.signal("INT").await;
    assert!(status.success(), "{status}");
    assert!(!folder.exists());
    assert!(!children.iter().any(lives), "{children:?}");
}

#[tokio::test]
async fn not_even_a_sigkill_leaves_anything_behind() {
    let launcher = Launcher::start(&[]);
    let children = children(launcher.pid());
    assert_eq!(children.len(), 11);
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
    let dir = configuration();
    let config = dir.path().to_str().unwrap();
    for uri in ["https://127.0.0.1:1", "127.0.0.1"] {
        let error = refusal(&["--control-plane", uri, "--config", config]);
        assert!(
            error.lines().count() == 1 && error.contains(uri) && error.contains("--control-plane"),
            "{error}"
        );
    }
    fs::remove_file(dir.path().join("gateway.yaml")).unwrap();
    let error = refusal(&["--config", config]);
    assert!(
        error.lines().count() == 1
            && error.contains(config)
            && error.contains("Gateway")
            && error.contains("istio: ingressgateway"),
        "{error}"
    );
    let error = refusal(&["service", "reviews", "--version", "v9"]);
    assert!(
        error.contains("v9") || error.contains("GRPC_XDS_BOOTSTRAP"),
        "{error}"
    );
}

#[test]
fn a_control_plane_that_is_not_there_is_named_with_its_flag() {
    let dir = configuration();
    let before = contents(dir.path());
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let config = dir.path().to_str().unwrap();
    let error = refusal(&["--control-plane", &uri, "--config", config]);
    let last = error.lines().last().unwrap();
    assert!(
        last.starts_with("bookinfo: ") && last.contains(&uri) && last.contains("--control-plane"),
        "{error}"
    );
    // One process tells of the link that it lacks, and not of each attempt.
    let others: Vec<_> = error.lines().filter(|line| *line != last).collect();
    assert!(
        others.len() <= 10 && others.iter().all(|line| line.starts_with("[ingress] ")),
        "{error}"
    );
    assert_eq!(contents(dir.path()), before);
}

#[tokio::test]
async fn the_ingress_serves_the_port_of_the_gateway_whatever_it_listens_on() {
    let dir = configuration();
    let file = dir.path().join("gateway.yaml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("number: 8080", "number: 80")).unwrap();
    let launcher = Launcher::start(&["--config", dir.path().to_str().unwrap()]);
    assert!(!launcher.url.ends_with(":80"));
    assert!(is_good(&page(&launcher.url).await));
}

#[tokio::test]
async fn a_control_plane_that_is_killed_is_started_again_and_services_go_on() {
    let launcher = Launcher::start(&[]);
    let control_plane = || {
        let all = children(launcher.pid());
        all.into_iter()
            .find(|(_, line)| line.starts_with("control-plane"))
    };
    let first = control_plane().unwrap();
    send(first.0, "KILL");
    for _ in 0..30 {
        let page = page(&launcher.url).await;
        assert!(is_good(&page), "{page}");
    }
    let second = until("another control plane", || {
        control_plane().filter(|(pid, _)| *pid != first.0)
    })
    .await;
    let task = Path::new(env!("CARGO_MANIFEST_DIR")).join("tasks/virtual-service-reviews-v3.yaml");
    let text = fs::read_to_string(task).unwrap();
    mesh_istio::apply(&launcher.folder, &text, Path::new("v3.yaml")).unwrap();
    shows(&launcher.url, "reviews-v3").await;
    // What is ours still goes with a launcher that is killed.
    let folder = launcher.folder.clone();
    launcher.signal("KILL").await;
    until("the folder is gone", || (!folder.exists()).then_some(())).await;
    until("the second control plane ends", || {
        (!lives(&second)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_control_plane_that_cannot_be_started_again_ends_the_demo() {
    let mut child = bookinfo(&[]).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut process = Process(child);
    let mut text = String::new();
    while !text.contains("configuration  ") {
        assert_ne!(out.read_line(&mut text).unwrap(), 0, "{text}");
    }
    let folder = text
        .split("configuration  ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    let folder = Path::new(folder.unwrap());
    fs::write(folder.join("broken.yaml"), "kind: [").unwrap();
    let all = children(process.0.id());
    let control_plane = all
        .iter()
        .find(|(_, line)| line.starts_with("control-plane"))
        .unwrap();
    send(control_plane.0, "KILL");
    let status = until("the launcher ends", || process.0.try_wait().unwrap()).await;
    assert_eq!(status.code(), Some(1));
    let mut error = String::new();
    let mut stderr = process.0.stderr.take().unwrap();
    stderr.read_to_string(&mut error).unwrap();
    for part in [
        "the control plane is started again on 127.0.0.1:",
        "signal: 9",
        "attempt 6 of 6",
        "bookinfo: control-plane ended unexpectedly",
        "broken.yaml:1",
    ] {
        assert!(error.contains(part), "{part:?} is missing in {error}");
    }
    assert!(!folder.exists() && !all.iter().any(lives));
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
        assert!(is_good(&page(&launcher.url).await));
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
    shows(&launcher.url, "reviews-v3").await;
    let workloads = dir.path().join("workloads.yaml");
    assert!(workloads.exists());
    assert!(launcher.signal("TERM").await.success());
    assert!(!workloads.exists() && dir.path().join("gateway.yaml").exists());
}
