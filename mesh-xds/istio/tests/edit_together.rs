//! Several edits of one folder at once: none gets lost.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::fs::{self, File};
use std::path::Path;
use std::sync::{Barrier, mpsc};
use std::thread;
use std::time::Duration;

use common::*;
use mesh_istio::{Action, Config, apply, delete};

const THREADS: usize = 20;

fn workload(number: usize, address: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{ name: w{number}, namespace: default }}\nspec: {{ address: {address}, labels: {{ app: w{number} }} }}\n"
    )
}

/// All of the threads at once, each with its number.
fn together(work: impl Fn(usize) + Sync) {
    let start = Barrier::new(THREADS);
    thread::scope(|scope| {
        for number in 0..THREADS {
            let (start, work) = (&start, &work);
            scope.spawn(move || {
                start.wait();
                work(number);
            });
        }
    });
}

fn with(dir: &Path, part: &str) -> usize {
    let config = Config::load(dir).unwrap().config;
    config.objects().filter(|o| o.yaml.contains(part)).count()
}

#[test]
fn twenty_objects_of_one_file() {
    let dir = tempfile::tempdir().unwrap();
    let all: Vec<String> = (0..THREADS).map(|n| workload(n, "127.0.12.1")).collect();
    fs::write(dir.path().join("all.yaml"), all.join("---\n")).unwrap();
    together(|number| {
        let text = workload(number, "127.0.12.2");
        let applied = apply(dir.path(), &text, Path::new("stdin")).unwrap();
        assert_eq!(applied[0].action, Action::Configured);
    });
    assert_eq!(with(dir.path(), "127.0.12.2"), THREADS);
    together(|number| {
        if number % 2 == 0 {
            let deleted = delete(dir.path(), &workload(number, ""), Path::new("stdin")).unwrap();
            assert_eq!(deleted[0].action, Action::Deleted);
        } else {
            apply(
                dir.path(),
                &workload(number, "127.0.12.3"),
                Path::new("stdin"),
            )
            .unwrap();
        }
    });
    assert_eq!(with(dir.path(), "127.0.12.3"), THREADS / 2);
    assert_eq!(with(dir.path(), ""), THREADS / 2);
    let names: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(names.len(), 1, "temporary files are left: {names:?}");
}

#[test]
fn new_objects_whose_names_make_one_file() {
    let dir = tempfile::tempdir().unwrap();
    // Two groups with a kind `Gateway` share a file by its name.
    let istio = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: { name: x, namespace: a }\nspec: { servers: [ { port: { number: 80, name: a, protocol: HTTP }, hosts: [a] } ] }\n";
    let api = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: { name: x, namespace: a }\nspec: {}\n";
    together(|number| {
        let text = if number % 2 == 0 { istio } else { api };
        apply(dir.path(), text, Path::new("stdin")).unwrap();
    });
    assert_eq!(with(dir.path(), ""), 2);
}

#[test]
fn an_edit_waits_for_the_lock_of_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("all.yaml");
    fs::write(&file, workload(0, "127.0.12.1")).unwrap();
    let lock = File::open(dir.path()).unwrap();
    lock.lock().unwrap();
    let (done, wait) = mpsc::channel();
    let path = dir.path().to_owned();
    let edit = thread::spawn(move || {
        apply(&path, &workload(1, "127.0.12.1"), Path::new("stdin")).unwrap();
        done.send(()).unwrap();
    });
    // Long enough for an edit that does not wait.
    assert!(wait.recv_timeout(Duration::from_millis(200)).is_err());
    fs::write(&file, REVIEWS).unwrap();
    drop(lock);
    wait.recv_timeout(Duration::from_secs(20)).unwrap();
    edit.join().unwrap();
    assert_eq!(with(dir.path(), ""), 5);
}
