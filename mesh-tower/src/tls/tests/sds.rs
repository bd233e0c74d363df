//! The socket of Istio's agent: what is pushed there, what is refused, and what stays while it is away.

use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::{DataSource, data_source::Specifier};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as pb;
use pb::secret::Type;

use super::agent::{Agent, garbage, pair, roots};
use super::pki::{Authority, Leaf, REVIEWS, crypto};
use super::scene::{empty_store, until};
use super::store::shows_key;
use crate::tls::provider::{CertificateProvider, Certificates};
use crate::tls::sds::Sds;
use crate::tls::store::Store;

/// A store that is fed from the agent.
fn fed(agent: &Agent) -> Arc<Store> {
    let store = empty_store();
    let sds = Arc::new(Sds::new(agent.path()));
    tokio::spawn(sds.feed(Certificates::of(&store)));
    store
}

pub(super) fn shows(store: &Store, leaf: &Leaf) -> bool {
    let shown = store.own().map(|own| own.certificate.sha256);
    shown == Some(crypto().sha256(&leaf.chain[0]))
}

pub(super) fn refusal(store: &Store) -> String {
    store
        .refusal()
        .map_or_else(String::new, |text| text.to_string())
}

fn as_pair(leaf: &Leaf) -> pb::Secret {
    pair(&leaf.pem, &leaf.key.serialize_pem())
}

#[tokio::test]
async fn a_certificate_is_taken_with_the_roots_that_it_goes_with() {
    let [old, new] = ["old", "new"].map(Authority::new);
    let agent = Agent::start();
    let (first, second) = (old.workload(REVIEWS), new.workload(REVIEWS));
    let store = fed(&agent);
    agent.gives(as_pair(&first));
    until("the first half", || agent.heard().len() == 1).await;
    assert!(store.own().is_none());
    agent.gives(roots(&old.pem()));
    until("both", || shows(&store, &first)).await;
    until("the second half", || agent.heard().len() == 2).await;
    assert_eq!(store.refusal(), None);
    // Each half of what comes next is good, and goes with nothing that is there.
    agent.gives(as_pair(&second));
    until("the half", || agent.heard().len() == 3).await;
    assert!(shows(&store, &first) && refusal(&store).contains("leads to none"));
    agent.gives(roots(&new.pem()));
    until("both are of the new", || shows(&store, &second)).await;
    assert_eq!((store.refusal(), store.believed()), (None, 2));
    // And in the other order.
    agent.gives(roots(&old.pem()));
    until("the half", || agent.heard().len() == 5).await;
    assert!(shows(&store, &second) && store.believed() == 2);
    agent.gives(as_pair(&first));
    until("both are of the old", || shows(&store, &first)).await;
    until("the last word", || agent.heard().len() == 6).await;
    let refused = |it: &(_, _, Option<String>)| it.2.is_some();
    assert!(!agent.heard().iter().any(refused), "{:?}", agent.heard());
}

fn file() -> Option<DataSource> {
    Some(DataSource {
        specifier: Some(Specifier::Filename("/etc/passwd".to_owned())),
        ..DataSource::default()
    })
}

const PAIR: &str = "default";
const ROOTS: &str = "ROOTCA";

/// Who asked, what the answer is, and why it is refused.
type Bad = (&'static str, Vec<pb::Secret>, &'static str);

fn bad_pairs(root: &Authority, good: &Leaf) -> Vec<Bad> {
    let key = root.workload(REVIEWS).key.serialize_pem();
    let own = good.key.serialize_pem();
    let with = |change: &dyn Fn(&mut pb::TlsCertificate)| {
        let mut secret = as_pair(good);
        let Some(Type::TlsCertificate(pair)) = &mut secret.r#type else {
            panic!("it is one")
        };
        change(pair);
        vec![secret]
    };
    let expired = root.issue(&super::pki::changed(|params| {
        params.not_after = rcgen::date_time_ymd(2001, 1, 1)
    }));
    let elsewhere = root.workload("spiffe://cluster.local/ns/default/sa/ratings");
    let named = |name: &str, secret| pb::Secret {
        name: name.to_owned(),
        ..secret
    };
    let rows = [
        (
            vec![pair(&good.pem, &key)],
            "not the key of the certificate",
        ),
        (vec![pair(&good.pem, "no key")], "no PRIVATE KEY block"),
        (vec![pair("no chain", &own)], "no CERTIFICATE block"),
        (vec![as_pair(&expired)], "expired"),
        (vec![as_pair(&elsewhere)], "start another process"),
        (vec![named("other", as_pair(good))], "was not asked for"),
        (vec![as_pair(good), as_pair(good)], "2 resources"),
        (
            with(&|it| it.private_key = file()),
            "private_key is not inline",
        ),
        (with(&|it| it.pkcs12 = file()), "pkcs12 is not served"),
        (
            vec![named(PAIR, roots(&root.pem()))],
            "holds no tls_certificate",
        ),
    ];
    rows.map(|(secrets, says)| (PAIR, secrets, says)).into()
}

fn bad_roots(root: &Authority, good: &Leaf) -> Vec<Bad> {
    let with = |change: &dyn Fn(&mut pb::CertificateValidationContext)| {
        let mut secret = roots(&root.pem());
        let Some(Type::ValidationContext(context)) = &mut secret.r#type else {
            panic!("it is one")
        };
        change(context);
        vec![secret]
    };
    let mut of_other_type = as_pair(good);
    of_other_type.name = ROOTS.to_owned();
    let hashes = |it: &mut pb::CertificateValidationContext| {
        it.verify_certificate_hash = vec!["00".to_owned()];
    };
    let rows = [
        (vec![of_other_type], "holds no validation_context"),
        (vec![roots("nobody")], "no CERTIFICATE block"),
        (with(&|it| it.crl = file()), "crl"),
        (with(&hashes), "validation beside trusted_ca"),
    ];
    rows.map(|(secrets, says)| (ROOTS, secrets, says)).into()
}

#[tokio::test]
async fn a_bad_secret_is_refused_for_its_reason_and_loses_nothing() {
    let root = Authority::new("the mesh");
    let (good, other) = (root.workload(REVIEWS), root.workload(REVIEWS));
    let agent = Agent::start();
    agent.gives(as_pair(&good));
    agent.gives(roots(&root.pem()));
    let store = fed(&agent);
    until("the good one", || shows(&store, &good)).await;
    until("both words", || agent.heard().len() == 2).await;
    let mut rows = bad_pairs(&root, &good);
    rows.extend(bad_roots(&root, &good));
    for (name, secrets, says) in rows {
        let heard = agent.heard();
        let in_use = heard.iter().rev().find(|it| it.0 == name);
        let in_use = in_use.unwrap().1.clone();
        agent.answers(name, secrets);
        until(says, || agent.heard().len() > heard.len()).await;
        let (asked, version, error) = agent.heard().pop().unwrap();
        let error = error.unwrap_or_default();
        assert_eq!((&*asked, version), (name, in_use), "{says}");
        assert!(error.contains(says), "{says:?} is not in {error:?}");
        let refusal = refusal(&store);
        assert!(
            refusal.contains(says) && refusal.contains("socket"),
            "{refusal}"
        );
        assert!(shows(&store, &good) && store.own().unwrap().generation == 1);
    }
    // The control: the same socket, a good secret, and no restart.
    agent.gives(roots(&root.pem()));
    agent.gives(as_pair(&other));
    until("the next", || shows(&store, &other)).await;
    assert_eq!((store.refusal(), agent.streams()), (None, 2));
}

#[tokio::test]
async fn while_the_agent_is_away_the_last_good_stays() {
    let root = Authority::new("the mesh");
    let (first, second) = (root.workload(REVIEWS), root.workload(REVIEWS));
    let mut agent = Agent::stopped();
    let store = fed(&agent);
    let path = agent.path().display().to_string();
    until("nobody is there", || refusal(&store).contains(&path)).await;
    agent.gives(as_pair(&first));
    agent.gives(roots(&root.pem()));
    agent.restart();
    until("the first", || shows(&store, &first)).await;
    assert_eq!(store.refusal(), None);
    agent.stop();
    until("it is away", || refusal(&store).contains(&path)).await;
    assert!(shows(&store, &first));
    agent.gives(as_pair(&second));
    agent.restart();
    until("the second", || shows(&store, &second)).await;
    until("it is well", || store.refusal().is_none()).await;
    // Whoever restarts with what it had makes no news.
    let before = agent.streams();
    agent.restart();
    until("it is back", || agent.streams() >= before + 2).await;
    until("it is well", || store.refusal().is_none()).await;
    assert_eq!((store.own().unwrap().generation, store.believed()), (2, 1));
}

#[tokio::test]
async fn who_speaks_no_grpc_is_told_and_left() {
    let root = Authority::new("the mesh");
    let leaf = root.workload(REVIEWS);
    let mut agent = Agent::stopped();
    garbage(&agent.path());
    let store = fed(&agent);
    let path = agent.path().display().to_string();
    until("it is told", || refusal(&store).contains(&path)).await;
    assert!(store.own().is_none());
    std::fs::remove_file(agent.path()).unwrap();
    agent.gives(as_pair(&leaf));
    agent.gives(roots(&root.pem()));
    agent.restart();
    until("the control", || shows(&store, &leaf)).await;
}

/// In whatever form somebody might print it.
#[tokio::test]
async fn no_error_shows_a_key() {
    let root = Authority::new("the mesh");
    let leaf = root.workload(REVIEWS);
    let key = leaf.key.serialize_pem();
    let lines: Vec<&str> = key.lines().filter(|line| !line.starts_with('-')).collect();
    let agent = Agent::start();
    let store = fed(&agent);
    agent.gives(roots(&root.pem()));
    // The key, in places where it is looked at, and where it should not be.
    let broken = key.replace("-----END", "END");
    let cut = key.replacen('M', "*", 1);
    let mut rows = vec![
        pair(&leaf.pem, &broken),
        pair(&leaf.pem, &cut),
        pair(&key, &key),
        pair(&key.replace("PRIVATE KEY", "CERTIFICATE"), &key),
        pair(&root.workload(REVIEWS).pem, &key),
    ];
    rows.push(pb::Secret {
        name: lines[0].to_owned() + lines[1],
        ..as_pair(&leaf)
    });
    for (at, secret) in rows.into_iter().enumerate() {
        let heard = || {
            let mut heard = agent.heard();
            heard.retain(|it| it.0 == "default");
            heard
        };
        let before = heard().len();
        agent.answers("default", vec![secret]);
        until("an answer", || heard().len() > before).await;
        let error = heard().pop().unwrap().2.unwrap_or_default();
        assert!(!error.is_empty(), "row {at} was taken");
        if at == 5 {
            // The control: what the agent calls a secret is told, so a key in its place is seen by what follows.
            assert!(error.contains(lines[0]), "{error}");
            continue;
        }
        let told = format!("{error} {} {store:?}", refusal(&store));
        assert!(!shows_key(&told, &leaf), "{told}");
    }
}
