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
/// The code by which streams and connections end that are no HTTP (RFC 9113, 7).
const PROTOCOL_ERROR: u32 = 1;

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
            Ok(()) => self.answer(stream, head).await,
            Err(_) => None,
        };
        told.unwrap_or_else(|| {
            self.is_open = false;
            Outcome::Malformed
        })
    }

    /// None if the connection ends without a word.
    async fn answer(&mut self, wanted: u32, head: &Head) -> Option<Outcome> {
        let (mut status, mut body) = (None, Vec::new());
        loop {
            let (kind, flags, stream, payload) = self.frame().await?;
            match kind {
                SETTINGS if flags & ACK == 0 => {
                    self.tcp
                        .write_all(&frame(SETTINGS, ACK, 0, &[]))
                        .await
                        .ok()?;
                }
                GOAWAY => {
                    self.is_open = false;
                    return Some(ended(payload.get(4..)?));
                }
                RST_STREAM if stream == wanted => {
                    let told = status.map(|status| head.outcome(status, &body));
                    return Some(told.unwrap_or_else(|| ended(&payload)));
                }
                HEADERS if stream == wanted => status = status.or_else(|| Some(told(&payload))),
                DATA if stream == wanted => body.extend(payload),
                _ => {}
            }
            if stream == wanted && matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0 {
                return status.map(|status| head.outcome(status, &body));
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

impl Head {
    fn field(&self, wanted: &str) -> &[u8] {
        let mut fields = self.fields.iter();
        let found = fields.find(|(name, _)| name == wanted.as_bytes());
        found.map_or(&[], |(_, value)| value)
    }

    /// By its status, and by what it is that was refused by it.
    fn outcome(&self, status: u32, body: &[u8]) -> Outcome {
        let is_policy = body.starts_with(b"RBAC: access denied");
        let is_no_path = !self.field(":path").starts_with(b"/");
        let is_tunnel = self.field(":method") == b"CONNECT";
        match status {
            200 => Outcome::Neutral,
            403 if is_policy => Outcome::Policy,
            400 => Outcome::Malformed,
            403 if is_tunnel => Outcome::Malformed,
            404 if is_no_path => Outcome::Malformed,
            status => Outcome::Astray(status),
        }
    }
}

/// By the code of a stream or a connection that ended.
fn ended(code: &[u8]) -> Outcome {
    let code = code.iter().take(4);
    match code.fold(0, |code, byte| code << 8 | u32::from(*byte)) {
        PROTOCOL_ERROR => Outcome::Malformed,
        code => Outcome::Astray(code),
    }
}

/// The status of a head: an entry of HPACK's static table, or the name of one (8) with a value, plain or in Huffman's code
/// (RFC 7541, A). It comes first; 0 is another.
fn told(block: &[u8]) -> u32 {
    // Updates of the table's size.
    let begin = block.iter().position(|byte| *byte >> 5 != 1);
    match &block[begin.unwrap_or(block.len())..] {
        [entry @ 0x88..=0x8e, ..] => [200, 204, 206, 304, 400, 404, 500][usize::from(entry - 0x88)],
        [0x48 | 0x08 | 0x18, 3, digits @ ..] => {
            let digits = digits.iter().take(3);
            digits.fold(0, |status, digit| status * 10 + u32::from(digit - b'0'))
        }
        [0x48 | 0x08 | 0x18, 0x83, 0x68, 0x0c, 0xff, ..] => 403,
        _ => 0,
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

/// The control: of a refusal for another reason it is told.
#[test]
fn a_refusal_is_told_by_its_reason() {
    let get = with(&[]);
    let tunnel = head(&[(":method", "CONNECT"), HOST]);
    let whole = head(&[METHOD, SCHEME, HOST, (":path", "*")]);
    let by_policy = &b"RBAC: access denied"[..];
    for (head, block, body, expected) in [
        (&get, &[0x20, 0x88][..], &b""[..], Outcome::Neutral),
        (&get, &[0x8c], b"", Outcome::Malformed),
        (
            &get,
            &[0x48, 3, b'4', b'0', b'3'],
            by_policy,
            Outcome::Policy,
        ),
        (
            &get,
            &[0x48, 0x83, 0x68, 0x0c, 0xff],
            by_policy,
            Outcome::Policy,
        ),
        (
            &get,
            &[0x48, 3, b'4', b'0', b'3'],
            b"",
            Outcome::Astray(403),
        ),
        (
            &tunnel,
            &[0x48, 3, b'4', b'0', b'3'],
            b"",
            Outcome::Malformed,
        ),
        (&whole, &[0x8d], b"", Outcome::Malformed),
        (&get, &[0x8d], b"", Outcome::Astray(404)),
        (&get, &[0x8e], b"", Outcome::Astray(500)),
        (
            &get,
            &[0x48, 3, b'5', b'0', b'3'],
            by_policy,
            Outcome::Astray(503),
        ),
    ] {
        assert_eq!(head.outcome(told(block), body), expected, "{block:?}");
    }
    assert_eq!(ended(&PROTOCOL_ERROR.to_be_bytes()), Outcome::Malformed);
    assert_eq!(ended(&[0, 0, 0, 2]), Outcome::Astray(2));
}
