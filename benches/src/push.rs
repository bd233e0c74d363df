//! Row `push`: what requests feel of a control plane that sends 50 MB, again and again.
//!
//! Requests, their server and their client's worker share one core, as in the other rows; the mesh's own thread, which
//! reads and takes the configuration, and the control plane have the others. Were any of that work done by request
//! workers, or behind a lock that requests take, the slowest requests would wait for it.

mod plane;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use http::uri::InvalidUri;
use http::{Request, Uri};
use mesh_tower::{Body, Mesh, MeshClient, Node};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use tokio::task::JoinSet;

use self::plane::Plane;
pub(crate) use self::plane::serve;
use crate::compare::Settings;
use crate::error::BenchError;
use crate::machine;
use crate::paired::{CONCURRENCY, runtime, spin};
use crate::report::{Promise, Row};
use crate::server::Server;
use crate::stats::{Estimate, median};

/// What the row promises.
pub(crate) const PROMISE: Promise = Promise {
    name: "push 50 MB",
    text: "99.9th percentile of the time of a request (HTTP/1.1, 16 at a time) while the control plane sends all of \
           10,000 clusters, 50 MB, over and over, over the same while it is silent, in turns",
    must: 1.5,
    reach: 1.1,
};

/// Of these, twenty are slower than the percentile.
const REQUESTS_PER_BLOCK: usize = 20_000;
/// Rounds of the other rows for one of this: its blocks are longer.
const ROUNDS_PER_ROUND: u32 = 5;
/// Where the silent block's ratio to another silent one must lie.
const SAME: std::ops::RangeInclusive<f64> = 0.8..=1.25;
/// For the first configuration.
const START: Duration = Duration::from_secs(60);
/// The control: so many requests of a block with pushes wait once, and for so long.
const STALLED: usize = 100;
const STALL: Duration = Duration::from_millis(2);

const SILENT: usize = 0;
const AGAIN: usize = 1;
const PUSHED: usize = 2;
const NAMES: [&str; 3] = ["silent", "silent again", "pushed"];

/// 99.9th percentiles of one round, in microseconds.
type Round = [f64; 3];

/// Runs the row.
pub(crate) fn run(settings: &Settings, out: &mut impl Write) -> Result<Row, BenchError> {
    runtime()?.block_on(async {
        let server = Server::start().await?;
        let row = match Bench::start(&server, settings).await {
            Ok(mut bench) => bench.row(settings, out).await,
            Err(error @ BenchError::Machine(_)) => {
                writeln!(out, "  NOT RUN: {error}")?;
                Ok(Row::not_run(&PROMISE))
            }
            Err(error) => Err(error),
        };
        server.stop().await?;
        row
    })
}

struct Bench {
    plane: Plane,
    load: Load,
    /// Those that were taken.
    pushes: usize,
}

/// The requests.
struct Load {
    client: MeshClient,
    uri: Uri,
}

impl Bench {
    async fn start(server: &Server, settings: &Settings) -> Result<Self, BenchError> {
        let failed = |error: String| BenchError::Mesh(error);
        // Threads and processes that start while this lives have the other cores.
        let elsewhere = machine::elsewhere()?;
        let plane = Plane::start(server.address).await?;
        let mesh = Mesh::builder()
            .xds(plane.address().to_string())
            .node(Node::sidecar("bench", "default"))
            .declare(plane::PORT)
            .seed(settings.seed)
            .build()
            .map_err(|error| failed(error.to_string()))?;
        drop(elsewhere);
        mesh.ready(START)
            .await
            .map_err(|error| failed(error.to_string()))?;
        let uri = format!("http://{}:{}/", plane::CALLED, plane::PORT);
        let uri = uri
            .parse()
            .map_err(|error: InvalidUri| failed(error.to_string()))?;
        let client = mesh.client();
        Ok(Self {
            plane,
            load: Load { client, uri },
            pushes: 0,
        })
    }

    async fn row(&mut self, settings: &Settings, out: &mut impl Write) -> Result<Row, BenchError> {
        let stall = match settings.spin.is_zero() {
            true => Duration::ZERO,
            false => STALL,
        };
        let mut order = [SILENT, AGAIN, PUSHED];
        for arm in order {
            self.arm(arm, Duration::ZERO).await?;
        }
        self.pushes = 0;
        let mut rng = StdRng::seed_from_u64(settings.seed);
        let mut rounds: Vec<Round> = Vec::new();
        for _ in 0..(settings.rounds / ROUNDS_PER_ROUND).max(5) {
            order.shuffle(&mut rng);
            let mut round = Round::default();
            for arm in order {
                round[arm] = self.arm(arm, stall).await?;
            }
            rounds.push(round);
        }
        self.judge(&rounds, settings.seed, out)
    }

    fn judge(&self, rounds: &[Round], seed: u64, out: &mut impl Write) -> Result<Row, BenchError> {
        for (arm, name) in NAMES.iter().enumerate() {
            let mut each: Vec<f64> = rounds.iter().map(|round| round[arm]).collect();
            writeln!(out, "  {name:<12} p99.9 {:8.1} us", median(&mut each))?;
        }
        writeln!(out, "  {} pushes of 50 MB were taken", self.pushes)?;
        let ratio = |arm: usize| {
            let ratios: Vec<f64> = rounds.iter().map(|r| r[arm] / r[SILENT]).collect();
            Estimate::of(&ratios, seed)
        };
        if !SAME.contains(&ratio(AGAIN).median) {
            writeln!(
                out,
                "  NOT RUN: silence differs from silence; the machine is too busy"
            )?;
            return Ok(Row::not_run(&PROMISE));
        }
        Ok(Row::measured(&PROMISE, ratio(PUSHED)))
    }

    /// One block, and its 99.9th percentile in microseconds.
    async fn arm(&mut self, arm: usize, stall: Duration) -> Result<f64, BenchError> {
        if arm != PUSHED {
            return self.load.block(Duration::ZERO).await;
        }
        let done = AtomicBool::new(false);
        let requests = async {
            let measured = self.load.block(stall).await;
            done.store(true, Relaxed);
            measured
        };
        let (measured, taken) = tokio::join!(requests, self.plane.push_until(&done));
        self.pushes += taken?;
        measured
    }
}

impl Load {
    /// A closed loop of many workers, and the 99.9th percentile of their requests in microseconds.
    async fn block(&self, stall: Duration) -> Result<f64, BenchError> {
        let left = Arc::new(AtomicUsize::new(REQUESTS_PER_BLOCK));
        let mut workers = JoinSet::new();
        for _ in 0..CONCURRENCY {
            let (client, uri, left) = (self.client.clone(), self.uri.clone(), Arc::clone(&left));
            workers.spawn(async move {
                let mut times = Vec::with_capacity(REQUESTS_PER_BLOCK / CONCURRENCY * 2);
                while let Ok(at) = left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)) {
                    let started = Instant::now();
                    if at % STALLED == 0 {
                        spin(stall);
                    }
                    exchange(&client, &uri).await?;
                    times.push(started.elapsed());
                }
                Ok::<_, BenchError>(times)
            });
        }
        let mut times = Vec::with_capacity(REQUESTS_PER_BLOCK);
        while let Some(ended) = workers.join_next().await {
            times.extend(ended.map_err(|error| BenchError::Io(error.into()))??);
        }
        times.sort_unstable();
        Ok(times[times.len() - 1 - times.len() / 1_000].as_secs_f64() * 1e6)
    }
}

async fn exchange(client: &MeshClient, uri: &Uri) -> Result<(), BenchError> {
    let failed = |reason: String| BenchError::Request {
        arm: "pushed",
        reason,
    };
    let request = Request::get(uri.clone())
        .body(Body::empty())
        .map_err(|error| failed(error.to_string()))?;
    let response = client
        .send(request)
        .await
        .map_err(|error| failed(error.to_string()))?;
    let status = response.status();
    let body = response.into_body().bytes().await;
    body.map_err(|error| failed(error.to_string()))?;
    match status.is_success() {
        true => Ok(()),
        false => Err(failed(format!("status {status}"))),
    }
}
