//! What a client says of itself (gRPC A40): each resource that it wants or has, and how that stands.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use envoy_types::pb::envoy::admin::v3::{ClientResourceStatus as Status, UpdateFailureState};
use envoy_types::pb::envoy::config::core::v3::Address;
use envoy_types::pb::envoy::config::endpoint::v3::{LbEndpoint, lb_endpoint::HostIdentifier};
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryResponse, Resource, ResourceError, ResourceName,
};
use envoy_types::pb::envoy::service::status::v3::client_config::GenericXdsConfig;
use envoy_types::pb::google::protobuf::{Any, Timestamp};
use envoy_types::pb::google::rpc;
use mesh_core::snapshot::TableKey;
use mesh_xds::ads::{Features, Machine, Peer, Variant};
use mesh_xds::{DOES_NOT_EXIST_AFTER, Node, ResourceType, Resources};
use rig::{Rig, TABLE, error};
use wire::{CDS, EDS, RDS};

#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/rig.rs"]
mod rig;
#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/wire.rs"]
mod wire;

const MOMENT: Duration = Duration::from_millis(1);

/// Type, name, status and version of every resource.
fn listed(machine: &Machine) -> Vec<(ResourceType, String, Status, String)> {
    let config = machine.client_config(true);
    let all = config.generic_xds_configs.into_iter();
    all.map(|config| {
        let of = ResourceType::from_type_url(&config.type_url).expect("a type of ours");
        (
            of,
            config.name.clone(),
            status(&config),
            config.version_info,
        )
    })
    .collect()
}

fn entry(
    of: ResourceType,
    name: &str,
    status: Status,
    version: &str,
) -> (ResourceType, String, Status, String) {
    (of, name.to_owned(), status, version.to_owned())
}

fn status(config: &GenericXdsConfig) -> Status {
    Status::try_from(config.client_status).expect("a status")
}

fn one(machine: &Machine, of: ResourceType, name: &str) -> GenericXdsConfig {
    let config = machine.client_config(true);
    let all = config.generic_xds_configs.into_iter();
    let mut all = all.filter(|one| one.type_url == of.type_url() && one.name == name);
    let found = all.next().expect("an entry");
    assert_eq!(all.next(), None, "{name} is listed once");
    found
}

fn failure(config: &GenericXdsConfig) -> &UpdateFailureState {
    config.error_state.as_ref().expect("a failure")
}

/// Whether a time lies between two others; the answer is of nanoseconds.
fn is_between(time: Option<&Timestamp>, from: SystemTime, to: SystemTime) -> bool {
    let time = time.expect("a time");
    let since = Duration::new(
        time.seconds.try_into().expect("after 1970"),
        time.nanos.try_into().expect("forward"),
    );
    (from..=to).contains(&(UNIX_EPOCH + since))
}

fn bad_endpoints(name: &str) -> Any {
    let mut assignment = wire::assignment(name, &[]);
    let endpoint = envoy_types::pb::envoy::config::endpoint::v3::Endpoint {
        address: Some(Address::default()),
        ..Default::default()
    };
    assignment.endpoints[0].lb_endpoints = vec![LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(endpoint)),
        ..LbEndpoint::default()
    }];
    wire::any(EDS, &assignment)
}

#[test]
fn what_is_wanted_is_requested_even_before_there_is_a_stream() {
    let node = Node::sidecar("reviews", "default");
    let mut machine = Machine::new(node.clone(), "plane:15010");
    assert_eq!(listed(&machine), []);
    machine.want(TABLE);
    machine.want(TableKey::Gateway(8080));
    let requested = [
        entry(RDS, "9080", Status::Requested, ""),
        entry(RDS, "http.8080", Status::Requested, ""),
    ];
    assert_eq!(listed(&machine), requested);
    machine.connected();
    assert_eq!(listed(&machine), requested);
    let config = machine.client_config(true);
    assert_eq!(config.node, Some(node.to_proto()));
    assert_eq!(config.client_scope, "plane:15010");
    for resource in &config.generic_xds_configs {
        assert_eq!(resource.last_updated, None);
        assert_eq!(resource.error_state, None);
        assert_eq!(resource.xds_config, None);
    }
}

#[test]
fn what_routes_and_clusters_name_is_requested_until_it_comes() {
    let mut rig = Rig::introduced();
    let hosts = vec![wire::host("a", &["one"])];
    rig.deliver(RDS, "1", vec![wire::routes("9080", hosts)]);
    let routes = entry(RDS, "9080", Status::Acked, "1");
    let cluster = entry(CDS, "one", Status::Requested, "");
    assert_eq!(listed(&rig.machine), [cluster, routes.clone()]);
    rig.deliver(CDS, "7", wire::clusters(&["one"]));
    let cluster = entry(CDS, "one", Status::Acked, "7");
    let endpoints = entry(EDS, "one", Status::Requested, "");
    assert_eq!(listed(&rig.machine), [cluster, endpoints, routes]);
}

#[test]
fn what_was_taken_is_acked_with_its_version_its_time_and_its_content() {
    let before = SystemTime::now();
    let rig = Rig::configured();
    let after = SystemTime::now();
    let acked = |of, name| entry(of, name, Status::Acked, "1");
    let all = [
        acked(CDS, "one"),
        acked(CDS, "two"),
        acked(EDS, "one"),
        acked(EDS, "two"),
        acked(RDS, "9080"),
    ];
    assert_eq!(listed(&rig.machine), all);
    for resource in rig.machine.client_config(true).generic_xds_configs {
        assert!(is_between(resource.last_updated.as_ref(), before, after));
        assert!(!is_between(
            resource.last_updated.as_ref(),
            UNIX_EPOCH,
            before - MOMENT
        ));
        assert_eq!(resource.error_state, None);
        let content = (resource.type_url == CDS.type_url()).then(|| wire::cluster(&resource.name));
        assert_eq!(
            resource.xds_config, content,
            "clusters are kept as they came"
        );
    }
    let without = rig.machine.client_config(false).generic_xds_configs;
    assert_eq!(without.len(), all.len());
    assert!(without.iter().all(|resource| resource.xds_config.is_none()));
}

#[test]
fn a_refused_update_is_nacked_in_the_words_of_the_nack_beside_what_stays_in_force() {
    let mut rig = Rig::configured();
    let before = SystemTime::now();
    let sent = rig.answer(
        CDS,
        "2",
        vec![wire::bad_cluster("one"), wire::cluster("two")],
    );
    let after = SystemTime::now();
    let refused = one(&rig.machine, CDS, "one");
    assert_eq!(status(&refused), Status::Nacked);
    assert_eq!(refused.version_info, "1");
    assert_eq!(refused.xds_config, Some(wire::cluster("one")));
    let failed = failure(&refused);
    assert_eq!(failed.details, error(&sent));
    assert!(failed.details.contains("lb_policy"), "{failed:?}");
    assert_eq!(failed.version_info, "2");
    assert!(is_between(
        failed.last_update_attempt.as_ref(),
        before,
        after
    ));
    assert_eq!(
        one(&rig.machine, CDS, "two").version_info,
        "2",
        "the other moves"
    );

    rig.reconnect();
    assert_eq!(status(&one(&rig.machine, CDS, "one")), Status::Nacked);
    rig.sent();
    rig.deliver(CDS, "3", wire::clusters(&["one", "two"]));
    let taken = one(&rig.machine, CDS, "one");
    assert_eq!((status(&taken), &*taken.version_info), (Status::Acked, "3"));
    assert_eq!(taken.error_state, None);
}

#[test]
fn a_refused_resource_without_one_before_it_is_nacked_without_content() {
    let mut rig = Rig::introduced();
    rig.deliver(
        CDS,
        "1",
        vec![wire::bad_cluster("bad"), wire::cluster("one")],
    );
    let unread = one(&rig.machine, CDS, "bad");
    assert_eq!(
        status(&unread),
        Status::Acked,
        "no route has named it: it was not looked at"
    );
    let hosts = vec![wire::host("a", &["bad"]), wire::host("b", &["one"])];
    rig.deliver(RDS, "1", vec![wire::routes("9080", hosts)]);
    rig.deliver(EDS, "5", vec![bad_endpoints("one")]);

    let cluster = one(&rig.machine, CDS, "bad");
    assert_eq!(status(&cluster), Status::Nacked);
    assert_eq!((&*cluster.version_info, &cluster.xds_config), ("", &None));
    let failed = failure(&cluster);
    assert_eq!(failed.version_info, "1");
    assert!(failed.details.contains("lb_policy"), "{failed:?}");
    assert!(failed.last_update_attempt.is_some());
    assert_eq!(failed.failed_configuration, Some(wire::bad_cluster("bad")));

    let endpoints = one(&rig.machine, EDS, "one");
    assert_eq!(status(&endpoints), Status::Nacked);
    assert_eq!(endpoints.version_info, "");
    assert_eq!(failure(&endpoints).version_info, "5");
    let name = "\"one\" of version \"5\"";
    assert!(failure(&endpoints).details.contains(name), "{endpoints:?}");
}

#[test]
fn a_nacked_cluster_that_is_no_longer_listed_does_not_exist() {
    let mut rig = Rig::configured();
    rig.deliver(
        CDS,
        "2",
        vec![wire::bad_cluster("one"), wire::cluster("two")],
    );
    assert_eq!(status(&one(&rig.machine, CDS, "one")), Status::Nacked);
    rig.deliver(CDS, "3", wire::clusters(&["two"]));
    let gone = one(&rig.machine, CDS, "one");
    assert_eq!(status(&gone), Status::DoesNotExist);
    assert_eq!((&*gone.version_info, gone.error_state), ("", None));
}

#[test]
fn what_does_not_come_in_time_does_not_exist() {
    let mut rig = Rig::introduced();
    rig.after(DOES_NOT_EXIST_AFTER - MOMENT);
    assert_eq!(
        listed(&rig.machine),
        [entry(RDS, "9080", Status::Requested, "")]
    );
    rig.after(MOMENT);
    assert_eq!(
        listed(&rig.machine),
        [entry(RDS, "9080", Status::DoesNotExist, "")]
    );
    let hosts = vec![wire::host("a", &["one"])];
    rig.deliver(RDS, "1", vec![wire::routes("9080", hosts)]);
    assert_eq!(status(&one(&rig.machine, RDS, "9080")), Status::Acked);
    rig.deliver(CDS, "1", wire::clusters(&["one"]));
    rig.after(DOES_NOT_EXIST_AFTER);
    assert_eq!(status(&one(&rig.machine, EDS, "one")), Status::DoesNotExist);
}

#[test]
fn of_a_slow_control_plane_it_is_a_timeout() {
    let features = Features {
        resource_timer_is_transient_error: true,
        ..Features::default()
    };
    let peer = Peer {
        features,
        ..Peer::from("slow")
    };
    let mut rig = Rig::new();
    rig.machine = Machine::new(Node::sidecar("reviews", "default"), peer);
    rig.machine.want(TABLE);
    rig.machine.connected();
    rig.sent();
    rig.after(2 * DOES_NOT_EXIST_AFTER - MOMENT);
    assert_eq!(
        listed(&rig.machine),
        [entry(RDS, "9080", Status::Requested, "")]
    );
    rig.after(MOMENT);
    assert_eq!(
        listed(&rig.machine),
        [entry(RDS, "9080", Status::Timeout, "")]
    );
    rig.deliver(RDS, "1", vec![wire::routes("9080", Vec::new())]);
    assert_eq!(
        listed(&rig.machine),
        [entry(RDS, "9080", Status::Acked, "1")]
    );
}

#[test]
fn an_error_in_the_place_of_a_resource_is_told() {
    let mut rig = Rig::configured();
    let error = |name: &str| ResourceError {
        resource_name: Some(ResourceName {
            name: name.to_owned(),
            ..ResourceName::default()
        }),
        error_detail: Some(rpc::Status {
            code: 7,
            message: "not yours".to_owned(),
            details: Vec::new(),
        }),
    };
    let mut response = wire::response(EDS, "2", "a nonce", vec![wire::endpoints("two", 3)]);
    response.resource_errors = vec![error("one"), error("nobody's")];
    rig.machine.received(response);
    let told = one(&rig.machine, EDS, "one");
    assert_eq!(status(&told), Status::ReceivedError);
    assert_eq!(told.version_info, "1", "what is cached stays");
    let details = &failure(&told).details;
    assert!(details.contains("code 7: not yours"), "{details}");
    assert_eq!(status(&one(&rig.machine, EDS, "two")), Status::Acked);
    assert_eq!(
        listed(&rig.machine).len(),
        5,
        "and of nobody's there is none"
    );
    rig.deliver(EDS, "3", vec![wire::endpoints("one", 4)]);
    let taken = one(&rig.machine, EDS, "one");
    assert_eq!((status(&taken), &*taken.version_info), (Status::Acked, "3"));
    assert_eq!(taken.error_state, None);
}

#[test]
fn what_nobody_asked_for_is_not_listed() {
    let mut rig = Rig::configured();
    let before = listed(&rig.machine);
    rig.deliver(
        EDS,
        "1",
        vec![wire::endpoints("other", 9), bad_endpoints("third")],
    );
    rig.deliver(RDS, "1", vec![wire::routes("7777", Vec::new())]);
    assert_eq!(listed(&rig.machine), before);
}

#[test]
fn resources_of_a_delta_stream_have_versions_of_their_own() {
    let peer = Peer {
        variant: Variant::Delta,
        ..Peer::from("plane")
    };
    let mut rig = Rig::new();
    rig.machine = Machine::new(Node::sidecar("reviews", "default"), peer);
    rig.machine.want(TABLE);
    rig.machine.connected();
    let deliver = |rig: &mut Rig, of: ResourceType, all: &[(&str, &str, Any)], gone: &[&str]| {
        let resource = |(name, version, any): &(&str, &str, Any)| Resource {
            name: (*name).to_owned(),
            version: (*version).to_owned(),
            resource: Some(any.clone()),
            ..Resource::default()
        };
        while rig.machine.at(0).request_delta(rig.now).is_some() {}
        rig.machine.at(0).received_delta(DeltaDiscoveryResponse {
            type_url: of.type_url().to_owned(),
            system_version_info: "system".to_owned(),
            resources: all.iter().map(resource).collect(),
            removed_resources: gone.iter().map(|name| (*name).to_owned()).collect(),
            ..DeltaDiscoveryResponse::default()
        });
        rig.assemble();
    };
    let host = wire::host("a", &["one", "two"]);
    let first = [
        ("one", "c1", wire::cluster("one")),
        ("two", "c2", wire::cluster("two")),
    ];
    deliver(&mut rig, CDS, &first, &[]);
    deliver(
        &mut rig,
        RDS,
        &[("9080", "r1", wire::routes("9080", vec![host]))],
        &[],
    );
    deliver(
        &mut rig,
        CDS,
        &[("one", "c3", wire::bad_cluster("one"))],
        &["two"],
    );
    let one = one(&rig.machine, CDS, "one");
    assert_eq!((status(&one), &*one.version_info), (Status::Nacked, "c1"));
    assert_eq!(failure(&one).version_info, "system", "of the response");
    let all = [
        entry(CDS, "one", Status::Nacked, "c1"),
        entry(CDS, "two", Status::DoesNotExist, ""),
        entry(EDS, "one", Status::Requested, ""),
        entry(RDS, "9080", Status::Acked, "r1"),
    ];
    assert_eq!(listed(&rig.machine), all);
}

#[test]
fn a_folder_is_told_as_a_control_plane_is() {
    let mut machine = Machine::new(Node::sidecar("reviews", "default"), "/etc/mesh");
    machine.want(TABLE);
    machine.want(TableKey::Port(7777));
    let hosts = vec![wire::host("a", &["one", "bad"])];
    let named = |name: &str, any: Any| [(name.to_owned(), any)];
    let mut resources = Resources {
        clusters: named("one", wire::cluster("one")).into(),
        endpoints: named("one", wire::endpoints("one", 1)).into(),
        routes: named("9080", wire::routes("9080", hosts)).into(),
        ..Resources::default()
    };
    resources
        .clusters
        .extend(named("bad", wire::bad_cluster("bad")));
    machine.replaced(&"4".into(), &resources);
    assert_eq!(machine.client_config(false).client_scope, "/etc/mesh");
    let all = [
        entry(CDS, "bad", Status::Nacked, ""),
        entry(CDS, "one", Status::Acked, "4"),
        entry(EDS, "one", Status::Acked, "4"),
        entry(RDS, "7777", Status::DoesNotExist, ""),
        entry(RDS, "9080", Status::Acked, "4"),
    ];
    assert_eq!(listed(&machine), all);
}
