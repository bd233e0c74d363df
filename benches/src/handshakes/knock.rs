//! The new clients: a process of its own, on other cores than the server's.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::error::BenchError;
use crate::secured::{self, NAME, say};
use crate::server::Server;
use crate::{machine, paired};

/// How many come at a time.
const AT_ONCE: usize = 256;
/// By the answer a client knows that it was let in.
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: called\r\nconnection: close\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200";

/// The process, from its parent's side.
pub(super) struct Knocking {
    process: Server,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Knocking {
    /// Starts it on the cores that the calling thread does not have.
    pub(super) async fn start(server: SocketAddr, certificates: &Path) -> Result<Self, BenchError> {
        let folder = certificates.to_string_lossy();
        let elsewhere = machine::elsewhere()?;
        let process = Server::spawn(&["knock", &server.to_string(), &folder]).await;
        drop(elsewhere);
        let mut process = process?;
        let (commands, answers) = process.talk()?;
        Ok(Self {
            process,
            commands,
            answers,
        })
    }

    /// So many clients come, and all of them are let in.
    pub(super) async fn come(&mut self, clients: usize) -> Result<(), BenchError> {
        let command = format!("{clients}\n");
        self.commands.write_all(command.as_bytes()).await?;
        match self.answers.next_line().await? {
            Some(answer) if answer == clients.to_string() => Ok(()),
            answer => Err(BenchError::Request {
                arm: "new clients",
                reason: format!("of {clients} came {answer:?}"),
            }),
        }
    }

    pub(super) async fn stop(self) -> Result<(), BenchError> {
        self.process.stop().await
    }
}

/// The process itself: for each line of its input, so many clients connect. It says how many were let in.
pub(crate) fn serve(server: SocketAddr, certificates: &Path) -> Result<(), BenchError> {
    paired::runtime()?.block_on(async {
        let connector = TlsConnector::from(Arc::new(secured::client(certificates)?));
        say(server)?;
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        while let Some(line) = lines.next_line().await? {
            let clients = line.parse().unwrap_or(0);
            say(come(&connector, server, clients).await)?;
        }
        Ok(())
    })
}

async fn come(connector: &TlsConnector, server: SocketAddr, clients: usize) -> usize {
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut all = JoinSet::new();
    for _ in 0..clients {
        let (connector, room) = (connector.clone(), Arc::clone(&room));
        all.spawn(async move {
            let _permit = room.acquire().await.map_err(io::Error::other)?;
            one(&connector, server).await
        });
    }
    let mut let_in = 0;
    while let Some(ended) = all.join_next().await {
        let_in += usize::from(matches!(ended, Ok(Ok(true))));
    }
    let_in
}

/// Whether it was let in.
async fn one(connector: &TlsConnector, server: SocketAddr) -> io::Result<bool> {
    let tcp = TcpStream::connect(server).await?;
    tcp.set_nodelay(true)?;
    let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
    let mut stream = connector.connect(name, tcp).await?;
    stream.write_all(REQUEST).await?;
    let mut answer = [0; ANSWER.len()];
    stream.read_exact(&mut answer).await?;
    Ok(answer == ANSWER)
}
