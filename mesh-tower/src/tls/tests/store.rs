//! What a store takes, and what it keeps when it does not.

use mesh_core::identity::SpiffeId;
use rcgen::{ExtendedKeyUsagePurpose, date_time_ymd};

use super::pki::{Authority, Leaf, REVIEWS, changed, dns, named};
use super::scene::{empty_store, store};

#[test]
fn what_is_not_good_leaves_the_last_good() {
    let root = Authority::new("the mesh");
    let other = Authority::new("another mesh");
    let good = || root.workload(REVIEWS);
    let with = |change: fn(&mut rcgen::CertificateParams)| root.issue(&changed(change));
    let cases: Vec<(Leaf, &str)> = vec![
        (good().with_key_of(good()), "not the key of the certificate"),
        (other.workload(REVIEWS), "leads to none"),
        (
            with(|params| params.not_after = date_time_ymd(2001, 1, 1)),
            "expired",
        ),
        (
            with(|params| params.not_before = date_time_ymd(4000, 1, 1)),
            "valid only in",
        ),
        (
            with(|params| params.subject_alt_names = vec![dns("reviews")]),
            "no URI name",
        ),
        (root.issue(&named(&[REVIEWS, REVIEWS])), "2 URI names"),
        (root.workload("spiffe://Cluster.Local/x"), "no SPIFFE id"),
        (
            with(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
            "as a client's",
        ),
        (
            with(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]),
            "as a server's",
        ),
    ];
    let store = store(&root);
    let before = store.own().unwrap();
    assert_eq!((before.generation, store.refusal()), (1, None));
    let mut changes = store.changes();
    for (leaf, says) in cases {
        let rejected = store
            .offer(&leaf.material(&[&root]))
            .unwrap_err()
            .to_string();
        assert!(rejected.contains(says), "{says:?} is not in {rejected:?}");
        assert!(rejected.contains("the test's files"), "{rejected}");
        assert_eq!(*store.refusal().unwrap(), rejected);
        let now = store.own().unwrap();
        assert_eq!(
            (now.generation, now.certificate.sha256),
            (1, before.certificate.sha256)
        );
        assert!(!changes.has_changed().unwrap());
    }
    assert_eq!(store.offer(&good().material(&[&root])).unwrap(), 2);
    assert_eq!(store.refusal(), None);
    assert_eq!(*changes.borrow_and_update(), 2);
    assert_ne!(
        store.own().unwrap().certificate.sha256,
        before.certificate.sha256
    );
}

#[test]
fn what_is_the_same_is_no_news_and_another_workload_is_refused() {
    let [root, other] = ["the mesh", "another"].map(Authority::new);
    let store = empty_store();
    let first = root.workload(REVIEWS);
    let offer = |leaf: &Leaf, roots: &[&Authority]| store.offer(&leaf.material(roots));
    let counts = || (store.own().unwrap().generation, store.believed());
    offer(&first, &[&root]).unwrap();
    assert_eq!(counts(), (1, 1));
    let mut changes = store.changes();
    store.failed(&"the folder is gone");
    assert_eq!(offer(&first, &[&root]), Ok(1));
    assert_eq!((counts(), store.refusal()), ((1, 1), None));
    assert!(!changes.has_changed().unwrap());
    // A new certificate is shown from now on, and nobody is judged otherwise for it.
    assert_eq!(offer(&root.workload(REVIEWS), &[&root]), Ok(2));
    assert_eq!(counts(), (2, 1));
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    assert_eq!(offer(&first, &[&root, &other]), Ok(3));
    assert_eq!(counts(), (3, 2));
    changes.mark_unchanged();
    let ratings = root.workload("spiffe://cluster.local/ns/default/sa/ratings");
    let refused = offer(&ratings, &[&root]).unwrap_err().to_string();
    assert!(
        refused.contains("sa/ratings") && refused.contains(REVIEWS),
        "{refused}"
    );
    assert_eq!(counts(), (3, 2));
    assert!(!changes.has_changed().unwrap());
}

#[test]
fn our_own_domain_is_that_of_our_certificate() {
    let root = Authority::new("the mesh");
    let store = empty_store();
    store
        .offer(
            &root
                .workload("spiffe://td.example/ns/a/sa/b")
                .material(&[&root]),
        )
        .unwrap();
    let own = store.own().unwrap();
    let id = |text: &str| -> SpiffeId { text.parse().unwrap() };
    assert!(own.domains.hold(&id("spiffe://td.example/ns/c/sa/d")));
    assert!(!own.domains.hold(&id("spiffe://td.example.evil/ns/c/sa/d")));
}

#[test]
fn a_certificate_is_read_as_others_show_it() {
    let root = Authority::new("the mesh");
    let mut params = changed(|params| {
        params.subject_alt_names.push(dns("reviews"));
        params
            .subject_alt_names
            .push(rcgen::SanType::IpAddress([10, 0, 0, 1].into()));
    });
    params.not_after = date_time_ymd(2040, 1, 1);
    let names = &mut params.distinguished_name;
    names.push(rcgen::DnType::OrganizationName, "Böses, \"Inc\"");
    names.push(rcgen::DnType::CommonName, "#reviews ");
    let store = empty_store();
    store
        .offer(&root.issue(&params).material(&[&root]))
        .unwrap();
    let own = store.own().unwrap();
    let read = &own.certificate;
    assert_eq!(
        &*read.subject,
        "CN=\\#reviews\\ ,O=B\\C3\\B6ses\\, \\\"Inc\\\""
    );
    assert_eq!(read.not_after, 2_208_988_800);
    assert_eq!(read.spiffe.as_ref().unwrap().as_str(), REVIEWS);
    assert_eq!(&*read.sans.dns, ["reviews".into()]);
    assert_eq!(&*read.sans.ip, [std::net::IpAddr::from([10, 0, 0, 1])]);
}

#[test]
fn nothing_of_it_shows_the_key() {
    let root = Authority::new("the mesh");
    let leaf = root.workload(REVIEWS);
    let material = leaf.material(&[&root]);
    let store = empty_store();
    store.offer(&material).unwrap();
    let shown = format!("{material:?} {store:?} {:?}", store.own());
    assert!(shown.contains("reviews"));
    assert!(!shows_key(&shown, &leaf), "{shown}");
    // The controls: what would be seen.
    let der = leaf.key.serialize_der();
    let hex: String = der.iter().map(|byte| format!("{byte:02X}")).collect();
    for shown in [format!("{der:?}"), hex, leaf.key.serialize_pem()] {
        assert!(shows_key(&shown, &leaf), "{shown}");
    }
}

/// Whether a text has a part of the key's secret, as numbers, in hexadecimal or in base64. What stands around it, the public
/// key too, is in each certificate.
pub(super) fn shows_key(text: &str, leaf: &Leaf) -> bool {
    let der = leaf.key.serialize_der();
    // PKCS#8 of P-256: an octet string of 32 bytes.
    assert_eq!(der[34..36], [0x04, 0x20]);
    let lower = text.to_lowercase();
    let in_numbers = der[36..68].windows(8).any(|part| {
        let numbers = format!("{part:?}");
        let hex: String = part.iter().map(|byte| format!("{byte:02x}")).collect();
        text.contains(numbers.trim_matches(['[', ']'])) || lower.contains(&hex)
    });
    let pem = leaf.key.serialize_pem();
    let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let mut parts = (48..80).map(|at| &base64[at..at + 10]);
    // By the lines of PEM, too.
    let joined: String = text.split_whitespace().collect();
    in_numbers || parts.any(|part| joined.contains(part))
}
