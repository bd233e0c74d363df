//! The same as bytes of HTTP/1.1, and what HTTP/1.1 alone can say.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{ANY, MALFORMED, NEUTRAL, Outcome, POLICY, Row, heads, paths, row};

const END: &str = "GET /end HTTP/1.1\r\nhost: reviews\r\nconnection: close\r\n\r\n";
/// After that long without a byte a server is told that nothing more comes.
const QUIET: Duration = Duration::from_millis(300);
const BOUND: Duration = Duration::from_secs(20);

/// Sends a trick and an honest request behind it, on a connection of its own.
pub(super) async fn ask(address: SocketAddr, trick: &[u8]) -> Outcome {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let whole = [trick, END.as_bytes()].concat();
    // Who is refused is not always heard out.
    let _ = tcp.write_all(&whole).await;
    let mut answer = Vec::new();
    if tokio::time::timeout(QUIET, tcp.read_to_end(&mut answer))
        .await
        .is_err()
    {
        let _ = tcp.shutdown().await;
        let rest = tokio::time::timeout(BOUND, tcp.read_to_end(&mut answer)).await;
        let _ = rest.expect("the connection ends");
    }
    let text = String::from_utf8_lossy(&answer);
    let (head, rest) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    match head.split(' ').nth(1) {
        Some("403") if rest.starts_with("RBAC: access denied") => Outcome::Policy,
        Some("200") => Outcome::Neutral,
        Some("400" | "403" | "404" | "414" | "431" | "501" | "505") | None => Outcome::Malformed,
        other => panic!("{other:?}: {text}"),
    }
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: reviews\r\n\r\n").into_bytes()
}

pub(super) fn all() -> Vec<Row<Vec<u8>>> {
    let mut all = Vec::new();
    all.extend(
        paths::all()
            .into_iter()
            .map(|row| row.map(|path| get(&path))),
    );
    let host = |host: &str| format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n").into_bytes();
    all.extend(heads::hosts().into_iter().map(|row| row.map(host)));
    let method =
        |method: String| format!("{method} / HTTP/1.1\r\nhost: reviews\r\n\r\n").into_bytes();
    all.extend(heads::methods().into_iter().map(|row| row.map(method)));
    let header = |(name, value)| {
        format!("GET / HTTP/1.1\r\nhost: reviews\r\n{name}: {value}\r\n\r\n").into_bytes()
    };
    all.extend(heads::headers().into_iter().map(|row| row.map(header)));
    all.extend(targets());
    all.extend(two_hosts());
    all.extend(lines());
    all.extend(framing());
    all.extend(upgrades());
    all.extend(versions());
    all
}

fn targets() -> Vec<Row<Vec<u8>>> {
    let target = |target: &str| get(target);
    let admin = [
        "http://reviews/admin",
        "http://reviews//admin",
        "http://reviews/x/../admin",
        "http://reviews/%61dmin",
        "https://reviews/admin",
        "HTTP://reviews/admin",
        "http://reviews/admin?x",
        "http://reviews/%2fadmin",
    ];
    let same = [
        "http://reviews/",
        "http://reviews/x",
        "https://reviews/",
        "HTTP://reviews/",
        "HTTPS://reviews/",
        "http://reviews",
        "http://reviews?x",
        "http://reviews?/admin",
    ];
    let other = [
        "http://admin.internal/",
        "http://reviews:80/",
        "http://REVIEWS/",
        "http://reviews./",
        "http://admin.internal",
        "https://admin.internal/",
        "http://user@reviews/",
        "http://reviews@admin.internal/",
        "http://@reviews/",
        "http:///admin",
        "http:/admin",
        "http:admin",
        "ftp://reviews/",
        "file://reviews/admin",
        "ws://reviews/",
        "://reviews/",
        "http://",
        "http:",
        "http://reviews:x/",
        "http://[::1]/",
        "http://reviews\\admin.internal/",
        "*",
        "admin",
        "x/../admin",
        "?x",
        "#x",
        "reviews:80",
        "reviews",
        "//",
        "../admin",
        "./admin",
    ];
    let (slashes, other): (Vec<&str>, Vec<&str>) = other.iter().partition(|it| **it == "//");
    vec![
        row("absolute targets", POLICY, admin.map(target)),
        row("absolute targets", NEUTRAL, same.map(target)),
        row(
            "targets of other forms",
            MALFORMED,
            other.into_iter().map(target).collect::<Vec<_>>(),
        ),
        row(
            "targets of other forms",
            NEUTRAL,
            slashes.into_iter().map(target).collect::<Vec<_>>(),
        ),
    ]
}

fn two_hosts() -> Vec<Row<Vec<u8>>> {
    let all = [
        "reviews",
        "admin.internal",
        "",
        "REVIEWS",
        "reviews:80",
        "a@reviews",
    ];
    let mut twice = Vec::new();
    for first in all {
        for second in all {
            for name in ["host", "Host", "HOST"] {
                twice.push(
                    format!("GET / HTTP/1.1\r\nhost: {first}\r\nx: y\r\n{name}: {second}\r\n\r\n")
                        .into_bytes(),
                );
            }
        }
    }
    let mut both = Vec::new();
    for target in ["admin.internal", "reviews", "reviews:80", "REVIEWS"] {
        for host in all.into_iter().filter(|host| *host != target) {
            both.push(
                format!("GET http://{target}/ HTTP/1.1\r\nhost: {host}\r\n\r\n").into_bytes(),
            );
        }
    }
    let none = [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nx-host: reviews\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
    ];
    vec![
        row("several hosts", MALFORMED, twice),
        row("target against host", MALFORMED, both),
        row("no host", MALFORMED, none.map(|it| it.as_bytes().to_vec())),
    ]
}

/// Header lines as bytes.
fn lines() -> Vec<Row<Vec<u8>>> {
    let with =
        |line: &str| format!("GET / HTTP/1.1\r\nhost: reviews\r\n{line}\r\n\r\n").into_bytes();
    let denied = [
        "X-Role: a",
        "X-ROLE: a",
        "x-role:a",
        "x-role:\ta",
        "x-role:",
        "x-role:   ",
        "x-role: a\r\nx-role: b",
        "y: z\nx-role: a",
    ];
    let broken = [
        " x-role: a",
        "\tx-role: a",
        "x-role : a",
        "x-role\t: a",
        "x-role",
        "x role: a",
        "x-role\0: a",
        "x-role: a\0",
        "x-role: a\r b",
        "y: z\r\n x-role: a",
        "y: z\r\n\tx-role: a",
        ": a",
        "x(role): a",
        "\"x-role\": a",
        "x-rol\u{e9}: a",
        "y: z\rx-role: a",
        "host : admin.internal",
        " host: admin.internal",
        "x-role;: a",
        "@: a",
    ];
    let cookies = ["cookie: user=x; role=admin", "Cookie: user=x; role=admin"];
    let apart = ["cookie: user=x\r\ncookie: role=admin"];
    let many = |count: usize| with(&vec!["x: y"; count].join("\r\n"));
    let long = |length: usize| with(&format!("x: {}", "y".repeat(length)));
    vec![
        row("header lines", POLICY, denied.map(with)),
        row("broken header lines", MALFORMED, broken.map(with)),
        row("cookies", POLICY, cookies.map(with)),
        row("cookies", NEUTRAL, apart.map(with)),
        row("oversized", NEUTRAL, [many(90), long(10_000)]),
        row(
            "oversized",
            MALFORMED,
            [many(101), many(1_000), long(1_000_000)],
        ),
    ]
}

fn framing() -> Vec<Row<Vec<u8>>> {
    let inner = "GET /admin HTTP/1.1\r\nhost: reviews\r\n\r\n";
    let chunk = format!("0\r\n\r\n{inner}");
    let codings = [
        "transfer-encoding: chunked",
        "Transfer-Encoding: chunked",
        "transfer-encoding: Chunked",
        "transfer-encoding: xchunked",
        "transfer-encoding: chunked, identity",
        "transfer-encoding: identity",
        "transfer-encoding: gzip, chunked",
        "transfer-encoding : chunked",
        " transfer-encoding: chunked",
        "transfer-encoding:\tchunked",
        "transfer-encoding: chunked\r\ntransfer-encoding: x",
        "transfer-encoding: x\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked,",
        "transfer-encoding: ,chunked",
        "transfer-encoding: \"chunked\"",
        "transfer-encoding: chunked;x",
        "transfer_encoding: chunked",
        "transfer-encoding:\r\n chunked",
    ];
    let lengths = [
        "",
        "content-length: 0",
        "content-length: 4",
        "content-length: +4",
        "content-length: -1",
        "content-length: 4, 4",
        "content-length: 4\r\ncontent-length: 0",
        "content-length: 0x4",
        "content-length: 4 4",
        "content-length: 99999999999999999999999",
        "content-length:",
        "content-length: a",
        "content_length: 4",
        "content-length: 04",
    ];
    let mut all = Vec::new();
    for coding in codings.iter().chain([&""]) {
        for length in lengths {
            let lines: Vec<&str> = [*coding, length]
                .into_iter()
                .filter(|it| !it.is_empty())
                .collect();
            let lines = lines
                .iter()
                .map(|line| format!("{line}\r\n"))
                .collect::<String>();
            all.push(
                format!("POST /x HTTP/1.1\r\nhost: reviews\r\n{lines}\r\n{chunk}").into_bytes(),
            );
        }
    }
    let body = |body: &str| {
        format!("POST /x HTTP/1.1\r\nhost: reviews\r\ntransfer-encoding: chunked\r\n\r\n{body}")
            .into_bytes()
    };
    let trailers = [
        "0\r\nx-role: admin\r\n\r\n",
        "0\r\nhost: admin.internal\r\n\r\n",
        "0\r\n:path: /admin\r\n\r\n",
        "0\r\nx-forwarded-client-cert: URI=a\r\n\r\n",
        "0\r\nx-envoy-internal: true\r\n\r\n",
        "0\r\ncontent-length: 9\r\n\r\n",
    ];
    let chunks = [
        format!("0x0\r\n\r\n{inner}"),
        format!("-0\r\n\r\n{inner}"),
        format!("+0\r\n\r\n{inner}"),
        format!("0 \r\n\r\n{inner}"),
        format!("00000000000000000\r\n\r\n{inner}"),
        format!("0;x=y\r\n\r\n{inner}"),
        format!("0\n\n{inner}"),
        format!("\r\n0\r\n\r\n{inner}"),
        format!("1\r\nab\r\n0\r\n\r\n{inner}"),
        format!("ffffffffffffffff1\r\n\r\n{inner}"),
        format!("g\r\n\r\n{inner}"),
    ];
    vec![
        row("framing", ANY, all),
        row("trailers", ANY, trailers.map(body)),
        row("chunks", ANY, chunks.map(|it| body(&it))),
    ]
}

fn upgrades() -> Vec<Row<Vec<u8>>> {
    let with =
        |lines: &str| format!("GET /x HTTP/1.1\r\nhost: reviews\r\n{lines}\r\n\r\n").into_bytes();
    let admin = |lines: &str| {
        format!("GET /admin HTTP/1.1\r\nhost: reviews\r\n{lines}\r\n\r\n").into_bytes()
    };
    let all = [
        "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAARAAAAAAAIAAAAA",
        "connection: upgrade\r\nupgrade: h2c",
        "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==",
        "connection: upgrade\r\nupgrade: TLS/1.0",
        "connection: upgrade\r\nupgrade: HTTP/2.0",
        "upgrade: h2c",
        "te: trailers",
        "te: gzip, chunked",
        "expect: 100-continue",
        "keep-alive: timeout=0",
        "proxy-connection: x",
        "max-forwards: 0",
    ];
    let connect = [
        "CONNECT reviews:80 HTTP/1.1\r\nhost: reviews:80\r\n\r\n",
        "CONNECT admin.internal:80 HTTP/1.1\r\nhost: reviews\r\n\r\n",
        "CONNECT / HTTP/1.1\r\nhost: reviews\r\n\r\n",
        "CONNECT http://reviews/ HTTP/1.1\r\nhost: reviews\r\n\r\n",
        "CONNECT 127.0.0.1:80 HTTP/1.1\r\nhost: 127.0.0.1:80\r\n\r\n",
        "CONNECT reviews HTTP/1.1\r\nhost: reviews\r\n\r\n",
        "CONNECT *:80 HTTP/1.1\r\nhost: reviews\r\n\r\n",
        "CONNECT [::1]:80 HTTP/1.1\r\nhost: [::1]:80\r\n\r\n",
    ];
    vec![
        row("upgrades", NEUTRAL, all.map(with)),
        row("upgrades", POLICY, all.map(admin)),
        row(
            "tunnels",
            MALFORMED,
            connect.map(|it| it.as_bytes().to_vec()),
        ),
    ]
}

fn versions() -> Vec<Row<Vec<u8>>> {
    let line = |line: &str| format!("{line}\r\nhost: reviews\r\n\r\n").into_bytes();
    let none = [
        "GET /admin",
        "GET /admin HTTP/0.9",
        "GET /admin HTTP/2.0",
        "GET /admin HTTP/1.2",
        "GET /admin http/1.1",
        "GET /admin HTTP/1",
        "GET /admin HTTP/11",
        "GET /admin HTTP/1.1 x",
        "GET  /admin HTTP/1.1",
        "GET\t/admin HTTP/1.1",
        " GET /admin HTTP/1.1",
        "GET /x /admin HTTP/1.1",
        "PRI /admin HTTP/2.0",
        "DEL ETE / HTTP/1.1",
        "G\0T / HTTP/1.1",
        "/admin GET HTTP/1.1",
        "GET /admin  HTTP/1.1",
        "GET /admin HTTP/1.1 ",
        "GET / admin HTTP/1.1",
        "GET /x\thttp://admin.internal/ HTTP/1.1",
    ];
    let old = [
        "GET /admin HTTP/1.0",
        "\r\nGET /admin HTTP/1.1",
        "\r\n\r\nGET //admin HTTP/1.1",
    ];
    vec![
        row("request lines", MALFORMED, none.map(line)),
        row("request lines", POLICY, old.map(line)),
    ]
}
