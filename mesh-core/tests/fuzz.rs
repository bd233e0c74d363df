//! The fuzz targets over their corpora; see the driver for how to fuzz.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use driver::Target;

#[allow(unreachable_pub, reason = "the fuzz targets' library exports it")]
#[path = "../fuzz/src/bodies.rs"]
mod bodies;
#[path = "../fuzz/driver.rs"]
mod driver;
#[allow(unreachable_pub, reason = "the fuzz targets' library exports it")]
#[path = "../fuzz/src/names.rs"]
mod names;

const FUZZ: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz");

const TARGETS: &[Target] = &[
    Target {
        name: "path",
        body: bodies::path,
        broken: bodies::path_broken,
        corpus: paths,
        pieces: &[
            "/", "//", ".", "..", "/./", "/../", "%2e", "%2E%2e", "%2F", "%5c", "\\", "%41", "%7f",
            "%", ";x", "..;", " ", "é", "\"",
        ],
    },
    Target {
        name: "header",
        body: bodies::header,
        broken: bodies::header_broken,
        corpus: headers,
        pieces: &[
            "\n",
            "a",
            "A",
            " ",
            "7",
            "-1",
            "+5",
            "9223372036854775808",
            ",",
        ],
    },
    Target {
        name: "jwt",
        body: bodies::jwt,
        broken: bodies::jwt_broken,
        corpus: tokens,
        pieces: &[
            ".",
            "..",
            "=",
            "==",
            "-",
            "_",
            "+",
            "/",
            "%3D",
            " ",
            "A",
            "eyJhbGciOiJFZERTQSJ9.",
            "eyJhbGciOiJub25lIn0.",
            "eyJhdWQiOiJhIiwiZXhwIjoxMDAwMDAwLCJpc3MiOiJpIn0.",
            "{\"keys\":[",
            "{\"kty\":\"RSA\",",
            "\"use\":\"sig\"",
            "]}",
        ],
    },
    Target {
        name: "san",
        body: names::san,
        broken: names::san_broken,
        corpus: names_of_certificates,
        pieces: &[
            "\n",
            "u",
            "d",
            "i",
            "?",
            "\nu",
            "\nd",
            "spiffe://",
            "cluster.local",
            "/",
            "//",
            "/ns/a/sa/b",
            "..",
            "/../",
            "%2e",
            "*.",
            ".",
            "a.b",
            "127.0.0.1",
            "::1",
            "\0",
            "@",
            ":80",
            "?",
            "#",
        ],
    },
];

fn paths() -> Vec<Vec<u8>> {
    let all = [
        "",
        "a/b",
        "a//b",
        "a/./b/../c",
        "../..",
        "%2e%2e/a",
        "a%2Fb%5cc",
        "%41%7e%2g",
        "a\\b",
        "x/..;y/z",
        "é \"|",
    ];
    all.map(|text| text.as_bytes().to_vec()).into()
}

fn headers() -> Vec<Vec<u8>> {
    let all = [
        "\u{0}p",
        "\u{8}p\nv",
        "\u{1}\u{0}\u{0}\u{9}\u{0}\n7\n12",
        "\u{2}ab\na\nab",
        "\u{3}a\nba\nab",
        "\u{4}b\nab",
        "\u{5}b\nabc\nx",
        "\u{a}AB\naB",
        "\u{42}ab\nab\nc",
        "\u{43}a",
    ];
    all.map(|text| text.as_bytes().to_vec()).into()
}

fn names_of_certificates() -> Vec<Vec<u8>> {
    let all = [
        "0spiffe://cluster.local/ns/a/sa/b\nuspiffe://cluster.local/ns/a/sa/b",
        "0spiffe://cluster.local/ns/a/sa/b\nuspiffe://cluster.local/ns/a/sa/b\nuspiffe://cluster.local/ns/a/sa/c",
        "1spiffe://cluster.local/\nuspiffe://cluster.local/ns/a/sa/b\ndreviews",
        "2/sa/b\nuspiffe://evil/ns/a/sa/b\n?",
        "3cluster\nuspiffe://cluster.local.evil/x",
        "4*.default.svc\ndreviews.default.svc\nuspiffe://x/y",
        "4reviews.default.svc\nd*.default.svc",
        "4REVIEWS\ndreviews",
        "5127.0.0.1\ni127.0.0.1\nd127.0.0.1",
        "5spiffe://x/y\nuspiffe://x/y",
        "6\nuspiffe://cluster.local/ns/a/sa/b",
        "6\nuspiffe://cluster.local.evil/ns/a/sa/b",
        "7a.b.c\nd*.b.c",
        "7::1\ni::1",
    ];
    all.map(|text| text.as_bytes().to_vec()).into()
}

/// Tokens that are good, but for their spelling some of them; tokens that are not; and key sets.
fn tokens() -> Vec<Vec<u8>> {
    let encoded = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let token = |header: &str, claims: &str| {
        let signature = URL_SAFE_NO_PAD.encode([0; 64]);
        format!("{}.{}.{signature}", encoded(header), encoded(claims))
    };
    let (header, claims) = (
        r#"{"alg":"EdDSA"}"#,
        r#"{"aud":"a","exp":1000000,"iss":"i"}"#,
    );
    let good = token(header, claims);
    let nested = format!(
        r#"{{"aud":["a",""],"exp":1e9,"iss":"i","x":{}1{}}}"#,
        "[".repeat(31),
        "]".repeat(31)
    );
    let all = [
        good.clone(),
        format!("{good}=="),
        format!("{good}."),
        token(header, &nested),
        token(header, r#"{"aud":"https://a/","exp":1000000.5,"iss":"i","nbf":0,"sub":"\u00e9\ud83d\ude00"}"#),
        token(header, r#"{"aud":"a","exp":999999,"iss":"i"}"#),
        token(header, r#"{"aud":"a","exp":1000000,"iss":"i","iss":"j"}"#),
        token(r#"{"alg":"none"}"#, claims),
        token(r#"{"alg":"EdDSA","crit":["exp"]}"#, claims),
        "a.b.c".to_owned(),
        "..".to_owned(),
        r#"{"keys":[{"kty":"EC","crv":"P-256","x":"AQ","y":"AQ"},{"kty":"OKP"},{"kty":"RSA","n":"AQ","e":"AQAB"}]}"#.to_owned(),
    ];
    all.map(String::into_bytes).into()
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
