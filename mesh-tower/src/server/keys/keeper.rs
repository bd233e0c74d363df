//! Who fetches, and when.

use std::fmt::Display;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use mesh_core::jwt::{Jwks, RemoteJwks};
use rand::RngExt;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::fetch::{self, FetchError};
use super::{Source, Sources, WARMING};
use crate::mesh::Shared;
use crate::random::{Randomness, SplitMix};
use crate::server::door::Door;

/// When keys are fetched anew, in parts of `cache_duration`: not by all servers at once.
const RENEWED_AT: [f64; 2] = [0.8, 1.0];
/// The wait after the first attempt that failed (`failed_refetch_duration` of Envoy), and the longest, to which it
/// doubles: a whole fleet must not keep an issuer down.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LEAST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How soon keys are fetched again because a token names a key that is not among them. Anybody can send one.
const GAP: Duration = Duration::from_secs(10);

/// Fetches on the current runtime what the rules of a mesh name, until the mesh is gone. Where another one does so already,
/// this one begins when that runtime ends.
pub(in crate::server) fn keep(shared: &Arc<Shared>) {
    let door = &shared.door;
    let mesh = Arc::downgrade(shared);
    let rng = Randomness::new(crate::builder::seed_from_time());
    let fetch = move |from: Arc<RemoteJwks>| {
        let mesh = Weak::clone(&mesh);
        Box::pin(async move {
            let shared = mesh.upgrade().ok_or(FetchError::Gone)?;
            fetch::fetch(&shared, &from).await
        })
    };
    tokio::spawn(run(Arc::downgrade(door), door.subscribe(), fetch, rng));
}

/// The same with other means.
pub(super) async fn run<F, R>(
    door: Weak<Door>,
    mut published: watch::Receiver<()>,
    fetch: F,
    random: Randomness,
) where
    F: Fn(Arc<RemoteJwks>) -> R + Clone + Send + 'static,
    R: Future<Output = Result<Jwks, FetchError>> + Send + 'static,
{
    let lease = door.upgrade().map(|door| Arc::clone(&door.keys.lease));
    let Some(lease) = lease else { return };
    let _lease = lease.lock_owned().await;
    let mut tasks = JoinSet::new();
    let mut running: Vec<(Arc<Source>, AbortHandle)> = Vec::new();
    loop {
        published.borrow_and_update();
        let Some(wanted) = door.upgrade().map(|door| door.keys.sources.load_full()) else {
            return;
        };
        running.retain(|(source, task)| {
            let is_wanted = wanted.has(source);
            if !is_wanted {
                task.abort();
            }
            is_wanted
        });
        for source in &wanted.0 {
            if !running.iter().any(|(it, _)| Arc::ptr_eq(it, source)) {
                let (it, door) = (Arc::clone(source), Weak::clone(&door));
                let task = tasks.spawn(follow(it, door, fetch.clone(), random.next()));
                running.push((Arc::clone(source), task));
            }
        }
        // Those that were ended.
        while tasks.try_join_next().is_some() {}
        drop(wanted);
        if published.changed().await.is_err() {
            return;
        }
    }
}

impl Sources {
    fn has(&self, source: &Arc<Source>) -> bool {
        self.0.iter().any(|it| Arc::ptr_eq(it, source))
    }
}

/// One source, for as long as rules name it.
async fn follow<F, R>(source: Arc<Source>, door: Weak<Door>, fetch: F, mut rng: SplitMix)
where
    F: Fn(Arc<RemoteJwks>) -> R,
    R: Future<Output = Result<Jwks, FetchError>>,
{
    let first = source.from.async_fetch.unwrap_or(FIRST_PAUSE);
    let first = first.max(LEAST_PAUSE);
    let longest = LONGEST_PAUSE.max(first);
    let mut pause = first;
    let mut told = None;
    loop {
        let mut fetching = pin!(fetch(Arc::clone(&source.from)));
        let fetched = match timeout(WARMING, &mut fetching).await {
            Ok(fetched) => fetched,
            Err(_) => {
                tried(&source, &door);
                fetching.await
            }
        };
        match fetched {
            Ok(keys) => {
                taken(&source, keys, &mut told);
                tried(&source, &door);
                pause = first;
                let part = rng.random_range(RENEWED_AT[0]..RENEWED_AT[1]);
                renewal(&source, source.cached().mul_f64(part)).await;
            }
            Err(error) => {
                failed(&source, &error, &mut told);
                tried(&source, &door);
                sleep(pause.mul_f64(rng.random_range(0.8..1.2))).await;
                pause = (pause * 2).min(longest);
            }
        }
    }
}

/// Rules may wait for this.
fn tried(source: &Source, door: &Weak<Door>) {
    if source.has_tried()
        && let Some(door) = door.upgrade()
    {
        door.warmed();
    }
}

/// Waits until keys are due, or somebody has a token by a key that is not among them.
async fn renewal(source: &Source, due: Duration) {
    let now = Instant::now();
    let missed = async {
        sleep_until(now + GAP).await;
        source.missed.notified().await;
    };
    tokio::select! {
        () = sleep_until(now + due) => {}
        () = missed => {}
    }
}

fn taken(source: &Source, keys: Jwks, told: &mut Option<String>) {
    let uri = &source.from.uri;
    let (count, passed_over) = (keys.keys().len(), keys.passed_over());
    match told.take() {
        Some(_) => tracing::info!(%uri, keys = count, "keys of tokens are fetched again"),
        None => tracing::debug!(%uri, keys = count, ?passed_over, "keys of tokens were fetched"),
    }
    source.keep(keys);
}

/// Told when it begins, and when it changes.
fn failed(source: &Source, error: &dyn Display, told: &mut Option<String>) {
    let uri = &source.from.uri;
    let left = source.until().map(|until| until - Instant::now());
    let then = match left {
        Some(left) if !left.is_zero() => {
            format!("those that are there hold for another {} s", left.as_secs())
        }
        _ => "every token by them is refused until they are".to_owned(),
    };
    let error = error.to_string();
    if told.as_ref() == Some(&error) {
        tracing::debug!(%uri, %error, "keys of tokens cannot be fetched: {then}");
    } else {
        tracing::warn!(%uri, %error, "keys of tokens cannot be fetched: {then}");
        *told = Some(error);
    }
}
