//! When keys are fetched, by a clock that a test moves.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::StatusCode;
use mesh_core::jwt::{self, Fetched, Jwks, Keys, Provider, RemoteJwks};
use mesh_core::request::PathNormalization;
use mesh_core::server::{Chain, Demand, Inbound, Pipeline, Port, Remote, Rules, Step, Xfcc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::fetch::FetchError;
use super::keeper;
use crate::random::Randomness;
use crate::security::Security;
use crate::server::door::Door;
use crate::tls::tests::pki::Authority;
use crate::tls::tests::scene::store;

const SEED: u64 = 11;
const CACHED: Duration = Duration::from_secs(600);
const KEYS: &str =
    r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

struct Scene {
    door: Arc<Door>,
    issuer: Arc<Issuer>,
    from: Arc<RemoteJwks>,
}

#[derive(Default)]
struct Issuer {
    is_away: AtomicBool,
    asked: AtomicUsize,
    /// How long an answer takes, in seconds.
    takes: AtomicU64,
}

impl Scene {
    fn new() -> Self {
        let root = Authority::new("root");
        let node = mesh_xds::Node::sidecar("reviews", "default");
        let door = Door::new(
            Inbound::Waiting,
            Security::AsConfigured,
            &node,
            store(&root),
        );
        Self {
            door: Arc::new(door),
            issuer: Arc::default(),
            from: Arc::new(RemoteJwks {
                uri: "https://issuer.example/keys".into(),
                cluster: "issuer".into(),
                timeout: Duration::from_secs(5),
                cache_duration: CACHED,
                async_fetch: None,
            }),
        }
    }

    fn keeper(&self) -> JoinHandle<()> {
        let issuer = Arc::clone(&self.issuer);
        let fetch = move |_| {
            let issuer = Arc::clone(&issuer);
            async move {
                issuer.asked.fetch_add(1, Ordering::SeqCst);
                let takes = issuer.takes.load(Ordering::SeqCst);
                sleep(Duration::from_secs(takes)).await;
                match issuer.is_away.load(Ordering::SeqCst) {
                    true => Err(FetchError::Status(StatusCode::NOT_FOUND)),
                    false => Ok(Jwks::parse(KEYS.as_bytes())?),
                }
            }
        };
        let (door, published) = (Arc::downgrade(&self.door), self.door.subscribe());
        tokio::spawn(keeper::run(door, published, fetch, Randomness::new(SEED)))
    }

    fn publish(&self, sources: &[&Arc<RemoteJwks>]) {
        self.door.publish(&ruled(sources));
    }

    fn asked(&self) -> usize {
        self.issuer.asked.load(Ordering::SeqCst)
    }

    fn has_keys(&self) -> bool {
        self.door.keys.load().keys(&self.from).is_some()
    }

    fn is_open(&self) -> bool {
        self.door.lacks().is_none()
    }

    fn is_away(&self, is_away: bool) {
        self.issuer.is_away.store(is_away, Ordering::SeqCst);
    }
}

/// Rules that name these sources.
fn ruled(sources: &[&Arc<RemoteJwks>]) -> Inbound {
    let provider = |from: &&Arc<RemoteJwks>| {
        Arc::new(Provider {
            name: "issuer".into(),
            issuer: None,
            audiences: None,
            subjects: None,
            expiration: jwt::Expiration::Optional,
            clock_skew: jwt::DEFAULT_CLOCK_SKEW,
            keys: Keys::Remote(Arc::clone(from)),
            places: jwt::Places::default(),
            forward: false,
            payload_header: None,
            claim_to_headers: Box::default(),
            payload_in_metadata: None,
            header_in_metadata: None,
            space_delimited_claims: Box::default(),
        })
    };
    let tokens = jwt::Rules::new(sources.iter().map(provider), [], false, false);
    let pipeline = Pipeline {
        name: "listener \"virtualInbound\" version \"1\"".into(),
        paths: PathNormalization::Base,
        xfcc: Xfcc::AppendForward,
        remote: Remote::LastForwarded,
        gateway: None,
        steps: Box::new([Step::Jwt(tokens)]),
    };
    let chain = Chain {
        name: "chain".into(),
        demand: Demand::default(),
        tls: None,
        pipeline: Arc::new(pipeline),
    };
    let rules = Rules::new("1".into(), BTreeMap::new(), Port::new([chain]));
    Inbound::Rules(Arc::new(rules))
}

/// Lets so much time pass, and all that is due in it happen.
async fn pass(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
    sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn keys_are_kept_while_the_issuer_is_away_and_not_for_ever() {
    let scene = Scene::new();
    scene.keeper();
    scene.publish(&[&scene.from]);
    assert!(!scene.is_open() && !scene.has_keys());
    pass(0).await;
    assert!(scene.is_open() && scene.has_keys());
    assert_eq!(scene.asked(), 1);
    // They are fetched anew before they are as old as is said, again and again.
    pass(3000).await;
    assert!((6..=8).contains(&scene.asked()), "{}", scene.asked());
    scene.is_away(true);
    pass(600).await;
    assert!(scene.has_keys());
    let asked = scene.asked();
    pass(600).await;
    assert!(!scene.has_keys() && scene.asked() > asked);
    // The rules hold, and the keys come back.
    assert!(scene.is_open());
    scene.is_away(false);
    pass(40).await;
    assert!(scene.has_keys());
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_is_away_is_asked_ever_more_seldom() {
    let scene = Scene::new();
    scene.is_away(true);
    scene.keeper();
    scene.publish(&[&scene.from]);
    pass(0).await;
    assert!(scene.is_open() && !scene.has_keys());
    pass(3).await;
    assert!((2..=3).contains(&scene.asked()), "{}", scene.asked());
    let asked = scene.asked();
    pass(3600).await;
    // Each 24 to 36 s, after a few that come sooner.
    let asked = scene.asked() - asked;
    assert!((100..=160).contains(&asked), "{asked}");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_not_there_is_looked_for_once_in_a_while() {
    let scene = Scene::new();
    scene.keeper();
    scene.publish(&[&scene.from]);
    pass(0).await;
    let begun = Instant::now();
    for _ in 0..300 {
        for _ in 0..10 {
            scene.door.keys.load().missed(&scene.from);
        }
        pass(1).await;
    }
    let most = 1 + begun.elapsed().as_secs() as usize / 10;
    assert!(
        (most - 4..=most).contains(&scene.asked()),
        "{} of {most}",
        scene.asked()
    );
}

#[tokio::test(start_paused = true)]
async fn only_what_rules_name_is_fetched() {
    let scene = Scene::new();
    let other = Arc::new(RemoteJwks {
        uri: "https://other.example/keys".into(),
        ..(*scene.from).clone()
    });
    scene.keeper();
    scene.publish(&[&scene.from, &other]);
    pass(0).await;
    assert_eq!(scene.asked(), 2);
    // What is named the same is the same, wherever it was read; it is not fetched again.
    let again = Arc::new((*scene.from).clone());
    scene.publish(&[&again]);
    assert!(scene.has_keys() && scene.is_open());
    assert!(scene.door.keys.load().keys(&other).is_none());
    pass(3000).await;
    let asked = scene.asked();
    assert!((7..=9).contains(&asked), "of one alone: {asked}");
    scene.publish(&[]);
    pass(3600).await;
    assert_eq!(scene.asked(), asked);
    assert!(!scene.has_keys());
}

#[tokio::test(start_paused = true)]
async fn rules_wait_for_an_answer_and_not_for_ever() {
    let scene = Scene::new();
    scene.issuer.takes.store(4, Ordering::SeqCst);
    scene.keeper();
    scene.publish(&[&scene.from]);
    pass(3).await;
    assert!(!scene.is_open());
    pass(1).await;
    assert!(scene.is_open() && scene.has_keys());

    let slow = Scene::new();
    slow.issuer.takes.store(20, Ordering::SeqCst);
    slow.keeper();
    slow.publish(&[&slow.from]);
    pass(5).await;
    assert!(slow.is_open() && !slow.has_keys());
    pass(15).await;
    assert!(slow.has_keys());
    assert_eq!(slow.asked(), 1);
    // Rules of before hold, and those that are newer than the ones that wait take their place.
    let next = Arc::new(RemoteJwks {
        uri: "https://next.example/keys".into(),
        ..(*slow.from).clone()
    });
    slow.publish(&[&next]);
    assert!(slow.is_open() && slow.has_keys());
    slow.publish(&[]);
    pass(60).await;
    assert!(!slow.has_keys() && slow.door.keys.load().keys(&next).is_none());
}

#[tokio::test(start_paused = true)]
async fn one_keeper_follows_another_and_all_end_with_the_mesh() {
    let scene = Scene::new();
    let [first, second] = [scene.keeper(), scene.keeper()];
    scene.publish(&[&scene.from]);
    pass(0).await;
    assert_eq!(scene.asked(), 1, "one of them fetches");
    first.abort();
    pass(0).await;
    assert_eq!(scene.asked(), 2, "and then the other");
    pass(3000).await;
    assert!(scene.asked() > 4);
    let door: Weak<Door> = Arc::downgrade(&scene.door);
    drop(scene.door);
    second.await.unwrap();
    assert!(door.upgrade().is_none());
}

/// A control plane may name another source each time, and none of them may answer.
#[tokio::test(start_paused = true)]
async fn rules_that_change_all_the_time_hold_in_the_end() {
    let scene = Scene::new();
    let _keeper = scene.keeper();
    scene.issuer.takes.store(3600, Ordering::SeqCst);
    let source = |at: usize| {
        let uri = format!("https://issuer.example/{at}").into();
        Arc::new(RemoteJwks {
            uri,
            ..(*scene.from).clone()
        })
    };
    // The control: once is waited for.
    scene.publish(&[&source(0)]);
    pass(4).await;
    assert!(!scene.is_open());
    scene.publish(&[&source(1)]);
    assert!(!scene.is_open());
    pass(4).await;
    scene.publish(&[&source(2)]);
    assert!(scene.is_open(), "they have waited for 8 s");
    for at in 3..100 {
        pass(1).await;
        scene.publish(&[&source(at)]);
        let sources = scene.door.keys.load().0.len();
        assert!(sources <= 2, "{sources} at {at}");
    }
}
