//! Clusters whose endpoints have names: `STRICT_DNS` and `LOGICAL_DNS`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, DnsLookupFamily,
};
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
};
use envoy_types::pb::google::protobuf;
use mesh_core::cluster;
use mesh_xds::dns::{Answer, Lookup, Lookups, Resolve, Resolver, Resolving};
use rig::Rig;
use wire::{CDS, RDS};

#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/rig.rs"]
mod rig;
#[allow(dead_code, reason = "each test file uses a part")]
#[path = "support/wire.rs"]
mod wire;

/// A cluster of this type over these hosts, each with port 80.
fn named(kind: DiscoveryType, hosts: &[&str]) -> Cluster {
    let endpoints = hosts.iter().map(|host| LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
            address: Some(wire::address(host, 80)),
            ..Endpoint::default()
        })),
        ..LbEndpoint::default()
    });
    Cluster {
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(kind.into())),
        eds_cluster_config: None,
        load_assignment: Some(ClusterLoadAssignment {
            cluster_name: "outside".to_owned(),
            endpoints: vec![LocalityLbEndpoints {
                lb_endpoints: endpoints.collect(),
                ..LocalityLbEndpoints::default()
            }],
            ..ClusterLoadAssignment::default()
        }),
        ..wire::cluster_message("outside", "")
    }
}

fn refreshed(every: i64, cluster: Cluster) -> Cluster {
    #[allow(deprecated, reason = "it is what is sent")]
    Cluster {
        dns_refresh_rate: Some(protobuf::Duration {
            seconds: every,
            nanos: 0,
        }),
        ..cluster
    }
}

fn of_family(family: DnsLookupFamily, cluster: Cluster) -> Cluster {
    #[allow(deprecated, reason = "it is what is sent")]
    Cluster {
        dns_lookup_family: family.into(),
        ..cluster
    }
}

/// A host that leads to the cluster.
fn routed(cluster: &Cluster) -> Rig {
    let mut rig = Rig::introduced();
    rig.deliver(CDS, "1", vec![wire::any(CDS, cluster)]);
    let hosts = vec![wire::host("a", &[&cluster.name])];
    rig.deliver(RDS, "1", vec![wire::routes("9080", hosts)]);
    rig
}

fn answer(rig: &mut Rig, host: &str, answer: Answer) {
    let lookup = Lookup {
        host: host.into(),
        port: 80,
    };
    rig.machine.looked_up(&lookup, answer);
    rig.assemble();
}

fn found(addresses: &[&str]) -> Answer {
    Ok(addresses
        .iter()
        .map(|text| text.parse().expect("an address"))
        .collect())
}

fn the_cluster(rig: &Rig) -> Arc<cluster::Cluster> {
    let target = rig.target("a").expect("a target");
    assert_eq!(target.waiting_for, None);
    Arc::clone(target.clusters[0].as_ref().expect("a cluster"))
}

fn addresses(rig: &Rig) -> Vec<String> {
    let cluster = the_cluster(rig);
    assert_eq!(cluster.fault, None);
    let address = |endpoint: &cluster::Endpoint| -> SocketAddr { endpoint.address };
    let all = cluster.endpoints.iter().map(address);
    all.map(|address| address.to_string()).collect()
}

fn lookups(rig: &Rig) -> BTreeMap<String, u64> {
    let lookups = rig.machine.lookups();
    lookups
        .iter()
        .map(|(lookup, every)| (format!("{}:{}", lookup.host, lookup.port), every.as_secs()))
        .collect()
}

fn each(pairs: &[(&str, u64)]) -> BTreeMap<String, u64> {
    let pairs = pairs
        .iter()
        .map(|(host, every)| ((*host).to_owned(), *every));
    pairs.collect()
}

#[test]
fn all_addresses_of_all_names_are_endpoints() {
    let mut rig = routed(&named(
        DiscoveryType::StrictDns,
        &["one.example", "two.example", "10.0.0.9"],
    ));
    assert_eq!(
        lookups(&rig),
        each(&[("one.example:80", 5), ("two.example:80", 5)])
    );
    let waiting = |rig: &Rig| {
        rig.target("a")
            .and_then(|target| target.waiting_for.clone())
    };
    assert_eq!(
        waiting(&rig).as_deref(),
        Some("the addresses of \"one.example\" (DNS)")
    );
    answer(
        &mut rig,
        "one.example",
        found(&["10.0.0.2:80", "10.0.0.1:80"]),
    );
    assert_eq!(
        waiting(&rig).as_deref(),
        Some("the addresses of \"two.example\" (DNS)")
    );
    answer(&mut rig, "two.example", found(&["10.0.0.3:80"]));
    let all = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80", "10.0.0.9:80"];
    assert_eq!(addresses(&rig), all);

    // Another order is no change; other addresses are.
    let before = the_cluster(&rig);
    answer(
        &mut rig,
        "one.example",
        found(&["10.0.0.2:80", "10.0.0.1:80"]),
    );
    assert!(Arc::ptr_eq(&before, &the_cluster(&rig)));
    answer(&mut rig, "one.example", found(&["10.0.0.7:80"]));
    assert_eq!(
        addresses(&rig),
        ["10.0.0.7:80", "10.0.0.3:80", "10.0.0.9:80"]
    );
}

#[test]
fn a_logical_host_is_one_endpoint() {
    let cluster = named(DiscoveryType::LogicalDns, &["one.example"]);
    let mut rig = routed(&cluster);
    answer(
        &mut rig,
        "one.example",
        found(&["10.0.0.1:80", "10.0.0.2:80"]),
    );
    assert_eq!(addresses(&rig), ["10.0.0.1:80"]);

    let two = named(DiscoveryType::LogicalDns, &["one.example", "two.example"]);
    let fault = the_cluster(&routed(&two)).fault.clone().expect("a fault");
    assert!(fault.contains("LOGICAL_DNS needs one with one"), "{fault}");
}

#[test]
fn what_was_found_stays_when_a_later_look_up_fails() {
    let mut rig = routed(&named(DiscoveryType::StrictDns, &["one.example"]));
    answer(&mut rig, "one.example", Err("no such host".into()));
    let cluster = the_cluster(&rig);
    assert!(cluster.endpoints.is_empty());
    let why = cluster.unresolved.as_deref();
    assert_eq!(why, Some("no address of \"one.example\": no such host"));

    answer(&mut rig, "one.example", found(&["10.0.0.1:80"]));
    assert_eq!(addresses(&rig), ["10.0.0.1:80"]);
    assert_eq!(the_cluster(&rig).unresolved, None);
    answer(&mut rig, "one.example", Err("timed out".into()));
    assert_eq!(addresses(&rig), ["10.0.0.1:80"]);
    // One that is not asked for is no news.
    answer(&mut rig, "other.example", found(&["10.0.0.1:80"]));
    assert_eq!(addresses(&rig), ["10.0.0.1:80"]);
}

#[test]
fn the_family_chooses_among_addresses() {
    let both = found(&["10.0.0.1:80", "[::1]:80"]);
    for (family, expected) in [
        (DnsLookupFamily::Auto, vec!["[::1]:80"]),
        (DnsLookupFamily::V4Only, vec!["10.0.0.1:80"]),
        (DnsLookupFamily::V6Only, vec!["[::1]:80"]),
        (DnsLookupFamily::V4Preferred, vec!["10.0.0.1:80"]),
        (DnsLookupFamily::All, vec!["10.0.0.1:80", "[::1]:80"]),
    ] {
        let cluster = named(DiscoveryType::StrictDns, &["one.example"]);
        let mut rig = routed(&of_family(family, cluster));
        answer(&mut rig, "one.example", both.clone());
        assert_eq!(addresses(&rig), expected, "{family:?}");
    }
}

#[test]
fn names_are_looked_up_while_they_are_used_and_as_often_as_is_said() {
    let cluster = named(DiscoveryType::StrictDns, &["one.example"]);
    let mut rig = routed(&refreshed(60, cluster.clone()));
    assert_eq!(lookups(&rig), each(&[("one.example:80", 60)]));
    rig.deliver(
        CDS,
        "2",
        vec![wire::any(CDS, &refreshed(7, cluster.clone()))],
    );
    assert_eq!(lookups(&rig), each(&[("one.example:80", 7)]));
    let other = named(DiscoveryType::StrictDns, &["two.example"]);
    rig.deliver(CDS, "3", vec![wire::any(CDS, &other)]);
    assert_eq!(lookups(&rig), each(&[("two.example:80", 5)]));
    rig.deliver(CDS, "4", wire::clusters(&["outside"]));
    assert_eq!(lookups(&rig), each(&[]));

    let fault = the_cluster(&routed(&refreshed(0, cluster))).fault.clone();
    let fault = fault.expect("a fault");
    assert!(fault.contains("dns_refresh_rate"), "{fault}");
}

/// Envoy uses the former version of a cluster until the new one has warmed up.
#[test]
fn a_new_name_that_is_not_answered_takes_no_address_away() {
    let mut rig = routed(&named(DiscoveryType::StrictDns, &["one.example"]));
    answer(&mut rig, "one.example", found(&["10.0.0.1:80"]));
    let two = named(DiscoveryType::StrictDns, &["one.example", "two.example"]);
    rig.deliver(CDS, "2", vec![wire::any(CDS, &two)]);
    assert_eq!(addresses(&rig), ["10.0.0.1:80"]);
    // A look-up may take 20 s.
    rig.after(Duration::from_secs(19));
    assert_eq!(addresses(&rig), ["10.0.0.1:80"]);
    answer(&mut rig, "two.example", Err("timed out".into()));
    assert_eq!(addresses(&rig), ["10.0.0.1:80"]);
}

/// Of 1000 names, the 1000 answers of a round must not each cost a look at all names.
#[test]
fn an_answer_changes_nothing_of_what_is_looked_up() {
    let cluster = named(DiscoveryType::StrictDns, &["one.example"]);
    let mut rig = routed(&cluster);
    let before = rig.machine.lookups();
    answer(&mut rig, "one.example", found(&["10.0.0.1:80"]));
    assert!(Arc::ptr_eq(&before, &rig.machine.lookups()));
    rig.deliver(CDS, "2", vec![wire::any(CDS, &refreshed(7, cluster))]);
    assert!(!Arc::ptr_eq(&before, &rig.machine.lookups()));
}

/// Every client of a mesh looks the same name up, and their resolvers tell its addresses in turns.
#[test]
fn a_logical_host_is_what_its_resolver_tells_first() {
    let mut rig = routed(&named(DiscoveryType::LogicalDns, &["one.example"]));
    let turned = found(&["10.0.0.2:80", "10.0.0.1:80"]);
    answer(&mut rig, "one.example", turned);
    assert_eq!(addresses(&rig), ["10.0.0.2:80"]);
    // The same addresses in another order are no reason for other connections.
    let before = the_cluster(&rig);
    let again = found(&["10.0.0.1:80", "10.0.0.2:80"]);
    answer(&mut rig, "one.example", again);
    assert!(Arc::ptr_eq(&before, &the_cluster(&rig)));
    answer(&mut rig, "one.example", found(&["10.0.0.1:80"]));
    assert_eq!(addresses(&rig), ["10.0.0.1:80"]);
}

/// Answers at once, and counts how often it is asked.
struct Counting(Arc<AtomicUsize>);

impl Resolve for Counting {
    fn resolve<'a>(&'a self, _: &'a str, port: u16) -> Resolving<'a> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let found = [2, 1, 2].map(|last| SocketAddr::from(([10, 0, 0, last], port)));
        Box::pin(async move { Ok(found.to_vec()) })
    }
}

#[tokio::test(start_paused = true)]
async fn answers_that_nobody_takes_do_not_pile_up() {
    let asked = Arc::new(AtomicUsize::new(0));
    let mut lookups = Lookups::new(Resolver::new(Counting(Arc::clone(&asked))));
    let lookup = Lookup {
        host: "one.example".into(),
        port: 80,
    };
    let wanted = BTreeMap::from([(lookup.clone(), Duration::from_millis(1))]);
    lookups.follow(&Arc::new(wanted));
    tokio::time::sleep(Duration::from_secs(10)).await;
    let waiting = asked.load(Ordering::Relaxed);
    assert!(waiting < 10, "{waiting} answers wait");
    // As it was told, none of them twice.
    let (of, answer) = lookups.next().await;
    assert_eq!(of, lookup);
    assert_eq!(answer, found(&["10.0.0.2:80", "10.0.0.1:80"]));
    // It goes on when they are taken.
    for _ in 0..100 {
        let _ = lookups.next().await;
    }
    assert!(asked.load(Ordering::Relaxed) > waiting);
}

/// Panics, then hangs, then answers.
struct Unreliable(AtomicUsize);

impl Resolve for Unreliable {
    fn resolve<'a>(&'a self, _: &'a str, _: u16) -> Resolving<'a> {
        let at = self.0.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            match at {
                0 => panic!("a resolver of somebody else's"),
                1 => std::future::pending().await,
                _ => Ok(vec!["10.0.0.1:80".parse().expect("an address")]),
            }
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_resolver_that_panics_or_hangs_is_asked_again() {
    let mut lookups = Lookups::new(Resolver::new(Unreliable(AtomicUsize::new(0))));
    let lookup = Lookup {
        host: "one.example".into(),
        port: 80,
    };
    lookups.follow(&Arc::new(BTreeMap::from([(
        lookup,
        Duration::from_secs(1),
    )])));
    for reason in ["panicked", "no answer within 20s"] {
        let (_, answer) = lookups.next().await;
        let error = answer.expect_err("a failure");
        assert!(error.contains(reason), "{error}");
    }
    assert_eq!(lookups.next().await.1, found(&["10.0.0.1:80"]));
}

#[test]
fn a_name_that_has_no_address_any_more_has_no_endpoint() {
    let mut rig = routed(&named(DiscoveryType::StrictDns, &["one.example"]));
    answer(&mut rig, "one.example", found(&["10.0.0.1:80"]));
    assert_eq!(addresses(&rig), ["10.0.0.1:80"]);
    answer(&mut rig, "one.example", found(&[]));
    assert!(addresses(&rig).is_empty());
    let why = the_cluster(&rig).unresolved.clone();
    assert_eq!(
        why.as_deref(),
        Some("no address of \"one.example\": the name has none")
    );
}
