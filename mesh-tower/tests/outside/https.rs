//! `https` URLs: TLS originated here, verified by the host's name, HTTP by ALPN, and let out by the mesh's policy.

use std::sync::Arc;

use http::StatusCode;
use mesh_tower::client::CallInfo;
use mesh_tower::{Builder, Error, Mesh, MeshClient, Sent, StartError};

use crate::support::outside::{Leads, Names, Server};
use crate::support::tls::Authority;
use crate::support::{Backend, Folder, node, text_of, until};

const HOST: &str = "api.example.com";
const URI: &str = "https://api.example.com/";
const BOTH: [&str; 2] = ["h2", "http/1.1"];

fn direct(names: &Names) -> Builder {
    Mesh::builder().direct().resolver(names.clone())
}

fn trusting(builder: Builder, authority: &Authority) -> MeshClient {
    let builder = builder.outside_roots(authority.pem()).unwrap();
    builder.build().unwrap().client().with_call_info()
}

async fn text(client: &MeshClient, uri: &str) -> String {
    let (status, text) = text_of(client.get(uri).await.unwrap()).await;
    assert_eq!(status, StatusCode::OK);
    text
}

fn assert_no_tls(error: &Error, why: &str) {
    let said = error.to_string();
    assert_eq!(
        (error.flags(), error.sent()),
        ("UF", Sent::NotSent),
        "{said}"
    );
    assert!(
        said.contains("no TLS with \"api.example.com\"") && said.contains(why),
        "{said}"
    );
}

#[tokio::test]
async fn the_server_chooses_the_version_of_http() {
    let authority = Authority::new();
    for (protocols, version) in [
        (&BOTH[..], "HTTP/2.0"),
        (&["http/1.1"], "HTTP/1.1"),
        (&["h2"], "HTTP/2.0"),
        (&[], "HTTP/1.1"),
    ] {
        let server = authority.server(HOST, protocols).await;
        let names = Names::to(HOST, &server);
        let client = trusting(direct(&names), &authority);
        for _ in 0..3 {
            assert_eq!(text(&client, URI).await, format!("{version} {HOST}"));
        }
        assert_eq!((server.connections(), server.requests()), (1, 3));
        assert_eq!(names.asked(), [(HOST.to_owned(), 443)]);
        let calls = (0..8).map(|_| text(&client, URI));
        futures_util::future::join_all(calls).await;
        assert_eq!(server.requests(), 11);
        assert_eq!(server.connections() == 1, version == "HTTP/2.0");
    }
}

#[tokio::test]
async fn a_server_that_speaks_another_version_now_is_asked_again() {
    let authority = Arc::new(Authority::new());
    // It ends with its runtime, and its connections with it.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let first = Arc::clone(&authority);
    let first = runtime.spawn(async move { first.server(HOST, &BOTH).await });
    let (first, second) = (first.await.unwrap(), authority.server(HOST, &[]).await);
    let names = Names::of(HOST, Leads::To(vec![first.address, second.address]));
    let client = trusting(direct(&names), &authority);
    assert!(text(&client, URI).await.starts_with("HTTP/2.0"));
    runtime.shutdown_background();
    until("the error that says so", || async {
        client.get(URI).await.is_err_and(|error| {
            error.is_connect()
                && error.sent() == Sent::NotSent
                && error.to_string().contains("spoke HTTP/2 before")
        })
    })
    .await;
    assert_eq!(second.requests(), 0);
    assert!(text(&client, URI).await.starts_with("HTTP/1.1"));
}

#[tokio::test]
async fn first_calls_share_the_connection_that_finds_out() {
    let authority = Authority::new();
    let server = authority.server(HOST, &BOTH).await;
    let client = trusting(direct(&Names::to(HOST, &server)), &authority);
    let calls = (0..8).map(|_| text(&client, URI));
    futures_util::future::join_all(calls).await;
    assert_eq!((server.connections(), server.requests()), (1, 8));
}

#[tokio::test]
async fn an_authority_that_is_not_trusted_is_refused() {
    let (authority, other) = (Authority::new(), Authority::called("another"));
    let server = authority.server(HOST, &BOTH).await;
    let names = Names::to(HOST, &server);
    // The control: with its authority the same server is called.
    text(&trusting(direct(&names), &authority), URI).await;
    assert_eq!(server.requests(), 1);

    let error = trusting(direct(&names), &other).get(URI).await.unwrap_err();
    assert_no_tls(&error, "UnknownIssuer");
    let without = direct(&names).build().unwrap().client();
    assert!(without.get(URI).await.unwrap_err().is_connect());
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn another_hosts_certificate_is_refused() {
    let authority = Authority::new();
    let server = authority.server("other.example.com", &BOTH).await;
    let names = Names::to("*", &server);
    let client = trusting(direct(&names), &authority);
    text(&client, "https://other.example.com/").await;
    assert_eq!(server.requests(), 1);
    let error = client.get(URI).await.unwrap_err();
    assert_no_tls(&error, "not valid for name");
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn a_server_without_tls_gets_no_request() {
    let server = Server::plain().await;
    let names = Names::to(HOST, &server);
    let error = trusting(direct(&names), &Authority::new()).get(URI).await;
    assert_no_tls(&error.unwrap_err(), "");
    assert_eq!((server.connections(), server.requests()), (1, 0));
}

#[tokio::test]
async fn bad_roots_are_refused_at_the_start() {
    for text in [
        "",
        "no PEM",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        let refused = Mesh::builder().outside_roots(text);
        assert!(
            matches!(refused, Err(StartError::OutsideRoots(_))),
            "{text:?}"
        );
    }
}

/// A mesh of a folder that knows `reviews:9080` and, by its name, the host outside.
async fn in_a_mesh(policy: &str, names: &Names) -> (Folder, Backend, Builder) {
    let reviews = Backend::start("v1").await;
    let folder = Folder::reviews("HTTP", &[("v1", reviews.address)]);
    set(&folder, policy);
    folder.write("outside.yaml", "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: { name: outside, namespace: default }\nspec:\n  hosts: [known.example.com]\n  resolution: STATIC\n  ports: [{ number: 443, name: tls, protocol: TLS }]\n  endpoints: [{ address: 127.0.0.1 }]\n");
    let builder = Mesh::builder().yaml(folder.path()).node(node());
    let builder = builder.seed(1).resolver(names.clone());
    (folder, reviews, builder)
}

fn set(folder: &Folder, policy: &str) {
    folder.write("mesh.yaml", &format!(
        "apiVersion: mesh.istio.io/v1alpha1\nkind: MeshConfig\nmetadata: {{ name: mesh }}\nspec: {{ outboundTrafficPolicy: {{ mode: {policy} }} }}\n"
    ));
}

#[tokio::test]
async fn allow_any_lets_https_out() {
    let authority = Authority::new();
    let server = authority.server(HOST, &BOTH).await;
    let names = Names::to(HOST, &server);
    let (_folder, _reviews, builder) = in_a_mesh("ALLOW_ANY", &names).await;
    let client = trusting(builder, &authority);
    // On the port of a service too: no rule for HTTP is for what a sidecar cannot read.
    for uri in [URI, "https://api.example.com:9080/"] {
        let response = client.get(uri).await.unwrap();
        let info = response.extensions().get::<CallInfo>().unwrap();
        assert_eq!(
            (&*info.cluster, info.endpoint),
            ("PassthroughCluster", Some(server.address))
        );
    }
    assert_eq!(
        names
            .asked()
            .iter()
            .map(|(_, port)| *port)
            .collect::<Vec<_>>(),
        [443, 9080]
    );
}

#[tokio::test]
async fn a_gateway_has_no_routes_for_https() {
    let (_folder, _reviews, builder) = in_a_mesh("ALLOW_ANY", &Names::default()).await;
    let gateway = builder.build().unwrap().gateway(8080);
    assert!(gateway.get(URI).await.unwrap_err().is_invalid_request());
}

#[tokio::test]
async fn registry_only_lets_https_out_to_hosts_of_the_registry() {
    let authority = Authority::new();
    let server = authority.server("known.example.com", &BOTH).await;
    let names = Names::to("*", &server);
    let (folder, _reviews, builder) = in_a_mesh("REGISTRY_ONLY", &names).await;
    let client = trusting(builder, &authority);
    for uri in [URI, "https://known.example.com:8443/", "https://reviews/"] {
        let error = client.get(uri).await.unwrap_err();
        assert!(error.is_blocked(), "{error}");
        assert_eq!(
            (error.status(), error.cluster()),
            (StatusCode::BAD_GATEWAY, Some("BlackHoleCluster"))
        );
        assert!(error.to_string().contains("add a ServiceEntry"), "{error}");
    }
    assert!(names.asked().is_empty());
    for uri in [
        "https://known.example.com/",
        "https://Known.Example.com:443/",
    ] {
        assert!(text(&client, uri).await.starts_with("HTTP/2.0"));
    }

    folder.write("outside.yaml", "");
    until("the host to leave the registry", || async {
        let result = client.get("https://known.example.com/").await;
        result.is_err_and(|error| error.is_blocked())
    })
    .await;
    set(&folder, "ALLOW_ANY");
    until("the other policy", || async {
        client.get("https://known.example.com/").await.is_ok()
    })
    .await;
}
