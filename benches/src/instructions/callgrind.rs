//! A child process of this program under callgrind, and the count of what it is told to do.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::driven::{DONE, WARM};
use crate::error::BenchError;

/// The longest that the process may be silent: that is what it may take to start.
const PATIENCE: Duration = Duration::from_secs(300);
/// The longest that valgrind's server may take. It wakes a sleeping process by ptrace, so where that
/// is forbidden it would wait for ever.
const ANSWER: Duration = Duration::from_secs(60);

/// The version of the valgrind that there is.
pub(super) async fn version() -> Result<String, BenchError> {
    let output = Command::new("valgrind").arg("--version").output().await;
    let output = output.map_err(|error| missing("valgrind", error))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A warm process, counting nothing yet; ends with this handle.
#[derive(Debug)]
pub(super) struct Counted {
    child: Child,
    pid: u32,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
    /// Where the pipes to valgrind's server are.
    pipes: String,
    dump: PathBuf,
    dumps: u32,
}

impl Counted {
    /// Starts this program with `arguments` and waits until it says that it is warm. Its dumps are
    /// `dump` with a number behind it; the pipes to valgrind's server are in `scratch`.
    pub(super) async fn start(
        arguments: &[String],
        dump: PathBuf,
        scratch: &Path,
    ) -> Result<Self, BenchError> {
        let failed = |what: &str| BenchError::Counting(what.to_owned());
        let program = std::env::current_exe()?;
        let pipes = format!("--vgdb-prefix={}/pipe", scratch.display());
        let mut child = Command::new("valgrind")
            .args(["--quiet", "--tool=callgrind", "--instr-atstart=no"])
            .args(["--vgdb=yes", &pipes])
            .arg(format!("--callgrind-out-file={}", dump.display()))
            .arg(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| missing("valgrind", error))?;
        let stdout = child.stdout.take().ok_or_else(|| failed("no output"))?;
        let mut counted = Self {
            pid: child.id().ok_or_else(|| failed("it ended at once"))?,
            stdin: child.stdin.take().ok_or_else(|| failed("no input"))?,
            stdout: BufReader::new(stdout).lines(),
            child,
            pipes,
            dump,
            dumps: 0,
        };
        counted.hear(WARM).await?;
        Ok(counted)
    }

    /// The instructions of so many calls.
    pub(super) async fn instructions(&mut self, calls: u32) -> Result<u64, BenchError> {
        self.control(&["instrumentation", "on"]).await?;
        self.stdin
            .write_all(format!("{calls}\n").as_bytes())
            .await?;
        self.hear(DONE).await?;
        self.control(&["instrumentation", "off"]).await?;
        // Writes the counters and sets them to zero.
        self.control(&["dump"]).await?;
        self.dumps += 1;
        let mut file = self.dump.clone().into_os_string();
        file.push(format!(".{}", self.dumps));
        total(Path::new(&file))
    }

    /// Ends it and waits for its end.
    pub(super) async fn stop(mut self) -> Result<(), BenchError> {
        self.child.kill().await?;
        // The file of the end, which was opened at the start and never written.
        Ok(std::fs::remove_file(&self.dump)?)
    }

    async fn hear(&mut self, word: &str) -> Result<(), BenchError> {
        let failed = |what: String| {
            BenchError::Counting(format!("the counted process {what} instead of {word:?}"))
        };
        match timeout(PATIENCE, self.stdout.next_line()).await {
            Err(_) => Err(failed(format!("said nothing for {PATIENCE:?}"))),
            Ok(line) => match line? {
                Some(line) if line == word => Ok(()),
                Some(line) => Err(failed(format!("said {line:?}"))),
                None => Err(failed("ended".to_owned())),
            },
        }
    }

    /// Has valgrind's own server do something.
    async fn control(&self, command: &[&str]) -> Result<(), BenchError> {
        let failed = |what: String| BenchError::Counting(format!("vgdb {command:?} {what}"));
        let output = Command::new("vgdb")
            .arg(format!("--pid={}", self.pid))
            .arg(&self.pipes)
            .args(command)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = timeout(ANSWER, output)
            .await
            .map_err(|_| failed(format!("did not answer within {ANSWER:?}; it needs ptrace")))?
            .map_err(|error| missing("vgdb", error))?;
        if output.status.success() {
            return Ok(());
        }
        let told = String::from_utf8_lossy(&output.stderr);
        Err(failed(format!("failed: {}", told.trim())))
    }
}

fn missing(program: &'static str, error: io::Error) -> BenchError {
    if error.kind() == io::ErrorKind::NotFound {
        BenchError::Missing(program)
    } else {
        BenchError::Io(error)
    }
}

/// The sum over the whole dump: with the one event of the default, instructions executed (Ir).
fn total(file: &Path) -> Result<u64, BenchError> {
    let text = std::fs::read_to_string(file)?;
    find_total(&text)
        .filter(|total| *total > 0)
        .ok_or_else(|| BenchError::Counting(format!("no instructions in {}", file.display())))
}

fn find_total(dump: &str) -> Option<u64> {
    let lines = dump.lines();
    let mut totals = lines.filter_map(|line| line.strip_prefix("totals: "));
    totals.next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_of_a_dump() {
        let dump = "events: Ir\nsummary: 12\n\nfn=(1) main\n0 12\n\ntotals: 12\n";
        assert_eq!(find_total(dump), Some(12));
        assert_eq!(find_total("events: Ir\n"), None);
    }
}
