//! One child process: started with a pipe as stdin, stopped by closing it.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{ChildStdin, Command};
use tokio::sync::{oneshot, watch};

use crate::process::{GRACE, Listening, warn};

/// How long a child may take until it listens.
const START: Duration = Duration::from_secs(30);

/// How many of its last lines on stderr are kept.
const LAST_LINES: usize = 12;

/// Variables of ours that children may see; all others are theirs alone.
const PASSED_ON: [&str; 5] = [
    "PATH",
    "RUST_LOG",
    "RUST_BACKTRACE",
    "TMPDIR",
    "LD_LIBRARY_PATH",
];

/// A running child.
#[derive(Debug)]
pub struct Child {
    name: String,
    stdin: Option<ChildStdin>,
    listening: Option<oneshot::Receiver<SocketAddr>>,
    exit: watch::Receiver<Option<ExitStatus>>,
    kill: Option<oneshot::Sender<()>>,
    last_lines: Arc<Mutex<VecDeque<String>>>,
}

/// Why a child is not there.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// It could not be started.
    #[error("{name} cannot be started: {source}")]
    Start {
        /// Which.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// It ended, and should not have.
    #[error("{0}")]
    Died(Died),
    /// It runs but does not listen.
    #[error("{name} did not say where it listens within {START:?}")]
    Silent {
        /// Which.
        name: String,
    },
}

/// How a child ended that should not have.
#[derive(Debug, Clone)]
pub struct Died {
    name: String,
    status: Option<ExitStatus>,
    last_lines: Vec<String>,
}

impl fmt::Display for Died {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ended unexpectedly", self.name)?;
        if let Some(status) = self.status {
            write!(f, " ({status})")?;
        }
        if self.last_lines.is_empty() {
            return write!(f, " without a word on stderr");
        }
        write!(f, "; its last lines:")?;
        self.last_lines
            .iter()
            .try_for_each(|line| write!(f, "\n  {line}"))
    }
}

impl Child {
    /// Starts this program again with these arguments and variables.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn start(
        program: &std::path::Path,
        name: String,
        arguments: impl IntoIterator<Item = OsString>,
        variables: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Result<Self, ChildError> {
        let mut command = Command::new(program);
        command.args(arguments).env_clear();
        command
            .envs(
                PASSED_ON
                    .iter()
                    .filter_map(|name| Some((name, std::env::var_os(name)?))),
            )
            .envs(variables);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        // A group of its own: Ctrl-C reaches the launcher alone, which stops its children in order.
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn().map_err(|source| ChildError::Start {
            name: name.clone(),
            source,
        })?;
        let last_lines = Arc::new(Mutex::new(VecDeque::new()));
        let stderr = child
            .stderr
            .take()
            .map(|pipe| tokio::spawn(keep(name.clone(), pipe, Arc::clone(&last_lines))));
        let (found, listening) = oneshot::channel();
        if let Some(stdout) = child.stdout.take() {
            tokio::spawn(announcement(stdout, found));
        }
        let stdin = child.stdin.take();
        let (ended, exit) = watch::channel(None);
        let (kill, killed) = oneshot::channel();
        tokio::spawn(async move {
            let status = tokio::select! {
                status = child.wait() => status,
                Ok(()) = killed => {
                    let _ = child.start_kill();
                    child.wait().await
                }
            };
            // Its last words first, so that whoever sees the end can quote them.
            if let Some(stderr) = stderr {
                let _ = tokio::time::timeout(Duration::from_secs(1), stderr).await;
            }
            let _ = ended.send(status.ok());
        });
        Ok(Self {
            name,
            stdin,
            listening: Some(listening),
            exit,
            kill: Some(kill),
            last_lines,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens, once it says so.
    ///
    /// # Errors
    /// When it ends before, or stays silent.
    pub async fn listening(&mut self) -> Result<SocketAddr, ChildError> {
        let name = self.name.clone();
        let Some(listening) = self.listening.take() else {
            return Err(ChildError::Silent { name });
        };
        match tokio::time::timeout(START, listening).await {
            Ok(Ok(address)) => Ok(address),
            // Its stdout ended, so it is about to end itself.
            Ok(Err(_)) => match tokio::time::timeout(GRACE, self.died()).await {
                Ok(died) => Err(ChildError::Died(died)),
                Err(_) => Err(ChildError::Silent { name }),
            },
            Err(_) => Err(ChildError::Silent { name }),
        }
    }

    /// Waits until it ends, and tells how.
    pub async fn died(&self) -> Died {
        let mut exit = self.exit.clone();
        let status = exit
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|status| *status);
        let last_lines = self
            .last_lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .cloned()
            .collect();
        Died {
            name: self.name.clone(),
            status,
            last_lines,
        }
    }

    /// Asks it to stop, without waiting.
    pub fn ask_to_stop(&mut self) {
        self.stdin = None;
    }

    /// Stops it: asks, waits, and ends it if that takes too long.
    pub async fn stop(mut self) {
        self.ask_to_stop();
        if tokio::time::timeout(GRACE + Duration::from_secs(1), self.died())
            .await
            .is_ok()
        {
            return;
        }
        warn(&format!("{} does not stop; it is killed", self.name));
        if let Some(kill) = self.kill.take() {
            let _ = kill.send(());
        }
        let _ = self.died().await;
    }
}

/// Passes stderr on, line by line with the child's name before it, and keeps the last lines.
async fn keep(
    name: String,
    pipe: impl AsyncRead + Unpin,
    last_lines: Arc<Mutex<VecDeque<String>>>,
) {
    let mut lines = BufReader::new(pipe).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        warn(&format!("[{name}] {line}"));
        let mut last_lines = last_lines.lock().unwrap_or_else(PoisonError::into_inner);
        if last_lines.len() == LAST_LINES {
            last_lines.pop_front();
        }
        last_lines.push_back(line);
    }
}

/// Finds the line that says the address; what else is printed goes nowhere.
async fn announcement(pipe: impl AsyncRead + Unpin, found: oneshot::Sender<SocketAddr>) {
    let mut found = Some(found);
    let mut lines = BufReader::new(pipe).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Ok(Listening { listening }) = serde_json::from_str(&line)
            && let Some(found) = found.take()
        {
            let _ = found.send(listening);
        }
    }
}
