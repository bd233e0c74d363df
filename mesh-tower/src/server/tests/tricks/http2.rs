//! The same as frames of HTTP/2, written by hand, and what HTTP/2 alone can say.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{ANY, MALFORMED, NEUTRAL, Outcome, POLICY, Row, heads, paths, row};

type Field = (Vec<u8>, Vec<u8>);

/// A request: the fields of its head, and those of its trailers.
#[derive(Debug, Clone)]
pub(super) struct Head {
    fields: Vec<Field>,
    body: Option<(Vec<u8>, Vec<Field>)>,
}

impl std::fmt::Display for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (name, value) in &self.fields {
            write!(f, "{}={} ", name.escape_ascii(), value.escape_ascii())?;
        }
        Ok(())
    }
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// One connection, for as long as it lasts.
pub(super) struct Wire {
    tcp: TcpStream,
    next: u32,
    is_open: bool,
}

impl Wire {
    pub(super) async fn open(address: SocketAddr) -> Self {
        let mut tcp = TcpStream::connect(address).await.unwrap();
        tcp.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .await
            .unwrap();
        // SETTINGS_HEADER_TABLE_SIZE = 0: what comes back can be read without a memory of before.
        let settings = frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0]);
        tcp.write_all(&settings).await.unwrap();
        Self {
            tcp,
            next: 1,
            is_open: true,
        }
    }

    pub(super) const fn is_open(&self) -> bool {
        self.is_open
    }

    pub(super) async fn ask(&mut self, head: &Head) -> Outcome {
        let stream = self.next;
        self.next += 2;
        let block = block(&head.fields);
        let mut bytes = match &head.body {
            None => frame(HEADERS, END_HEADERS | END_STREAM, stream, &block),
            Some(_) => frame(HEADERS, END_HEADERS, stream, &block),
        };
        if let Some((body, trailers)) = &head.body {
            let ends = if trailers.is_empty() { END_STREAM } else { 0 };
            bytes.extend(frame(DATA, ends, stream, body));
            if !trailers.is_empty() {
                let trailers = self::block(trailers);
                bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &trailers));
            }
        }
        let told = match self.tcp.write_all(&bytes).await {
            Ok(()) => self.answer(stream).await,
            Err(_) => None,
        };
        told.unwrap_or_else(|| {
            self.is_open = false;
            Outcome::Malformed
        })
    }

    /// None if the connection ends.
    async fn answer(&mut self, wanted: u32) -> Option<Outcome> {
        let mut status = None;
        loop {
            let (kind, flags, stream, payload) = self.frame().await?;
            match kind {
                SETTINGS if flags & ACK == 0 => {
                    self.tcp
                        .write_all(&frame(SETTINGS, ACK, 0, &[]))
                        .await
                        .ok()?;
                }
                GOAWAY => return None,
                RST_STREAM if stream == wanted => {
                    return Some(status.unwrap_or(Outcome::Malformed));
                }
                HEADERS if stream == wanted => status = Some(told(&payload)),
                DATA if stream == wanted && payload.starts_with(b"RBAC: access denied") => {
                    status = Some(Outcome::Policy);
                }
                _ => {}
            }
            if stream == wanted && matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0 {
                return status;
            }
        }
    }

    async fn frame(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.tcp.read_exact(&mut head).await.ok()?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)];
        self.tcp.read_exact(&mut payload).await.ok()?;
        Some((
            kind,
            flags,
            u32::from_be_bytes(stream) & 0x7fff_ffff,
            payload,
        ))
    }
}

/// By the entry of HPACK's static table; 403 is none of them, and `RBAC` is told by its body.
fn told(block: &[u8]) -> Outcome {
    // Updates of the table's size.
    let first = block.iter().find(|byte| **byte >> 5 != 1);
    match first {
        Some(0x88) => Outcome::Neutral,
        _ => Outcome::Malformed,
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut all = vec![length[1], length[2], length[3], kind, flags];
    all.extend(stream.to_be_bytes());
    all.extend(payload);
    all
}

/// Literals, never indexed, without Huffman's code.
fn block(fields: &[Field]) -> Vec<u8> {
    let mut all = Vec::new();
    for (name, value) in fields {
        all.push(0);
        for text in [name, value] {
            match u8::try_from(text.len()) {
                Ok(length @ 0..=126) => all.push(length),
                _ => {
                    let mut rest = text.len() - 127;
                    all.push(127);
                    while rest > 127 {
                        all.push((rest & 127) as u8 | 128);
                        rest >>= 7;
                    }
                    all.push(rest as u8);
                }
            }
            all.extend(text);
        }
    }
    all
}

fn head(fields: &[(&str, &str)]) -> Head {
    let owned =
        |(name, value): &(&str, &str)| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
    Head {
        fields: fields.iter().map(owned).collect(),
        body: None,
    }
}

const METHOD: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "http");
const HOST: (&str, &str) = (":authority", "reviews");
const PATH: (&str, &str) = (":path", "/");

fn with(fields: &[(&str, &str)]) -> Head {
    head(&[&[METHOD, SCHEME, HOST, PATH], fields].concat())
}

pub(super) fn all() -> Vec<Row<Head>> {
    let mut all = Vec::new();
    let path = |path: String| head(&[METHOD, SCHEME, HOST, (":path", &path)]);
    all.extend(paths::all().into_iter().map(|row| row.map(path)));
    let host = |host: &str| head(&[METHOD, SCHEME, (":authority", host), PATH]);
    all.extend(heads::hosts().into_iter().map(|row| row.map(host)));
    let method = |method: String| head(&[(":method", &method), SCHEME, HOST, PATH]);
    all.extend(heads::methods().into_iter().map(|row| row.map(method)));
    let header = |(name, value): (String, String)| with(&[(&name, &value)]);
    all.extend(heads::headers().into_iter().map(|row| row.map(header)));
    all.extend(pseudo());
    all.extend(authorities());
    all.extend(fields());
    all.extend(bodies());
    all
}

fn pseudo() -> Vec<Row<Head>> {
    let four = [METHOD, SCHEME, HOST, PATH];
    let mut broken = Vec::new();
    for at in [0, 1, 3] {
        let mut fields = four.to_vec();
        fields.remove(at);
        broken.push(head(&fields));
    }
    for again in [
        (":method", "DELETE"),
        (":scheme", "https"),
        (":authority", "admin.internal"),
        (":path", "/admin"),
        PATH,
        HOST,
    ] {
        broken.push(with(&[again]));
        broken.push(head(&[&[again], &four[..]].concat()));
        // Behind a header proper.
        broken.push(head(&[&four[..], &[("x", "y"), again]].concat()));
    }
    for unknown in [
        ":status",
        ":protocol",
        ":host",
        ":x",
        ":",
        ":Path",
        ":PATH",
        "path:",
    ] {
        broken.push(with(&[(unknown, "/admin")]));
    }
    let mut late = four.to_vec();
    late.rotate_left(1);
    late.insert(2, ("x", "y"));
    broken.push(head(&late));
    let paths = [
        "",
        "*",
        "admin",
        "x/../admin",
        "http://reviews/admin",
        "../admin",
        "/ admin",
        "/admin HTTP/1.1",
        "/\r\nx-role: a",
    ];
    let paths = paths.map(|path| head(&[METHOD, SCHEME, HOST, (":path", path)]));
    let root = head(&[METHOD, SCHEME, HOST, (":path", "?x")]);
    let schemes = [
        "ftp",
        "file",
        "ws",
        "",
        "http:",
        "http://",
        "h ttp",
        "javascript",
    ];
    let schemes = schemes.map(|scheme| head(&[METHOD, (":scheme", scheme), HOST, PATH]));
    let ours = ["https", "HTTPS", "HTTP", "Https"];
    let ours = ours.map(|scheme| head(&[METHOD, (":scheme", scheme), HOST, PATH]));
    let tunnels = [
        head(&[(":method", "CONNECT"), (":authority", "reviews:80")]),
        head(&[(":method", "CONNECT"), (":authority", "reviews:80")]),
        head(&[(":method", "CONNECT"), (":authority", "reviews")]),
        head(&[
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            SCHEME,
            HOST,
            PATH,
        ]),
        head(&[
            (":method", "CONNECT"),
            (":protocol", "connect-udp"),
            SCHEME,
            HOST,
            PATH,
        ]),
        head(&[(":method", "CONNECT"), SCHEME, HOST]),
        head(&[(":method", "OPTIONS"), SCHEME, HOST, (":path", "*")]),
    ];
    vec![
        row("pseudo-headers", MALFORMED, broken),
        row("targets of other forms", MALFORMED, paths),
        // As `http://reviews?x`, it has the path of the root.
        row("targets of other forms", NEUTRAL, [root]),
        row("schemes", MALFORMED, schemes),
        row("schemes", ANY, ours),
        row("tunnels", MALFORMED, tunnels),
    ]
}

fn authorities() -> Vec<Row<Head>> {
    let mut both = Vec::new();
    for authority in ["reviews", "admin.internal", "reviews:80", "REVIEWS"] {
        for host in [
            "reviews",
            "admin.internal",
            "REVIEWS",
            "reviews:80",
            "reviews.",
            "",
        ] {
            if authority != host {
                both.push(head(&[
                    METHOD,
                    SCHEME,
                    (":authority", authority),
                    PATH,
                    ("host", host),
                ]));
                both.push(head(&[
                    METHOD,
                    SCHEME,
                    (":authority", authority),
                    PATH,
                    ("host", authority),
                    ("host", host),
                ]));
            }
        }
    }
    let host_alone = ["reviews", "REVIEWS", "reviews:80"]
        .map(|host| head(&[METHOD, SCHEME, PATH, ("host", host)]));
    let other_alone =
        ["admin.internal", "reviews."].map(|host| head(&[METHOD, SCHEME, PATH, ("host", host)]));
    let several = ["reviews", "admin.internal", ""]
        .map(|host| head(&[METHOD, SCHEME, PATH, ("host", "reviews"), ("host", host)]));
    vec![
        row("target against host", MALFORMED, both),
        row("host without authority", NEUTRAL, host_alone),
        row("host without authority", POLICY, other_alone),
        row("several hosts", MALFORMED, several),
        row("no host", MALFORMED, [head(&[METHOD, SCHEME, PATH])]),
    ]
}

fn fields() -> Vec<Row<Head>> {
    let broken = [
        ("X-Role", "a"),
        ("X-ROLE", "a"),
        ("x-role ", "a"),
        (" x-role", "a"),
        ("x role", "a"),
        ("x-role\0", "a"),
        ("x-role", "a\0"),
        ("x-role", "a\r\nb: c"),
        ("x-role\r\ny", "a"),
        ("", "a"),
        ("x-rol\u{e9}", "a"),
        ("x-role:", "a"),
        ("Host", "admin.internal"),
        ("y", "z\nx-role: a"),
        ("y", "z\rx-role: a"),
        ("connection", "close"),
        ("connection", "x-role"),
        ("keep-alive", "1"),
        ("proxy-connection", "x"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
        ("te", "trailers, gzip"),
    ];
    let crumbs: [&[(&str, &str)]; 3] = [
        &[("cookie", "user=x"), ("cookie", "role=admin")],
        &[("cookie", "user=x; role=admin")],
        &[("cookie", "user=x"), ("x", "y"), ("cookie", "role=admin")],
    ];
    let denied: [&[(&str, &str)]; 4] = [
        &[("x-role", "a")],
        &[("x-role", "a"), ("x-role", "b")],
        &[("x-role", "")],
        &[("te", "trailers"), ("x-role", "a")],
    ];
    let many = |count: usize| with(&vec![("x", "y"); count]);
    vec![
        row(
            "broken fields",
            MALFORMED,
            broken.map(|field| with(&[field])),
        ),
        row("cookies", POLICY, crumbs.map(with)),
        row("header lines", POLICY, denied.map(with)),
        row(
            "upgrades",
            NEUTRAL,
            [
                with(&[("te", "trailers")]),
                with(&[("expect", "100-continue")]),
            ],
        ),
        row(
            "oversized",
            NEUTRAL,
            [many(90), with(&[("x", &"y".repeat(10_000))])],
        ),
    ]
}

fn bodies() -> Vec<Row<Head>> {
    let post = |fields: &[(&str, &str)], body: &str, trailers: &[(&str, &str)]| {
        let mut all = head(&[&[(":method", "POST"), SCHEME, HOST, PATH], fields].concat());
        all.body = Some((body.as_bytes().to_vec(), head(trailers).fields));
        all
    };
    let inner = "GET /admin HTTP/1.1\r\nhost: reviews\r\n\r\n";
    let lengths = [
        "0",
        "1",
        "999",
        "-1",
        "+4",
        "4, 4",
        "",
        "a",
        "99999999999999999999999",
    ];
    let lengths = lengths.map(|length| post(&[("content-length", length)], inner, &[]));
    let twice = post(
        &[("content-length", "4"), ("content-length", "0")],
        inner,
        &[],
    );
    let trailers = [
        ("x-role", "admin"),
        ("host", "admin.internal"),
        (":path", "/admin"),
        (":authority", "admin.internal"),
        ("x-forwarded-client-cert", "URI=a"),
        ("x-envoy-internal", "true"),
        ("connection", "x"),
        ("X-Role", "a"),
        ("transfer-encoding", "chunked"),
    ];
    vec![
        row("framing", ANY, lengths),
        row("framing", ANY, [twice]),
        row(
            "trailers",
            ANY,
            trailers.map(|field| post(&[], "x", &[field])),
        ),
    ]
}
