//! Reading a folder: what is no file of ours, and files that move while they are read.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use common::*;
use mesh_istio::{Config, Loaded, Rejected, Severity, apply};

/// Longer than any machine takes.
const DEADLINE: Duration = Duration::from_secs(20);

/// On another thread: a reading that waits for ever is a failure, not a test without end.
fn load_in_time(dir: &Path) -> Result<Loaded, Rejected> {
    let (done, wait) = mpsc::channel();
    let dir = dir.to_owned();
    thread::spawn(move || done.send(Config::load(&dir)));
    wait.recv_timeout(DEADLINE).expect("an end of the reading")
}

fn reviews() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("all.yaml"), REVIEWS).unwrap();
    dir
}

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn what_is_no_regular_file_is_passed_over_with_a_note() {
    let dir = reviews();
    let path = |name: &str| dir.path().join(name);
    pipe(&path("a-pipe.yaml"));
    symlink("/dev/zero", path("b-zero.yaml")).unwrap();
    symlink("gone.yaml.old", path("c-gone.yaml")).unwrap();
    symlink(dir.path(), path("d-folder.yaml")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(path("e-socket.yml")).unwrap();
    // A link to a file is a file.
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(
        elsewhere.path().join("r"),
        REVIEWS.replace("reviews", "ratings"),
    )
    .unwrap();
    symlink(elsewhere.path().join("r"), path("f-link.yaml")).unwrap();

    let loaded = load_in_time(dir.path()).unwrap();
    assert_eq!(loaded.config.objects().count(), 8);
    let told: Vec<(PathBuf, &str)> = loaded
        .notes
        .iter()
        .filter(|n| n.severity == Severity::NotSupported)
        .map(|n| (n.file.clone(), n.message.as_str()))
        .collect();
    let this_is = |name: &str, what: &str| {
        (
            path(name),
            format!("this is {what}; only regular files are read, it is passed over"),
        )
    };
    let expected = [
        this_is("a-pipe.yaml", "a named pipe"),
        this_is("b-zero.yaml", "a device"),
        this_is("c-gone.yaml", "a link to gone.yaml.old, where no file is"),
        this_is("d-folder.yaml", "a link to a folder"),
        this_is("e-socket.yml", "a socket"),
    ];
    assert_eq!(
        told,
        expected.each_ref().map(|(p, m)| (p.clone(), m.as_str()))
    );
}

#[test]
fn an_edit_does_not_write_into_a_pipe() {
    let dir = tempfile::tempdir().unwrap();
    pipe(&dir.path().join("workloadentry-default-reviews-v1.yaml"));
    let (done, wait) = mpsc::channel();
    let path = dir.path().to_owned();
    thread::spawn(move || {
        let v1 = REVIEWS.split("---\n").nth(1).unwrap();
        done.send(apply(&path, v1, Path::new("stdin")))
    });
    let told = wait.recv_timeout(DEADLINE).expect("an end of the edit");
    let told = told.unwrap_err().to_string();
    assert!(
        told.contains("v1.yaml: error: cannot be written: it is no regular file"),
        "{told}"
    );
}

#[test]
fn a_file_that_is_too_long() {
    let dir = reviews();
    let file = fs::File::create(dir.path().join("long.yaml")).unwrap();
    file.set_len((64 << 20) + 1).unwrap();
    let told = load_in_time(dir.path()).unwrap_err().to_string();
    let expected = "long.yaml: error: cannot be read: it has 67108865 bytes; files of more than 67108864 (64 MiB) are refused";
    assert!(told.ends_with(expected), "{told}");
}

#[test]
fn the_first_byte_that_is_no_text() {
    let dir = reviews();
    fs::write(dir.path().join("latin.yaml"), b"# one\n# \xc3\xa4: \xe4\n").unwrap();
    let told = Config::load(dir.path()).unwrap_err().to_string();
    let expected = "latin.yaml:2:6: error: the byte 0xE4 is not UTF-8; save the file as UTF-8";
    assert!(told.ends_with(expected), "{told}");
}

/// Renames a file of many to and fro until it is told to stop.
fn renaming<T>(dir: &Path, pause: bool, work: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    let (a, b) = (dir.join("a-moves.yaml"), dir.join("z-moves.yaml"));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                fs::rename(&a, &b).unwrap();
                fs::rename(&b, &a).unwrap();
                if pause {
                    // A moment without a rename, longer than a listing takes.
                    let rest = Instant::now();
                    while rest.elapsed() < Duration::from_millis(40) {
                        thread::yield_now();
                    }
                }
            }
        });
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        stop.store(true, Ordering::SeqCst);
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn two_hundred() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for number in 0..200 {
        fs::write(dir.path().join(format!("m{number}.yaml")), "# nothing\n").unwrap();
    }
    fs::write(dir.path().join("a-moves.yaml"), REVIEWS).unwrap();
    dir
}

#[test]
fn a_file_that_is_renamed_is_never_missing() {
    let dir = two_hundred();
    let started = Instant::now();
    renaming(dir.path(), false, || {
        while started.elapsed() < Duration::from_secs(3) {
            match Config::load(dir.path()) {
                Ok(loaded) => assert_eq!(loaded.config.objects().count(), 4),
                // No rest to be had is the one excuse.
                Err(told) => assert!(told.to_string().contains("faster than"), "{told}"),
            }
        }
    });
    assert_eq!(
        Config::load(dir.path()).unwrap().config.objects().count(),
        4
    );
}

#[test]
fn renames_with_pauses_are_no_excuse() {
    let dir = two_hundred();
    renaming(dir.path(), true, || {
        for _ in 0..30 {
            let loaded = Config::load(dir.path()).unwrap();
            assert_eq!(loaded.config.objects().count(), 4);
        }
    });
}

#[cfg(feature = "watch")]
#[test]
fn a_watcher_never_misses_it_either() {
    let dir = two_hundred();
    let (mut watcher, _) = mesh_istio::watch::Watcher::start(dir.path()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let started = Instant::now();
    for pause in [false, true] {
        renaming(dir.path(), pause, || {
            runtime.block_on(async {
                let until = tokio::time::sleep(Duration::from_secs(2));
                tokio::pin!(until);
                loop {
                    tokio::select! {
                        () = &mut until => break,
                        seen = watcher.changed() => {
                            assert_eq!(seen.unwrap().config.objects().count(), 4);
                        }
                    }
                }
            });
        });
    }
    assert!(started.elapsed() < DEADLINE);
    // At rest, an edit arrives.
    fs::write(
        dir.path().join("m7.yaml"),
        REVIEWS.replace("reviews", "ratings"),
    )
    .unwrap();
    runtime.block_on(async {
        loop {
            let seen = tokio::time::timeout(DEADLINE, watcher.changed()).await;
            if seen
                .expect("an edit in time")
                .unwrap()
                .config
                .objects()
                .count()
                == 8
            {
                break;
            }
        }
    });
}
