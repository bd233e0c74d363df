//! Connections that are open, and the requests over them.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval_at};

use crate::error::BenchError;
use crate::mtls::Plain;
use crate::paired::{CONCURRENCY, Client};
use crate::secured;

/// How often each connection has a request.
const EVERY: Duration = Duration::from_millis(10);

/// Each of them has one connection.
pub(super) struct Established(Vec<Plain>);

impl Established {
    pub(super) fn new(certificates: &Path, server: SocketAddr) -> Result<Self, BenchError> {
        let config = secured::client(certificates)?;
        let one = || Plain::new("established", &config, server);
        let all: Result<_, _> = std::iter::repeat_with(one).take(CONCURRENCY).collect();
        Ok(Self(all?))
    }

    /// The 99th percentile of the time of requests while this goes on, in seconds.
    pub(super) async fn during(
        &self,
        goes_on: impl Future<Output = Result<(), BenchError>>,
    ) -> Result<f64, BenchError> {
        let done = Arc::new(AtomicBool::new(false));
        let mut workers = JoinSet::new();
        let now = tokio::time::Instant::now();
        for (at, client) in (0..).zip(&self.0) {
            let (mut client, done) = (client.clone(), Arc::clone(&done));
            // One after another, not all at once.
            let first = now + EVERY * at / CONCURRENCY as u32;
            workers.spawn(async move {
                let mut ticks = interval_at(first, EVERY);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                let mut times = Vec::new();
                while !done.load(Relaxed) {
                    ticks.tick().await;
                    let started = Instant::now();
                    client.exchange().await?;
                    times.push(started.elapsed());
                }
                Ok::<_, BenchError>(times)
            });
        }
        let ended = goes_on.await;
        done.store(true, Relaxed);
        let mut times = Vec::new();
        while let Some(ended) = workers.join_next().await {
            times.extend(ended.map_err(|error| BenchError::Io(error.into()))??);
        }
        times.sort_unstable();
        let slow = times.len() - times.len() / 100;
        let percentile = times.get(slow.saturating_sub(1));
        ended?;
        Ok(percentile.map_or(f64::NAN, Duration::as_secs_f64))
    }
}
