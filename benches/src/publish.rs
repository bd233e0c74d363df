//! Row `publish`: what a change of one cluster's endpoints costs among many clusters, against few.
//!
//! From the EDS response in the ADS machine's hands, through decoding and assembly, to the swap of
//! the pointer that requests read. The data plane's own last step (pools and counters carried over)
//! is private to it; [`handover`] does the same table surgery in its place. After each change the
//! answer to the control plane is built, outside of the time that counts: as on a real stream, the
//! next change then finds the caches as cold as that leaves them.

mod handover;
mod world;

use std::io::Write;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use self::world::{Spent, World};
use crate::compare::Settings;
use crate::error::BenchError;
use crate::report::{Promise, Row};
use crate::stats::{Estimate, median};

/// What the row promises.
pub(crate) const PROMISE: Promise = Promise {
    name: "publish",
    text: "time from an EDS change of one cluster to the snapshot that requests see, among 10,000 clusters over \
           among 100; ADS machine and assembly are the shipped ones, the last step (swap of the tables) is a \
           stand-in for the data plane's private one, without its pools",
    must: 3.0,
    reach: 1.5,
};

const FEW: usize = 100;
const MANY: usize = 10_000;
/// Changes of each world in a round; their median counts.
const CHANGES: usize = 10;

/// Runs the row.
pub(crate) fn run(settings: &Settings, out: &mut impl Write) -> Result<Row, BenchError> {
    let mut worlds = [World::build(FEW)?, World::build(MANY)?];
    let mut rng = StdRng::seed_from_u64(settings.seed);
    let mut order = [0, 1];
    let mut rounds: Vec<[Spent; 2]> = Vec::new();
    // One round more than asked for: the first warms up.
    for _ in 0..=settings.rounds {
        order.shuffle(&mut rng);
        let mut round = [Spent::default(); 2];
        for at in order {
            round[at] = typical(&mut worlds[at], &mut rng)?;
        }
        rounds.push(round);
    }
    rounds.remove(0);
    let ratios: Vec<f64> = rounds
        .iter()
        .map(|[few, many]| many.publish.as_secs_f64() / few.publish.as_secs_f64())
        .collect();
    for (at, clusters) in [(0, FEW), (1, MANY)] {
        let micros = |part: fn(&Spent) -> Duration| {
            let mut each: Vec<f64> = rounds
                .iter()
                .map(|round| part(&round[at]).as_secs_f64() * 1e6)
                .collect();
            median(&mut each)
        };
        let (publish, answer) = (micros(|spent| spent.publish), micros(|spent| spent.answer));
        writeln!(
            out,
            "  {clusters:>6} clusters: {publish:8.2} us to publish, then {answer:8.2} us to build the ACK"
        )?;
    }
    let estimate = Estimate::of(&ratios, settings.seed);
    Ok(Row::measured(&PROMISE, estimate))
}

/// Makes changes and measures nothing: something to point a profiler at.
pub(crate) fn drive(clusters: usize, changes: usize) -> Result<(), BenchError> {
    let mut world = World::build(clusters)?;
    for at in 0..changes {
        world.change(at % world.clusters())?;
    }
    Ok(())
}

/// The medians of some changes of clusters drawn at random.
fn typical(world: &mut World, rng: &mut StdRng) -> Result<Spent, BenchError> {
    let mut spent = Vec::new();
    for _ in 0..CHANGES {
        let cluster = rng.random_range(0..world.clusters());
        spent.push(world.change(cluster)?);
    }
    let middle = |part: fn(&Spent) -> Duration| {
        let mut each: Vec<f64> = spent.iter().map(|s| part(s).as_secs_f64()).collect();
        Duration::from_secs_f64(median(&mut each))
    };
    Ok(Spent {
        publish: middle(|spent| spent.publish),
        answer: middle(|spent| spent.answer),
    })
}
