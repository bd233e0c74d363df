//! tonic's server behind a mesh in gRPC's dialect: it serves once the listener of its address is there, and until that is
//! gone (gRPC A36).

use std::net::SocketAddr;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::listener::v3 as pb;
use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as http;
use envoy_types::pb::google::protobuf::{Any, BoolValue};
use envoy_types::util::pack_any;
use mesh_tower::{Dialect, Mesh, Security};
use mesh_xds::{ResourceType, Resources};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

use crate::mtls::by_socket;
use crate::support::ads::Scripted;
use crate::support::grpc::{EchoServer, client, note};
use crate::support::logs::Logs;
use crate::support::{Folder, node, until};

/// What istiod sends for a server that takes plaintext; a bad one has what no gRPC server knows.
fn listener(bound: SocketAddr, is_good: bool) -> Any {
    let all = route::RouteMatch {
        path_specifier: Some(route::route_match::PathSpecifier::Prefix("/".to_owned())),
        ..Default::default()
    };
    let action = route::route::Action::NonForwardingAction(route::NonForwardingAction::default());
    let routes = route::RouteConfiguration {
        virtual_hosts: vec![route::VirtualHost {
            domains: vec!["*".to_owned()],
            routes: vec![route::Route {
                r#match: Some(all),
                action: Some(action),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let manager = http::HttpConnectionManager {
        route_specifier: Some(http::http_connection_manager::RouteSpecifier::RouteConfig(
            routes,
        )),
        http_filters: vec![http::HttpFilter {
            name: "envoy.filters.http.router".to_owned(),
            config_type: Some(http::http_filter::ConfigType::TypedConfig(pack_any(
                Router::default(),
            ))),
            ..Default::default()
        }],
        ..Default::default()
    };
    let filter = pb::Filter {
        name: "inbound-hcmplaintext".to_owned(),
        config_type: Some(pb::filter::ConfigType::TypedConfig(pack_any(manager))),
    };
    let socket = core::SocketAddress {
        address: bound.ip().to_string(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(
            bound.port().into(),
        )),
        ..Default::default()
    };
    pack_any(pb::Listener {
        name: name(bound),
        address: Some(core::Address {
            address: Some(core::address::Address::SocketAddress(socket)),
        }),
        filter_chains: vec![pb::FilterChain {
            name: "inbound-plaintext".to_owned(),
            filters: vec![filter],
            ..Default::default()
        }],
        use_original_dst: (!is_good).then_some(BoolValue { value: true }),
        ..Default::default()
    })
}

fn name(bound: SocketAddr) -> String {
    format!("xds.istio.io/grpc/lds/inbound/{bound}")
}

/// Puts a listener in the place of what there is, or nothing.
fn push(server: &Scripted, bound: SocketAddr, listener: Option<Any>) {
    server.push(ResourceType::Listener, |held| {
        held.listeners = listener.into_iter().map(|any| (name(bound), any)).collect();
    });
}

/// What a client of HTTP/2 reads until the connection ends, or the first byte.
async fn first_byte(bound: SocketAddr) -> Option<u8> {
    let mut socket = TcpStream::connect(bound).await.unwrap();
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let _ = socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    let _ = socket.write_all(&settings).await;
    socket.read_u8().await.ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_serves_while_its_listener_is_there() {
    let (server, plane) = Scripted::start(Resources::default()).await;
    let mesh = Mesh::builder()
        .xds(plane.to_string())
        .dialect(Dialect::Grpc)
        .node(node())
        .build()
        .unwrap();
    let listener_of = mesh.listen("127.0.0.1:0").await.unwrap();
    let bound = listener_of.local_addr();
    let routes = tonic::transport::Server::builder()
        .layer(mesh.inbound())
        .add_service(EchoServer::new("v1"));
    tokio::spawn(routes.serve_with_incoming(listener_of.incoming()));
    let folder = Folder::reviews("GRPC", &[("v1", bound)]);
    let caller = folder.mesh(1);

    push(&server, bound, Some(listener(bound, false)));
    until("the refusal", || async {
        !server.nacks.lock().unwrap().is_empty()
    })
    .await;
    assert!(server.nacks.lock().unwrap()[0].contains("use_original_dst"));
    assert_eq!(first_byte(bound).await, None);
    let refused = client(&caller).unary(note("a", 0)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");

    for seed in [2, 3] {
        // Its connections are its own: those of before are told to go by each answer.
        let caller = folder.mesh(seed);
        push(&server, bound, Some(listener(bound, true)));
        until("the service", || async {
            first_byte(bound).await.is_some()
        })
        .await;
        let answer = client(&caller).unary(note("a", 0)).await.unwrap();
        assert!(answer.into_inner().text.starts_with("v1"));
        // One that cannot be used takes nothing away.
        let before = server.nacks.lock().unwrap().len();
        push(&server, bound, Some(listener(bound, false)));
        until("the refusal", || async {
            server.nacks.lock().unwrap().len() > before
        })
        .await;
        assert!(first_byte(bound).await.is_some(), "nor from who comes anew");
        client(&caller).unary(note("a", 0)).await.unwrap();

        push(&server, bound, None);
        until("the end", || async { first_byte(bound).await.is_none() }).await;
        // The caller's connection is open yet, and takes it no further.
        let refused = client(&caller).unary(note("a", 0)).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    }
}

/// What istiod leaves out in this dialect would be served to whom it was written to refuse.
#[tokio::test]
async fn security_that_is_required_serves_by_half_of_the_policies_only_when_told() {
    let (_server, plane) = Scripted::start(Resources::default()).await;
    let (_folder, required) = by_socket(plane).await;
    let grpc = || required.clone().dialect(Dialect::Grpc);
    let mesh = grpc().build().unwrap();
    let error = mesh.listen("127.0.0.1:0").await.unwrap_err().to_string();
    for part in [
        "127.0.0.1:0",
        "ALLOW policy without rules",
        "accept_grpc_policy_gaps",
    ] {
        assert!(error.contains(part), "{part:?} is not in {error:?}");
    }
    for taken in [
        grpc().accept_grpc_policy_gaps(),
        grpc().security(Security::AsConfigured),
        required.clone().dialect(Dialect::Sidecar),
    ] {
        let mesh = taken.build().unwrap();
        mesh.listen("127.0.0.1:0").await.unwrap();
    }
}

/// What is not told of in this dialect is said where a port is opened, once for each, and nowhere else.
#[tokio::test]
async fn a_port_is_warned_of_that_not_all_policies_reach() {
    const GAPS: &str = "no ALLOW policy without rules";
    let (_server, plane) = Scripted::start(Resources::default()).await;
    let builder = || Mesh::builder().xds(plane.to_string()).node(node());
    let told = async |builder: mesh_tower::Builder, ports: usize| {
        let mesh = builder.build().unwrap();
        let (logs, _guard) = Logs::of_this_thread();
        for _ in 0..ports {
            mesh.listen("127.0.0.1:0").await.unwrap();
        }
        // The control: whatever is said on this thread is heard.
        tracing::info!(target: "mesh_tower", "heard");
        assert_eq!(logs.with("heard").len(), 1);
        logs.with(GAPS)
    };
    for count in [0, 1, 2] {
        let lines = told(builder().dialect(Dialect::Grpc), count).await;
        assert_eq!(lines.len(), count, "{lines:?}");
        for line in lines {
            assert!(line.starts_with("WARN mesh_tower"), "{line}");
            for part in [
                "127.0.0.1:0",
                "no CUSTOM policy",
                "RequestAuthentication",
                "accept_grpc_policy_gaps",
            ] {
                assert!(line.contains(part), "{part:?} is not in {line}");
            }
        }
    }
    for silent in [
        builder().dialect(Dialect::Sidecar),
        builder(),
        Mesh::builder().node(node()),
        builder().dialect(Dialect::Grpc).accept_grpc_policy_gaps(),
    ] {
        assert_eq!(told(silent, 1).await, [""; 0]);
    }
}
