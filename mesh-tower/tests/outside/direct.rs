//! A mesh that is off: calls go where they ask to. Also what holds of all hosts outside of a mesh: how names are
//! resolved, how connections are shared, and how many hosts are kept.

use std::time::Duration;

use http::{Request, StatusCode, Version};
use mesh_tower::client::CallInfo;
use mesh_tower::{Body, Builder, Mesh, MeshClient, Node, Sent};

use super::policy::policy;
use crate::support::Folder;
use crate::support::outside::{Leads, Names, Server};
use crate::support::{Closed, text_of};

fn direct(names: &Names) -> Mesh {
    let builder = Mesh::builder().direct().resolver(names.clone());
    builder.build().unwrap()
}

async fn text(client: &MeshClient, uri: &str) -> String {
    let (status, text) = text_of(client.get(uri).await.unwrap()).await;
    assert_eq!(status, StatusCode::OK);
    text
}

#[tokio::test]
async fn calls_go_where_they_ask_to() {
    let server = Server::plain().await;
    let names = Names::to("api.example.com", &server);
    let builder = Mesh::builder().direct().declare(9080);
    let mesh = builder.resolver(names.clone()).build().unwrap();
    mesh.ready(Duration::ZERO).await.unwrap();
    let client = mesh.client().with_call_info();
    let response = client.get("http://api.example.com/x?y").await.unwrap();
    let info = response.extensions().get::<CallInfo>().unwrap().clone();
    assert_eq!((info.endpoint, info.attempts), (Some(server.address), 1));
    assert_eq!(text_of(response).await.1, "HTTP/1.1 api.example.com");
    assert_eq!(names.asked(), [("api.example.com".to_owned(), 80)]);

    // The same host and port, and its connection.
    text(&client, "http://API.example.com:80/").await;
    assert_eq!((server.connections(), server.requests()), (1, 2));
    // Another port is another destination.
    text(&client, "http://api.example.com:8080/").await;
    assert_eq!((server.connections(), server.requests()), (2, 3));
    assert_eq!(names.asked()[1..], [("api.example.com".to_owned(), 8080)]);

    let stats = mesh.stats();
    let edge = &stats.edges[0];
    assert_eq!((&*edge.cluster, edge.requests), ("PassthroughCluster", 3));
    assert_eq!((edge.classes[1], edge.in_flight), (3, 0));
}

#[tokio::test]
async fn an_address_is_not_resolved() {
    let server = Server::plain().await;
    let names = Names::default();
    let client = direct(&names).client();
    let uri = format!("http://{}/", server.address);
    assert_eq!(
        text(&client, &uri).await,
        format!("HTTP/1.1 {}", server.address)
    );
    assert!(names.asked().is_empty());
}

#[tokio::test]
async fn a_caller_that_speaks_http2_is_followed() {
    let server = Server::plain().await;
    let client = direct(&Names::to("grpc.example.com", &server)).client();
    let request = |version| {
        let request = Request::get("http://grpc.example.com/").version(version);
        request.body(Body::empty()).unwrap()
    };
    for (version, text) in [
        (Version::HTTP_2, "HTTP/2.0 grpc.example.com"),
        (Version::HTTP_11, "HTTP/1.1 grpc.example.com"),
    ] {
        let response = client.send(request(version)).await.unwrap();
        assert_eq!(text_of(response).await.1, text);
    }
}

#[tokio::test]
async fn an_address_that_refuses_costs_nothing_but_time() {
    let server = Server::plain().await;
    let closed = Closed::new();
    let refusing = closed.address;
    let names = Names::of("two.example.com", Leads::To(vec![refusing, server.address]));
    names.lead("none.example.com", Leads::To(vec![refusing]));
    let client = direct(&names).client();
    text(&client, "http://two.example.com/").await;

    let error = client.get("http://none.example.com/").await.unwrap_err();
    assert_eq!((error.flags(), error.sent()), ("UF", Sent::NotSent));
    assert!(
        error
            .to_string()
            .contains("cannot connect to \"none.example.com\""),
        "{error}"
    );
    // What did not answer is looked up again.
    names.lead("none.example.com", Leads::To(vec![server.address]));
    text(&client, "http://none.example.com/").await;
    assert_eq!(names.times("none.example.com"), 2);
}

#[tokio::test]
async fn a_name_that_leads_nowhere_is_named() {
    let names = Names::of("gone.example.com", Leads::Nowhere);
    let client = direct(&names).client();
    let error = client.get("http://gone.example.com/").await.unwrap_err();
    assert_eq!(
        (error.status(), error.flags()),
        (StatusCode::SERVICE_UNAVAILABLE, "UF")
    );
    assert!(error.is_connect() && error.sent() == Sent::NotSent);
    let said = error.to_string();
    assert!(
        said.contains("cannot resolve \"gone.example.com\": no such name in this test"),
        "{said}"
    );
    // A failure is not kept.
    let server = Server::plain().await;
    names.lead("gone.example.com", Leads::To(vec![server.address]));
    text(&client, "http://gone.example.com/").await;
}

#[tokio::test(start_paused = true)]
async fn a_resolver_that_hangs_ends_at_the_connect_timeout() {
    let names = Names::of("slow.example.com", Leads::Hangs);
    let client = direct(&names).client();
    let start = tokio::time::Instant::now();
    let calls = (0..3).map(|_| client.get("http://slow.example.com/"));
    for result in futures_util::future::join_all(calls).await {
        let error = result.unwrap_err();
        assert_eq!(error.flags(), "UF");
        let said = error.to_string();
        assert!(
            said.contains("cannot resolve \"slow.example.com\" within 10s"),
            "{said}"
        );
    }
    assert_eq!(start.elapsed().as_secs(), 10);
}

#[tokio::test]
async fn one_look_up_serves_all_that_wait_for_it() {
    let server = Server::plain().await;
    let names = Names::to("api.example.com", &server);
    let client = direct(&names).client();
    let calls = (0..8).map(|_| text(&client, "http://api.example.com/"));
    futures_util::future::join_all(calls).await;
    assert_eq!(server.requests(), 8);
    assert_eq!(names.asked().len(), 1);

    // A failure too.
    let calls = (0..8).map(|_| client.get("http://gone.example.com/"));
    let failed = futures_util::future::join_all(calls).await;
    assert!(failed.iter().all(Result::is_err));
    assert_eq!(names.times("gone.example.com"), 1);
}

#[tokio::test(start_paused = true)]
async fn addresses_are_looked_up_again_after_30_s() {
    let server = Server::closing().await;
    let names = Names::to("api.example.com", &server);
    let client = direct(&names).client();
    let mut asked = Vec::new();
    for _ in 0..3 {
        text(&client, "http://api.example.com/").await;
        asked.push(names.asked().len());
        tokio::time::advance(Duration::from_secs(20)).await;
    }
    assert_eq!(asked, [1, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn the_longest_idle_of_many_hosts_leaves() {
    let server = Server::closing().await;
    let names = Names::to("*", &server);
    let client = direct(&names).client();
    text(&client, "http://first.example.com/").await;
    tokio::time::advance(Duration::from_secs(1)).await;
    for at in 0..1024 {
        text(&client, &format!("http://h{at}.example.com/")).await;
    }
    assert_eq!(names.asked().len(), 1025);
    // The last one is still there, the first has to be found again.
    text(&client, "http://h1023.example.com/").await;
    assert_eq!(names.times("h1023.example.com"), 1);
    text(&client, "http://first.example.com/").await;
    assert_eq!(names.times("first.example.com"), 2);
}

#[tokio::test(start_paused = true)]
async fn no_more_hosts_than_1024_are_called_at_once() {
    let names = Names::of("*", Leads::Hangs);
    let mesh = direct(&names);
    let client = mesh.client();
    let calls: Vec<_> = (0..1024)
        .map(|at| {
            let client = client.clone();
            tokio::spawn(async move { client.get(&format!("http://h{at}.example.com/")).await })
        })
        .collect();
    while names.asked().len() < 1024 {
        tokio::task::yield_now().await;
    }
    let error = client.get("http://more.example.com/").await.unwrap_err();
    assert_eq!(
        (error.flags(), error.sent()),
        ("UO", Sent::NotSent),
        "{error}"
    );
    assert!(error.is_overloaded() && !error.is_no_endpoint(), "{error}");
    assert_eq!(mesh.stats().errors["UO"], 1);
    for call in calls {
        assert!(call.await.unwrap().is_err());
    }
    // They are idle now and make room.
    let server = Server::plain().await;
    names.lead("more.example.com", Leads::To(vec![server.address]));
    text(&client, "http://more.example.com/").await;
}

#[tokio::test]
async fn what_is_no_host_and_port_is_refused() {
    let names = Names::default();
    let client = direct(&names).client();
    for uri in ["http://a:99999/", "ftp://a/", "http://user@a/"] {
        let error = client.get(uri).await.unwrap_err();
        assert!(error.is_invalid_request(), "{uri}: {error}");
    }
    assert!(names.asked().is_empty());
}

#[tokio::test]
async fn a_gateway_needs_rules() {
    let error = direct(&Names::default()).gateway(80).get("http://a/").await;
    assert!(error.unwrap_err().is_no_route());
}

/// Runs one ignored test of this file in a process with this environment.
fn with_environment(test: &str, variables: &[(&str, &str)]) -> bool {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    for name in [
        "MESH",
        "MESH_ADMIN",
        "MESH_CERTIFICATES",
        "MESH_CONFIG",
        "GRPC_XDS_BOOTSTRAP",
        "GRPC_XDS_BOOTSTRAP_CONFIG",
    ] {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied());
    let output = command
        .args(["--exact", &format!("direct::{test}"), "--ignored"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("running 1 test"), "{said}");
    output.status.success()
}

#[test]
fn the_environment_switches_the_mesh_off() {
    assert!(with_environment("child_calls_from_env", &[("MESH", "off")]));
    assert!(!with_environment("child_calls_from_env", &[]));
    assert!(with_environment("child_calls_from_env_or_direct", &[]));
    let broken = [("GRPC_XDS_BOOTSTRAP_CONFIG", "{")];
    assert!(!with_environment("child_calls_from_env_or_direct", &broken));
}

#[test]
fn the_environment_names_a_folder() {
    let folder = Folder::reviews("HTTP", &[]);
    let path = folder.path().to_str().unwrap().to_owned();
    let rules = ("MESH_CONFIG", path.as_str());
    assert!(with_environment("child_calls_from_env", &[rules]));
    policy(&folder, "REGISTRY_ONLY");
    for child in ["child_calls_from_env", "child_calls_from_env_or_direct"] {
        assert!(!with_environment(child, &[rules]));
        assert!(with_environment(child, &[rules, ("MESH", "off")]));
        assert!(!with_environment(child, &[("MESH_CONFIG", "/none/such")]));
    }
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let folder = Folder::reviews("HTTP", &[]);
    let path = folder.path().to_str().unwrap().to_owned();
    let rules = ("MESH_CONFIG", path.as_str());
    let empty = [
        ("GRPC_XDS_BOOTSTRAP", ""),
        ("GRPC_XDS_BOOTSTRAP_CONFIG", ""),
        ("MESH_ADMIN", ""),
        // Only `off` says something.
        ("MESH", "on"),
    ];
    let with = |last| [&empty[..], &[last]].concat();
    assert!(with_environment("child_calls_from_env", &with(rules)));
    let nowhere = with(("MESH_CONFIG", ""));
    assert!(!with_environment("child_calls_from_env", &nowhere));
    assert!(with_environment("child_calls_from_env_or_direct", &nowhere));
}

#[test]
fn the_environment_opens_an_admin_port() {
    let off = ("MESH", "off");
    let child = "child_has_an_admin_port";
    assert!(with_environment(child, &[off, ("MESH_ADMIN", "0")]));
    for none in [&[off][..], &[off, ("MESH_ADMIN", "")]] {
        assert!(!with_environment(child, none));
    }
    // Where no rules are named, too.
    let child = "child_has_an_admin_port_without_rules";
    assert!(with_environment(child, &[("MESH_ADMIN", "0")]));
    assert!(!with_environment(child, &[]));
    let broken = [off, ("MESH_ADMIN", "nowhere")];
    assert!(!with_environment("child_calls_from_env", &broken));
}

#[cfg(feature = "tls")]
#[test]
fn the_environment_names_the_agents_socket() {
    use crate::support::agent::{Agent, pair, roots};
    use crate::support::tls::{Authority, workload};

    let root = Authority::new();
    let leaf = root.issue(&workload("spiffe://cluster.local/ns/default/sa/shop"));
    let agent = Agent::start();
    agent.gives(pair(&leaf.certificate.pem(), &leaf.key.serialize_pem()));
    agent.gives(roots(&root.pem()));
    let child = "child_has_a_certificate";
    let takes = |place: &str| with_environment(child, &[("MESH_CERTIFICATES", place)]);
    let path = agent.path().display().to_string();
    assert!(takes(&format!("sds:{path}")));
    // The controls: a folder of that name, another socket, and one of which nothing is said.
    for place in [&path, &format!("sds:{path}2"), "spiffe:"] {
        assert!(!takes(place), "{place}");
    }
}

#[cfg(feature = "tls")]
#[tokio::test]
#[ignore = "run by a test above, in an environment of its own"]
async fn child_has_a_certificate() {
    let mesh = Mesh::from_env_or_direct().await.unwrap();
    let has = |line: &str| mesh.prometheus().lines().any(|it| it.starts_with(line));
    let left = "istio_agent_cert_expiry_seconds{";
    crate::support::until("a word of the provider", || async {
        has(left) || has("mesh_certificate_refused 1")
    })
    .await;
    assert!(has(left));
}

#[tokio::test]
#[ignore = "run by a test above, in an environment of its own"]
async fn child_has_an_admin_port() {
    // More may be set than the environment says.
    let builder = Builder::from_env().unwrap();
    let node = Node::sidecar("shop-v1", "default");
    admin_answers(&builder.node(node).build().unwrap()).await;
}

#[tokio::test]
#[ignore = "run by a test above, in an environment of its own"]
async fn child_has_an_admin_port_without_rules() {
    admin_answers(&Mesh::from_env_or_direct().await.unwrap()).await;
}

async fn admin_answers(mesh: &Mesh) {
    let page = format!("http://{}/ready", mesh.admin_addr().unwrap());
    let response = mesh.client().get(&page).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
#[ignore = "run by a test above, in an environment of its own"]
async fn child_calls_from_env() {
    called(Mesh::from_env().await.unwrap()).await;
}

#[tokio::test]
#[ignore = "run by a test above, in an environment of its own"]
async fn child_calls_from_env_or_direct() {
    called(Mesh::from_env_or_direct().await.unwrap()).await;
}

/// With the platform's own resolver.
async fn called(mesh: Mesh) {
    let server = Server::plain().await;
    let uri = format!("http://localhost:{}/", server.address.port());
    text(&mesh.client(), &uri).await;
}
