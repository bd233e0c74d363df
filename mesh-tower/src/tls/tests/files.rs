//! Folders as Istio's agent and Kubernetes write them, while they are written.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::pki::{Authority, Leaf, REVIEWS, crypto, named};
use super::scene::{Clock, empty_store};
use crate::tls::Settings;
use crate::tls::files::{EVERY, Files, FilesError, consistent};
use crate::tls::provider::{CertificateProvider, Certificates};
use crate::tls::store::Store;

const ISTIO: [&str; 3] = ["cert-chain.pem", "key.pem", "root-cert.pem"];
const KUBERNETES: [&str; 3] = ["tls.crt", "tls.key", "ca.crt"];

fn write(folder: &Path, names: [&str; 3], leaf: &Leaf, root: &Authority) {
    let texts = [leaf.pem.clone(), leaf.key.serialize_pem(), root.pem()];
    for (name, text) in names.into_iter().zip(texts) {
        std::fs::write(folder.join(name), text).unwrap();
    }
}

/// Waits in paused time; a folder's files are read on other threads, meanwhile time stands.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..600 {
        if holds() {
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("a minute went by, and not: {what}");
}

fn shows(store: &Store, leaf: &Leaf) -> bool {
    let shown = store.own().map(|own| own.certificate.sha256);
    shown == Some(crypto().sha256(&leaf.chain[0]))
}

fn refusal(store: &Store) -> String {
    store
        .refusal()
        .map_or_else(String::new, |text| text.to_string())
}

fn feed(folder: &Path, store: &Arc<Store>) {
    let files = Arc::new(Files::new(folder));
    tokio::spawn(files.feed(Certificates::of(store)));
}

/// A store that is fed from the folder.
fn fed(folder: &Path) -> Arc<Store> {
    let store = empty_store();
    feed(folder, &store);
    store
}

#[tokio::test(start_paused = true)]
async fn both_layouts_are_read_and_read_again() {
    let root = Authority::new("the mesh");
    for names in [ISTIO, KUBERNETES] {
        let folder = TempDir::new().unwrap();
        let (first, second) = (root.workload(REVIEWS), root.workload(REVIEWS));
        write(folder.path(), names, &first, &root);
        let store = fed(folder.path());
        let mut changes = store.changes();
        changes.changed().await.unwrap();
        assert!(shows(&store, &first));
        write(folder.path(), names, &second, &root);
        let from = Instant::now();
        changes.changed().await.unwrap();
        assert!(shows(&store, &second));
        assert!(Instant::now() - from <= EVERY + Duration::from_millis(10));
        // The same again is no news.
        assert_eq!(store.own().unwrap().generation, 2);
        sleep(10 * EVERY).await;
        assert_eq!(store.own().unwrap().generation, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn half_a_pair_is_not_taken() {
    let root = Authority::new("the mesh");
    let folder = TempDir::new().unwrap();
    let (first, second) = (root.workload(REVIEWS), root.workload(REVIEWS));
    write(folder.path(), ISTIO, &first, &root);
    let store = fed(folder.path());
    until("the first is taken", || shows(&store, &first)).await;
    std::fs::write(folder.path().join("cert-chain.pem"), &second.pem).unwrap();
    until("the half is refused", || store.refusal().is_some()).await;
    let text = refusal(&store);
    for part in ["key.pem", "cert-chain.pem", "not the key", "replace both"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(shows(&store, &first));
    let key = second.key.serialize_pem();
    std::fs::write(folder.path().join("key.pem"), key).unwrap();
    until("the whole is taken", || shows(&store, &second)).await;
    assert_eq!(store.refusal(), None);
}

#[tokio::test(start_paused = true)]
async fn what_is_broken_is_named_and_the_last_good_stays() {
    let root = Authority::new("the mesh");
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    let store = fed(folder.path());
    until("the folder is found empty", || {
        refusal(&store).contains("cert-chain.pem cannot be read")
    })
    .await;
    assert!(refusal(&store).contains("tls.crt"), "what to do is said");
    let leaf = root.workload(REVIEWS);
    write(folder.path(), ISTIO, &leaf, &root);
    until("it is taken", || shows(&store, &leaf)).await;
    for (name, text, says) in [
        ("root-cert.pem", "", "holds no CERTIFICATE block"),
        (
            "cert-chain.pem",
            "-----BEGIN CERTIFICATE-----\nAAAA",
            "not valid PEM",
        ),
        ("key.pem", "no key", "no PRIVATE KEY block"),
    ] {
        let before = std::fs::read(at(name)).unwrap();
        std::fs::write(at(name), text).unwrap();
        until(says, || {
            refusal(&store).contains(says) && refusal(&store).contains(name)
        })
        .await;
        assert!(shows(&store, &leaf));
        std::fs::write(at(name), before).unwrap();
        until("it is mended", || store.refusal().is_none()).await;
    }
    std::fs::remove_file(at("key.pem")).unwrap();
    until("it is gone", || {
        refusal(&store).contains("key.pem cannot be read")
    })
    .await;
    assert!(shows(&store, &leaf));
}

#[cfg(unix)]
#[tokio::test(start_paused = true)]
async fn a_secret_of_kubernetes_is_swapped_by_its_link() {
    use std::os::unix::fs::symlink;

    let root = Authority::new("the mesh");
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (first, second) = (root.workload(REVIEWS), root.workload(REVIEWS));
    for (name, leaf) in [("..1", &first), ("..2", &second)] {
        std::fs::create_dir(at(name)).unwrap();
        write(&at(name), KUBERNETES, leaf, &root);
    }
    symlink("..1", at("..data")).unwrap();
    for name in KUBERNETES {
        symlink(Path::new("..data").join(name), at(name)).unwrap();
    }
    let store = fed(folder.path());
    until("the first is taken", || shows(&store, &first)).await;
    symlink("..2", at("..new")).unwrap();
    std::fs::rename(at("..new"), at("..data")).unwrap();
    std::fs::remove_dir_all(at("..1")).unwrap();
    until("the second is taken", || shows(&store, &second)).await;
    assert_eq!(store.refusal(), None);
}

/// A writer that swaps as fast as it can, as the kubelet does: a new folder, the link, and the old one away. Whatever is
/// read is whole.
#[cfg(unix)]
#[test]
fn a_swap_while_it_is_read_tears_nothing() {
    use std::os::unix::fs::symlink;
    use std::sync::atomic::{AtomicBool, Ordering};

    let roots = ["one", "two"].map(Authority::new);
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    let leaves = roots.each_ref().map(|root| root.workload(REVIEWS));
    let put = |turn: usize| {
        let name = format!("..{turn}");
        std::fs::create_dir(at(&name)).unwrap();
        write(&at(&name), ISTIO, &leaves[turn % 2], &roots[turn % 2]);
        symlink(name, at("..new")).unwrap();
        std::fs::rename(at("..new"), at("..data")).unwrap();
    };
    put(0);
    let over = AtomicBool::new(false);
    let (taken, torn) = std::thread::scope(|scope| {
        scope.spawn(|| {
            let swapping = (1..).take_while(|_| !over.load(Ordering::Relaxed));
            for turn in swapping {
                put(turn);
                std::fs::remove_dir_all(at(&format!("..{}", turn - 1))).unwrap();
            }
        });
        let (mut taken, mut torn) = (0, Vec::new());
        for _ in 0..200 {
            match consistent(folder.path(), None).and_then(|it| it.material(folder.path())) {
                // A certificate of one turn does not go with the roots of the other.
                Ok(material) => match empty_store().offer(&material) {
                    Ok(_) => taken += 1,
                    Err(error) => torn.push(error.to_string()),
                },
                Err(FilesError::Moving(_)) => {}
                Err(error) => torn.push(error.to_string()),
            }
        }
        over.store(true, Ordering::Relaxed);
        (taken, torn)
    });
    assert_eq!(torn, [""; 0]);
    assert!(taken > 0, "nothing was read between two swaps");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_valid_yet_is_taken_when_it_is() {
    const START: u64 = 1_893_456_000;
    let root = Authority::new("the mesh");
    let folder = TempDir::new().unwrap();
    let mut params = named(&[REVIEWS]);
    params.not_before = rcgen::date_time_ymd(2030, 1, 1);
    let leaf = root.issue(&params);
    write(folder.path(), ISTIO, &leaf, &root);
    let clock = Clock::at(START - 60);
    let store = Arc::new(Store::new(
        Ok(crypto()),
        Arc::clone(&clock) as _,
        Settings::default(),
    ));
    feed(folder.path(), &store);
    until("it is too early", || {
        refusal(&store).contains("valid only in 60 s")
    })
    .await;
    clock.set(START);
    until("it is taken", || shows(&store, &leaf)).await;
}
