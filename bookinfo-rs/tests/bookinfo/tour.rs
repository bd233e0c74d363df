//! The tour as a process: its verdicts, and what it leaves in a folder of somebody else's.

use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};

use crate::process::{ControlPlane, Process, bookinfo, configuration, contents, send, until};

/// A rule of the folder's owner, for a host that no task is about.
const UNRELATED: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: books, namespace: default }
spec:
  hosts: [www.googleapis.com]
  http: [ { route: [ { destination: { host: www.googleapis.com } } ] } ]
";

/// A policy of the folder's owner: hosts that are not known are refused to all.
const NOTHING_UNKNOWN: &str = "apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: { name: mine, namespace: default }
spec: { egress: [ { hosts: ['*/*'] } ], outboundTrafficPolicy: { mode: REGISTRY_ONLY } }
";

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
fn a_tour_whose_expectation_fails_is_red() {
    let dir = configuration();
    let file = dir.path().join("destination-rules.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let wrong = text.replace("version: v3", "version: v2");
    assert_ne!(text, wrong);
    fs::write(&file, wrong).unwrap();
    let config = dir.path().to_str().unwrap();
    let (good, rows) = tour(&["--only", "ab-testing", "--config", config]);
    assert!(!good, "{rows}");
    let passed: Vec<_> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["pass"].as_bool().unwrap())
        .collect();
    assert_eq!(passed, [false, true], "group b is to see v3: {rows}");
}

/// The tasks that take no time of their own.
#[test]
fn each_quick_task_passes_and_its_control_fails_each_check() {
    for (task, checks) in [
        ("fault-abort", 3),
        ("rewrite", 1),
        ("redirect", 1),
        ("direct-response", 1),
        ("mirroring", 2),
        ("egress", 2),
        ("grpc-ratings", 3),
    ] {
        for control in [false, true] {
            let arguments = ["--only", task, "--control"];
            let (good, rows) = tour(&arguments[..if control { 3 } else { 2 }]);
            assert!(good, "{task}: {rows}");
            let rows = rows.as_array().unwrap();
            let passed: Vec<_> = rows.iter().map(|row| &row["pass"]).collect();
            assert_eq!(passed, vec![!control; checks], "{task}");
        }
    }
}

#[test]
fn a_share_that_is_not_there_is_red_and_its_control_is_not_the_baseline() {
    let dir = configuration();
    fs::write(dir.path().join("mine.yaml"), NOTHING_UNKNOWN).unwrap();
    let config = dir.path().to_str().unwrap();
    let arguments = ["--only", "egress", "--config", config, "--control"];
    let (good, rows) = tour(&arguments[..4]);
    assert!(!good, "unknown hosts were refused before the rule: {rows}");
    assert_eq!(
        (&rows[0]["pass"], &rows[1]["pass"]),
        (&false.into(), &true.into())
    );
    let (good, rows) = tour(&arguments);
    assert!(!good, "unknown hosts are refused without the rule: {rows}");
}

#[test]
fn how_soon_edits_are_in_force_is_a_row() {
    let (good, rows) = tour(&["--only", "edits-in-force"]);
    assert!(good, "{rows}");
    assert_eq!(rows.as_array().unwrap().len(), 1);
    let observed = rows[0]["observed"].as_str().unwrap();
    assert!(
        observed.contains("median") && observed.contains("(n 20)"),
        "{observed}"
    );
}

#[test]
fn a_tour_leaves_the_folder_of_a_foreign_control_plane_as_it_was() {
    let dir = configuration();
    fs::write(dir.path().join("mine.yaml"), UNRELATED).unwrap();
    let before = contents(dir.path());
    let control_plane = ControlPlane::start(dir.path(), "127.0.0.1:0");
    let config = dir.path().to_str().unwrap();
    let uri = format!("http://{}", control_plane.address);
    let arguments = ["--only", "ab-testing", "--control-plane", &uri];
    let (good, rows) = tour(&[&arguments[..], &["--config", config]].concat());
    assert!(good, "{rows}");
    assert_eq!(contents(dir.path()), before);
}

#[test]
fn a_rule_of_the_folders_owner_is_neither_overwritten_nor_removed() {
    let dir = configuration();
    let task = Path::new(env!("CARGO_MANIFEST_DIR")).join("tasks/virtual-service-reviews-v1.yaml");
    let rule = fs::read_to_string(task).unwrap();
    fs::write(
        dir.path().join("mine.yaml"),
        format!("{UNRELATED}---\n{rule}"),
    )
    .unwrap();
    let before = contents(dir.path());
    let control_plane = ControlPlane::start(dir.path(), "127.0.0.1:0");
    let config = dir.path().to_str().unwrap();
    for foreign in [true, false] {
        let mut command = bookinfo(&["tour", "--only", "ab-testing", "--config", config]);
        if foreign {
            command.args(["--control-plane", &control_plane.address]);
        }
        let Output { status, stderr, .. } = command.output().unwrap();
        let error = String::from_utf8(stderr).unwrap();
        assert_eq!(status.code(), Some(1), "{error}");
        let last = error.lines().last().unwrap();
        let file = dir.path().join("mine.yaml").display().to_string();
        for part in ["VirtualService default/reviews", &file, "move", "--config"] {
            assert!(last.contains(part), "{part:?} is missing in {error}");
        }
        assert_eq!(contents(dir.path()), before);
    }
}

#[tokio::test]
async fn a_tour_that_is_killed_leaves_nothing_either() {
    let dir = configuration();
    fs::write(dir.path().join("mine.yaml"), UNRELATED).unwrap();
    let before = contents(dir.path());
    let control_plane = ControlPlane::start(dir.path(), "127.0.0.1:0");
    let config = dir.path().to_str().unwrap();
    let arguments = ["tour", "--control-plane", &control_plane.address];
    let mut command = bookinfo(&[&arguments[..], &["--config", config]].concat());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut process = Process(command.spawn().unwrap());
    let rules = dir.path().join("bookinfo-tour.yaml");
    until("the tour applies something", || {
        assert!(process.0.try_wait().unwrap().is_none(), "it ended");
        rules.exists().then_some(())
    })
    .await;
    assert!(dir.path().join("workloads.yaml").exists());
    send(process.0.id(), "KILL");
    process.0.wait().unwrap();
    until("the folder is as it was", || {
        (contents(dir.path()) == before).then_some(())
    })
    .await;
}
