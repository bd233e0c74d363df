//! What a mesh tells of itself, by whatever door, shows no private key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use envoy_types::pb::envoy::service::status::v3::ClientStatusRequest;
use envoy_types::pb::envoy::service::status::v3::client_status_discovery_service_client::ClientStatusDiscoveryServiceClient;
use mesh_tower::{Files, Mesh};
use rustls::pki_types::pem::PemObject;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::mtls::{PRODUCTPAGE, REFUSED, REVIEWS, builder, metric, mutual, resources};
use crate::support::ads::Scripted;
use crate::support::logs::Logs;
use crate::support::tls::Authority;
use crate::support::{URL, until};

/// Whether a text has a part of what stands in a PEM block: in base64 as it is there, as numbers or in hexadecimal. Of a key
/// that is its secret (PKCS#8 of P-256: 32 bytes from the 36th on; behind it stands the public one, which is in the
/// certificate, too).
fn shows(text: &str, pem: &str) -> bool {
    let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = STANDARD.decode(&base64).unwrap();
    let joined: String = text.split_whitespace().collect();
    let joined = joined.replace("\\n", "");
    let lower = joined.to_lowercase();
    let in_base64 = (48..80).any(|at| joined.contains(&base64[at..at + 11]));
    in_base64
        || der[36..68].windows(8).any(|part| {
            let numbers: Vec<String> = part.iter().map(ToString::to_string).collect();
            let hex: String = part.iter().map(|byte| format!("{byte:02x}")).collect();
            joined.contains(&numbers.join(",")) || lower.contains(&hex)
        })
}

async fn page(mesh: &Mesh, path: &str) -> String {
    let address = mesh.admin_addr().unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// All that is told of a mesh to who asks.
async fn told(mesh: &Mesh) -> String {
    let operators = Mesh::builder().build().unwrap();
    let listener = operators.listen("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr();
    tokio::spawn(listener.serve(mesh.csds()));
    let client = ClientStatusDiscoveryServiceClient::connect(format!("http://{address}")).await;
    let asked = ClientStatusRequest::default();
    let dump = client.unwrap().fetch_client_status(asked).await;
    let dump = format!("{:?}", dump.unwrap());
    let mut all = vec![
        dump,
        format!("{mesh:?} {:?}", mesh.status()),
        mesh.prometheus(),
    ];
    for path in ["/ready", "/stats/prometheus", "/clusters", "/config_dump"] {
        let page = page(mesh, path).await;
        assert!(page.starts_with("HTTP/1.1 "), "{path}: {page}");
        all.push(page);
    }
    all.join("\n")
}

#[allow(clippy::too_many_lines, reason = "a test may be a long list")]
#[tokio::test]
async fn nothing_that_a_mesh_tells_shows_a_key() {
    let logs = Logs::of_all();
    let root = Authority::called("the mesh");
    let backend = root.mutual_server(REVIEWS, &["http/1.1"]).await;
    let rules = resources(backend.address, Some(mutual(REVIEWS)));
    let (_server, address) = Scripted::start(rules).await;
    let files = TempDir::new().unwrap();
    let file = |name: &str| files.path().join(name);
    let read = |name: &str| std::fs::read_to_string(file(name)).unwrap();
    root.write_workload(files.path(), PRODUCTPAGE, &[&root]);
    let [chain, key] = ["cert-chain.pem", "key.pem"].map(read);
    let certificates = Files::new(files.path());
    let mesh = builder(address).certificates(certificates).admin("0");
    let mesh = mesh.build().unwrap();
    let client = mesh.client();
    until("a call", || async { client.get(URL).await.is_ok() }).await;
    let mut all = told(&mesh).await;

    // Keys that are wrong in one way or another, and what is said of them.
    let other = TempDir::new().unwrap();
    root.write_workload(other.path(), REVIEWS, &[&root]);
    let foreign = std::fs::read_to_string(other.path().join("key.pem")).unwrap();
    let cut = key.replace("-----END", "END");
    let garbled = key.replacen('M', "*", 1);
    let renamed = key.replace("PRIVATE KEY", "CERTIFICATE");
    for (name, text) in [
        ("key.pem", &foreign),
        ("key.pem", &cut),
        ("key.pem", &garbled),
        ("cert-chain.pem", &key),
        ("cert-chain.pem", &renamed),
        ("root-cert.pem", &renamed),
    ] {
        let good = read(name);
        std::fs::write(file(name), text).unwrap();
        until("the refusal", || async {
            metric(&mesh, REFUSED) == Some(1)
        })
        .await;
        all.push_str(&told(&mesh).await);
        std::fs::write(file(name), good).unwrap();
        until("the good one", || async {
            metric(&mesh, REFUSED) == Some(0)
        })
        .await;
    }
    // The certificate of another workload is told by the name that is in it.
    for name in ["cert-chain.pem", "key.pem"] {
        std::fs::copy(other.path().join(name), file(name)).unwrap();
    }
    until("the refusal", || async {
        !logs.with(&format!("it is of {REVIEWS}")).is_empty()
    })
    .await;
    all.push_str(&told(&mesh).await);
    // A workload that never had one tells its callers why.
    let without = TempDir::new().unwrap();
    root.write_workload(without.path(), PRODUCTPAGE, &[&root]);
    std::fs::write(without.path().join("key.pem"), &foreign).unwrap();
    let mesh = builder(address)
        .certificates(Files::new(without.path()))
        .admin("0")
        .build()
        .unwrap();
    let error = mesh.client().get(URL).await.unwrap_err();
    assert!(error.is_tls(), "{error}");
    all.push_str(&format!("{error} {error:?} {}", told(&mesh).await));
    let lines = logs.with("").join("\n");

    for pem in [&key, &foreign] {
        assert!(!shows(&all, pem), "{all}");
        assert!(!shows(&lines, pem), "{lines}");
    }
    // The controls: both tell of certificates and their files, and a key would be seen in them.
    let told_of = |folder: &TempDir| folder.path().display().to_string();
    assert!(all.contains("istio_agent_cert_expiry_seconds"), "{all}");
    assert!(all.contains(&told_of(&without)), "{all}");
    assert!(lines.contains(&told_of(&files)), "{lines}");
    let der = rustls::pki_types::PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let der = der.secret_der();
    let hex: String = der.iter().map(|byte| format!("{byte:02X}")).collect();
    for shown in [&key, &key.replace('\n', "\\n"), &format!("{der:?}"), &hex] {
        assert!(shows(&format!("{all}{shown}{lines}"), &key), "{shown}");
    }
    assert!(shows(&chain, &chain) && !shows(&chain, &key));
}
