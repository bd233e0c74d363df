//! Who we are: the id and the metadata that istiod reads.

use std::net::IpAddr;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::google::protobuf::{Struct, Value, value::Kind};
use mesh_xds::{Node, NodeType};

fn text(value: &str) -> Value {
    Value {
        kind: Some(Kind::StringValue(value.to_owned())),
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn metadata(node: &core::Node) -> Vec<(String, String)> {
    let fields = &node.metadata.as_ref().expect("metadata").fields;
    let mut all: Vec<_> = fields
        .iter()
        .map(|(key, value)| match &value.kind {
            Some(Kind::StringValue(text)) => (key.clone(), text.clone()),
            Some(Kind::StructValue(fields)) => {
                let mut labels: Vec<String> = fields
                    .fields
                    .iter()
                    .map(|(key, value)| match &value.kind {
                        Some(Kind::StringValue(text)) => format!("{key}={text}"),
                        other => format!("{key}={other:?}"),
                    })
                    .collect();
                labels.sort();
                (key.clone(), labels.join(","))
            }
            other => (key.clone(), format!("{other:?}")),
        })
        .collect();
    all.sort();
    all
}

#[test]
fn a_sidecar_has_the_id_and_the_metadata_of_istio() {
    let mut node = Node::sidecar("reviews-v1-abc", "bookinfo")
        .with_ip(ip("10.244.0.7"))
        .with_labels([("app", "reviews"), ("version", "v1")]);
    node.service_account = Some("bookinfo-reviews".to_owned());
    node.metadata.insert("CLUSTER_ID".to_owned(), text("east"));
    let wire = node.to_proto();
    assert_eq!(
        wire.id,
        "sidecar~10.244.0.7~reviews-v1-abc.bookinfo~bookinfo.svc.cluster.local"
    );
    let expected = [
        ("CLUSTER_ID", "east"),
        ("DISABLE_HBONE_SEND", "true"),
        ("INSTANCE_IPS", "10.244.0.7"),
        ("LABELS", "app=reviews,version=v1"),
        ("NAMESPACE", "bookinfo"),
        ("SERVICE_ACCOUNT", "bookinfo-reviews"),
        ("WORKLOAD_NAME", "reviews-v1-abc"),
    ];
    let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(metadata(&wire), expected);
    assert_eq!(wire.user_agent_name, "mesh-tower");
}

#[test]
fn a_router_says_so_and_has_its_labels() {
    let node = Node::router("ingress", "istio-system", [("istio", "ingressgateway")]);
    assert_eq!(node.node_type, NodeType::Router);
    assert_eq!(
        node.id(),
        "router~127.0.0.1~ingress.istio-system~istio-system.svc.cluster.local"
    );
    let wire = node.to_proto();
    let labels = ("LABELS".to_owned(), "istio=ingressgateway".to_owned());
    assert!(metadata(&wire).contains(&labels));
}

#[test]
fn a_node_without_labels_sends_none() {
    let wire = Node::sidecar("a", "default").to_proto();
    let keys: Vec<_> = metadata(&wire).into_iter().map(|(key, _)| key).collect();
    assert_eq!(
        keys,
        [
            "CLUSTER_ID",
            "DISABLE_HBONE_SEND",
            "INSTANCE_IPS",
            "NAMESPACE",
            "WORKLOAD_NAME"
        ]
    );
}

#[test]
fn a_control_plane_reads_back_what_was_sent() {
    let mut account = Node::sidecar("b", "other").with_ip(ip("fd00::7"));
    account.service_account = Some("b".to_owned());
    let nodes = [
        Node::sidecar("a", "default"),
        account,
        Node::sidecar("a.b-1", "default").with_labels([("app", "a"), ("version", "v1")]),
        Node::router("ingress", "istio-system", [("istio", "ingressgateway")]),
    ];
    for node in nodes {
        let read = Node::from_proto(&node.to_proto()).expect("a node");
        assert_eq!(read.id(), node.id());
        assert_eq!(
            (read.node_type, read.ip, &read.name, &read.namespace),
            (node.node_type, node.ip, &node.name, &node.namespace)
        );
        assert_eq!(read.labels, node.labels);
        assert_eq!(read.service_account, node.service_account);
        assert_eq!(read.to_proto(), node.to_proto());
    }
}

#[test]
fn ids_are_read_as_istiod_does() {
    let rows = [
        (
            "sidecar~10.0.0.5~echo-v1.ns~ns.svc.cluster.local",
            "echo-v1",
            "ns",
        ),
        ("sidecar~10.0.0.5~echo~ns.svc.cluster.local", "echo", "ns"),
        (
            "sidecar~10.0.0.5~a.b.ns~other.svc.cluster.local",
            "a.b",
            "ns",
        ),
        (
            "router~::1~gw.istio-system~istio-system.svc.cluster.local",
            "gw",
            "istio-system",
        ),
    ];
    for (id, name, namespace) in rows {
        let node: Node = id.parse().expect(id);
        assert_eq!((&*node.name, &*node.namespace), (name, namespace), "{id}");
    }
}

#[test]
fn a_bad_id_is_one_sentence() {
    let rows = [
        ("", "it does not have four parts"),
        ("sidecar~10.0.0.5~a.ns", "it does not have four parts"),
        ("sidecar~10.0.0.5~a.ns~x~y", "it does not have four parts"),
        (
            "ztunnel~10.0.0.5~a.ns~ns.svc",
            "its type is neither sidecar nor router",
        ),
        (
            "sidecar~localhost~a.ns~ns.svc",
            "its second part is not an IP address",
        ),
    ];
    for (id, reason) in rows {
        let error = id.parse::<Node>().expect_err(id).to_string();
        let expected = format!(
            "node id {id:?}: {reason}; expected <sidecar|router>~<ip>~<name>.<namespace>~<dns domain>"
        );
        assert_eq!(error, expected);
    }
}

#[test]
fn metadata_wins_over_the_id_and_odd_metadata_is_kept() {
    let labels = Struct {
        fields: [
            ("app".to_owned(), text("a")),
            (
                "odd".to_owned(),
                Value {
                    kind: Some(Kind::NumberValue(1.0)),
                },
            ),
        ]
        .into(),
    };
    let fields = [
        ("NAMESPACE".to_owned(), text("real")),
        (
            "LABELS".to_owned(),
            Value {
                kind: Some(Kind::StructValue(labels)),
            },
        ),
        ("SERVICE_ACCOUNT".to_owned(), Value { kind: None }),
        ("GENERATOR".to_owned(), text("grpc")),
    ];
    let wire = core::Node {
        id: "sidecar~10.0.0.5~a.ns~ns.svc.cluster.local".to_owned(),
        metadata: Some(Struct {
            fields: fields.into(),
        }),
        ..core::Node::default()
    };
    let node = Node::from_proto(&wire).expect("a node");
    assert_eq!(node.namespace, "real");
    assert_eq!(
        node.labels.into_iter().collect::<Vec<_>>(),
        [("app".to_owned(), "a".to_owned())]
    );
    assert_eq!(node.service_account, None);
    assert_eq!(node.metadata.get("GENERATOR"), Some(&text("grpc")));
}
