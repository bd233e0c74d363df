//! Row `http1 c=16`: what a request costs through the mesh, against hyper-util's own client.
//!
//! Blocks of requests, the arms in a new order each round; the ratio is that of two blocks of one
//! round, so that what slows the machine for longer than a round slows both. The plain arm runs
//! twice under two names: if those two differ, the run says nothing.

mod client;
mod folder;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use mesh_tower::{Mesh, Node};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use tokio::task::JoinSet;

use self::client::{Ours, Plain};
use crate::compare::Settings;
use crate::error::BenchError;
use crate::machine::CpuClock;
use crate::report::{Promise, Row};
use crate::server::Server;
use crate::stats::{Estimate, median};

/// What the row promises.
pub(crate) const PROMISE: Promise = Promise {
    name: "http1 c=16",
    text: "CPU of client and server per request through MeshClient (1,000 virtual hosts; the called one has \
           1,000 routes, of which the last one matches and splits 90/10) over the same through hyper-util's \
           legacy client; HTTP/1.1, 128 bytes there and back, 16 at a time",
    must: 1.00,
    reach: 0.92,
};

const CONCURRENCY: usize = 16;
/// About 25 ms on one core of 2024.
const REQUESTS_PER_BLOCK: usize = 1_200;
/// Blocks before the first round: connections open, caches fill.
const WARM_UP_BLOCKS: usize = 4;
/// Where the ratio of the plain arm to itself must lie.
const SAME: std::ops::RangeInclusive<f64> = 0.98..=1.02;
/// How often a run that compares nothing is made again.
const REPEATS: usize = 2;

/// A way to make one exchange of the row.
pub(crate) trait Client: Clone + Send + Sync + 'static {
    /// Sends the request and reads the response to its end.
    fn exchange(&self) -> impl Future<Output = Result<(), BenchError>> + Send;
}

/// Runs the row.
pub(crate) fn run(settings: &Settings, out: &mut impl Write) -> Result<Row, BenchError> {
    runtime()?.block_on(async {
        let bench = Bench::start(settings).await?;
        let row = bench.measure(settings, out).await;
        bench.server.stop().await?;
        row
    })
}

/// Sends requests through one arm and measures nothing: something to point a profiler at.
pub(crate) fn drive(ours: bool, requests: usize) -> Result<(), BenchError> {
    let settings = Settings {
        rounds: 0,
        seed: 42,
        spin: Duration::ZERO,
    };
    runtime()?.block_on(async {
        let bench = Bench::start(&settings).await?;
        let arm = if ours { Arm::Ours } else { Arm::Plain };
        bench.block(arm, requests).await?;
        bench.server.stop().await
    })
}

fn runtime() -> Result<tokio::runtime::Runtime, BenchError> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?)
}

#[derive(Debug, Clone, Copy)]
enum Arm {
    Plain,
    Again,
    Ours,
}

const ARMS: [Arm; 3] = [Arm::Plain, Arm::Again, Arm::Ours];

/// The arms and the server behind all of them.
struct Bench {
    server: Server,
    clocks: [CpuClock; 2],
    plain: Plain,
    again: Plain,
    ours: Ours,
    /// The folder is followed for as long as the mesh lives.
    _folder: tempfile::TempDir,
}

/// CPU of one block: of the client's process and of the server's.
type Cpu = [Duration; 2];

impl Bench {
    async fn start(settings: &Settings) -> Result<Self, BenchError> {
        let server = Server::start().await?;
        let folder = tempfile::tempdir()?;
        folder::write(folder.path(), server.address)?;
        let node = Node::sidecar("bench", folder::NAMESPACE);
        folder::check(folder.path(), &node)?;
        let mesh = Mesh::builder()
            .yaml(folder.path())
            .node(node)
            .declare(folder::PORT)
            .seed(settings.seed)
            .build()
            .map_err(|error| BenchError::Mesh(error.to_string()))?;
        mesh.ready(Duration::from_secs(60))
            .await
            .map_err(|error| BenchError::Mesh(error.to_string()))?;
        let ours = Ours::new(&mesh, settings.spin)?;
        ours.check().await?;
        Ok(Self {
            clocks: [CpuClock::of(None)?, CpuClock::of(Some(server.pid))?],
            plain: Plain::new("plain", server.address)?,
            again: Plain::new("plain again", server.address)?,
            ours,
            server,
            _folder: folder,
        })
    }

    async fn measure(&self, settings: &Settings, out: &mut impl Write) -> Result<Row, BenchError> {
        for arm in ARMS {
            for _ in 0..WARM_UP_BLOCKS {
                self.block(arm, REQUESTS_PER_BLOCK).await?;
            }
        }
        for attempt in 0..=REPEATS {
            let seed = settings.seed.wrapping_add(attempt as u64);
            let blocks = self.rounds(settings.rounds, seed).await?;
            let same = Estimate::of(&ratios(&blocks, Arm::Again), seed);
            let ours = Estimate::of(&ratios(&blocks, Arm::Ours), seed);
            tell(&blocks, same, ours, out)?;
            if SAME.contains(&same.median) {
                return Ok(Row::measured(&PROMISE, ours));
            }
            writeln!(
                out,
                "  void: the plain client differs from itself; the machine is too busy"
            )?;
        }
        writeln!(out, "  NOT RUN: void {} times", REPEATS + 1)?;
        Ok(Row::not_run(&PROMISE))
    }

    async fn rounds(&self, rounds: u32, seed: u64) -> Result<Vec<[Cpu; 3]>, BenchError> {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut order = ARMS;
        let mut blocks = Vec::new();
        for _ in 0..rounds {
            order.shuffle(&mut rng);
            let mut round = [Cpu::default(); 3];
            for arm in order {
                let before = self.cpu()?;
                self.block(arm, REQUESTS_PER_BLOCK).await?;
                let after = self.cpu()?;
                round[arm as usize] = [0, 1].map(|of| after[of].saturating_sub(before[of]));
            }
            blocks.push(round);
        }
        Ok(blocks)
    }

    fn cpu(&self) -> Result<Cpu, BenchError> {
        Ok([self.clocks[0].now()?, self.clocks[1].now()?])
    }

    async fn block(&self, arm: Arm, requests: usize) -> Result<(), BenchError> {
        match arm {
            Arm::Plain => block(&self.plain, requests).await,
            Arm::Again => block(&self.again, requests).await,
            Arm::Ours => block(&self.ours, requests).await,
        }
    }
}

/// A closed loop: each worker sends its next request when it has the whole response to its last.
async fn block<C: Client>(client: &C, requests: usize) -> Result<(), BenchError> {
    let left = Arc::new(AtomicUsize::new(requests));
    let mut workers = JoinSet::new();
    for _ in 0..CONCURRENCY {
        let (client, left) = (client.clone(), Arc::clone(&left));
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

fn ratios(blocks: &[[Cpu; 3]], arm: Arm) -> Vec<f64> {
    let total = |cpu: Cpu| (cpu[0] + cpu[1]).as_secs_f64();
    blocks
        .iter()
        .map(|round| total(round[arm as usize]) / total(round[Arm::Plain as usize]))
        .collect()
}

/// Microseconds per request, and the two ratios.
fn tell(
    blocks: &[[Cpu; 3]],
    same: Estimate,
    ours: Estimate,
    out: &mut impl Write,
) -> Result<(), BenchError> {
    let micros = |arm: Arm, of: usize| {
        let mut each: Vec<f64> = blocks
            .iter()
            .map(|round| round[arm as usize][of].as_secs_f64() * 1e6 / REQUESTS_PER_BLOCK as f64)
            .collect();
        median(&mut each)
    };
    for (arm, name, ratio) in [
        (Arm::Plain, "plain", None),
        (Arm::Again, "plain again", Some(same)),
        (Arm::Ours, "ours", Some(ours)),
    ] {
        let (client, server) = (micros(arm, 0), micros(arm, 1));
        write!(
            out,
            "  {name:<12} {client:6.2} us client + {server:6.2} us server"
        )?;
        match ratio {
            Some(Estimate { median, low, high }) => {
                writeln!(out, "   ratio {median:.3} [{low:.3}, {high:.3}]")?;
            }
            None => writeln!(out)?,
        }
    }
    Ok(())
}
