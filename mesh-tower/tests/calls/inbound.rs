//! The rules of a server from the control plane to the answer.

use std::collections::HashMap;
use std::net::SocketAddr;

use axum::Router;
use envoy_types::pb::envoy::config::listener::v3::{FilterChain, Listener, filter};
use envoy_types::pb::envoy::config::rbac::v3::{
    Permission, Policy, Principal, Rbac as Rules, permission, principal, rbac::Action,
};
use envoy_types::pb::envoy::extensions::filters::http::rbac::v3::Rbac;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, http_filter,
};
use envoy_types::pb::google::protobuf::Any;
use envoy_types::util::pack_any;
use mesh_tower::{AccessLog, Mesh};
use mesh_xds::{ResourceType, Resources};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::access_log::Written;
use crate::support::ads::Scripted;
use crate::support::{node, until};

const RECORDED: &[u8] = include_bytes!("../../../mesh-xds/tests/data/virtual_inbound.bin");
const VIRTUAL: &str = "virtualInbound";

/// What istiod sends for a port of no service, with these policies in the place of its own; with or without its ways in for
/// plaintext.
fn listener(denies: bool, takes_plaintext: bool) -> Any {
    let mut listener = Listener::decode(RECORDED).unwrap();
    let is_wanted = |chain: &FilterChain| {
        let demand = chain.filter_chain_match.as_ref();
        let plaintext = demand.is_some_and(|it| it.transport_protocol == "raw_buffer");
        takes_plaintext || !plaintext
    };
    listener.filter_chains.retain(is_wanted);
    for chain in &mut listener.filter_chains {
        for one in &mut chain.filters {
            if let Some(filter::ConfigType::TypedConfig(any)) = &mut one.config_type
                && any.type_url.ends_with(".HttpConnectionManager")
            {
                let mut manager = HttpConnectionManager::decode(&*any.value).unwrap();
                let router = manager.http_filters.pop().unwrap();
                manager.http_filters = denies.then(denial).into_iter().chain([router]).collect();
                any.value = manager.encode_to_vec();
            }
        }
    }
    pack_any(listener)
}

/// The policy that denies everybody.
fn denial() -> HttpFilter {
    let policy = Policy {
        permissions: vec![Permission {
            rule: Some(permission::Rule::Any(true)),
        }],
        principals: vec![Principal {
            identifier: Some(principal::Identifier::Any(true)),
        }],
        ..Policy::default()
    };
    let rules = Rules {
        action: Action::Deny.into(),
        policies: HashMap::from([("ns[default]-policy[nobody]-rule[0]".to_owned(), policy)]),
        ..Rules::default()
    };
    let rbac = Rbac {
        rules: Some(rules),
        ..Rbac::default()
    };
    HttpFilter {
        name: "envoy.filters.http.rbac".to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(pack_any(rbac))),
        ..HttpFilter::default()
    }
}

fn listeners(denies: bool, takes_plaintext: bool) -> Resources {
    let listener = listener(denies, takes_plaintext);
    Resources {
        listeners: [(VIRTUAL.to_owned(), listener)].into(),
        ..Resources::default()
    }
}

struct Caller(TcpStream);

impl Caller {
    async fn connect(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    /// The status line; none when the connection has ended.
    async fn get(&mut self) -> Option<String> {
        let request = b"GET / HTTP/1.1\r\nhost: reviews\r\n\r\n";
        self.0.write_all(request).await.ok()?;
        let mut answer = [0; 1024];
        let read = self.0.read(&mut answer).await.ok()?;
        let answer = String::from_utf8_lossy(&answer[..read]);
        answer.lines().next().map(str::to_owned)
    }
}

#[tokio::test]
async fn what_the_control_plane_says_becomes_the_answer() {
    let (server, address) = Scripted::start(listeners(false, true)).await;
    let log = Written::default();
    let mesh = Mesh::builder()
        .xds(address.to_string())
        .node(node())
        .access_log(AccessLog::to(log.clone()))
        .build()
        .unwrap();
    let listener = mesh.listen("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr();
    let app = Router::new().fallback(|| async { "hello" });
    tokio::spawn(listener.serve(app));

    let mut caller = Caller::connect(address).await;
    assert_eq!(caller.get().await.as_deref(), Some("HTTP/1.1 200 OK"));
    // The next request of the same connection follows the new policy.
    server.push(ResourceType::Listener, |held| {
        *held = listeners(true, true);
    });
    let denied = Some("HTTP/1.1 403 Forbidden");
    let mut passed = 1;
    loop {
        let status = caller.get().await;
        if status.as_deref() == denied {
            break;
        }
        assert_eq!(status.as_deref(), Some("HTTP/1.1 200 OK"));
        passed += 1;
        tokio::task::yield_now().await;
    }
    let lines = log.wait(passed + 1).await;
    let line = &lines[passed];
    let told = r#"" 403 - rbac_access_denied_matched_policy[ns[default]-policy[nobody]-rule[0]] - "-" - 19 "#;
    assert!(line.contains(told), "{line}");
    assert!(
        lines[0].contains(r#"" 200 - via_upstream - "#),
        "{}",
        lines[0]
    );

    // PERMISSIVE to STRICT: who is there has to go, and nobody comes in plaintext any more.
    server.push(ResourceType::Listener, |held| {
        *held = listeners(false, false);
    });
    let mut rest = Vec::new();
    drop(caller.0.read_to_end(&mut rest).await);
    assert_eq!(rest, b"");
    let mut late = Caller::connect(address).await;
    assert_eq!(late.get().await, None);
    until("the count", async || {
        mesh.stats().closed.contains_key("plaintext_refused")
    })
    .await;
    assert_eq!(*server.nacks.lock().unwrap(), Vec::<String>::new());
}
