//! Whatever stands in a file: an answer, never a panic.
#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "a test may fail, and may be a long table"
)]

mod common;

use std::path::Path;

use common::*;
use mesh_istio::Config;
use mesh_xds::Node;
use proptest::prelude::*;
use proptest::test_runner::{Config as Runner, RngAlgorithm, RngSeed};

const RULES: &str = "\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: reviews
spec:
  hosts: [reviews, '*.books.example.com']
  gateways: [mesh, bookinfo]
  http:
  - name: jason
    match:
    - headers: { end-user: { exact: jason } }
      uri: { regex: '/a.*' }
    route:
    - destination: { host: reviews, subset: v2, port: { number: 9080 } }
      weight: 90
    - destination: { host: reviews, subset: v1 }
      weight: 10
    timeout: 1.5s
  - directResponse: { status: 404, body: { bytes: AAEC } }
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: ratings }
spec:
  hosts: [ratings]
  http:
  - name: all
    match:
    - name: one
      scheme: { exact: http }
      authority: { prefix: r }
      withoutHeaders: { x-a: {} }
      queryParams: { a: { regex: 'b+' } }
      statPrefix: s
    headers:
      request:
        set: { x-a: '%REQ(b)%' }
        remove: [x-b]
    rewrite:
      authority: a.b
      uriRegexRewrite:
        match: '/(.*)'
        rewrite: '/\\1'
    retries:
      attempts: 3
      retryOn: 5xx,503
      backoff: 10ms
    fault:
      delay: { fixedDelay: 1s, percentage: { value: 0.1 } }
      abort:
        grpcStatus: UNAVAILABLE
        percentage:
          value: 50
    corsPolicy:
      maxAge: 24h
      allowOrigins: [ { exact: 'https://a.b' } ]
      allowMethods: [GET]
    mirrors: [ { destination: { host: reviews }, percentage: { value: 1 } } ]
    route: [ { destination: { host: reviews } } ]
  - match: [ { uri: { prefix: /d } } ]
    mirror: { host: reviews }
    mirrorPercent: 30
    delegate:
      name: leaf
  - redirect:
      uri: /x
      port: 80
      redirectCode: 308
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: leaf }
spec:
  http:
  - match: [ { uri: { prefix: /d/e } } ]
    route: [ { destination: { host: reviews } } ]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: bookinfo }
spec:
  selector: { istio: ingressgateway }
  servers:
  - { port: { number: 8080, name: http, protocol: HTTP }, hosts: ['*', default/a.b] }
";

fn all() -> String {
    format!("{REVIEWS}---\n{RULES}")
}

/// What is taken only in a mesh that has certificates.
const SECURITY: &str = "\
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: reviews }
spec:
  selector: { matchLabels: { app: reviews } }
  mtls: { mode: STRICT }
  portLevelMtls:
    9080: { mode: DISABLE }
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: reviews
  annotations: { istio.io/dry-run: 'true' }
spec:
  action: DENY
  rules:
  - from:
    - source:
        principals: ['*/sa/a', cluster.local/ns/a/sa/b]
        requestPrincipals: ['*', 'a/*', '*/b', 'c*']
        namespaces: ['a*']
        trustDomains: ['*.td']
        remoteIpBlocks: ['::1/64']
    to:
    - operation:
        hosts: ['*.b']
        paths: ['/a/{*}/{**}']
        ports: ['80']
    when:
    - key: request.auth.claims[a][b]
      values: [c]
    - key: experimental.envoy.filters.a[b]
      values: ['[c]']
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: ratings }
spec:
  host: ratings
  trafficPolicy:
    tls:
      mode: MUTUAL
      clientCertificate: /c
      privateKey: /k
";

fn secured(text: &str) {
    let options = mesh_istio::Options::default().certificates(true);
    if let Ok(loaded) = options.parse([("a.yaml".into(), text.to_owned())]) {
        let _ = loaded.config.resources(&client());
    }
    let mut analysis = mesh_istio::Analysis::of(options);
    analysis.text("a.yaml", text);
    let _ = analysis.findings();
}

#[test]
fn every_truncation_of_security() {
    for (at, _) in SECURITY.char_indices() {
        secured(&format!("{REVIEWS}---\n{}", &SECURITY[..at]));
    }
    let options = mesh_istio::Options::default().certificates(true);
    assert!(
        options
            .parse([("a.yaml".into(), SECURITY.to_owned())])
            .is_ok()
    );
}

fn everything(text: &str) {
    if let Ok(loaded) = Config::parse([("a.yaml".into(), text.to_owned())]) {
        for node in [
            client(),
            Node::router("x", "default", [("istio", "ingressgateway")]),
        ] {
            let resources = loaded.config.resources(&node);
            for name in resources.routes.keys() {
                routes(&resources, name);
            }
        }
    }
}

fn runner() -> Runner {
    let rng_algorithm = RngAlgorithm::ChaCha;
    Runner {
        cases: 400,
        rng_algorithm,
        rng_seed: RngSeed::Fixed(7),
        failure_persistence: None,
        ..Runner::default()
    }
}

#[test]
fn every_truncation() {
    for text in [REVIEWS, RULES] {
        for (at, _) in text.char_indices() {
            everything(&text[..at]);
        }
    }
    let text = all();
    everything(&text);
    assert!(Config::parse([("a.yaml".into(), text)]).is_ok());
}

proptest! {
    #![proptest_config(runner())]

    #[test]
    fn random_text(text in "\\PC{0,200}") {
        everything(&text);
    }

    #[test]
    fn random_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        everything(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn yaml_like_text(text in "([-:{}\\[\\],&*!|>'\"%@`#? \\t\\n]|[a-z0-9]{1,4}|---\\n|\\.\\.\\.\\n|<<: ){0,60}") {
        everything(&text);
    }

    #[test]
    fn a_valid_text_with_bytes_changed(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)
    ) {
        let mut bytes = all().into_bytes();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        everything(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn a_valid_text_with_values_changed(
        line in any::<prop::sample::Index>(),
        value in prop_oneof![
            Just("-1".to_owned()), Just("99999999999999999999".to_owned()), Just("1e400".to_owned()),
            Just("null".to_owned()), Just("[]".to_owned()), Just("{}".to_owned()), Just("''".to_owned()),
            Just("*".to_owned()), Just("'*'".to_owned()), Just("[[[1]]]".to_owned()), Just(".inf".to_owned()), "\\PC{0,20}",
        ],
    ) {
        let text = all();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let at = line.index(lines.len());
        if let Some((key, _)) = lines[at].clone().split_once(": ") {
            lines[at] = format!("{key}: {value}");
        }
        everything(&lines.join("\n"));
    }

    #[test]
    fn security_with_values_changed(
        line in any::<prop::sample::Index>(),
        value in prop_oneof![
            Just("null".to_owned()), Just("[]".to_owned()), Just("{}".to_owned()), Just("['']".to_owned()),
            Just("['*']".to_owned()), Just("['**']".to_owned()), Just("['[']".to_owned()), Just("a[".to_owned()),
            Just("['/']".to_owned()), "\\['[*/\\[\\]{}.a]{0,6}'\\]", "\\PC{0,20}",
        ],
    ) {
        let mut lines: Vec<String> = SECURITY.lines().map(str::to_owned).collect();
        let at = line.index(lines.len());
        if let Some((key, _)) = lines[at].clone().split_once(": ") {
            lines[at] = format!("{key}: {value}");
        }
        secured(&lines.join("\n"));
    }

    #[test]
    fn edits_with_any_text(text in "\\PC{0,100}", cut in any::<prop::sample::Index>()) {
        let dir = tempfile::tempdir().unwrap();
        let whole = all();
        let cut = (0..=cut.index(whole.len())).rev().find(|at| whole.is_char_boundary(*at)).unwrap_or(0);
        for text in [text.as_str(), &whole[..cut]] {
            let source = Path::new("stdin");
            let before: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
            match mesh_istio::apply(dir.path(), text, source) {
                Ok(_) => prop_assert!(Config::load(dir.path()).is_ok()),
                Err(_) => prop_assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), before.len()),
            }
            let _ = mesh_istio::delete(dir.path(), text, source);
        }
    }
}
