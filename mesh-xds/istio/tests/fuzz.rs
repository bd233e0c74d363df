//! The fuzz targets over their corpora; see the driver for how to fuzz.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use driver::Target;

#[allow(unreachable_pub, reason = "the fuzz targets' library exports it")]
#[path = "../fuzz/src/bodies.rs"]
mod bodies;
#[path = "../../../mesh-core/fuzz/driver.rs"]
mod driver;

const FUZZ: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz");

const TARGETS: &[Target] = &[Target {
    name: "yaml",
    body: bodies::yaml,
    broken: bodies::yaml_broken,
    corpus: texts,
    pieces: &[
        "\n",
        "- ",
        ": ",
        "  ",
        "---\n",
        "{",
        "}",
        "[",
        "]",
        "null",
        "''",
        "'*'",
        "-1",
        "1.5s",
        "0s",
        "100",
        "&a ",
        "*a",
        "exact: a\n",
        "prefix: /\n",
        "regex: 'a.*'\n",
        "weight: 0\n",
        "timeout: 1s\n",
        "hosts: [a]\n",
    ],
}];

const VIRTUAL_SERVICE: &str = "\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: reviews }
spec:
  hosts: [reviews]
  http:
  - match:
    - headers: { end-user: { exact: jason } }
      uri: { regex: '/a.*' }
    route:
    - destination: { host: reviews, subset: v2, port: { number: 9080 } }
      weight: 90
    - destination: { host: reviews, subset: v1 }
      weight: 10
    timeout: 1.5s
  - match: [{ uri: { prefix: /old } }]
    redirect: { uri: /new }
  - directResponse: { status: 404 }
";

const DESTINATION_RULE: &str = "\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: reviews }
spec:
  host: reviews
  trafficPolicy: { loadBalancer: { simple: LEAST_REQUEST } }
  subsets:
  - { name: v1, labels: { version: v1 } }
  - { name: v2, labels: { version: v2 } }
";

const GATEWAY: &str = "\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: bookinfo }
spec:
  selector: { istio: ingressgateway }
  servers:
  - { port: { number: 8080, name: http, protocol: HTTP }, hosts: ['*'] }
";

fn texts() -> Vec<Vec<u8>> {
    let reviews = common::REVIEWS;
    let bound = VIRTUAL_SERVICE.replace("hosts: [reviews]", "hosts: ['*']\n  gateways: [bookinfo]");
    let all = [
        reviews.to_owned(),
        format!("{reviews}---\n{VIRTUAL_SERVICE}"),
        format!("{reviews}---\n{VIRTUAL_SERVICE}---\n{DESTINATION_RULE}"),
        format!("{reviews}---\n{GATEWAY}---\n{bound}"),
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
