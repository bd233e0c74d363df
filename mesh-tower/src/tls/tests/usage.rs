//! What authorities say of certificates, beside who signed them: key usage (RFC 5280, 4.2.1.3), which webpki does not look at,
//! name constraints and the length of a path.

use std::sync::Arc;

use mesh_core::cluster::Protocol::Http1;
use rcgen::{BasicConstraints, CertificateParams, CustomExtension, IsCa, KeyUsagePurpose as Use};

use super::pki::{Authority, Leaf, REVIEWS, changed};
use super::scene::{
    BOTH, calls, client, empty_store, is_called, is_reviews, server, store, their_client,
    their_server,
};

fn using(root: &Authority, uses: &[Use]) -> Leaf {
    root.issue(&changed(|params: &mut CertificateParams| {
        params.key_usages = uses.to_vec();
    }))
}

fn below(root: &Authority, uses: &[Use]) -> Leaf {
    let between = root.below_with(|params| params.key_usages = uses.to_vec());
    between.workload(REVIEWS).with(&between)
}

/// What is shown, and why it is refused; what passes is beside it.
#[tokio::test]
async fn a_certificate_is_taken_for_what_its_key_may_be_used_for_alone() {
    let root = Authority::new("the mesh");
    let store = store(&root);
    let (client, server) = (client(&store, is_reviews()), server(&store, is_reviews()));
    let all = [Use::DigitalSignature, Use::KeyEncipherment];
    let rows = [
        (using(&root, &all), None),
        (using(&root, &[Use::DigitalSignature]), None),
        (using(&root, &[]), None),
        (
            using(&root, &[Use::KeyEncipherment, Use::KeyAgreement]),
            Some("does not allow digitalSignature"),
        ),
        (
            using(&root, &[Use::DigitalSignature, Use::KeyCertSign]),
            Some("a workload's must not"),
        ),
        (
            using(&root, &[Use::DigitalSignature, Use::CrlSign]),
            Some("a workload's must not"),
        ),
        (below(&root, &[Use::KeyCertSign]), None),
        (below(&root, &[]), None),
        (
            below(&root, &[Use::DigitalSignature, Use::CrlSign]),
            Some("a certificate above it does not allow keyCertSign"),
        ),
    ];
    for (at, (leaf, says)) in rows.iter().enumerate() {
        for version in BOTH {
            let theirs = Arc::new(their_server(leaf, &root, version));
            let called = calls(&client, &theirs, Http1).await.map(drop);
            let theirs = Arc::new(their_client(Some(leaf), version));
            let came = is_called(&server, &theirs).await;
            let came = came.map(drop).map_err(|(error, _)| error);
            let ours = empty_store().offer(&leaf.material(&[&root])).map(drop);
            let told = [
                called.err().map(|it| it.to_string()),
                came.err().map(|it| it.to_string()),
                // Nor is it shown by us.
                ours.err().map(|it| it.to_string()),
            ];
            for told in told {
                match (says, told) {
                    (None, None) => {}
                    (Some(says), Some(told)) => assert!(told.contains(says), "{at}: {told}"),
                    (says, told) => panic!("{at}: {told:?} in the place of {says:?}"),
                }
            }
        }
    }
}

/// The constraint that a URI's host is, or ends in, this: an extension in DER, byte by byte (RFC 5280, 4.2.1.10).
fn uris_of(host: &str) -> CustomExtension {
    let wrapped = |tag: u8, inner: &[u8]| {
        let mut der = vec![tag, u8::try_from(inner.len()).unwrap()];
        der.extend(inner);
        der
    };
    let subtree = wrapped(0x30, &wrapped(0x86, host.as_bytes()));
    let content = wrapped(0x30, &wrapped(0xa0, &subtree));
    let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, 30], content);
    extension.set_criticality(true);
    extension
}

#[tokio::test]
async fn what_an_authority_may_not_sign_is_refused_by_its_reason() {
    let root = Authority::new("the mesh");
    let any = IsCa::Ca(BasicConstraints::Unconstrained);
    let constrained = root.below_with(|params| {
        params.custom_extensions = vec![uris_of("cluster.local")];
    });
    let free = root.below("free", any);
    let short = root.below("short", IsCa::Ca(BasicConstraints::Constrained(0)));
    let below = short.below("below it", any);
    let rows = [
        (
            constrained.workload(REVIEWS).with(&constrained),
            Some("a name constraint of an authority"),
        ),
        (free.workload(REVIEWS).with(&free), None),
        (
            below.workload(REVIEWS).with(&below).with(&short),
            Some("PathLenConstraintViolated"),
        ),
        (short.workload(REVIEWS).with(&short), None),
    ];
    let store = store(&root);
    let client = client(&store, is_reviews());
    for (at, (leaf, says)) in rows.iter().enumerate() {
        let theirs = Arc::new(their_server(leaf, &root, BOTH[0]));
        let called = calls(&client, &theirs, Http1).await.map(drop);
        let told = called.err().map(|error| error.to_string());
        assert_eq!(told.is_some(), says.is_some(), "{at}: {told:?}");
        let told = told.unwrap_or_default();
        assert!(told.contains(says.unwrap_or_default()), "{at}: {told}");
    }
}
