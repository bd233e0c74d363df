//! The servers that stand behind the arms, and here the plain one: hyper's HTTP/1.1, answering with the
//! body it got. Each is a child process of the same program, so that its CPU time is told apart from the client's.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::Stdio;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::error::BenchError;
use crate::paired;

/// A running server in a process of its own; ends with this handle, or with this process.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) pid: u32,
    child: Child,
    /// Closing it ends the server, also when we are killed.
    stdin: Option<ChildStdin>,
    stdout: Option<BufReader<ChildStdout>>,
}

impl Server {
    /// Starts one on the core of the calling thread.
    pub(crate) async fn start() -> Result<Self, BenchError> {
        Self::spawn(&["serve"]).await
    }

    /// Starts this program as another server: one that prints its address, then serves until its
    /// input ends.
    pub(crate) async fn spawn(arguments: &[&str]) -> Result<Self, BenchError> {
        let failed = |what: &str| BenchError::Server(what.to_owned());
        let program = std::env::current_exe()?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().ok_or_else(|| failed("no output"))?;
        let mut line = String::new();
        let mut stdout = BufReader::new(stdout);
        stdout.read_line(&mut line).await?;
        let address = line
            .trim()
            .parse()
            .map_err(|_| failed(&format!("it said {line:?} instead of its address")))?;
        let pid = child.id().ok_or_else(|| failed("it ended at once"))?;
        Ok(Self {
            address,
            pid,
            child,
            stdin,
            stdout: Some(stdout),
        })
    }

    /// What it says next.
    pub(crate) async fn next_line(&mut self) -> Result<String, BenchError> {
        let mut line = String::new();
        if let Some(stdout) = &mut self.stdout {
            stdout.read_line(&mut line).await?;
        }
        Ok(line.trim().to_owned())
    }

    /// Its input and what it says after its address, for whoever asks first.
    pub(crate) fn talk(
        &mut self,
    ) -> Result<(ChildStdin, Lines<BufReader<ChildStdout>>), BenchError> {
        let (stdin, stdout) = (self.stdin.take(), self.stdout.take());
        stdin
            .zip(stdout.map(AsyncBufReadExt::lines))
            .ok_or_else(|| BenchError::Server("somebody talks to it already".to_owned()))
    }

    /// Ends it and waits for its end.
    pub(crate) async fn stop(mut self) -> Result<(), BenchError> {
        Ok(self.child.kill().await?)
    }
}

/// The plain server's process: prints its address, serves until its input ends.
pub(crate) fn serve() -> Result<(), BenchError> {
    paired::runtime()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        until_input_ends(address, async { Ok(accept_all(listener).await?) }).await
    })
}

/// Prints the address of a server for [`Server::spawn`], then runs it until the input ends.
pub(crate) async fn until_input_ends(
    address: SocketAddr,
    serving: impl Future<Output = Result<(), BenchError>>,
) -> Result<(), BenchError> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{address}")?;
    stdout.flush()?;
    let mut ignored = Vec::new();
    let mut stdin = tokio::io::stdin();
    tokio::select! {
        ended = serving => ended,
        _ = stdin.read_to_end(&mut ignored) => Ok(()),
    }
}

async fn accept_all(listener: TcpListener) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(connection(stream));
    }
}

async fn connection(stream: TcpStream) {
    let served = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service_fn(echo))
        .await;
    // A client that goes away between two requests is how every connection ends.
    drop(served);
}

async fn echo(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let body = request.into_body().collect().await?.to_bytes();
    Ok(Response::new(Full::new(body)))
}
