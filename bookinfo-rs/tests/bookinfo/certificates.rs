//! The certificates that the launcher makes: whose they are, that they are renewed, and that nothing of them stays.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bookinfo_rs::outside::Outside;
use http::{HeaderMap, StatusCode};
use mesh_control_plane::ca::Held;

use crate::process::{Launcher, bookinfo, is_good, page, until};

/// Workload and service account, as Istio's Bookinfo names them.
const ALL: [(&str, &str); 9] = [
    ("details-v1", "bookinfo-details"),
    ("details-v2", "bookinfo-details"),
    ("googleapis-v1", "bookinfo-googleapis"),
    ("ingressgateway", "bookinfo-ingress"),
    ("productpage-v1", "bookinfo-productpage"),
    ("ratings-v1", "bookinfo-ratings"),
    ("reviews-v1", "bookinfo-reviews"),
    ("reviews-v2", "bookinfo-reviews"),
    ("reviews-v3", "bookinfo-reviews"),
];

/// What each workload holds, by the name of its folder.
fn held(dir: &Path) -> BTreeMap<String, Held> {
    let folders = fs::read_dir(dir.join("workloads")).unwrap();
    folders
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            // It may be swapped in between.
            let held = (0..100).find_map(|_| Held::read(&path).ok());
            (name, held.unwrap())
        })
        .collect()
}

#[tokio::test]
async fn each_workload_has_a_certificate_of_its_service_account_that_is_renewed_at_half_life() {
    let launcher = Launcher::start(&["--cert-ttl", "20s"]);
    let dir = launcher.certificates.clone().unwrap();
    let first = held(&dir);
    let names: Vec<_> = first
        .iter()
        .map(|(name, held)| (name.as_str(), held.identity.as_str()))
        .collect();
    let expected: Vec<_> = ALL
        .iter()
        .map(|(name, account)| {
            let namespace = match *name {
                "ingressgateway" => "istio-system",
                _ => "default",
            };
            let id = format!("spiffe://cluster.local/ns/{namespace}/sa/{account}");
            (*name, id)
        })
        .collect();
    let expected: Vec<_> = expected
        .iter()
        .map(|(name, id)| (*name, id.as_str()))
        .collect();
    assert_eq!(names, expected);
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for (name, _) in ALL {
        assert_eq!(
            mode(dir.join("workloads").join(name).join("key.pem")),
            0o600
        );
    }
    assert_eq!(mode(dir.clone()), 0o700);
    assert_eq!(mode(dir.join("authority/ca-key.pem")), 0o600);
    // Two rotations on, none has run out and the page is whole.
    for _ in 0..2 {
        let before = held(&dir);
        until("all are renewed", || {
            let now = held(&dir);
            for (name, held) in &now {
                assert_eq!(held.fault(SystemTime::now()), None, "{name}");
            }
            let is_new = |(name, held): (&String, &Held)| held.serial != before[name].serial;
            now.iter().all(is_new).then_some(())
        })
        .await;
        assert!(is_good(&page(&launcher.url).await));
    }
    for held in held(&dir).values() {
        // Back-dated by two minutes.
        let life = held.not_after.duration_since(held.not_before).unwrap();
        assert_eq!(life, Duration::from_secs(140));
    }
    assert!(launcher.signal("INT").await.success());
    assert!(!dir.exists());
}

#[tokio::test]
async fn each_process_is_told_its_own_folder_and_nothing_stays_after_a_kill() {
    let launcher = Launcher::start(&[]);
    let dir = launcher.certificates.clone().unwrap();
    let told = folders_of_children(launcher.pid());
    let expected: Vec<_> = ALL
        .iter()
        .map(|(name, _)| dir.join("workloads").join(name))
        .collect();
    assert_eq!(told, expected);
    assert!(!launcher.signal("KILL").await.success());
    until("the folder is gone", || (!dir.exists()).then_some(())).await;
}

#[tokio::test]
async fn without_mutual_tls_there_are_none() {
    let launcher = Launcher::start(&["--mtls", "off"]);
    assert_eq!(launcher.certificates, None);
    assert_eq!(folders_of_children(launcher.pid()), Vec::<PathBuf>::new());
    assert!(is_good(&page(&launcher.url).await));
}

/// Asks a workload without a mesh: its status, or none if it is cut off.
async fn from_outside(launcher: &Launcher, workload: &str, path: &str) -> Option<StatusCode> {
    let text = fs::read_to_string(launcher.folder.join("workloads.yaml")).unwrap();
    let (_, entry) = text.split_once(&format!("name: {workload}\n")).unwrap();
    let value = |key: &str| {
        let line = entry.lines().find_map(|line| line.trim().strip_prefix(key));
        line.unwrap().trim().to_owned()
    };
    let url = format!("http://{}:{}{path}", value("address:"), value("http:"));
    match Outside::default().get(&url, &HeaderMap::new()).await {
        Ok(reply) => Some(reply.status),
        Err(error) => {
            assert!(error.is_cut_off(), "{workload}: {error:?}");
            None
        }
    }
}

#[tokio::test]
async fn strict_cuts_off_who_is_not_in_the_mesh_and_permissive_does_not() {
    for (mode, answered) in [("strict", None), ("permissive", Some(StatusCode::OK))] {
        let launcher = Launcher::start(&["--mtls", mode]);
        for (workload, path) in [("reviews-v1", "/reviews/0"), ("ratings-v1", "/ratings/0")] {
            // It takes the rule from the control plane, which has it from the start.
            let seen = from_outside(&launcher, workload, path).await;
            assert_eq!(seen, answered, "{mode} {workload}");
        }
        // The stand-in for a host outside of the mesh.
        let path = "/books/v1/volumes?q=isbn:0451526538";
        let seen = from_outside(&launcher, "googleapis-v1", path).await;
        assert!(seen.is_some(), "{mode}");
        assert!(is_good(&page(&launcher.url).await), "{mode}");
    }
}

/// What the environments of a process's children say of certificates, sorted.
fn folders_of_children(parent: u32) -> Vec<PathBuf> {
    let children = crate::launcher::children(parent);
    let variables = children.iter().filter_map(|(pid, _)| {
        let all = fs::read(format!("/proc/{pid}/environ")).unwrap();
        let all = String::from_utf8(all).unwrap();
        let one = all
            .split('\0')
            .find_map(|one| one.strip_prefix("MESH_CERTIFICATES="));
        one.map(PathBuf::from)
    });
    let mut folders: Vec<_> = variables.collect();
    folders.sort();
    folders
}

#[test]
fn a_life_that_no_certificate_can_have_is_refused_by_its_flag() {
    for life in ["1s", "0h", "10", "s", "-5m", "2161h", "99999999999h", "5 m"] {
        let output = bookinfo(&[&format!("--cert-ttl={life}")]).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && error.contains("--cert-ttl"),
            "{error}"
        );
    }
}
