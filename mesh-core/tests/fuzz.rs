//! The fuzz targets over their corpora; see the driver for how to fuzz.

use driver::Target;

#[allow(unreachable_pub, reason = "the fuzz targets' library exports it")]
#[path = "../fuzz/src/bodies.rs"]
mod bodies;
#[path = "../fuzz/driver.rs"]
mod driver;

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
