//! Certificates and authorities that the terms name.

use std::path::Path;
use std::sync::Arc;

use mesh_core::cluster::Protocol::Http1;
use mesh_core::identity::PeerRule;
use mesh_core::tls::{Alpn, CertName, ClientAuth, ClientTerms, RootName, TlsVersion};
use tempfile::TempDir;

use super::pki::{Authority, Leaf, REVIEWS, changed, dns, named};
use super::scene::{
    BOTH, calls, client_terms, empty_store, is_called, server_terms, store, store_with,
    their_anonymous_server, their_client, their_server,
};
use crate::tls::Settings;
use crate::tls::client::Client;
use crate::tls::files::EVERY;
use crate::tls::server::Server;

const HOST: &str = "api.example.com";

/// Terms of `SIMPLE` to a host outside of the mesh.
fn simple(roots: RootName) -> ClientTerms {
    ClientTerms {
        identity: None,
        roots,
        sni: Some(HOST.into()),
        alpn: Alpn::OfProtocol,
        ..client_terms(PeerRule::Host(HOST.into()))
    }
}

fn host(authority: &Authority) -> Leaf {
    authority.issue(&changed(|params| {
        params.subject_alt_names = vec![dns(HOST)]
    }))
}

fn path(folder: &TempDir, name: &str, text: &str) -> Arc<str> {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().into()
}

fn pair(folder: &TempDir, leaf: &Leaf) -> CertName {
    CertName::Files {
        chain: path(folder, "chain.pem", &leaf.pem),
        key: path(folder, "key.pem", &leaf.key.serialize_pem()),
    }
}

/// Until a file is looked at again.
async fn a_while() {
    tokio::time::pause();
    tokio::time::advance(2 * EVERY).await;
    tokio::time::resume();
}

#[tokio::test]
async fn authorities_in_a_file_need_no_certificate_of_ours_and_are_read_again() {
    let [first, second, mesh] = ["first", "second", "mesh"].map(Authority::new);
    let folder = TempDir::new().unwrap();
    let file = path(&folder, "ca.pem", &first.pem());
    let by = RootName::File(Arc::clone(&file));
    let [of_first, of_second, of_mesh] =
        [&first, &second, &mesh].map(|it| Arc::new(their_anonymous_server(&host(it))));
    // The authorities of the mesh are not asked, whether there are any or not.
    for store in [empty_store(), store(&mesh)] {
        std::fs::write(Path::new(&*file), first.pem()).unwrap();
        let client = Client::new(&simple(by.clone()).into(), &store).unwrap();
        let met = calls(&client, &of_first, Http1).await.unwrap();
        for other in [&of_second, &of_mesh] {
            let refused = calls(&client, other, Http1).await.unwrap_err().to_string();
            assert!(
                refused.contains("leads to none") && refused.contains("ca.pem"),
                "{refused}"
            );
        }
        client.still_takes(&met.proof).unwrap();
        let believed = store.believed();
        // What is broken changes nothing.
        std::fs::write(Path::new(&*file), "no PEM").unwrap();
        a_while().await;
        calls(&client, &of_first, Http1).await.unwrap();
        assert_eq!(store.believed(), believed);
        std::fs::write(Path::new(&*file), second.pem()).unwrap();
        a_while().await;
        calls(&client, &of_second, Http1).await.unwrap();
        calls(&client, &of_first, Http1).await.unwrap_err();
        assert_ne!(met.proof.generation(), store.believed());
        client.still_takes(&met.proof).unwrap_err();
    }
    std::fs::remove_file(Path::new(&*file)).unwrap();
    let client = Client::new(&simple(by).into(), &empty_store()).unwrap();
    let refused = calls(&client, &of_first, Http1)
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("ca.pem\" cannot be read"), "{refused}");
}

#[tokio::test]
async fn a_pair_of_files_is_shown_and_read_again() {
    let [ours, theirs] = ["ours", "theirs"].map(Authority::new);
    let folder = TempDir::new().unwrap();
    let roots = RootName::File(path(&folder, "ca.pem", &theirs.pem()));
    let outside = |authority: &Authority| authority.issue(&named(&["https://us.example.com"]));
    let mut terms = simple(roots);
    terms.identity = Some(pair(&folder, &outside(&ours)));
    let client = Client::new(&terms.into(), &empty_store()).unwrap();
    let servers = BOTH.map(|version| Arc::new(their_server(&host(&theirs), &ours, version)));
    for server in &servers {
        calls(&client, server, Http1).await.unwrap();
    }
    // One that the peer does not know.
    pair(&folder, &outside(&theirs));
    a_while().await;
    let refused = calls(&client, &servers[1], Http1).await.unwrap_err();
    assert!(
        refused.to_string().contains("the peer refused us"),
        "{refused}"
    );
    // Half of it is not taken.
    std::fs::write(
        folder.path().join("key.pem"),
        outside(&ours).key.serialize_pem(),
    )
    .unwrap();
    a_while().await;
    calls(&client, &servers[1], Http1).await.unwrap_err();
    pair(&folder, &outside(&ours));
    a_while().await;
    calls(&client, &servers[1], Http1).await.unwrap();
}

#[tokio::test]
async fn a_pair_that_is_not_there_is_named() {
    let root = Authority::new("the mesh");
    let mut terms = client_terms(PeerRule::InMesh);
    terms.identity = Some(CertName::Files {
        chain: "/nowhere/chain.pem".into(),
        key: "/nowhere/key.pem".into(),
    });
    let store = store(&root);
    let client = Client::new(&terms.clone().into(), &store).unwrap();
    let server = Arc::new(their_server(&root.workload(REVIEWS), &root, BOTH[0]));
    let refused = calls(&client, &server, Http1)
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("/nowhere/chain.pem"), "{refused}");
    terms.identity = Some(CertName::Workload);
    let client = Client::new(&terms.into(), &store).unwrap();
    calls(&client, &server, Http1).await.unwrap();
}

#[tokio::test]
async fn a_server_shows_a_pair_of_files() {
    let [ours, clients] = ["ours", "clients"].map(Authority::new);
    let folder = TempDir::new().unwrap();
    let mut terms = server_terms(ClientAuth::Required {
        roots: RootName::File(path(&folder, "ca.pem", &clients.pem())),
        peer: super::scene::exactly("https://us.example.com"),
    });
    terms.identity = pair(&folder, &host(&ours));
    terms.min = TlsVersion::V1_3;
    // The rule is for a name of the mesh's kind, which this is none of.
    let server = Server::new(&terms.clone().into(), &empty_store()).unwrap();
    let shown = clients.issue(&named(&["https://us.example.com"]));
    let caller = Arc::new(their_client(Some(&shown), BOTH[0]));
    let (refused, heard) = is_called(&server, &caller).await.unwrap_err();
    assert!(refused.to_string().contains("no SPIFFE id"), "{refused}");
    assert!(heard.contains("AccessDenied"), "{heard}");
    terms.client = ClientAuth::None;
    let server = Server::new(&terms.into(), &empty_store()).unwrap();
    is_called(&server, &caller).await.unwrap();
    let old = Arc::new(their_client(None, BOTH[1]));
    let (_, heard) = is_called(&server, &old).await.unwrap_err();
    assert!(heard.contains("ProtocolVersion"), "{heard}");
}

#[tokio::test]
async fn the_oldest_version_is_that_of_the_terms() {
    let root = Authority::new("the mesh");
    let store = store(&root);
    let servers =
        BOTH.map(|version| Arc::new(their_server(&root.workload(REVIEWS), &root, version)));
    let mut terms = client_terms(PeerRule::InMesh);
    let client = Client::new(&terms.clone().into(), &store).unwrap();
    for server in &servers {
        calls(&client, server, Http1).await.unwrap();
    }
    terms.min = TlsVersion::V1_3;
    let client = Client::new(&terms.into(), &store).unwrap();
    calls(&client, &servers[0], Http1).await.unwrap();
    calls(&client, &servers[1], Http1).await.unwrap_err();
}

#[tokio::test]
async fn the_platforms_authorities_are_asked_with_those_of_the_builder() {
    let [company, other] = ["company", "other"].map(Authority::new);
    let mut settings = Settings::default();
    settings.add_roots(company.pem().as_bytes()).unwrap();
    let client = Client::new(&simple(RootName::System).into(), &store_with(settings)).unwrap();
    let server = |authority| Arc::new(their_anonymous_server(&host(authority)));
    calls(&client, &server(&company), Http1).await.unwrap();
    let refused = calls(&client, &server(&other), Http1).await.unwrap_err();
    assert!(refused.to_string().contains("this platform"), "{refused}");
}

/// A control plane may name any file.
#[cfg(unix)]
#[tokio::test]
async fn what_is_no_file_or_has_no_end_is_not_read() {
    let folder = TempDir::new().unwrap();
    let large = path(&folder, "large.pem", &"#".repeat(5 << 20));
    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let link = folder.path().join("link");
    std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
    let named = |path: &Path| Arc::from(path.to_str().unwrap());
    let server = Arc::new(their_anonymous_server(&host(&Authority::new("theirs"))));
    for (file, says) in [
        (large, "longer than"),
        ("/dev/zero".into(), "no regular file"),
        (named(&link), "no regular file"),
        (named(&pipe), "no regular file"),
        (named(folder.path()), "no regular file"),
    ] {
        let client = Client::new(&simple(RootName::File(file)).into(), &empty_store()).unwrap();
        let refused = calls(&client, &server, Http1)
            .await
            .unwrap_err()
            .to_string();
        assert!(refused.contains(says), "{refused}");
    }
}
