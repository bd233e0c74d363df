//! The bootstrap file: what gRPC and istio-agent write is taken, and what cannot be used is told in
//! one sentence.

use std::process::Command;

use envoy_types::pb::google::protobuf::value::Kind;
use mesh_xds::ads::{Features, Peer, Server};
use mesh_xds::bootstrap::{FILE_VARIABLE, INLINE_VARIABLE};
use mesh_xds::link::{CredentialFiles, Credentials, Terms};
use mesh_xds::{Bootstrap, Dialect, Node, NodeType};

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
fn what_istio_agent_says_of_the_node_is_taken_and_its_dialect_is_not() {
    let bootstrap = parse(&istio_agent("istiod.istio-system.svc:15010")).expect("a bootstrap");
    assert_eq!(&**bootstrap.server.uri(), "istiod.istio-system.svc:15010");
    // Not all three files are named.
    assert_eq!(bootstrap.certificates, None);
    let template = bootstrap.server_listeners.expect("a template");
    assert_eq!(template, mesh_xds::ServerListenerTemplate::default());
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
    assert_eq!(
        kind("GENERATOR"),
        Some(Kind::StringValue("grpc".to_owned()))
    );
    assert_eq!(node.dialect(), Dialect::Grpc);
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
fn servers_are_listed_in_order_and_nulls_are_absent() {
    let json = r#"{
        "xds_servers": [
            {"server_uri": "http://127.0.0.1:1", "channel_creds": [{"type": "google_default"}, {"type": "insecure"}], "server_features": null},
            {"server_uri": "second:2", "channel_creds": [{"type": "insecure"}], "server_features": ["ignore_resource_deletion", "xds_v3", "of tomorrow"]}
        ],
        "node": {"id": "router~10.0.0.5~gw.ns~ns.svc.cluster.local", "metadata": null, "locality": null},
        "authorities": null
    }"#;
    let bootstrap = parse(json).expect("a bootstrap");
    assert_eq!(&**bootstrap.server.uri(), "http://127.0.0.1:1");
    assert_eq!(bootstrap.node.node_type, NodeType::Router);
    let peers: Vec<_> = bootstrap.servers().map(Server::peer).collect();
    assert_eq!(peers[0], Peer::from("http://127.0.0.1:1"));
    assert_eq!(&*peers[1].name, "second:2");
    let features = Features {
        ignore_resource_deletion: true,
        ..Features::default()
    };
    assert_eq!(
        peers[1].features, features,
        "server_features; unknown ones are ignored"
    );
    assert_eq!((peers.len(), bootstrap.fallback.len()), (2, 1));
}

#[test]
fn node_cluster_and_locality_are_taken() {
    let json = r#"{
        "xds_servers": [{"server_uri": "a:1", "channel_creds": [{"type": "insecure"}]}],
        "node": {
            "id": "sidecar~10.0.0.5~a.ns~ns.svc.cluster.local",
            "cluster": "reviews.ns",
            "locality": {"region": "eu", "zone": "eu-1", "sub_zone": "rack 7", "of_tomorrow": 1}
        },
        "of_tomorrow": {}
    }"#;
    let node = parse(json).expect("a bootstrap").node;
    let wire = node.to_proto();
    assert_eq!(wire.cluster, "reviews.ns");
    let locality = wire.locality.clone().expect("a locality");
    assert_eq!(
        (&*locality.region, &*locality.zone, &*locality.sub_zone),
        ("eu", "eu-1", "rack 7")
    );
    let read = Node::from_proto(&wire).expect("a node");
    assert_eq!((read.cluster, read.locality), (node.cluster, node.locality));
}

const POD: [(&str, &str); 8] = [
    ("POD_NAME", "reviews-v1-abc"),
    ("POD_NAMESPACE", "shop"),
    ("INSTANCE_IP", "10.1.2.3"),
    ("SERVICE_ACCOUNT", "bookinfo-reviews"),
    ("ISTIO_META_CLUSTER_ID", "c1"),
    ("ISTIO_META_MESH_ID", "cluster.local"),
    (
        "ISTIO_METAJSON_LABELS",
        r#"{"app": "reviews", "version": "v1"}"#,
    ),
    ("ISTIO_METAJSON_POD_PORTS", r#"[{"containerPort": 9080}]"#),
];

/// The pod's environment without the variable `without`, and with `and`.
fn pod(without: &str, and: Option<(&str, &str)>) -> Vec<(String, String)> {
    let all = POD.into_iter().filter(|(name, _)| *name != without);
    all.chain(and)
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn a_node_without_an_id_is_the_pod() {
    let json = r#"{
        "xds_servers": [{"server_uri": "a:1", "channel_creds": [{"type": "insecure"}]}],
        "node": {"metadata": {"MESH_ID": "mine"}}
    }"#;
    let bootstrap = Bootstrap::parse_in(json, "b.json", pod("", None)).expect("a bootstrap");
    let node = bootstrap.node;
    assert_eq!((&*node.name, &*node.namespace), ("reviews-v1-abc", "shop"));
    assert_eq!(node.labels["version"], "v1", "ISTIO_METAJSON_LABELS");
    let wire = node.to_proto();
    let id = "sidecar~10.1.2.3~reviews-v1-abc.shop~shop.svc.cluster.local";
    assert_eq!(wire.id, id);
    let fields = wire.metadata.expect("metadata").fields;
    let text = |key: &str| match &fields[key].kind {
        Some(Kind::StringValue(text)) => text.clone(),
        other => panic!("{key}: {other:?}"),
    };
    let rows = [
        ("NAMESPACE", "shop"),
        ("INSTANCE_IPS", "10.1.2.3"),
        ("SERVICE_ACCOUNT", "bookinfo-reviews"),
        ("CLUSTER_ID", "c1"),
        ("MESH_ID", "mine"),
    ];
    for (key, expected) in rows {
        assert_eq!(text(key), expected, "{key}");
    }
    assert!(matches!(fields["POD_PORTS"].kind, Some(Kind::ListValue(_))));

    let error = parse(json).expect_err("no pod");
    assert!(
        error.contains("node: node id \"\": it does not have four parts"),
        "{error}"
    );
}

#[test]
fn what_a_pod_lacks_is_told_by_its_variable() {
    let told = |variables| match Node::from_pod(variables) {
        Ok(node) => format!("{:?}", node.map(|node| node.name)),
        Err(error) => error.to_string(),
    };
    assert_eq!(told(pod("POD_NAME", None)), "None");
    assert_eq!(told(pod("POD_NAME", Some(("POD_NAME", "")))), "None");
    let rows = [
        (pod("POD_NAMESPACE", None), "POD_NAMESPACE: is not set"),
        (pod("INSTANCE_IP", None), "INSTANCE_IP: is not set"),
        (
            pod("INSTANCE_IP", Some(("INSTANCE_IP", "here"))),
            "INSTANCE_IP: \"here\" is not an IP address",
        ),
        (
            pod("", Some(("ISTIO_METAJSON_LABELS", "[]"))),
            "ISTIO_METAJSON_LABELS: no JSON object of texts",
        ),
        (
            pod("", Some(("ISTIO_METAJSON_X", "{"))),
            "ISTIO_METAJSON_X: no JSON",
        ),
    ];
    for (variables, expected) in rows {
        let error = told(variables);
        assert!(error.contains(expected), "{expected:?} is not in {error:?}");
    }
    let node = Node::from_pod(pod("SERVICE_ACCOUNT", None)).expect("a node");
    assert_eq!(node.expect("a pod").service_account, None);
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
        "unix:///etc/istio/proxy/XDS",
        "unix:///./etc/istio/proxy/XDS",
        "unix:etc/XDS",
    ] {
        let bootstrap = parse(&with(uri, INSECURE, ID)).expect(uri);
        assert_eq!(&**bootstrap.server.uri(), uri);
        assert_eq!(bootstrap.server.terms(), None, "{uri}");
        assert_eq!(bootstrap.server.is_plaintext(), !uri.starts_with("unix:"));
    }
}

/// The terms of the link to `server_uri` with these `channel_creds`.
fn terms(server_uri: &str, creds: &str) -> Terms {
    let bootstrap = parse(&with(server_uri, creds, ID)).expect(creds);
    assert!(!bootstrap.server.is_plaintext());
    bootstrap.server.terms().expect("TLS").clone()
}

#[test]
fn the_files_of_tls_are_taken() {
    let all = r#"[{"type": "tls", "config": {"ca_certificate_file": "/ca.pem", "certificate_file": "/cert.pem",
        "private_key_file": "/key.pem", "refresh_interval": "600s", "of_tomorrow": 1}}]"#;
    for uri in [
        "istiod.istio-system.svc:15012",
        "https://istiod.istio-system.svc:15012",
    ] {
        let files = CredentialFiles {
            ca_certificate: Some("/ca.pem".into()),
            identity: Some(("/cert.pem".into(), "/key.pem".into())),
        };
        let expected = Terms {
            uri: uri.into(),
            host: "istiod.istio-system.svc".into(),
            port: 15012,
            server_name: "istiod.istio-system.svc".into(),
            credentials: Credentials::Files(files),
        };
        assert_eq!(terms(uri, all), expected);
    }
    // What is not named, or empty, is the platform's roots and no certificate of ours.
    for config in [
        "",
        r#", "config": null"#,
        r#", "config": {}"#,
        r#", "config": {"ca_certificate_file": "", "certificate_file": null}"#,
    ] {
        let terms = terms("[::1]:15012", &format!(r#"[{{"type": "tls"{config}}}]"#));
        assert_eq!(
            terms.credentials,
            Credentials::Files(CredentialFiles::default())
        );
        assert_eq!((&*terms.host, &*terms.server_name), ("::1", "::1"));
    }
    let named = r#"[{"type": "tls", "config": {"server_name": "istiod.istio-system.svc"}}]"#;
    let terms = terms("127.0.0.1:15012", named);
    assert_eq!(
        (&*terms.host, &*terms.server_name),
        ("127.0.0.1", "istiod.istio-system.svc")
    );
}

#[test]
fn the_first_known_type_counts() {
    let tls = r#"[{"type": "google_default"}, {"type": "tls"}, {"type": "insecure"}]"#;
    assert!(
        parse(&with("a:1", tls, ID))
            .expect("a bootstrap")
            .server
            .terms()
            .is_some()
    );
    let insecure =
        r#"[{"type": "of_tomorrow", "config": 7}, {"type": "insecure"}, {"type": "tls"}]"#;
    assert!(
        parse(&with("a:1", insecure, ID))
            .expect("a bootstrap")
            .server
            .is_plaintext()
    );
    // What the first known type says wrongly does not lead on to plaintext.
    let broken =
        r#"[{"type": "tls", "config": {"certificate_file": "/cert.pem"}}, {"type": "insecure"}]"#;
    is_told(
        &with("a:1", broken, ID),
        "xds_servers[0].channel_creds: certificate_file and private_key_file go together",
    );
}

#[test]
fn a_token_needs_tls() {
    let with = |creds: &str, call: &str| {
        format!(
            r#"{{"xds_servers": [{{"server_uri": "a:1", "channel_creds": [{{"type": "{creds}"}}], "call_creds": {call}}}], "node": {{"id": "{ID}"}}}}"#
        )
    };
    let token = r#"[{"type": "of_tomorrow"}, {"type": "jwt_token_file", "config": {"jwt_token_file": "/token"}}]"#;
    let bootstrap = parse(&with("tls", token)).expect("a bootstrap");
    let shown = format!("{:?}", bootstrap.server);
    assert!(shown.contains("\"/token\""), "{shown}");
    is_told(
        &with("insecure", token),
        "xds_servers[0].call_creds: control plane \"a:1\": the token of \"/token\" is sent over TLS alone",
    );
    // A list of types that are all unknown asks for nothing.
    parse(&with("insecure", r#"[{"type": "of_tomorrow"}]"#)).expect("a bootstrap");
    is_told(
        &with("tls", r#"[{"type": "jwt_token_file", "config": {}}]"#),
        "xds_servers[0].call_creds: jwt_token_file is not named",
    );
    let twice = format!(
        "[{0}, {0}]",
        r#"{"type": "jwt_token_file", "config": {"jwt_token_file": "/token"}}"#
    );
    is_told(
        &with("tls", &twice),
        "call_creds lists jwt_token_file twice",
    );
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
    let rows = [
        (
            "null",
            "xds_servers[0].channel_creds is empty; list {\"type\": \"tls\"}, or {\"type\": \"insecure\"}",
        ),
        (
            r#"[{"type": "alts"}]"#,
            "has no type that is served (\"alts\" is not), and plaintext in its place would be unsafe",
        ),
        (
            r#"[{"type": "tls", "config": {"ca_certificate_file": 7}}]"#,
            "channel_creds: config of type \"tls\": invalid type: integer `7`, expected path string",
        ),
        (
            r#"[{"type": "tls", "config": {"private_key_file": "/key.pem"}}]"#,
            "certificate_file and private_key_file go together; name both or neither",
        ),
        (
            r#"[{"type": "google_default"}]"#,
            "asks for google_default, which is for Google's own control planes and is not served",
        ),
    ];
    for (creds, expected) in rows {
        is_told(&with("a:1", creds, ID), expected);
    }
    let second = r#"{"xds_servers": [
        {"server_uri": "a:1", "channel_creds": [{"type": "insecure"}]},
        {"server_uri": "b:2"}
    ]}"#;
    is_told(second, "xds_servers[1].channel_creds is empty");
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
        ("unix://", "it names no socket"),
        ("unix-abstract:xds", "\"unix-abstract\" is not served"),
        (
            "dns:///istiod:15010",
            "\"dns\" is not served, and plaintext TCP in its place would be unsafe",
        ),
        (
            "https://istiod:15012",
            "it asks for TLS, and the credentials are for plaintext",
        ),
        (
            "istiod",
            "it has no port from 1 to 65535; expected https://host:port, host:port",
        ),
        ("http://istiod", "it has no port"),
        ("istiod:0", "it has no port"),
        ("istiod:99999", "it has no port from 1 to 65535"),
        ("", "expected https://host:port"),
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

#[test]
fn the_files_of_the_workload_and_the_names_of_listeners_are_taken() {
    let with = |more: &str| {
        let json = format!(
            r#"{{"xds_servers": [{{"server_uri": "a:1", "channel_creds": [{{"type": "insecure"}}]}}],
               "node": {{"id": "sidecar~10.0.0.5~a.ns~ns.svc.cluster.local"}}, {more}}}"#
        );
        parse(&json)
    };
    let provider = |name: &str, plugin: &str, config: &str| {
        format!(
            r#""certificate_providers": {{"{name}": {{"plugin_name": "{plugin}", "config": {config}}}}}"#
        )
    };
    let files = r#"{"certificate_file": "c", "private_key_file": "k", "ca_certificate_file": "r", "refresh_interval": "1s"}"#;
    let taken = with(&provider("default", "file_watcher", files)).expect("a bootstrap");
    let files_of = mesh_xds::CertificateFiles {
        certificate: "c".into(),
        private_key: "k".into(),
        ca_certificate: "r".into(),
    };
    assert_eq!(taken.certificates, Some(files_of));
    assert_eq!(taken.server_listeners, None);
    for not_ours in [
        provider("other", "file_watcher", files),
        provider("default", "no_such", files),
        provider("default", "file_watcher", r#"{"ca_certificate_file": "r"}"#),
        provider("default", "file_watcher", "null"),
        r#""certificate_providers": null"#.to_owned(),
    ] {
        let bootstrap = with(&not_ours).expect("a bootstrap");
        assert_eq!(bootstrap.certificates, None, "{not_ours}");
    }
    for (wrong, field) in [
        (
            provider("default", "file_watcher", r#"{"certificate_file": 1}"#),
            "certificate_providers.default.config",
        ),
        (
            r#""server_listener_resource_name_template": "no place""#.to_owned(),
            "server_listener_resource_name_template",
        ),
    ] {
        let error = with(&wrong).expect_err(&wrong).to_string();
        assert!(error.contains(field), "{error}");
    }
}
