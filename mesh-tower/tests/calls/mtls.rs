//! Mutual TLS of calls, by what a control plane says of a cluster.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::{TransportSocket, transport_socket::ConfigType};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as pb;
use envoy_types::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use envoy_types::pb::google::protobuf::Any;
use envoy_types::util::pack_any;
use mesh_istio::Config;
use mesh_tower::{Builder, Files, Mesh, MeshClient, Sds, Security, Sent};
use mesh_xds::Resources;
use pb::common_tls_context::{CombinedCertificateValidationContext, ValidationContextType};
use prost::Message;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::ads::Scripted;
use crate::support::agent::{Agent, pair, roots};
use crate::support::logs::Logs;
use crate::support::tls::{Authority, Leaf, workload};
use crate::support::{Backend, Folder, URL, node, until};

const V1: &str = "outbound|9080|v1|reviews.default.svc.cluster.local";
pub(crate) const REVIEWS: &str = "spiffe://cluster.local/ns/default/sa/bookinfo-reviews";
pub(crate) const PRODUCTPAGE: &str = "spiffe://cluster.local/ns/default/sa/bookinfo-productpage";

fn secret(name: &str) -> pb::SdsSecretConfig {
    pb::SdsSecretConfig {
        name: name.to_owned(),
        ..pb::SdsSecretConfig::default()
    }
}

/// What istiod says of a cluster under auto mTLS, for the one workload that it leads to.
#[allow(deprecated, reason = "istiod sends the older form")]
pub(crate) fn mutual(id: &str) -> TransportSocket {
    let names = pb::CertificateValidationContext {
        match_subject_alt_names: vec![StringMatcher {
            match_pattern: Some(MatchPattern::Exact(id.to_owned())),
            ..StringMatcher::default()
        }],
        ..pb::CertificateValidationContext::default()
    };
    let combined = CombinedCertificateValidationContext {
        default_validation_context: Some(names),
        validation_context_sds_secret_config: Some(secret("ROOTCA")),
        ..CombinedCertificateValidationContext::default()
    };
    let context = pb::UpstreamTlsContext {
        common_tls_context: Some(pb::CommonTlsContext {
            tls_certificate_sds_secret_configs: vec![secret("default")],
            alpn_protocols: vec!["istio-peer-exchange".to_owned(), "istio".to_owned()],
            validation_context_type: Some(ValidationContextType::CombinedValidationContext(
                combined,
            )),
            ..pb::CommonTlsContext::default()
        }),
        sni: "outbound_.9080_.v1_.reviews.default.svc.cluster.local".to_owned(),
        ..pb::UpstreamTlsContext::default()
    };
    TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(ConfigType::TypedConfig(Any {
            type_url:
                "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
                    .to_owned(),
            value: context.encode_to_vec(),
        })),
    }
}

/// Rules by which reviews are called in this way.
pub(crate) fn resources(
    address: std::net::SocketAddr,
    socket: Option<TransportSocket>,
) -> Resources {
    let folder = Folder::reviews("HTTP", &[("v1", address)]);
    folder.split(&[("v1", 1)]);
    let config = Config::load(folder.path()).unwrap().config;
    let mut resources = config.resources(&node());
    let mut cluster = Cluster::decode(&*resources.clusters[V1].value).unwrap();
    cluster.transport_socket = socket;
    resources.clusters.insert(V1.to_owned(), pack_any(cluster));
    resources
}

pub(crate) fn builder(address: std::net::SocketAddr) -> Builder {
    Mesh::builder()
        .xds(address.to_string())
        .node(node())
        .seed(7)
}

/// The same control plane by a socket of this machine: what is required to be TLS may come by that.
pub(crate) async fn by_socket(address: std::net::SocketAddr) -> (TempDir, Builder) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("XDS");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let Ok(mut far) = tokio::net::TcpStream::connect(address).await else {
                return;
            };
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
        }
    });
    let uri = format!("unix://{}", path.display());
    let builder = Mesh::builder().xds(uri).node(node()).seed(7);
    (folder, builder.security(Security::Required))
}

/// A metric of our certificate.
pub(crate) fn metric(mesh: &Mesh, name: &str) -> Option<i64> {
    let text = mesh.prometheus();
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    value.map(|value| value.trim().parse().unwrap())
}

pub(crate) const REFUSED: &str = "mesh_certificate_refused ";
const LEFT: &str = "istio_agent_cert_expiry_seconds{resource_name=\"default\"} ";

/// Waits for its certificate.
pub(crate) async fn certified(mesh: &Mesh) {
    let left = async || metric(mesh, LEFT).is_some_and(|seconds| seconds > 0);
    until("the certificate", left).await;
}

async fn fails_by_tls(client: &MeshClient, parts: &[&str]) {
    let error = client.get(URL).await.unwrap_err();
    assert!(error.is_tls(), "{error}");
    let how = (error.flags(), error.sent(), error.status().as_u16());
    assert_eq!(how, ("UF", Sent::NotSent, 503));
    for part in parts {
        assert!(
            error.to_string().contains(part),
            "{part:?} is not in {error}"
        );
    }
}

#[tokio::test]
async fn a_call_proves_both_ends_and_follows_what_the_provider_has() {
    let [old, new] = ["old", "new"].map(Authority::called);
    let backend = old.mutual_server(REVIEWS, &["http/1.1"]).await;
    let rules = resources(backend.address, Some(mutual(REVIEWS)));
    let (_server, address) = Scripted::start(rules).await;
    let files = TempDir::new().unwrap();
    let certificates = Files::new(files.path());
    let mesh = builder(address).certificates(certificates).build().unwrap();
    let client = mesh.client();
    until("the refusal", || async {
        metric(&mesh, REFUSED) == Some(1)
    })
    .await;
    fails_by_tls(&client, &["cert-chain.pem cannot be read"]).await;
    assert_eq!(metric(&mesh, LEFT), None);

    old.write_workload(files.path(), PRODUCTPAGE, &[&old]);
    until("the certificate", || async {
        client.get(URL).await.is_ok()
    })
    .await;
    assert_eq!(metric(&mesh, REFUSED), Some(0));
    assert!(metric(&mesh, LEFT).unwrap() > 0);
    let open = backend.connections();
    for _ in 0..5 {
        let answer = client.get(URL).await.unwrap();
        answer.into_body().text().await.unwrap();
    }
    assert!(backend.connections() <= open + 1);

    // Another workload's certificate is none of ours.
    old.write_workload(files.path(), REVIEWS, &[&old]);
    until("the refusal", || async {
        metric(&mesh, REFUSED) == Some(1)
    })
    .await;
    client.get(URL).await.unwrap();

    // The open connection was judged by a root that goes.
    new.write_workload(files.path(), PRODUCTPAGE, &[&new]);
    until("the root to go", || async {
        client.get(URL).await.is_err()
    })
    .await;
    let says = ["leads to none", REVIEWS, "root-cert.pem", V1];
    fails_by_tls(&client, &says).await;
}

/// What is wrong with the next pair is told by the names of its files; meanwhile the last good one serves, and its life is
/// counted down.
#[allow(clippy::too_many_lines, reason = "a test may be a long list")]
#[tokio::test]
async fn a_bad_pair_is_told_by_its_files_and_the_last_good_one_counts_down() {
    let root = Authority::called("the mesh");
    let backend = root.mutual_server(REVIEWS, &["http/1.1"]).await;
    let rules = resources(backend.address, Some(mutual(REVIEWS)));
    let (_server, address) = Scripted::start(rules).await;
    let files = TempDir::new().unwrap();
    let file = |name: &str| files.path().join(name);
    let logs = Logs::of_all();
    root.write_workload(files.path(), PRODUCTPAGE, &[&root]);
    let certificates = Files::new(files.path());
    let mesh = builder(address).certificates(certificates).build().unwrap();
    let client = mesh.client();
    until("the certificate", || async {
        client.get(URL).await.is_ok()
    })
    .await;
    let first = metric(&mesh, LEFT).unwrap();
    let good = ["cert-chain.pem", "key.pem"].map(|name| std::fs::read(file(name)).unwrap());

    let issued = |not_after| {
        let mut params = workload(PRODUCTPAGE);
        params.not_after = not_after;
        root.issue(&params)
    };
    let expired = issued(rcgen::date_time_ymd(2001, 1, 1));
    // Before the end of what is issued by default.
    let other = issued(rcgen::date_time_ymd(2090, 1, 1));
    let whole = |leaf: &Leaf| {
        std::fs::write(file("key.pem"), leaf.key.serialize_pem()).unwrap();
        std::fs::write(file("cert-chain.pem"), leaf.certificate.pem()).unwrap();
    };
    let unreadable = |name: &str| {
        std::fs::remove_file(file(name)).unwrap();
        std::fs::create_dir(file(name)).unwrap();
    };
    let folder = files.path().display().to_string();
    let rows: [(&dyn Fn(), &[&str]); 4] = [
        (&|| whole(&expired), &["cert-chain.pem", &folder, "expired"]),
        (
            &|| {
                std::fs::write(file("key.pem"), other.key.serialize_pem()).unwrap();
            },
            &["key.pem", &folder, "not the key of the certificate"],
        ),
        (
            &|| unreadable("key.pem"),
            &[&file("key.pem").display().to_string(), "cannot be read"],
        ),
        (
            &|| unreadable("cert-chain.pem"),
            &[
                &file("cert-chain.pem").display().to_string(),
                "cannot be read",
            ],
        ),
    ];
    for (spoil, parts) in rows {
        // The control: of a good pair nothing is told.
        let is_told = |line: &String| parts.iter().all(|part| line.contains(part));
        let told = || logs.with("is not renewed").iter().any(is_told);
        assert!(!told(), "{parts:?}");
        spoil();
        until(&format!("{parts:?}"), || async { told() }).await;
        assert_eq!(metric(&mesh, REFUSED), Some(1), "{parts:?}");
        client.get(URL).await.unwrap();
        let left = metric(&mesh, LEFT).unwrap();
        assert!((1..=first).contains(&left), "{left} of {first}, {parts:?}");
        for (name, bytes) in ["cert-chain.pem", "key.pem"].into_iter().zip(&good) {
            if file(name).is_dir() {
                std::fs::remove_dir(file(name)).unwrap();
            }
            std::fs::write(file(name), bytes).unwrap();
        }
        until("the good pair", || async {
            metric(&mesh, REFUSED) == Some(0)
        })
        .await;
    }
    until("a second to be counted", || async {
        metric(&mesh, LEFT).unwrap() < first
    })
    .await;
    // The control: it is the certificate in force whose life is told.
    let before = metric(&mesh, LEFT).unwrap();
    whole(&other);
    until("the other one's life", || async {
        metric(&mesh, LEFT).unwrap() < before - 24 * 3600
    })
    .await;
    client.get(URL).await.unwrap();
}

/// Nothing can stay where there was nothing.
#[tokio::test]
async fn at_the_first_start_nothing_is_said_to_stay() {
    let root = Authority::called("the mesh");
    let files = TempDir::new().unwrap();
    let logs = Logs::of_all();
    let expired = || {
        let mut params = workload(PRODUCTPAGE);
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
        let leaf = root.issue(&params);
        let file = |name: &str| files.path().join(name);
        std::fs::write(file("key.pem"), leaf.key.serialize_pem()).unwrap();
        std::fs::write(file("cert-chain.pem"), leaf.certificate.pem()).unwrap();
    };
    root.write_workload(files.path(), PRODUCTPAGE, &[&root]);
    expired();
    let certificates = Files::new(files.path());
    let mesh = Mesh::builder().certificates(certificates).build().unwrap();
    let folder = files.path().display().to_string();
    let told = || {
        let mut lines = logs.with(&folder);
        lines.retain(|line| line.starts_with("ERROR"));
        lines
    };
    until("the refusal", || async { !told().is_empty() }).await;
    let first = told();
    assert_eq!(first.len(), 1, "{first:?}");
    for part in [
        "and there is none yet:",
        "gets no certificate, and there is none yet",
    ] {
        assert!(first[0].contains(part), "{part:?} is not in {first:?}");
    }
    assert!(!first[0].contains("stays"), "{first:?}");
    root.write_workload(files.path(), PRODUCTPAGE, &[&root]);
    until("the good pair", || async {
        metric(&mesh, REFUSED) == Some(0)
    })
    .await;
    // The control: now there is one before.
    expired();
    let stays = |line: &String| line.contains("the one before stays");
    until("the second refusal", || async { told().iter().any(stays) }).await;
    let second = told().into_iter().find(stays).unwrap();
    assert!(second.contains("is not renewed"), "{second}");
    assert!(!second.contains("there is none yet"), "{second}");
}

/// By the socket of Istio's agent.
#[tokio::test]
async fn the_agents_socket_rotates_us() {
    let [old, new] = ["old", "new"].map(Authority::called);
    let backend = old.mutual_server(REVIEWS, &["http/1.1"]).await;
    let rules = resources(backend.address, Some(mutual(REVIEWS)));
    let (_server, address) = Scripted::start(rules).await;
    let mut agent = Agent::start();
    let sds = Sds::new(agent.path());
    let mesh = builder(address).certificates(sds).build().unwrap();
    let client = mesh.client();
    fails_by_tls(&client, &["the provider has given none yet"]).await;
    let gives = |agent: &Agent, root: &Authority| {
        let leaf = root.issue(&workload(PRODUCTPAGE));
        agent.gives(pair(&leaf.certificate.pem(), &leaf.key.serialize_pem()));
        agent.gives(roots(&root.pem()));
    };
    gives(&agent, &old);
    let goes = || async { client.get(URL).await.is_ok() };
    until("the certificate", goes).await;
    assert_eq!(metric(&mesh, REFUSED), Some(0));
    assert!(metric(&mesh, LEFT).unwrap() > 0);
    // Without the agent calls go on.
    agent.stop();
    until("the agent to be missed", || async {
        metric(&mesh, REFUSED) == Some(1)
    })
    .await;
    client.get(URL).await.unwrap();
    agent.restart();
    until("the agent", || async { metric(&mesh, REFUSED) == Some(0) }).await;
    // The backend is of a root that goes; and the control, that it comes back.
    gives(&agent, &new);
    until("the root to go", || async {
        client.get(URL).await.is_err()
    })
    .await;
    let socket = agent.path().display().to_string();
    fails_by_tls(&client, &["leads to none", REVIEWS, &socket, V1]).await;
    gives(&agent, &old);
    until("the root to come back", goes).await;
}

#[tokio::test]
async fn another_workload_at_the_address_gets_no_call() {
    let root = Authority::called("the mesh");
    let other = root
        .mutual_server(
            "spiffe://cluster.local/ns/evil/sa/bookinfo-reviews",
            &["http/1.1"],
        )
        .await;
    let plain = Backend::start("v1").await;
    let files = TempDir::new().unwrap();
    root.write_workload(files.path(), PRODUCTPAGE, &[&root]);
    for address in [other.address, plain.address] {
        let (_server, address) = Scripted::start(resources(address, Some(mutual(REVIEWS)))).await;
        let certificates = Files::new(files.path());
        let mesh = builder(address).certificates(certificates).build().unwrap();
        let error = mesh.client().get(URL).await.unwrap_err();
        assert!(error.is_tls() && error.sent() == Sent::NotSent, "{error}");
    }
    assert_eq!(other.requests(), 0);
}

#[tokio::test]
async fn without_a_provider_it_is_said_how_to_name_one() {
    let root = Authority::called("the mesh");
    let backend = root.mutual_server(REVIEWS, &["http/1.1"]).await;
    let (_server, address) =
        Scripted::start(resources(backend.address, Some(mutual(REVIEWS)))).await;
    let (_folder, required) = by_socket(address).await;
    for (builder, says) in [
        (builder(address), "MESH_CERTIFICATES"),
        (required, "MESH_CERTIFICATES"),
        (
            builder(address).security(Security::Disabled),
            "Security::Disabled",
        ),
    ] {
        let mesh = builder.build().unwrap();
        let error = mesh.client().get(URL).await.unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        assert!(!mesh.prometheus().contains("certificate"));
    }
    assert_eq!(backend.requests(), 0);
}

/// Hands on what comes, and counts the bytes of who connects.
struct Wire {
    address: SocketAddr,
    carried: Arc<AtomicUsize>,
}

impl Wire {
    async fn to(far: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let carried = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&carried);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let counted = Arc::clone(&counted);
                tokio::spawn(async move { carry(near, far, &counted).await });
            }
        });
        Self { address, carried }
    }

    fn carried(&self) -> usize {
        self.carried.load(SeqCst)
    }
}

async fn carry(near: TcpStream, far: SocketAddr, counted: &AtomicUsize) -> std::io::Result<()> {
    let (mut from, mut to) = near.into_split();
    let (mut answers, mut asks) = TcpStream::connect(far).await?.into_split();
    let asking = async {
        let mut bytes = [0; 4096];
        loop {
            match from.read(&mut bytes).await? {
                0 => return asks.shutdown().await,
                count => {
                    // Before it is handed on: an answer tells that it is counted.
                    counted.fetch_add(count, SeqCst);
                    asks.write_all(&bytes[..count]).await?;
                }
            }
        }
    };
    let answering = tokio::io::copy(&mut answers, &mut to);
    tokio::try_join!(asking, answering).map(drop)
}

#[tokio::test]
async fn where_tls_is_required_nothing_leaves_in_plaintext() {
    let backend = Backend::start("v1").await;
    let wire = Wire::to(backend.address).await;
    let (_server, address) = Scripted::start(resources(wire.address, None)).await;
    let outside = format!("http://{}/", wire.address);
    let control = builder(address).build().unwrap();
    control.client().get(URL).await.unwrap();
    let control = Mesh::builder().direct().build().unwrap();
    control.client().get(&outside).await.unwrap();
    let carried = wire.carried();
    assert!(carried > 0, "the wire sees what leaves");
    let (_folder, required) = by_socket(address).await;
    let mesh = required.build().unwrap();
    let direct = Mesh::builder()
        .direct()
        .security(Security::Required)
        .build()
        .unwrap();
    for (mesh, url) in [(&mesh, URL), (&direct, &*outside)] {
        let error = mesh.client().get(url).await.unwrap_err();
        assert!(
            error.is_tls_demanded() && error.to_string().contains("Security::Required"),
            "{error}"
        );
        assert_eq!((error.flags(), error.sent()), ("UF", Sent::NotSent));
    }
    assert_eq!(wire.carried(), carried, "not a byte");
}
