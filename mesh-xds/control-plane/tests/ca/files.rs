//! Where an authority comes from.

use std::fs;
use std::path::Path;
use std::sync::Barrier;

use mesh_control_plane::ca::{Authority, OpenError};
use mesh_core::identity::TrustDomain;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};

use crate::kit::{HOUR, REVIEWS, caller, certificates, csr, id, leads_to, now, said};

fn domain() -> TrustDomain {
    "cluster.local".parse().unwrap()
}

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn root(name: &str) -> Issuer {
    Issuer::self_signed(params(name), KeyPair::generate().unwrap()).unwrap()
}

fn below(above: &Issuer, params: CertificateParams) -> Issuer {
    Issuer::signed_by(params, KeyPair::generate().unwrap(), above).unwrap()
}

/// A company's root, an authority below it and one of the mesh below that, as Istio's documents set it up.
struct Plugged {
    dir: tempfile::TempDir,
    root: Issuer,
    middle: Issuer,
    own: Issuer,
}

impl Plugged {
    fn new() -> Self {
        let root = root("root");
        let middle = below(&root, params("middle"));
        let own = below(&middle, params("mesh"));
        let dir = tempfile::tempdir().unwrap();
        let this = Self {
            dir,
            root,
            middle,
            own,
        };
        this.put("root-cert.pem", &this.root.pem());
        this.put("ca-cert.pem", &this.own.pem());
        this.put("ca-key.pem", &this.own.key().serialize_pem());
        let chain = [&this.own, &this.middle, &this.root].map(|issuer| issuer.pem());
        this.put("cert-chain.pem", &chain.concat());
        this
    }

    fn put(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join(name), text).unwrap();
    }

    fn open(&self) -> Result<Authority, OpenError> {
        Authority::open(self.dir.path(), &domain(), now())
    }

    fn apart(&self) -> String {
        match self.open().unwrap_err() {
            OpenError::Apart { reason, .. } => reason,
            other => panic!("{other}"),
        }
    }
}

#[test]
fn a_plugged_in_authority_signs_with_a_chain_to_the_root() {
    let plugged = Plugged::new();
    for chain in [
        vec![&plugged.own, &plugged.middle, &plugged.root],
        vec![&plugged.own, &plugged.middle],
        vec![&plugged.middle],
    ] {
        let chain: String = chain.iter().map(|issuer| issuer.pem()).collect();
        plugged.put("cert-chain.pem", &chain);
        let authority = plugged.open().unwrap();
        let texts = authority
            .sign(&csr(REVIEWS), &caller(REVIEWS), HOUR, now())
            .unwrap();
        let ders: Vec<_> = texts
            .iter()
            .map(|text| certificates(text).remove(0))
            .collect();
        let expected = [&plugged.own, &plugged.middle, &plugged.root].map(|issuer| issuer.der());
        assert_eq!(ders[1..].iter().collect::<Vec<_>>(), expected);
        leads_to(&texts[..3].concat(), &plugged.root.pem(), now()).unwrap();
        // Control: without what stands between, it does not lead there.
        leads_to(&texts[0], &plugged.root.pem(), now()).unwrap_err();
    }
}

#[test]
fn several_roots_are_handed_on_in_one_text() {
    let plugged = Plugged::new();
    let old = root("old");
    plugged.put("root-cert.pem", &(plugged.root.pem() + &old.pem()));
    let authority = plugged.open().unwrap();
    let texts = authority
        .sign(&csr(REVIEWS), &caller(REVIEWS), HOUR, now())
        .unwrap();
    assert_eq!(certificates(texts.last().unwrap()).len(), 2);
}

#[test]
fn a_folder_that_lacks_a_file_is_torn_and_names_it() {
    for name in [
        "root-cert.pem",
        "ca-cert.pem",
        "ca-key.pem",
        "cert-chain.pem",
    ] {
        let plugged = Plugged::new();
        fs::remove_file(plugged.dir.path().join(name)).unwrap();
        let error = plugged.open().unwrap_err();
        assert!(
            matches!(&error, OpenError::Torn { missing, .. } if missing == &[name]),
            "{error}"
        );
        assert!(error.to_string().contains(name), "{error}");
        // Nor is it filled up with a new one.
        let kept = Authority::kept(plugged.dir.path(), &domain(), now());
        assert!(matches!(kept.unwrap_err(), OpenError::Torn { .. }));
        assert!(!plugged.dir.path().join(name).exists());
    }
}

#[test]
fn files_that_do_not_belong_together_are_refused() {
    let plugged = Plugged::new();
    plugged.put("ca-key.pem", &KeyPair::generate().unwrap().serialize_pem());
    plugged.apart();
    let plugged = Plugged::new();
    plugged.put("root-cert.pem", &root("root").pem());
    plugged.apart();
    let plugged = Plugged::new();
    plugged.put("cert-chain.pem", &plugged.own.pem());
    plugged.apart();
    let plugged = Plugged::new();
    plugged.put("ca-cert.pem", &plugged.middle.pem());
    plugged.apart();
    // What it was before is taken: each of the changes above is what it is refused for.
    plugged.put("ca-cert.pem", &plugged.own.pem());
    plugged.open().unwrap();
}

#[test]
fn an_authority_that_may_not_sign_is_refused() {
    let expired = |params: &mut CertificateParams| {
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    };
    let no_authority = |params: &mut CertificateParams| params.is_ca = IsCa::ExplicitNoCa;
    let good = |_: &mut CertificateParams| {};
    type Change = fn(&mut CertificateParams);
    for (change, taken) in [
        (expired as Change, false),
        (no_authority, false),
        (good, true),
    ] {
        let mut plugged = Plugged::new();
        let mut params = params("mesh");
        change(&mut params);
        plugged.own = below(&plugged.middle, params);
        plugged.put("ca-cert.pem", &plugged.own.pem());
        plugged.put("ca-key.pem", &plugged.own.key().serialize_pem());
        let chain = [&plugged.own, &plugged.middle].map(|issuer| issuer.pem());
        plugged.put("cert-chain.pem", &chain.concat());
        assert_eq!(plugged.open().is_ok(), taken);
    }
}

#[test]
fn what_is_in_a_file_is_named_with_it_and_keys_are_not_quoted() {
    for (name, text) in [
        ("root-cert.pem", ""),
        ("ca-cert.pem", ""),
        (
            "ca-key.pem",
            "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n",
        ),
        (
            "cert-chain.pem",
            "-----BEGIN CERTIFICATE-----\n%\n-----END CERTIFICATE-----\n",
        ),
    ] {
        let plugged = Plugged::new();
        plugged.put(name, text);
        let error = plugged.open().unwrap_err();
        assert!(matches!(error, OpenError::File { .. }), "{error}");
        let error = error.to_string();
        assert!(
            error.contains(name) && !error.contains("c2VjcmV0"),
            "{error}"
        );
    }
}

#[test]
fn a_kept_root_is_the_same_after_a_restart() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("deep/ca");
    let first = Authority::kept(&dir, &domain(), now()).unwrap();
    let issued = first.issue(&id(REVIEWS), HOUR, now()).unwrap();
    let second = Authority::kept(&dir, &domain(), now() + HOUR / 2).unwrap();
    assert_eq!(first.roots(), second.roots());
    leads_to(issued.chain(), &second.roots(), now()).unwrap();
    assert_eq!(said(issued.chain()).uris, [REVIEWS]);
    is_private(&dir.join("ca-key.pem"), &dir);
    // Another place, another root.
    let other = Authority::kept(&parent.path().join("other"), &domain(), now()).unwrap();
    assert_ne!(first.roots(), other.roots());
    // Nothing is left of how it was written.
    let left: Vec<_> = fs::read_dir(dir.parent().unwrap()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn of_many_that_make_one_at_once_one_wins_and_all_have_it() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("ca");
    let start = Barrier::new(8);
    let make = || {
        start.wait();
        Authority::kept(&dir, &domain(), now()).unwrap().roots()
    };
    let roots: Vec<String> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
    assert!(roots.iter().all(|root| *root == roots[0]));
}

#[cfg(unix)]
fn is_private(file: &Path, dir: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(file), mode(dir)), (0o600, 0o700));
}

#[cfg(not(unix))]
fn is_private(_: &Path, _: &Path) {}
