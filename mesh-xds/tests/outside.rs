//! What a data plane needs to know of hosts outside of the mesh: clusters that dial what was asked for, and the registry.

use std::sync::Arc;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use envoy_types::pb::envoy::config::core::v3::TransportSocket;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    UpstreamProtocolOptions, UseDownstreamHttpConfig,
};
use envoy_types::pb::google::protobuf::Any;
use mesh_core::cluster::{Discovery, Transport};
use prost::Message;
use rig::Rig;
use wire::{CDS, EDS, RDS};

#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/rig.rs"]
mod rig;
#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/wire.rs"]
mod wire;

const OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

fn passing_through(name: &str) -> Cluster {
    Cluster {
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(
            DiscoveryType::OriginalDst.into(),
        )),
        eds_cluster_config: None,
        ..wire::cluster_message(name, "")
    }
}

fn discovery(cluster: &Cluster) -> Discovery {
    let mut rig = Rig::introduced();
    rig.deliver(CDS, "1", vec![wire::any(CDS, cluster)]);
    let hosts = vec![wire::host("a", &[&cluster.name])];
    rig.deliver(RDS, "1", vec![wire::routes("9080", hosts)]);
    let target = rig.target("a").expect("a target");
    assert_eq!(target.waiting_for, None, "no endpoints are waited for");
    let cluster = target.clusters[0].as_ref().expect("a cluster");
    assert_eq!(cluster.fault, None);
    cluster.discovery.clone()
}

#[test]
fn a_cluster_may_lead_to_what_was_asked_for() {
    let plain = passing_through("PassthroughCluster");
    let expected = |transport, callers_version| Discovery::OriginalDestination {
        transport,
        callers_version,
    };
    assert_eq!(discovery(&plain), expected(Transport::Plaintext, false));

    let mut following = plain.clone();
    let options = HttpProtocolOptions {
        upstream_protocol_options: Some(UpstreamProtocolOptions::UseDownstreamProtocolConfig(
            UseDownstreamHttpConfig::default(),
        )),
        ..HttpProtocolOptions::default()
    };
    let options = Any {
        type_url: format!("type.googleapis.com/{OPTIONS}"),
        value: options.encode_to_vec(),
    };
    following
        .typed_extension_protocol_options
        .insert(OPTIONS.to_owned(), options);
    assert_eq!(discovery(&following), expected(Transport::Plaintext, true));

    let demanding = Cluster {
        transport_socket: Some(TransportSocket {
            name: "envoy.transport_sockets.tls".to_owned(),
            config_type: None,
        }),
        ..plain
    };
    assert!(matches!(
        discovery(&demanding),
        Discovery::OriginalDestination {
            transport: Transport::Refused(_),
            ..
        }
    ));
}

const REVIEWS: &str = "outbound|9080||reviews.default.svc.cluster.local";
const OUTSIDE: &str = "outbound|443||api.example.com";

#[test]
fn the_registry_follows_the_clusters() {
    let mut rig = Rig::introduced();
    rig.receive(CDS, "1", wire::clusters(&[REVIEWS]));
    assert!(rig.assemble().is_none(), "there is nothing to publish yet");
    rig.deliver(
        RDS,
        "1",
        vec![wire::routes("9080", vec![wire::host("a", &[REVIEWS])])],
    );
    rig.deliver(EDS, "1", vec![wire::endpoints(REVIEWS, 1)]);
    // The short name of our own namespace too.
    assert!(rig.snapshot.registry.has("reviews", 9080));
    assert!(!rig.snapshot.registry.has("api.example.com", 443));

    // Nothing refers to the cluster that comes, and it is published all the same; a change within it is not.
    let generation = rig.snapshot.generation;
    rig.deliver(CDS, "2", wire::clusters(&[REVIEWS, OUTSIDE]));
    assert!(rig.snapshot.registry.has("api.example.com", 443));
    assert_eq!(rig.snapshot.generation, generation + 1);
    let registry = Arc::clone(&rig.snapshot.registry);
    let other = wire::any(CDS, &wire::cluster_message(OUTSIDE, "other"));
    rig.receive(CDS, "3", vec![wire::cluster(REVIEWS), other]);
    assert!(rig.assemble().is_none());
    assert!(Arc::ptr_eq(&registry, &rig.snapshot.registry));

    rig.deliver(CDS, "4", wire::clusters(&[REVIEWS]));
    assert!(!rig.snapshot.registry.has("api.example.com", 443));
}
