//! Requests from outside: so many, or so many a second.

use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use http::{HeaderMap, StatusCode};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};

use super::judge::{Sample, Version};
use super::stage::{Stage, version};
use crate::outside::Outside;

/// How many requests are under way at once where only their number matters.
pub(crate) const CONCURRENCY: usize = 8;

/// Does something `n` times, so many at once, and gathers what came of it.
pub(crate) async fn times<F: Future, C: FromIterator<F::Output>>(
    n: u32,
    at_once: usize,
    one: impl Fn() -> F,
) -> C {
    let all: Vec<_> = stream::iter(0..n)
        .map(|_| one())
        .buffer_unordered(at_once)
        .collect()
        .await;
    all.into_iter().collect()
}

/// Calls the JSON API `n` times.
pub(crate) async fn api(stage: &Stage, headers: &HeaderMap, n: u32) -> Sample {
    let url = stage.api();
    let one = || async {
        let reply = stage.client().get(&url, headers).await;
        reply.ok().as_ref().and_then(version)
    };
    times(n, CONCURRENCY, one).await
}

/// Loads the page `n` times, and reads the version off its text.
pub(crate) async fn pages(stage: &Stage, headers: &HeaderMap, n: u32) -> Sample {
    let url = format!("{}/productpage", stage.url());
    let one = || async {
        let reply = stage.client().get(&url, headers).await.ok()?;
        if reply.status == StatusCode::OK {
            Version::of_page(&reply.text())
        } else {
            None
        }
    };
    times(n, CONCURRENCY, one).await
}

/// One request of an open loop.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record {
    /// When it was sent.
    pub started: Instant,
    /// When its answer was there.
    pub ended: Instant,
    /// What answered; `None` for a failure.
    pub version: Option<Version>,
}

/// Requests at a steady rate, whether or not earlier ones have ended.
#[derive(Debug)]
pub(crate) struct OpenLoop {
    stop: oneshot::Sender<()>,
    running: JoinHandle<Vec<Record>>,
}

impl OpenLoop {
    /// Starts it.
    pub(crate) fn start(client: Outside, url: String, rate: u32) -> Self {
        let (stop, mut stopped) = oneshot::channel();
        let running = tokio::spawn(async move {
            let mut requests = JoinSet::new();
            let mut records = Vec::new();
            let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
            // Late ticks are caught up: the rate is a promise.
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            loop {
                tokio::select! {
                    biased;
                    _ = &mut stopped => break,
                    _ = ticks.tick() => {
                        requests.spawn(one(client.clone(), url.clone(), HeaderMap::new()));
                    }
                    Some(Ok(record)) = requests.join_next() => records.push(record),
                }
            }
            records.extend(requests.join_all().await);
            records
        });
        Self { stop, running }
    }

    /// Ends it, and waits for the last answers.
    pub(crate) async fn stop(self) -> Vec<Record> {
        let _ = self.stop.send(());
        self.running.await.unwrap_or_default()
    }
}

/// Sends one request to the API.
pub(crate) async fn one(client: Outside, url: String, headers: HeaderMap) -> Record {
    let started = Instant::now();
    let reply = client.get(&url, &headers).await;
    if let Err(error) = &reply {
        tracing::warn!(%error, "a request failed");
    }
    Record {
        started,
        ended: Instant::now(),
        version: reply.ok().as_ref().and_then(version),
    }
}
