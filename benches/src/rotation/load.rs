//! The load: each request starts on its time, whether or not those before it have ended.

use std::time::Duration;

use http::StatusCode;
use mesh_tower::MeshClient;
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::seen::{KEPT, LAST, NEW};
use crate::error::BenchError;
use crate::secured::URL;

/// One request in so many goes over a connection of its own.
const NEW_OF: u64 = 20;
/// How long a request may take: one of which nothing is heard has failed.
const LONGEST: Duration = Duration::from_secs(30);
/// How many failures are told.
const TOLD: usize = 5;

/// What came of the requests.
#[derive(Debug, Default, Serialize)]
pub(super) struct Told {
    pub(super) sent: usize,
    pub(super) answered: usize,
    pub(super) failed: usize,
    pub(super) median_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) longest_ms: f64,
    /// The first failures.
    pub(super) errors: Vec<String>,
}

/// One request: how long after its time it was over, and why it failed.
struct Record {
    at: Duration,
    took: Duration,
    error: Option<String>,
}

/// Requests that go on.
#[derive(Debug)]
pub(super) struct Load {
    stop: oneshot::Sender<()>,
    running: JoinHandle<Told>,
}

impl Load {
    /// Starts it, at so many requests a second.
    pub(super) fn start(kept: MeshClient, new: MeshClient, rate: u32) -> Self {
        let (stop, mut stopped) = oneshot::channel();
        let running = tokio::spawn(async move {
            let mut requests = JoinSet::new();
            let mut records = Vec::new();
            let mut sent: u64 = 0;
            // Once a second more requests in a row end their connections than are kept: those that come after them show the
            // newest certificate. With fewer some other that is idle would do.
            let rate_of = u64::from(rate);
            let ending = (rate_of / 10).max(4);
            let start = Instant::now();
            let mut ticks = interval(Duration::from_secs(1) / rate);
            // Late ticks are caught up: the rate is a promise.
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            loop {
                tokio::select! {
                    biased;
                    _ = &mut stopped => break,
                    due = ticks.tick() => {
                        let (client, path) = match sent {
                            at if at % NEW_OF == 0 => (&new, NEW),
                            at if at % rate_of < ending => (&kept, LAST),
                            _ => (&kept, KEPT),
                        };
                        sent += 1;
                        requests.spawn(one(client.clone(), path, start, due));
                    }
                    Some(record) = requests.join_next() => records.extend(record.ok()),
                }
            }
            while let Some(record) = requests.join_next().await {
                records.extend(record.ok());
            }
            told(sent, records)
        });
        Self { stop, running }
    }

    /// Ends it, and waits for the last answers.
    pub(super) async fn stop(self) -> Result<Told, BenchError> {
        // If nobody is there any more, that is told below.
        let _ = self.stop.send(());
        let told = self.running.await;
        told.map_err(|error| BenchError::Io(error.into()))
    }
}

async fn one(client: MeshClient, path: &'static str, start: Instant, due: Instant) -> Record {
    let url = format!("{URL}{path}");
    let asking = timeout(LONGEST, answered(&client, &url)).await;
    let error = asking.unwrap_or_else(|_| Err(format!("no answer within {LONGEST:?}")));
    Record {
        at: due - start,
        took: due.elapsed(),
        error: error.err().map(|error| format!("{path}: {error}")),
    }
}

async fn answered(client: &MeshClient, url: &str) -> Result<(), String> {
    let answer = client.get(url).await.map_err(|error| error.to_string())?;
    let status = answer.status();
    let text = answer.into_body().text().await;
    let text = text.map_err(|error| error.to_string())?;
    match status {
        StatusCode::OK => Ok(()),
        status => Err(format!("status {status}: {text}")),
    }
}

fn told(sent: u64, mut records: Vec<Record>) -> Told {
    records.sort_by_key(|record| record.at);
    let failed = records
        .iter()
        .filter_map(|record| Some((record.at, record.error.as_ref()?)));
    let errors = failed
        .clone()
        .take(TOLD)
        .map(|(at, error)| format!("at {:.1} s, {error}", at.as_secs_f64()));
    let mut took: Vec<f64> = records
        .iter()
        .map(|record| record.took.as_secs_f64() * 1e3)
        .collect();
    took.sort_by(f64::total_cmp);
    let part = |hundredths: usize| {
        let at = (took.len() * hundredths / 100).min(took.len().saturating_sub(1));
        took.get(at).copied().unwrap_or_default()
    };
    let failures = failed.clone().count();
    Told {
        sent: usize::try_from(sent).unwrap_or(usize::MAX),
        answered: records.len() - failures,
        failed: failures,
        median_ms: part(50),
        p99_ms: part(99),
        longest_ms: part(100),
        errors: errors.collect(),
    }
}
