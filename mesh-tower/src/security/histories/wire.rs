//! What calls reach: it counts the bytes of each connection that are no TLS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What it has seen.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Seen {
    pub(super) plaintext_bytes: u64,
    /// Connections that began with a ClientHello.
    pub(super) handshakes: u64,
}

#[derive(Debug, Default)]
struct Counts {
    plaintext_bytes: AtomicU64,
    handshakes: AtomicU64,
    open: AtomicU64,
}

pub(super) struct Wire {
    pub(super) address: SocketAddr,
    counts: Arc<Counts>,
}

impl Wire {
    pub(super) async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let counts = Arc::<Counts>::default();
        let kept = Arc::clone(&counts);
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                counts.open.fetch_add(1, SeqCst);
                let counts = Arc::clone(&counts);
                tokio::spawn(async move {
                    counts.count(socket).await;
                    counts.open.fetch_sub(1, SeqCst);
                });
            }
        });
        Self {
            address,
            counts: kept,
        }
    }

    pub(super) fn seen(&self) -> Seen {
        Seen {
            plaintext_bytes: self.counts.plaintext_bytes.load(SeqCst),
            handshakes: self.counts.handshakes.load(SeqCst),
        }
    }

    /// Waits until one more connection has come and gone, behind all that came before it.
    pub(super) async fn quiet(&self) {
        let mut last = TcpStream::connect(self.address).await.unwrap();
        last.shutdown().await.unwrap();
        let mut none = Vec::new();
        last.read_to_end(&mut none).await.unwrap();
        let quiet = async {
            while self.counts.open.load(SeqCst) > 0 {
                tokio::task::yield_now().await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(20), quiet).await;
        waited.expect("a connection neither speaks nor ends");
    }
}

impl Counts {
    /// A handshake goes no further than its first bytes; plaintext gets an answer.
    async fn count(&self, mut socket: TcpStream) {
        let mut bytes = [0; 4096];
        // The peer may have gone.
        let read = socket.read(&mut bytes).await.unwrap_or(0);
        match bytes.get(..read) {
            None | Some([]) => {}
            // A record of type `handshake`, of any version of TLS.
            Some([0x16, 3, ..]) => drop(self.handshakes.fetch_add(1, SeqCst)),
            Some(some) => {
                self.plaintext_bytes.fetch_add(some.len() as u64, SeqCst);
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                drop(socket.write_all(answer).await);
            }
        }
    }
}
