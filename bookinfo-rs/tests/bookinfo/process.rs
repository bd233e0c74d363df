//! Launchers as processes, ended with the test.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use bookinfo_rs::outside::Outside;
use http::{HeaderMap, StatusCode};

/// How long anything here may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A process that is ended when the test is.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn bookinfo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bookinfo"));
    command
        .args(arguments)
        // What is logged is judged, too.
        .env_remove("RUST_LOG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A running launcher.
pub(crate) struct Launcher {
    pub(crate) process: Process,
    pub(crate) url: String,
    pub(crate) folder: PathBuf,
    /// Where the certificates are, if there are any.
    pub(crate) certificates: Option<PathBuf>,
    _out: BufReader<std::process::ChildStdout>,
}

impl Launcher {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut child = bookinfo(arguments)
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let process = Process(child);
        let mut text = String::new();
        while !text.contains("Ctrl-C stops everything") {
            assert_ne!(
                out.read_line(&mut text).unwrap(),
                0,
                "it ended after {text:?}"
            );
        }
        let after = |what: &str| {
            text.split_once(what)
                .unwrap()
                .1
                .split_whitespace()
                .next()
                .unwrap()
                .to_owned()
        };
        let url = after("Bookinfo is up: ")
            .trim_end_matches("/productpage")
            .to_owned();
        Self {
            process,
            url,
            folder: after("configuration").into(),
            certificates: Some(after("certificates").into())
                .filter(|dir: &PathBuf| dir.is_absolute()),
            _out: out,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.0.id()
    }

    pub(crate) async fn signal(mut self, name: &str) -> ExitStatus {
        send(self.pid(), name);
        until("the launcher ends", || self.process.0.try_wait().unwrap()).await
    }
}

pub(crate) fn send(pid: u32, signal: &str) {
    let status = Command::new("kill")
        .args([format!("-{signal}"), pid.to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}

/// Waits until there is something.
pub(crate) async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A folder with Bookinfo's own configuration.
pub(crate) fn configuration() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("config")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    dir
}

/// What is in a folder: each file with its text.
pub(crate) fn contents(dir: &Path) -> BTreeMap<PathBuf, String> {
    let files = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    // One that is gone by now is not in it.
    files
        .filter_map(|file| Some((file.clone(), fs::read_to_string(file).ok()?)))
        .collect()
}

pub(crate) async fn page(url: &str) -> String {
    let reply = Outside::default()
        .get(&format!("{url}/productpage"), &HeaderMap::new())
        .await
        .unwrap();
    assert_eq!(reply.status, StatusCode::OK);
    reply.text()
}

/// Whether nothing on a page failed.
pub(crate) fn is_good(page: &str) -> bool {
    !page.contains("Error fetching") && !page.contains("currently unavailable")
}

/// Waits until twenty pages in a row show this.
pub(crate) async fn shows(url: &str, what: &str) {
    let deadline = Instant::now() + PATIENCE;
    let mut streak = 0;
    while streak < 20 {
        streak = if page(url).await.contains(what) {
            streak + 1
        } else {
            0
        };
        assert!(Instant::now() < deadline, "the page does not show {what}");
    }
}

/// A control plane of our own, at a fixed place.
pub(crate) struct ControlPlane {
    pub(crate) process: Process,
    pub(crate) address: String,
    _stdin: Option<ChildStdin>,
}

impl ControlPlane {
    pub(crate) fn start(dir: &Path, listen: &str) -> Self {
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
