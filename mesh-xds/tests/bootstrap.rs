//! The bootstrap file: what gRPC and istio-agent write is taken, and what cannot be used is told in
//! one sentence.

use std::process::Command;

use envoy_types::pb::google::protobuf::value::Kind;
use mesh_xds::bootstrap::{FILE_VARIABLE, INLINE_VARIABLE};
use mesh_xds::{Bootstrap, NodeType};

fn parse(json: &str) -> Result<Bootstrap, String> {
    Bootstrap::parse(json, "b.json").map_err(|error| error.to_string())
}

/// What istio-agent writes, with a control plane that is reached over TCP.
fn istio_agent(server_uri: &str) -> String {
    format!(
        r#"{{
  "xds_servers": [
    {{
      "server_uri": "{server_uri}",
      "channel_creds": [{{"type": "insecure", "config": null}}],
      "server_features": ["xds_v3"]
    }}
  ],
  "node": {{
    "id": "sidecar~10.0.0.5~echo-v1.ns~ns.svc.cluster.local",
    "metadata": {{
      "ANNOTATIONS": {{"inject.istio.io/templates": "grpc-agent"}},
      "GENERATOR": "grpc",
      "INSTANCE_IPS": "10.0.0.5,fe80::1",
      "ISTIO_VERSION": "1.29.6",
      "LABELS": {{"app": "echo", "version": "v1"}},
      "NAMESPACE": "ns",
      "PILOT_SAN": ["istiod.istio-system.svc"],
      "PROXY_CONFIG": {{"concurrency": 2, "drainDuration": "45s", "holdApplicationUntilProxyStarts": true}},
      "OWNER": null
    }},
    "locality": {{}},
    "UserAgentVersionType": null,
    "cluster": ""
  }},
  "certificate_providers": {{
    "default": {{
      "plugin_name": "file_watcher",
      "config": {{"certificate_file": "cert-chain.pem", "refresh_interval": "900s"}}
    }}
  }},
  "server_listener_resource_name_template": "xds.istio.io/grpc/lds/inbound/%s"
}}"#
    )
}

#[test]
fn what_istio_agent_writes_is_taken() {
    let bootstrap = parse(&istio_agent("istiod.istio-system.svc:15010")).expect("a bootstrap");
    assert_eq!(&**bootstrap.server.uri(), "istiod.istio-system.svc:15010");
    let node = bootstrap.node;
    assert_eq!(node.node_type, NodeType::Sidecar);
    assert_eq!((&*node.name, &*node.namespace), ("echo-v1", "ns"));
    assert_eq!(node.ip.to_string(), "10.0.0.5");
    assert_eq!(node.labels.get("version").map(String::as_str), Some("v1"));
    let wire = node.to_proto();
    assert_eq!(wire.id, "sidecar~10.0.0.5~echo-v1.ns~ns.svc.cluster.local");
    let fields = wire.metadata.expect("metadata").fields;
    let kind = |key: &str| fields.get(key).and_then(|value| value.kind.clone());
    assert_eq!(
        kind("INSTANCE_IPS"),
        Some(Kind::StringValue("10.0.0.5,fe80::1".to_owned()))
    );
    assert_eq!(
        kind("ISTIO_VERSION"),
        Some(Kind::StringValue("1.29.6".to_owned()))
    );
    assert_eq!(kind("OWNER"), Some(Kind::NullValue(0)));
    let Some(Kind::ListValue(san)) = kind("PILOT_SAN") else {
        panic!("a list stays a list")
    };
    assert_eq!(san.values.len(), 1);
    let Some(Kind::StructValue(proxy)) = kind("PROXY_CONFIG") else {
        panic!("an object stays an object")
    };
    assert_eq!(
        proxy.fields["concurrency"].kind,
        Some(Kind::NumberValue(2.0))
    );
}

#[test]
fn the_first_server_counts_and_nulls_are_absent() {
    let json = r#"{
        "xds_servers": [
            {"server_uri": "http://127.0.0.1:1", "channel_creds": [{"type": "google_default"}, {"type": "insecure"}], "server_features": null},
            {"server_uri": "second:2", "channel_creds": null}
        ],
        "node": {"id": "router~10.0.0.5~gw.ns~ns.svc.cluster.local", "metadata": null, "locality": null},
        "authorities": null
    }"#;
    let bootstrap = parse(json).expect("a bootstrap");
    assert_eq!(&**bootstrap.server.uri(), "http://127.0.0.1:1");
    assert_eq!(bootstrap.node.node_type, NodeType::Router);
}

fn with(server_uri: &str, creds: &str, id: &str) -> String {
    format!(
        r#"{{"xds_servers": [{{"server_uri": "{server_uri}", "channel_creds": {creds}}}], "node": {{"id": "{id}"}}}}"#
    )
}

const INSECURE: &str = r#"[{"type": "insecure"}]"#;
const ID: &str = "sidecar~10.0.0.5~a.ns~ns.svc.cluster.local";

#[test]
fn addresses_of_control_planes() {
    for uri in [
        "localhost:15010",
        "127.0.0.1:1",
        "[::1]:15010",
        "http://istiod:15010",
        "http://[::1]:1/",
    ] {
        let bootstrap = parse(&with(uri, INSECURE, ID)).expect(uri);
        assert_eq!(&**bootstrap.server.uri(), uri);
    }
}

fn is_told(json: &str, expected: &str) {
    let error = parse(json).expect_err(json);
    assert!(error.starts_with("xDS bootstrap b.json: "), "{error}");
    assert!(error.contains(expected), "{expected:?} is not in {error:?}");
    assert!(!error.contains('\n'), "{error:?}");
}

#[test]
fn json_that_holds_no_bootstrap_is_told_in_one_sentence() {
    let none = "xds_servers names no control plane";
    let rows = [
        ("", "EOF while parsing a value at line 1 column 0"),
        (
            "7",
            "invalid type: integer `7`, expected the JSON object of a bootstrap",
        ),
        (r#"{"xds_servers": ["#, "EOF while parsing a list"),
        ("{}", none),
        (r#"{"xds_servers": null}"#, none),
        (r#"{"xds_servers": []}"#, none),
        (r#"{"xds_servers": [{}]}"#, "missing field `server_uri`"),
        (
            r#"{"xds_servers": [{"server_uri": 7}]}"#,
            "integer `7`, expected a string",
        ),
    ];
    for (json, expected) in rows {
        is_told(json, expected);
    }
}

#[test]
fn credentials_and_ids_that_cannot_be_used_are_told_in_one_sentence() {
    let creds = "xds_servers[0].channel_creds has no type that is served yet; list {\"type\": \"insecure\"}";
    is_told(&with("a:1", "null", ID), creds);
    is_told(&with("a:1", r#"[{"type": "tls"}]"#, ID), creds);
    is_told(
        &with("a:1", INSECURE, ""),
        "node: node id \"\": it does not have four parts",
    );
    let id = "sidecar~x~a.ns~ns";
    is_told(
        &with("a:1", INSECURE, id),
        "its second part is not an IP address",
    );
}

#[test]
fn addresses_that_cannot_be_used_are_told_in_one_sentence() {
    let rows = [
        ("unix:///etc/istio/proxy/XDS", "\"unix\" is not served yet"),
        (
            "unix:///./etc/istio/proxy/XDS",
            "\"unix\" is not served yet",
        ),
        ("unix:etc/XDS", "\"unix\" is not served yet"),
        ("unix-abstract:xds", "\"unix-abstract\" is not served yet"),
        ("dns:///istiod:15010", "\"dns\" is not served yet"),
        (
            "https://istiod:15012",
            "\"https\" is not served yet, and plaintext TCP in its place would be unsafe",
        ),
        (
            "istiod",
            "it has no port from 1 to 65535; expected host:port or http://host:port",
        ),
        ("http://istiod", "it has no port"),
        ("istiod:0", "it has no port"),
        ("istiod:99999", "it has no port from 1 to 65535"),
        ("", "expected host:port"),
        ("a b:1", "invalid"),
    ];
    for (uri, expected) in rows {
        let json = with(uri, INSECURE, ID);
        is_told(&json, expected);
        is_told(
            &json,
            &format!("xds_servers[0].server_uri: control plane {uri:?}: "),
        );
    }
}

/// Does nothing unless the tests below start it as a process with an environment of its own.
#[test]
fn child() {
    if std::env::var_os("MESH_XDS_CHILD").is_some() {
        match Bootstrap::from_env() {
            Ok(None) => println!("RESULT none"),
            Ok(Some(bootstrap)) => println!("RESULT {}", bootstrap.server.uri()),
            Err(error) => println!("RESULT {error}"),
        }
    }
}

fn from_env(variables: &[(&str, &str)]) -> String {
    let output = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "child", "--nocapture"])
        .env_remove(FILE_VARIABLE)
        .env_remove(INLINE_VARIABLE)
        .env("MESH_XDS_CHILD", "1")
        .envs(variables.iter().copied())
        .output()
        .expect("a child");
    let text = String::from_utf8(output.stdout).expect("text");
    let result = text.split("RESULT ").nth(1).expect("a result");
    result.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn the_environment_names_a_file_or_holds_the_bootstrap() {
    let inline = with("inline:1", INSECURE, ID);
    let path = std::env::temp_dir().join(format!("mesh-xds-bootstrap-{}.json", std::process::id()));
    std::fs::write(&path, with("file:1", INSECURE, ID)).expect("a file");
    let file = path.to_str().expect("text");
    assert_eq!(from_env(&[]), "none");
    assert_eq!(
        from_env(&[(FILE_VARIABLE, ""), (INLINE_VARIABLE, "")]),
        "none"
    );
    assert_eq!(from_env(&[(INLINE_VARIABLE, &inline)]), "inline:1");
    assert_eq!(
        from_env(&[(FILE_VARIABLE, file), (INLINE_VARIABLE, &inline)]),
        "file:1"
    );
    std::fs::remove_file(&path).expect("removed");
    let missing = from_env(&[(FILE_VARIABLE, file)]);
    let expected = format!("xDS bootstrap {file} (from {FILE_VARIABLE}): No such file");
    assert!(missing.starts_with(&expected), "{missing}");
    let broken = from_env(&[(INLINE_VARIABLE, "{")]);
    assert!(
        broken.starts_with(&format!("xDS bootstrap {INLINE_VARIABLE}: ")),
        "{broken}"
    );
}
