//! The folder of a workload.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rcgen::{KeyPair, PublicKeyData};

use crate::kit::{HOUR, REVIEWS, authority, id, leads_to, now, said};

fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap_or_default()
}

/// Whether chain and key, as texts, are of one certificate.
fn belong(chain: &str, key: &str) -> bool {
    let key = KeyPair::from_pem(key).unwrap();
    said(chain).key == key.subject_public_key_info()
}

#[test]
fn the_folder_has_istios_names_and_a_private_key() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("reviews");
    let authority = authority();
    for _ in 0..3 {
        let issued = authority.issue(&id(REVIEWS), HOUR, now()).unwrap();
        issued.write(&folder).unwrap();
        let chain = read(&folder, "cert-chain.pem");
        assert_eq!(chain, issued.chain());
        leads_to(&chain, &read(&folder, "root-cert.pem"), now()).unwrap();
        assert!(belong(&chain, &read(&folder, "key.pem")));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder.join("key.pem")), 0o600);
        assert_eq!(
            (mode(&folder), mode(&folder.join("..data/"))),
            (0o700, 0o700)
        );
        // Three names, the link, and what it leads to: nothing of before is left.
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 5);
    }
}

#[test]
fn a_reader_through_the_link_never_sees_halves() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("reviews");
    let authority = authority();
    let issue = || authority.issue(&id(REVIEWS), HOUR, now()).unwrap();
    issue().write(&folder).unwrap();
    let over = AtomicBool::new(false);
    // How often all came, and how often names read one by one were of two certificates.
    let (mut whole, mut mixed) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                issue().write(&folder).unwrap();
            }
        });
        while whole < 500 {
            let target = fs::read_link(folder.join("..data")).unwrap();
            let place = folder.join(&target);
            let (chain, key) = (read(&place, "cert-chain.pem"), read(&place, "key.pem"));
            if fs::read_link(folder.join("..data")).unwrap() == target {
                assert!(belong(&chain, &key));
                whole += 1;
            }
            let (chain, key) = (read(&folder, "cert-chain.pem"), read(&folder, "key.pem"));
            if whole % 10 == 0 && !chain.is_empty() && !key.is_empty() {
                mixed += u32::from(!belong(&chain, &key));
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    println!("{mixed} readers of single names saw two certificates");
}

#[test]
fn a_writer_that_was_killed_is_no_hindrance() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("reviews");
    let authority = authority();
    let issue = || authority.issue(&id(REVIEWS), HOUR, now()).unwrap();
    issue().write(&folder).unwrap();
    fs::create_dir(folder.join("..generation-2")).unwrap();
    fs::write(folder.join("..generation-2/key.pem"), "half").unwrap();
    fs::write(folder.join("..unfinished-..data"), "").unwrap();
    let issued = issue();
    issued.write(&folder).unwrap();
    assert_eq!(read(&folder, "cert-chain.pem"), issued.chain());
}

#[test]
fn a_folder_that_cannot_be_is_named() {
    let issued = authority().issue(&id(REVIEWS), HOUR, now()).unwrap();
    let error = issued.write(Path::new("/nonexistent/reviews")).unwrap_err();
    assert!(
        error.to_string().contains("/nonexistent/reviews"),
        "{error}"
    );
}
