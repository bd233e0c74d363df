//! Rows that send requests: what one costs through the mesh, against what the mesh replaces.
//!
//! Blocks of requests, the arms in a new order each round; the ratio is that of two blocks of one
//! round, so that what slows the machine for longer than a round slows both. The plain arm runs
//! twice under two names: if those two differ, the run says nothing. Arms beyond our own are there for
//! the record: printed, never judged.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use tokio::task::JoinSet;

use crate::compare::Settings;
use crate::error::BenchError;
use crate::machine::CpuClock;
use crate::report::{Promise, Row};
use crate::server::Server;
use crate::stats::{Estimate, median};

/// What the mesh replaces.
pub(crate) const PLAIN: usize = 0;
/// The same once more.
const AGAIN: usize = 1;
/// Our own arm: what is judged.
pub(crate) const OURS: usize = 2;

pub(crate) const CONCURRENCY: usize = 16;
/// Blocks before the first round: connections open, caches fill.
const WARM_UP_BLOCKS: usize = 4;
/// Where the ratio of the plain arm to itself must lie.
const SAME: std::ops::RangeInclusive<f64> = 0.98..=1.02;
/// How often a run that compares nothing is made again.
const REPEATS: usize = 2;

/// A way to make one exchange of a row.
pub(crate) trait Client: Clone + Send + Sync + 'static {
    /// Sends the request and reads the response to its end.
    fn exchange(&mut self) -> impl Future<Output = Result<(), BenchError>> + Send;
}

/// The clients of a row, by number: [`PLAIN`], the same again, [`OURS`], then those for the record.
pub(crate) trait Arms {
    /// What each is called.
    fn names(&self) -> &[&'static str];

    /// Makes one arm's exchanges.
    fn block(&self, arm: usize, requests: usize) -> impl Future<Output = Result<(), BenchError>>;
}

/// The arms of a row and the server behind all of them.
pub(crate) struct Paired<A> {
    promise: &'static Promise,
    requests_per_block: usize,
    clocks: [CpuClock; 2],
    server: Server,
    arms: A,
}

/// CPU of one block: of the client's process and of the server's.
type Cpu = [Duration; 2];

/// The blocks of one round, by arm.
type Round = Vec<Cpu>;

impl<A: Arms> Paired<A> {
    pub(crate) fn new(
        promise: &'static Promise,
        requests_per_block: usize,
        server: Server,
        arms: A,
    ) -> Result<Self, BenchError> {
        let clocks = [CpuClock::of(None)?, CpuClock::of(Some(server.pid))?];
        Ok(Self {
            promise,
            requests_per_block,
            clocks,
            server,
            arms,
        })
    }

    async fn row(&self, settings: &Settings, out: &mut impl Write) -> Result<Row, BenchError> {
        for arm in 0..self.arms.names().len() {
            for _ in 0..WARM_UP_BLOCKS {
                self.arms.block(arm, self.requests_per_block).await?;
            }
        }
        for attempt in 0..=REPEATS {
            let seed = settings.seed.wrapping_add(attempt as u64);
            let rounds = self.rounds(settings.rounds, seed).await?;
            self.tell(&rounds, seed, out)?;
            if SAME.contains(&estimate(&rounds, AGAIN, seed).median) {
                return Ok(Row::measured(self.promise, estimate(&rounds, OURS, seed)));
            }
            writeln!(
                out,
                "  void: the plain client differs from itself; the machine is too busy"
            )?;
        }
        writeln!(out, "  NOT RUN: void {} times", REPEATS + 1)?;
        Ok(Row::not_run(self.promise))
    }

    async fn rounds(&self, rounds: u32, seed: u64) -> Result<Vec<Round>, BenchError> {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut order: Vec<usize> = (0..self.arms.names().len()).collect();
        let mut all = Vec::new();
        for _ in 0..rounds {
            order.shuffle(&mut rng);
            let mut round = vec![Cpu::default(); order.len()];
            for &arm in &order {
                let before = self.cpu()?;
                self.arms.block(arm, self.requests_per_block).await?;
                let after = self.cpu()?;
                round[arm] = [0, 1].map(|of| after[of].saturating_sub(before[of]));
            }
            all.push(round);
        }
        Ok(all)
    }

    fn cpu(&self) -> Result<Cpu, BenchError> {
        Ok([self.clocks[0].now()?, self.clocks[1].now()?])
    }

    /// Microseconds per request, and the ratios.
    fn tell(&self, rounds: &[Round], seed: u64, out: &mut impl Write) -> Result<(), BenchError> {
        let micros = |arm: usize, of: usize| {
            let mut each: Vec<f64> = rounds
                .iter()
                .map(|round| round[arm][of].as_secs_f64() * 1e6 / self.requests_per_block as f64)
                .collect();
            median(&mut each)
        };
        let names = self.arms.names();
        let width = names.iter().map(|name| name.len()).max().unwrap_or(0);
        for (arm, name) in names.iter().enumerate() {
            let (client, server) = (micros(arm, 0), micros(arm, 1));
            write!(
                out,
                "  {name:<width$} {client:6.2} us client + {server:6.2} us server"
            )?;
            if arm == PLAIN {
                writeln!(out)?;
                continue;
            }
            let Estimate { median, low, high } = estimate(rounds, arm, seed);
            let judged = if arm > OURS { ", not judged" } else { "" };
            writeln!(out, "   ratio {median:.3} [{low:.3}, {high:.3}]{judged}")?;
        }
        Ok(())
    }
}

/// Starts a row, measures it and stops its server.
pub(crate) fn run<A: Arms>(
    starting: impl Future<Output = Result<Paired<A>, BenchError>>,
    settings: &Settings,
    out: &mut impl Write,
) -> Result<Row, BenchError> {
    runtime()?.block_on(async {
        let bench = starting.await?;
        let row = bench.row(settings, out).await;
        bench.server.stop().await?;
        row
    })
}

/// Starts a row, makes the exchanges of one arm and measures nothing: something to point a profiler at.
pub(crate) fn drive<A: Arms>(
    starting: impl Future<Output = Result<Paired<A>, BenchError>>,
    ours: bool,
    requests: usize,
) -> Result<(), BenchError> {
    let arm = if ours { OURS } else { PLAIN };
    runtime()?.block_on(async {
        let bench = starting.await?;
        bench.arms.block(arm, requests).await?;
        bench.server.stop().await
    })
}

/// A runtime of one thread: the rows are about one core.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, BenchError> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?)
}

/// A busy wait: the control of the rows.
pub(crate) fn spin(time: Duration) {
    if time.is_zero() {
        return;
    }
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// A closed loop: each worker sends its next request when it has the whole response to its last.
pub(crate) async fn block<C: Client>(client: &C, requests: usize) -> Result<(), BenchError> {
    let left = Arc::new(AtomicUsize::new(requests));
    let mut workers = JoinSet::new();
    for _ in 0..CONCURRENCY {
        let (mut client, left) = (client.clone(), Arc::clone(&left));
        workers.spawn(async move {
            let take = |left: usize| left.checked_sub(1);
            while left.fetch_update(Relaxed, Relaxed, take).is_ok() {
                client.exchange().await?;
            }
            Ok::<(), BenchError>(())
        });
    }
    while let Some(ended) = workers.join_next().await {
        ended.map_err(|error| BenchError::Io(error.into()))??;
    }
    // What the last responses leave to do (connections that go back to a pool) belongs to this block.
    for _ in 0..4 {
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// CPU of an arm over that of the plain one, round by round.
fn estimate(rounds: &[Round], arm: usize, seed: u64) -> Estimate {
    let total = |cpu: Cpu| (cpu[0] + cpu[1]).as_secs_f64();
    let ratios: Vec<f64> = rounds
        .iter()
        .map(|round| total(round[arm]) / total(round[PLAIN]))
        .collect();
    Estimate::of(&ratios, seed)
}
