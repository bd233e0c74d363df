//! Peers with one fault each, in both directions and both versions of TLS. Each is refused for its fault, and gets through
//! when that one fault is mended.

use std::sync::Arc;

use mesh_core::cluster::Protocol;
use mesh_core::identity::Peer;

use super::cases;
use super::pki::{Authority, REVIEWS, changed};
use super::scene::{
    BOTH, Met, calls, client, is_called, is_reviews, server, store, their_client, their_server,
};
use crate::tls::trust::Role;

fn is_proven(met: &Met) {
    let Peer::Proven(certificate) = met.proof.peer() else {
        panic!("nobody was proven");
    };
    assert_eq!(certificate.spiffe.as_ref().unwrap().as_str(), REVIEWS);
}

#[tokio::test]
async fn a_server_with_one_fault_is_refused_for_it() {
    let root = Authority::new("the mesh");
    let store = store(&root);
    for case in &cases::all(&root, Role::Server) {
        for rule in case.rules() {
            let client = client(&store, rule);
            for version in BOTH {
                let theirs = |leaf| Arc::new(their_server(leaf, &root, version));
                let faulty = theirs(case.faulty.as_ref().unwrap());
                let refused = calls(&client, &faulty, Protocol::Http1).await;
                let text = refused.expect_err(case.name).to_string();
                case.is_told_by(&text);
                assert!(
                    text.starts_with("cluster outbound|9080||reviews: we refused the peer"),
                    "{text}"
                );
                let mended = calls(&client, &theirs(&case.mended), Protocol::Http1).await;
                is_proven(&mended.expect(case.name));
            }
        }
    }
}

#[tokio::test]
async fn a_client_with_one_fault_is_refused_for_it() {
    let root = Authority::new("the mesh");
    let store = store(&root);
    for case in &cases::all(&root, Role::Client) {
        for rule in case.rules() {
            let server = server(&store, rule);
            for version in BOTH {
                let theirs = |leaf| Arc::new(their_client(leaf, version));
                let refused = is_called(&server, &theirs(case.faulty.as_ref())).await;
                let (error, _) = refused.expect_err(case.name);
                let text = error.to_string();
                case.is_told_by(&text);
                assert!(
                    text.starts_with("chain 0.0.0.0_9080: we refused the peer"),
                    "{text}"
                );
                let mended = is_called(&server, &theirs(Some(&case.mended))).await;
                is_proven(&mended.expect(case.name));
            }
        }
    }
}

#[tokio::test]
async fn a_certificate_without_uses_is_for_all_of_them() {
    let root = Authority::new("the mesh");
    let store = store(&root);
    let leaf = root.issue(&changed(|params| params.extended_key_usages.clear()));
    for version in BOTH {
        let theirs = Arc::new(their_server(&leaf, &root, version));
        let client = client(&store, is_reviews());
        is_proven(&calls(&client, &theirs, Protocol::Http2).await.unwrap());
        let theirs = Arc::new(their_client(Some(&leaf), version));
        is_proven(
            &is_called(&server(&store, is_reviews()), &theirs)
                .await
                .unwrap(),
        );
    }
}
