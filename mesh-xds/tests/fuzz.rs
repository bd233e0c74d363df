//! The fuzz targets over their corpora; see the driver for how to fuzz.

use bodies::corpus;
use driver::Target;

#[allow(unreachable_pub, reason = "the fuzz targets' library exports it")]
#[path = "../fuzz/src/bodies.rs"]
mod bodies;
#[path = "../../mesh-core/fuzz/driver.rs"]
mod driver;
#[allow(unreachable_pub, reason = "the fuzz targets' library exports it")]
#[path = "../fuzz/src/grpc.rs"]
mod grpc;
#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/histories.rs"]
mod histories;
#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/model.rs"]
mod model;
#[allow(unreachable_pub, reason = "the fuzz targets' library exports it")]
#[path = "../fuzz/src/rbac.rs"]
mod rbac;
#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/rig.rs"]
mod rig;
#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/wire.rs"]
mod wire;

const FUZZ: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz");
const WIRE: &[&str] = &[
    "\u{0}",
    "\u{1}",
    "\u{8}",
    "\n",
    "\u{12}",
    "\u{1a}",
    "\u{7f}",
    "one",
    "127.0.0.1",
];

const TARGETS: &[Target] = &[
    Target {
        name: "cluster",
        body: bodies::cluster,
        broken: bodies::cluster_broken,
        corpus: corpus::clusters,
        pieces: WIRE,
    },
    Target {
        name: "endpoints",
        body: bodies::endpoints,
        broken: bodies::endpoints_broken,
        corpus: corpus::endpoints,
        pieces: WIRE,
    },
    Target {
        name: "route",
        body: bodies::route,
        broken: bodies::route_broken,
        corpus: corpus::routes,
        pieces: WIRE,
    },
    Target {
        name: "grpc",
        body: grpc::grpc,
        broken: grpc::grpc_broken,
        corpus: grpc::corpus,
        pieces: WIRE,
    },
    Target {
        name: "rbac",
        body: rbac::rbac,
        broken: rbac::rbac_broken,
        corpus: rbac::corpus,
        pieces: &[
            "\u{0}",
            "\u{1}",
            "\u{2}",
            "\n",
            "\u{12}",
            "\u{1a}",
            "\u{7f}",
            "/admin",
            "GET",
            "x-role",
            "\n:",
            ":method",
            "\u{8}\u{1}",
            "\u{10}\u{1}",
        ],
    },
    Target {
        name: "bootstrap",
        body: bodies::bootstrap,
        broken: bodies::bootstrap_broken,
        corpus: corpus::bootstraps,
        pieces: &[
            "\"",
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "null",
            "0",
            "\"id\":\"\"",
            "insecure",
            "tls",
            "~",
        ],
    },
    Target {
        name: "ads",
        body: bodies::ads,
        broken: bodies::ads_broken,
        corpus: corpus::histories,
        pieces: &[],
    },
];

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
