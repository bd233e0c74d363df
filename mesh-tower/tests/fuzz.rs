//! The fuzz targets over their corpora; see the driver for how to fuzz.

use driver::Target;

#[allow(unreachable_pub, reason = "the fuzz targets' library exports it")]
#[path = "../fuzz/src/chain.rs"]
mod chain;
#[path = "../../mesh-core/fuzz/driver.rs"]
mod driver;
#[path = "../src/tls/hello.rs"]
mod hello;
#[allow(unreachable_pub, reason = "the fuzz targets' library exports it")]
#[path = "../fuzz/src/opening.rs"]
mod opening;
#[path = "../fuzz/src/reads.rs"]
mod reads;
#[path = "../fuzz/src/wire.rs"]
mod wire;

const FUZZ: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz");

const TARGETS: &[Target] = &[
    Target {
        name: "opening",
        body: opening::opening,
        broken: opening::opening_broken,
        corpus: openings,
        pieces: &[
            "\u{16}",
            "\u{16}\u{3}\u{1}",
            "\u{16}\u{3}\u{3}\0\u{1}\u{1}",
            "\u{16}\u{3}\u{3}\0\u{1}\0",
            "\u{16}\u{3}\u{1}\0\0",
            "\u{14}\u{3}\u{3}\0\u{1}\u{1}",
            "\u{15}\u{3}\u{3}\0\u{2}\u{1}\0",
            "\u{15}\u{3}\u{3}\0\u{2}\u{1}\u{5a}",
            "\u{17}\u{3}\u{3}\0\0",
            "\u{1}\0",
            "\0\0",
            "\0\u{1}",
            "\0\u{10}",
            "\u{2}h2",
            "a.example",
            "127.0.0.1",
            "GET / HTTP/1.1\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "PROXY TCP4 ",
        ],
    },
    Target {
        name: "chain",
        body: chain::chain,
        broken: chain::chain_broken,
        corpus: hellos,
        pieces: &[
            "\n",
            "\nh2",
            "\nhttp/1.1",
            "\nistio",
            "\nistio-h2",
            "\nistio-http/1.1",
            "a.example",
            "b.example",
            "plain.example",
            ".example",
            ".",
            "*",
            "-",
            "_",
            "A",
            "0x1f",
            "127.0.0.1",
            "::1",
            "\0",
        ],
    },
];

/// What is no TLS, what is, and what only begins so.
fn openings() -> Vec<Vec<u8>> {
    let said = wire::Said {
        sni: Some(b"A.example".to_vec()),
        alpn: [&b"istio-h2"[..], b"istio", b"h2"]
            .map(<[u8]>::to_vec)
            .into(),
    };
    let (message, bare) = (
        said.message(true, false),
        wire::Said::default().message(false, true),
    );
    let hello = wire::records(&message, 0x4000);
    let mut large = b"\x16\x03\x01\x40\x00\x01\x00\xff\xff\x03\x03".to_vec();
    large.resize(600, 7);
    let all: [&[u8]; 25] = [
        b"",
        b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n",
        b"\r\n\r\n\0\r\nQUIT\n",
        b"\x15\x03\x01\x00\x02\x02\x28",
        b"\x17\x03\x03\x00\x01\x00",
        // A hello of SSL 2.0.
        b"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10",
        b"\x16",
        b"\x16\x03",
        b"\x16\x03\x01\x00",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\x48\x00",
        b"\x16\x02\x00\x00\x01\x01",
        b"\x16GET / HTTP/1.1\r\n\r\n",
        // The server's.
        b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00",
        b"\x16\x03\x01\x00\x04\x01\xff\xff\xff",
        &large,
        &hello,
        &hello[..hello.len() / 2],
        &[&hello[..], b"\x16\x03\x01\x00\x01\x01GET /"].concat(),
        &wire::records(&bare, 0x4000),
        &wire::records(&message, 1),
        &wire::records(&message, 3)[..100],
        &[
            &wire::records(&message, 7)[..36],
            b"\x15\x03\x01\x00\x02\x01\x00",
        ]
        .concat(),
    ];
    let with = |(at, bytes): (usize, &&[u8])| [&[(at * 37) as u8], *bytes].concat();
    all.iter().enumerate().map(with).collect()
}

fn hellos() -> Vec<Vec<u8>> {
    let many = format!("\u{7}\u{3}a.example{}\nh2", "\nx".repeat(16));
    let all = [
        "\u{7}\u{0}",
        "\u{7}\u{1}a.example\nh2",
        "\u{f}\u{2}A.Example\nhttp/1.1\nh2",
        "\u{10}\u{3}a.example\nistio",
        "\u{1}\u{7}x.b.example",
        "\u{2}\u{0}b.example.\nh2",
        "\u{1c}\u{1}y.x.example\nh2\nistio",
        "\u{5}\u{2}plain.example\nistio",
        "\u{7}\u{3}other\nh2\nistio-http/1.1\nistio",
        "\u{7}\u{0}\nhttp/1.1\nh2",
        "\u{7}\u{0}127.0.0.1\nistio",
        "\u{7}\u{0}::1\nistio",
        "\u{7}\u{0}*.example\nistio",
        "\u{7}\u{0}a..example",
        "\u{7}\u{0}a.0x1f",
        "\u{7}\u{0}-a.example",
        many.as_str(),
    ];
    all.map(|text| text.as_bytes().to_vec()).into()
}

#[test]
fn every_corpus_holds() {
    driver::holds(FUZZ, TARGETS);
}

#[test]
fn every_control_is_found() {
    driver::controls(FUZZ, TARGETS);
}

#[test]
#[ignore = "as long as MESH_FUZZ_SECONDS says for each target"]
fn mutated() {
    driver::mutate(FUZZ, env!("CARGO_TARGET_TMPDIR"), TARGETS);
}

#[test]
#[ignore = "writes the corpora"]
fn written() {
    driver::write(FUZZ, TARGETS);
}
