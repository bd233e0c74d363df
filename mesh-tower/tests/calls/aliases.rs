//! Workloads of a trust domain that is another name of our own (`Builder::trust_domain_aliases`).

use axum::Router;
use envoy_types::pb::envoy::config::core::v3::transport_socket;
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as pb;
use envoy_types::pb::google::protobuf::Any;
use mesh_istio::Options;
use mesh_tower::{Files, Mesh, TrustDomain};
use mesh_xds::Resources;
use pb::common_tls_context::ValidationContextType;
use prost::Message;
use tempfile::TempDir;

use super::mtls::{REVIEWS, certified, mutual, resources};
use crate::support::ads::Scripted;
use crate::support::tls::Authority;
use crate::support::{URL, node};

const CALLER: &str = "spiffe://old.name/ns/default/sa/caller";
const OTHER: &str = "spiffe://old.name/ns/default/sa/other";

/// Only the caller may call, by its name in the domain of before.
const RULES: &str = "\
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: strict, namespace: default }
spec: { mtls: { mode: STRICT } }
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: caller, namespace: default }
spec: { rules: [ { from: [ { source: { principals: [old.name/ns/default/sa/caller] } } ] } ] }
";

/// Rules of a control plane that knows of no other name, and names nobody: any workload of the mesh comes in.
fn server_rules() -> Resources {
    let options = Options::default().certificates(true);
    let loaded = options.parse([("rules.yaml".into(), RULES.to_owned())]);
    let mut resources = loaded.unwrap().config.resources(&node());
    for listener in resources.listeners.values_mut() {
        *listener = nameless(listener);
    }
    resources
}

fn nameless(any: &Any) -> Any {
    let mut listener = Listener::decode(&*any.value).unwrap();
    let mut changed = 0;
    for chain in &mut listener.filter_chains {
        let socket = chain.transport_socket.as_mut();
        let Some(transport_socket::ConfigType::TypedConfig(any)) =
            socket.and_then(|it| it.config_type.as_mut())
        else {
            continue;
        };
        let mut terms = pb::DownstreamTlsContext::decode(&*any.value).unwrap();
        let common = terms.common_tls_context.as_mut().unwrap();
        let Some(ValidationContextType::CombinedValidationContext(combined)) =
            &mut common.validation_context_type
        else {
            panic!("{common:?}");
        };
        #[allow(deprecated, reason = "istiod sends the older form")]
        combined
            .default_validation_context
            .as_mut()
            .unwrap()
            .match_subject_alt_names
            .clear();
        any.value = terms.encode_to_vec();
        changed += 1;
    }
    assert!(changed > 0);
    Any {
        type_url: any.type_url.clone(),
        value: listener.encode_to_vec(),
    }
}

#[tokio::test]
async fn a_workload_of_an_alias_comes_in_and_is_known_by_its_name() {
    let root = Authority::called("the mesh");
    let aliases: [&[&str]; 3] = [&["old.name"], &["other.name", "old.name"], &["other.name"]];
    for aliases in aliases {
        let is_named = aliases.contains(&"old.name");
        let own = TempDir::new().unwrap();
        root.write_workload(own.path(), REVIEWS, &[&root]);
        let (plane, address) = Scripted::start(server_rules()).await;
        let aliases = aliases
            .iter()
            .map(|name| name.parse::<TrustDomain>().unwrap());
        let server = Mesh::builder()
            .xds(address.to_string())
            .node(node())
            .certificates(Files::new(own.path()))
            .trust_domain_aliases(aliases)
            .build()
            .unwrap();
        let listener = server.listen("127.0.0.1:0").await.unwrap();
        let bound = listener.local_addr();
        tokio::spawn(listener.serve(Router::new().fallback(async || "hello")));
        certified(&server).await;
        assert_eq!(*plane.nacks.lock().unwrap(), Vec::<String>::new());

        for (id, expected) in [(CALLER, 200), (OTHER, 403)] {
            let folder = TempDir::new().unwrap();
            root.write_workload(folder.path(), id, &[&root]);
            let (_plane, address) = Scripted::start(resources(bound, Some(mutual(REVIEWS)))).await;
            let mesh = Mesh::builder()
                .xds(address.to_string())
                .node(node())
                .seed(7)
                .certificates(Files::new(folder.path()))
                .build()
                .unwrap();
            certified(&mesh).await;
            let answer = mesh.client().get(URL).await;
            match is_named {
                true => assert_eq!(answer.unwrap().status().as_u16(), expected, "{id}"),
                false => drop(answer.unwrap_err()),
            }
        }
    }
}
