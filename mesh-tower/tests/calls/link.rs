//! The link to a control plane over TLS: whom it trusts, what it shows, and where the token goes.

use std::path::PathBuf;
use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryServiceServer;
use mesh_istio::Config;
use mesh_tower::{Builder, Files, Mesh, Security, StartError, Variant};
use mesh_xds::Resources;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, SanType, date_time_ymd};
use tempfile::TempDir;

use crate::support::ads::Scripted;
use crate::support::plane::{Plane, shows};
use crate::support::tls::{Authority, Leaf};
use crate::support::{Backend, Folder, URL, node, until};

const NAME: &str = "istiod.istio-system.svc";
const WORKLOAD: &str = "spiffe://cluster.local/ns/default/sa/productpage";

fn server(change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = CertificateParams::new([NAME.to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    change(&mut params);
    params
}

fn workload() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(WORKLOAD.try_into().unwrap())];
    params
}

async fn plane(config: Arc<rustls::ServerConfig>, resources: Resources) -> Plane {
    let ads = AggregatedDiscoveryServiceServer::new(Scripted::of(resources));
    Plane::start(config, tonic::service::Routes::new(ads).into_axum_router()).await
}

/// A folder with the authority's certificate and a token, and with a workload's certificate if there is to be one.
struct Pod(TempDir);

impl Pod {
    fn new(authority: &Authority) -> Self {
        let pod = Self(TempDir::new().unwrap());
        pod.write("root-cert.pem", &authority.pem());
        pod.write("token", "first\n");
        pod
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let hidden = self.path(".tmp");
        std::fs::write(&hidden, text).unwrap();
        std::fs::rename(hidden, self.path(name)).unwrap();
    }

    fn certificate(&self, leaf: &Leaf) {
        self.write("key.pem", &leaf.key.serialize_pem());
        self.write("cert-chain.pem", &leaf.certificate.pem());
    }

    /// By the file of the authority, for [`NAME`], with the token.
    fn builder(&self, plane: &Plane) -> Builder {
        self.builder_of(&format!("https://{}", plane.address))
            .control_plane_ca(self.path("root-cert.pem"))
            .control_plane_name(NAME)
    }

    fn builder_of(&self, uri: &str) -> Builder {
        Mesh::builder()
            .xds(uri)
            .variant(Variant::StateOfTheWorld)
            .node(node())
            .seed(7)
            .token_file(self.path("token"))
    }
}

async fn connected(mesh: &Mesh) {
    until("the control plane", || async { mesh.status().connected }).await;
}

/// Lets it connect anew, if it has.
fn again(mesh: &Mesh, plane: &Plane) {
    if mesh.status().connected {
        plane.cut();
    }
}

/// The reason of the second attempt that did not come about: the first was not by chance.
async fn refused(mesh: &Mesh, plane: &Plane) -> String {
    until("two attempts", || async { plane.seen().opened >= 2 }).await;
    until("the reason", || async {
        mesh.status().last_error.is_some()
    })
    .await;
    assert!(!mesh.status().connected);
    mesh.status().last_error.unwrap().to_string()
}

#[tokio::test]
async fn a_mesh_is_configured_over_tls_and_its_token_arrives() {
    let v1 = Backend::start("v1").await;
    let folder = Folder::reviews("HTTP", &[("v1", v1.address)]);
    folder.split(&[("v1", 1)]);
    let loaded = Config::load(folder.path()).unwrap();
    let authority = Authority::new();
    let leaf = authority.issue(&server(|_| {}));
    let plane = plane(shows(&leaf, None), loaded.config.resources(&node())).await;
    let pod = Pod::new(&authority);
    let mesh = pod
        .builder(&plane)
        .security(Security::AsConfigured)
        .build()
        .unwrap();
    mesh.client().get(URL).await.unwrap();
    let seen = plane.seen();
    assert_eq!(seen.tokens, [Some("Bearer first".to_owned())]);
    assert_eq!(seen.names, [Some(NAME.to_owned())]);
    assert_eq!(seen.clients, [None], "there is no certificate to show");
    assert!(!format!("{mesh:?}").contains("first"));
}

#[tokio::test]
async fn the_token_is_sent_only_after_the_server_is_verified() {
    let (authority, stranger) = (Authority::new(), Authority::called("a stranger"));
    let usage = |usages: &[ExtendedKeyUsagePurpose]| {
        let usages = usages.to_vec();
        authority.issue(&server(|params| params.extended_key_usages = usages))
    };
    let rows: [(&str, Leaf, &str); 6] = [
        (
            "of another root",
            stranger.issue(&server(|_| {})),
            "its chain leads to none of them",
        ),
        (
            "for another name",
            authority.issue(&server(|params| {
                params.subject_alt_names =
                    vec![SanType::DnsName("istiod.evil.svc".try_into().unwrap())];
                params.distinguished_name.push(DnType::CommonName, NAME);
            })),
            "the host \"istiod.istio-system.svc\"",
        ),
        (
            "expired",
            authority.issue(&server(|params| {
                params.not_after = date_time_ymd(2020, 1, 1)
            })),
            "expired",
        ),
        (
            "not yet valid",
            authority.issue(&server(|params| {
                params.not_before = date_time_ymd(4000, 1, 1)
            })),
            "is valid only in",
        ),
        (
            "of a client",
            usage(&[ExtendedKeyUsagePurpose::ClientAuth]),
            "its extended key usage does not allow",
        ),
        (
            "self-signed",
            Leaf::self_signed(&server(|_| {})),
            "its chain leads to none of them",
        ),
    ];
    let pod = Pod::new(&authority);
    for (what, leaf, reason) in rows {
        let plane = plane(shows(&leaf, None), Resources::default()).await;
        let mesh = pod.builder(&plane).build().unwrap();
        let error = refused(&mesh, &plane).await;
        let names = match what {
            "for another name" => "DNS:istiod.evil.svc",
            _ => "DNS:istiod.istio-system.svc",
        };
        let whose = format!("the control plane https://{}", plane.address);
        let roots = pod.path("root-cert.pem").display().to_string();
        for part in [reason, names, &whose, &roots] {
            assert!(error.contains(part), "{what}: {part:?} is not in {error:?}");
        }
        let seen = plane.seen();
        assert!(seen.tokens.is_empty(), "{what}: {seen:?}");
        // The control: the same server with a good certificate gets it.
        plane.now_shows(shows(&authority.issue(&server(|_| {})), None));
        connected(&mesh).await;
        assert_eq!(
            plane.seen().tokens.last(),
            Some(&Some("Bearer first".to_owned())),
            "{what}"
        );
    }
}

#[tokio::test]
async fn the_token_is_read_for_each_stream() {
    let authority = Authority::new();
    let leaf = authority.issue(&server(|_| {}));
    let plane = plane(shows(&leaf, None), Resources::default()).await;
    let pod = Pod::new(&authority);
    let mesh = pod.builder(&plane).build().unwrap();
    connected(&mesh).await;
    let last = || plane.seen().tokens.last().cloned().flatten();
    assert_eq!(last().as_deref(), Some("Bearer first"));
    pod.write("token", "second");
    plane.cut();
    until("the second token", || async {
        last().as_deref() == Some("Bearer second")
    })
    .await;
    // Without a token there is no stream: not one without it.
    let before = plane.seen().tokens.len();
    for text in ["", "two\nlines"] {
        pod.write("token", text);
        plane.cut();
        let file = format!("{:?}", pod.path("token"));
        let told = || mesh.status().last_error.unwrap_or_default();
        until("the file's name", || async { told().contains(&file) }).await;
        assert!(!told().contains("lines"), "{}", told());
        assert_eq!(plane.seen().tokens.len(), before);
    }
    pod.write("token", "third");
    until("the third token", || async {
        last().as_deref() == Some("Bearer third")
    })
    .await;
}

#[tokio::test]
async fn a_server_and_its_root_may_change_between_connections() {
    let (old, new) = (Authority::new(), Authority::called("the next authority"));
    let plane = plane(
        shows(&old.issue(&server(|_| {})), None),
        Resources::default(),
    )
    .await;
    let pod = Pod::new(&old);
    let mesh = pod.builder(&plane).build().unwrap();
    connected(&mesh).await;
    for authority in [&old, &new] {
        let opened = plane.seen().tokens.len();
        plane.now_shows(shows(&authority.issue(&server(|_| {})), None));
        // First the roots, as an operator would; the one of before is among them.
        pod.write("root-cert.pem", &format!("{}{}", old.pem(), new.pem()));
        plane.cut();
        until("the next stream", || async {
            plane.seen().tokens.len() > opened
        })
        .await;
        connected(&mesh).await;
    }
    // The control: a root that is withdrawn is not believed any more.
    pod.write("root-cert.pem", &old.pem());
    let told = || mesh.status().last_error.unwrap_or_default();
    until("the refusal", || async {
        again(&mesh, &plane);
        told().contains("leads to none of them")
    })
    .await;
}

#[tokio::test]
async fn the_workloads_certificate_is_shown_once_there_is_one() {
    let authority = Authority::new();
    let leaf = authority.issue(&server(|_| {}));
    let plane = plane(shows(&leaf, Some(&authority)), Resources::default()).await;
    let pod = Pod::new(&authority);
    let mesh = pod
        .builder(&plane)
        .certificates(Files::new(pod.path("")))
        .build()
        .unwrap();
    connected(&mesh).await;
    assert_eq!(
        plane.seen().clients,
        [None],
        "server authentication and a token until then"
    );
    let own = authority.issue(&workload());
    let der = own.certificate.der().clone();
    pod.certificate(&own);
    until("our certificate", || async {
        again(&mesh, &plane);
        plane.seen().clients.last() == Some(&Some(der.clone()))
    })
    .await;
    assert_eq!(
        plane.seen().tokens.last(),
        Some(&Some("Bearer first".to_owned()))
    );
}

/// Without `control_plane_ca`: istiod's certificate is by the authority that gave us ours.
#[tokio::test]
async fn the_roots_of_the_workload_are_believed() {
    let (authority, stranger) = (Authority::new(), Authority::called("a stranger"));
    let pod = Pod::new(&authority);
    pod.certificate(&authority.issue(&workload()));
    let address = SanType::IpAddress("127.0.0.1".parse().unwrap());
    let by_address = |authority: &Authority| {
        authority.issue(&server(|params| {
            params.subject_alt_names = vec![address.clone()]
        }))
    };
    let good = plane(shows(&by_address(&authority), None), Resources::default()).await;
    let bad = plane(shows(&by_address(&stranger), None), Resources::default()).await;
    let of = |plane: &Plane| {
        let builder = pod.builder_of(&format!("https://{}", plane.address));
        builder
            .certificates(Files::new(pod.path("")))
            .build()
            .unwrap()
    };
    let mesh = of(&good);
    connected(&mesh).await;
    assert_eq!(good.seen().names, [None], "no address is sent as SNI");
    let mesh = of(&bad);
    let told = || mesh.status().last_error.unwrap_or_default();
    until("the refusal", || async {
        told().contains("leads to none of them")
    })
    .await;
    assert!(bad.seen().tokens.is_empty());
}

#[tokio::test]
async fn a_bootstrap_names_its_files() {
    let authority = Authority::new();
    let leaf = authority.issue(&server(|_| {}));
    let plane = plane(shows(&leaf, Some(&authority)), Resources::default()).await;
    let pod = Pod::new(&authority);
    let own = authority.issue(&workload());
    pod.certificate(&own);
    let json = serde_json::json!({
        "xds_servers": [{
            "server_uri": plane.address.to_string(),
            "channel_creds": [{ "type": "tls", "config": {
                "ca_certificate_file": pod.path("root-cert.pem"),
                "certificate_file": pod.path("cert-chain.pem"),
                "private_key_file": pod.path("key.pem"),
                "server_name": NAME,
            }}],
            "call_creds": [{ "type": "jwt_token_file", "config": { "jwt_token_file": pod.path("token") }}],
        }],
        "node": { "id": "sidecar~10.0.0.5~a.ns~ns.svc.cluster.local" },
    });
    let bootstrap = mesh_xds::Bootstrap::parse(&json.to_string(), "b.json").unwrap();
    let mesh = Mesh::builder()
        .bootstrap(bootstrap)
        .security(Security::Required)
        .build()
        .unwrap();
    connected(&mesh).await;
    let seen = plane.seen();
    assert_eq!(seen.clients, [Some(own.certificate.der().clone())]);
    assert!(
        seen.tokens
            .iter()
            .all(|token| token.as_deref() == Some("Bearer first")),
        "{seen:?}"
    );
}

#[test]
fn what_would_be_plaintext_does_not_start() {
    let start = |builder: Builder| builder.node(node()).build().map(drop);
    let mesh = |uri: &str| Mesh::builder().xds(uri);
    let required = |uri: &str| mesh(uri).security(Security::Required);
    let token = "/var/run/secrets/tokens/istio-token";
    for uri in ["127.0.0.1:1", "http://istiod:15010"] {
        let error = start(required(uri)).unwrap_err();
        assert!(
            matches!(error, StartError::PlaintextControlPlane(_)),
            "{error}"
        );
        for part in [uri, "https://host:port", "15012", "unix:/path"] {
            assert!(
                error.to_string().contains(part),
                "{part:?} is not in {error}"
            );
        }
        let error = start(mesh(uri).token_file(token)).unwrap_err().to_string();
        for part in [uri, token, "over TLS alone"] {
            assert!(error.contains(part), "{part:?} is not in {error}");
        }
        start(mesh(uri)).unwrap();
        // One that stands in is no better.
        let error = start(required("https://istiod:1").fallback(uri)).unwrap_err();
        assert!(
            matches!(error, StartError::PlaintextControlPlane(_)),
            "{error}"
        );
        let error = start(mesh("https://istiod:1").fallback(uri).token_file(token));
        assert!(error.unwrap_err().to_string().contains("over TLS alone"));
    }
    start(required("https://istiod:15012").token_file(token)).unwrap();
    start(required("unix:///var/run/none.sock")).unwrap();
    let error = start(mesh("unix:///var/run/none.sock").token_file(token));
    assert!(error.unwrap_err().to_string().contains("over TLS alone"));
    let error = start(mesh("https://istiod:15012").control_plane_name("no name"));
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("\"no name\" is none that TLS can send")
    );
}

#[cfg(unix)]
#[tokio::test]
async fn a_socket_of_this_machine_is_a_control_plane() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("XDS");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let ads = AggregatedDiscoveryServiceServer::new(Scripted::of(Resources::default()));
    let app = tonic::service::Routes::new(ads).into_axum_router();
    tokio::spawn(axum::serve(listener, app).into_future());
    let uri = format!("unix://{}", path.display());
    let builder = Mesh::builder().xds(uri).security(Security::Required);
    let mesh = builder.node(node()).build().unwrap();
    connected(&mesh).await;
}
