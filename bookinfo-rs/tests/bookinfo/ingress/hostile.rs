//! Clients that mean harm and backends that lie, byte by byte.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bookinfo_rs::ingress::Limits;
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{exchange, ingress, ingress_before, ingress_within};
use crate::support::Rules;

/// Short enough for a test, long enough for a request.
const SHORT: Limits = Limits {
    head: Duration::from_secs(1),
    ping_interval: Duration::from_millis(100),
    ping_timeout: Duration::from_millis(200),
};

/// An empty SETTINGS frame.
const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";

/// Sends these bytes and nothing more; how long the ingress kept the connection.
async fn kept(address: SocketAddr, bytes: &[u8]) -> Duration {
    let start = Instant::now();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
    let shown = String::from_utf8_lossy(bytes);
    // A reset is an end too.
    let _ = read.unwrap_or_else(|_| panic!("open for ever after {shown:?}"));
    start.elapsed()
}

#[tokio::test]
async fn who_does_not_finish_the_first_head_is_shown_the_door() {
    let (address, _rules) = ingress_within(SHORT).await;
    // Who says nothing at all waits for the listener's own deadline, which is the mesh's.
    let unfinished = [
        "P",
        "GET /app HTTP/1.1\r\nHost: h\r\nX-Slow: ",
        "PRI * HTTP/2.0\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r",
        "\r\n\r\n",
    ];
    let all = unfinished.map(|bytes| kept(address, bytes.as_bytes()));
    for (bytes, kept) in unfinished.iter().zip(join_all(all).await) {
        assert!(kept >= SHORT.head, "{bytes:?} ended after {kept:?}");
    }
}

#[tokio::test]
async fn a_trickle_of_bytes_buys_no_time() {
    let (address, _rules) = ingress_within(SHORT).await;
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let mut tick = tokio::time::interval(SHORT.head / 10);
    let trickle = async {
        loop {
            tick.tick().await;
            if writing.write_all(b"G").await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let mut answer = [0];
    tokio::select! {
        () = trickle => unreachable!("it has no end"),
        // A reset is an end too.
        read = reading.read(&mut answer) => assert_eq!(read.unwrap_or(0), 0),
        () = tokio::time::sleep(Duration::from_secs(10)) => panic!("open for ever"),
    }
}

#[tokio::test]
async fn a_second_head_has_a_deadline_too() {
    let (address, _rules) = ingress_within(SHORT).await;
    let head = "GET /app HTTP/1.1\r\nHost: h\r\n";
    let kept = kept(address, format!("{head}\r\n{head}").as_bytes()).await;
    assert!(kept >= SHORT.head, "ended after {kept:?}");
}

#[tokio::test]
async fn an_http2_peer_that_answers_no_ping_is_gone() {
    let (address, _rules) = ingress_within(SHORT).await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    kept(address, preface).await;
    kept(address, &[preface, SETTINGS].concat()).await;
    // Headers of stream 1 that never end.
    let endless = b"\0\0\x01\x01\0\0\0\0\x01\x82";
    kept(address, &[preface, SETTINGS, endless].concat()).await;
}

#[tokio::test]
async fn a_slow_body_outlives_the_deadline_of_heads() {
    let (address, _rules) = ingress_within(SHORT).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(
            b"POST /app HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nConnection: close\r\n\r\na",
        )
        .await
        .unwrap();
    // A silent connection that is opened later ends when the deadline has passed for both.
    kept(address, b"P").await;
    stream.write_all(b"bc").await.unwrap();
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    let read = tokio::time::timeout(Duration::from_secs(10), read).await;
    assert!(read.is_ok(), "still open after {answer:?}");
    assert!(answer.contains("body: abc"), "{answer:?}");
}

#[tokio::test]
async fn a_head_ends_where_the_parser_says_so() {
    let (address, _rules) = ingress().await;
    for end in ["\n\r\n", "\r\n\n", "\n\n", "\r\n\r\n"] {
        let first = format!("GET /app/first HTTP/1.1\r\nHost: h{end}");
        let second = "POST /app/second HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        let answer = exchange(address, &format!("{first}{second}")).await;
        assert!(
            answer.starts_with("HTTP/1.1 200 OK") && answer.contains("GET /app/first"),
            "{end:?}: {answer:?}"
        );
        assert!(
            answer.contains("HTTP/1.1 400 Bad Request") && !answer.contains("second"),
            "{end:?}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn trailers_hide_no_second_request() {
    let (address, _rules) = ingress().await;
    // For one reader the trailers end at the bare newlines, for another at the empty line after `X`: whoever takes
    // the first way reads the ambiguous request as the body of the request before it.
    let answer = exchange(
        address,
        "POST /app HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nT: 1\n\n\
         POST /app HTTP/1.1\r\nContent-Length: 92\r\n\r\n\
         POST /app/second HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    )
    .await;
    assert!(!answer.contains("second"), "{answer:?}");
}

#[tokio::test]
async fn the_request_line_and_the_host_name_a_host_and_nobody_else() {
    let (address, _rules) = ingress().await;
    for head in [
        "GET foo HTTP/1.1\r\nHost: h\r\n",
        "GET h:80 HTTP/1.1\r\nHost: h\r\n",
        "GET /app HTTP/1.1\r\nHost: u:p@h\r\n",
        "GET /app HTTP/1.1\r\nHost: @h\r\n",
        "GET http://u:p@h/app HTTP/1.1\r\nHost: h\r\n",
        "GET http://u@h/app HTTP/1.1\r\nHost: u@h\r\n",
        "GET http://h/app HTTP/1.1\r\nHost: u:p@h\r\n",
    ] {
        let answer = exchange(address, &format!("{head}Connection: close\r\n\r\n")).await;
        assert!(
            answer.starts_with("HTTP/1.1 400 Bad Request"),
            "{head:?}: {answer:?}"
        );
    }
    let good = "GET http://h/app HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    let answer = exchange(address, good).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer:?}");
}

/// An ingress in front of a backend that answers each connection's first head with these bytes, and closes.
async fn before(answer: &'static str) -> (SocketAddr, Rules) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let backend = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = Vec::new();
            while !seen.ends_with(b"\r\n\r\n") && stream.read_buf(&mut seen).await.unwrap() > 0 {}
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    ingress_before(backend, Limits::default()).await
}

const GET: &str = "GET /app HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn a_backend_s_length_yields_to_its_chunks() {
    for length in ["2", "500"] {
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        );
        let (address, _rules) = before(answer.leak()).await;
        let answer = exchange(address, GET).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{answer:?}");
        assert!(!head.contains("content-length"), "{answer:?}");
        assert_eq!(body, "5\r\nhello\r\n0\r\n\r\n", "{answer:?}");
    }
}

#[tokio::test]
async fn what_nobody_asked_a_backend_for_is_a_bad_gateway() {
    for (answer, named) in [
        (
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nfree bytes",
            "101",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "Transfer-Encoding",
        ),
    ] {
        let (address, _rules) = before(answer).await;
        let answer = exchange(address, GET).await;
        assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway"), "{answer:?}");
        assert!(
            answer.contains("text/plain") && answer.contains(named),
            "{answer:?}"
        );
        assert!(!answer.contains("free bytes"), "{answer:?}");
    }
}
