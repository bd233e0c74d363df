//! Hosts outside of the mesh under a control plane that says what ours never does.

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use envoy_types::pb::envoy::config::core::v3::TransportSocket;
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::r#type::matcher::v3::RegexMatcher;
use envoy_types::util::pack_any;
use http::StatusCode;
use mesh_istio::Config;
use mesh_tower::{Error, Mesh, MeshClient, Sent};
use mesh_xds::{ResourceType, Resources};
use prost::Message;

use crate::support::ads::Scripted;
use crate::support::outside::{Leads, Names, Server};
use crate::support::{Backend, Folder, URL, node, text_of, until};

const REVIEWS: &str = "outbound|9080||reviews.default.svc.cluster.local";

async fn resources() -> (Backend, Resources) {
    let reviews = Backend::start("v1").await;
    let folder = Folder::reviews("HTTP", &[("v1", reviews.address)]);
    let config = Config::load(folder.path()).unwrap().config;
    (reviews, config.resources(&node()))
}

async fn client(resources: Resources, names: &Names) -> (Scripted, MeshClient) {
    let (server, address) = Scripted::start(resources).await;
    let builder = Mesh::builder().xds(address.to_string()).node(node());
    let builder = builder.seed(1).resolver(names.clone());
    (server, builder.build().unwrap().client())
}

/// The service without a virtual address that istiod makes of a headless one.
fn headless(resources: &Resources) -> Cluster {
    Cluster {
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(
            DiscoveryType::OriginalDst.into(),
        )),
        eds_cluster_config: None,
        ..Cluster::decode(&*resources.clusters[REVIEWS].value).unwrap()
    }
}

#[tokio::test]
async fn a_headless_service_is_dialled_by_the_name_that_was_asked_for() {
    let (_reviews, mut resources) = resources().await;
    let cluster = headless(&resources);
    resources
        .clusters
        .insert(REVIEWS.to_owned(), pack_any(cluster));
    let server = Server::plain().await;
    let names = Names::to("reviews", &server);
    let (_ads, client) = client(resources, &names).await;
    let response = client.get(URL).await.unwrap();
    assert_eq!(text_of(response).await.1, "HTTP/1.1 reviews:9080");
    assert_eq!(names.asked(), [("reviews".to_owned(), 9080)]);
    // Its failure is not taken for one of a host that the mesh does not know.
    let error = client
        .get("http://reviews.default:9080/")
        .await
        .unwrap_err();
    assert_eq!(error.cluster(), Some(REVIEWS));
    assert!(!error.to_string().contains("passed through"), "{error}");
}

#[tokio::test]
async fn a_headless_service_that_demands_tls_is_never_called_in_plaintext() {
    let (_reviews, mut resources) = resources().await;
    let cluster = Cluster {
        transport_socket: Some(TransportSocket {
            name: "envoy.transport_sockets.tls".to_owned(),
            config_type: None,
        }),
        ..headless(&resources)
    };
    resources
        .clusters
        .insert(REVIEWS.to_owned(), pack_any(cluster));
    let names = Names::default();
    let (_ads, client) = client(resources, &names).await;
    let error = client.get(URL).await.unwrap_err();
    assert!(error.is_tls_demanded(), "{error}");
    assert_eq!(error.sent(), Sent::NotSent);
    assert!(names.asked().is_empty());
}

/// Takes the virtual host for other hosts away from all tables.
fn without_policy(resources: &mut Resources) {
    for any in resources.routes.values_mut() {
        let mut table = RouteConfiguration::decode(&*any.value).unwrap();
        table.virtual_hosts.retain(|host| host.name != "allow_any");
        *any = pack_any(table);
    }
}

#[tokio::test]
async fn a_table_without_the_policy_has_no_route_for_other_hosts() {
    let (_reviews, mut resources) = resources().await;
    let names = Names::to("api.example.com", &Server::plain().await);
    let (_ads, passing) = client(resources.clone(), &names).await;
    let uri = "http://api.example.com:9080/";
    assert_eq!(passing.get(uri).await.unwrap().status(), StatusCode::OK);

    without_policy(&mut resources);
    let (_ads, client) = client(resources, &names).await;
    assert!(client.get(uri).await.unwrap_err().is_no_route());
    assert!(
        client
            .get("http://api.example.com/")
            .await
            .unwrap_err()
            .is_no_route()
    );
    assert_eq!(names.asked().len(), 1);
}

/// Calls for `https` on a port whose table is empty, with this table of port 80: how often the host was dialled, and
/// what both schemes' calls came to.
async fn by_port_80(change: impl FnOnce(&mut RouteConfiguration)) -> (usize, [Error; 2]) {
    let (_reviews, mut resources) = resources().await;
    let mut table = RouteConfiguration::decode(&*resources.routes["80"].value).unwrap();
    let mut empty = table.clone();
    empty.name = "443".to_owned();
    empty.virtual_hosts.clear();
    change(&mut table);
    for table in [table, empty] {
        let name = table.name.clone();
        resources.routes.insert(name, pack_any(table));
    }
    let names = Names::of("api.example.com", Leads::Nowhere);
    let (_ads, client) = client(resources, &names).await;
    let errors = [
        client.get("https://api.example.com/").await.unwrap_err(),
        client.get("http://api.example.com:443/").await.unwrap_err(),
    ];
    (names.asked().len(), errors)
}

#[tokio::test]
async fn a_policy_that_cannot_be_read_lets_nothing_out() {
    // The control: with the policy, both are let out and end at a name that leads nowhere.
    let (dialled, errors) = by_port_80(|_| {}).await;
    assert!(errors.iter().all(Error::is_connect), "{errors:?}");
    assert_eq!(dialled, 2);

    let (dialled, errors) = by_port_80(|table| {
        let route = &mut table.virtual_hosts[0].routes[0];
        route.r#match.as_mut().unwrap().path_specifier =
            Some(PathSpecifier::SafeRegex(RegexMatcher {
                regex: "(".to_owned(),
                ..RegexMatcher::default()
            }));
    })
    .await;
    for error in errors {
        assert!(error.is_not_ready(), "{error}");
        let said = error.to_string();
        assert!(said.contains("leave the mesh is unknown"), "{said}");
    }
    assert_eq!(dialled, 0);
}

#[tokio::test]
async fn a_port_without_hosts_has_the_policy_of_port_80() {
    let (_reviews, mut resources) = resources().await;
    let mut empty = RouteConfiguration::decode(&*resources.routes["80"].value).unwrap();
    empty.name = "4711".to_owned();
    empty.virtual_hosts.clear();
    resources.routes.insert("4711".to_owned(), pack_any(empty));
    let server = Server::plain().await;
    let names = Names::to("api.example.com", &server);
    let (ads, client) = client(resources, &names).await;
    let uri = "http://api.example.com:4711/";
    let response = client.get(uri).await.unwrap();
    assert_eq!(text_of(response).await.1, "HTTP/1.1 api.example.com:4711");

    ads.push(ResourceType::Route, without_policy);
    until("the policy to go", || async {
        client
            .get(uri)
            .await
            .is_err_and(|error| error.is_no_route())
    })
    .await;
}
