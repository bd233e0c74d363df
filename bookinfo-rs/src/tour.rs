//! The tour: Istio's traffic tasks played without a person, and judged.
//!
//! Each task applies YAML as `meshctl apply` would, waits until it is in force, sends requests from outside through
//! the ingress, and compares. With `--control` nothing is applied: then every check must fail, and must see the
//! baseline (v1, v2 and v3 about a third each, no error) instead, or the checks prove nothing.

mod ab_testing;
mod blue_green;
mod edits;
mod judge;
mod load;
mod report;
mod request_routing;
mod stage;
mod traffic_shifting;

use std::path::PathBuf;

use clap::ValueEnum;

pub use self::edits::EditError;
use self::report::Report;
pub use self::report::Row;
use self::stage::Stage;
use crate::launch::child::Died;
use crate::launch::folder::FolderError;
use crate::launch::{Demo, LaunchError};
use crate::process;

/// A task of the tour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Task {
    /// All to v1, then jason to v2.
    RequestRouting,
    /// 100, 90/10, 50/50, 0/100.
    TrafficShifting,
    /// Group B by a header.
    AbTesting,
    /// One apply over, one apply back, under load.
    BlueGreen,
}

impl Task {
    const ALL: [Self; 4] = [
        Self::RequestRouting,
        Self::TrafficShifting,
        Self::AbTesting,
        Self::BlueGreen,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::RequestRouting => "request-routing",
            Self::TrafficShifting => "traffic-shifting",
            Self::AbTesting => "ab-testing",
            Self::BlueGreen => "blue-green",
        }
    }
}

/// What to play.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where to write the results as JSON.
    pub json: Option<PathBuf>,
    /// One task alone.
    pub only: Option<Task>,
    /// Nothing is applied.
    pub control: bool,
    /// What to start.
    pub launch: crate::launch::Options,
}

/// Why a tour could not be played to its end.
#[derive(Debug, thiserror::Error)]
pub enum TourError {
    /// Bookinfo does not start.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// A rule could not be brought into force.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// A process ended.
    #[error("the tour cannot go on: {0}")]
    Died(Died),
    /// Somebody stopped it.
    #[error("the tour was stopped")]
    Stopped,
    /// jason cannot sign in.
    #[error("POST {url} does not sign in: {reason}")]
    Login {
        /// Where.
        url: String,
        /// What came instead.
        reason: String,
    },
    /// The configuration cannot be removed.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The results cannot be written.
    #[error("the results cannot be written to {}: {source}; name another file with --json", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The table cannot be printed.
    #[error("stdout is closed: {0}")]
    Stdout(#[from] std::io::Error),
}

/// Plays the tour; whether it went as it should.
///
/// # Errors
/// When it could not be played to its end.
pub async fn run(options: &Options) -> Result<bool, TourError> {
    let demo = tokio::select! {
        demo = Demo::start(&options.launch) => demo?,
        () = process::signal() => return Err(TourError::Stopped),
    };
    let mut stage = Stage::new(&demo, options.control);
    let mut report = Report::new(options.control);
    let played = tokio::select! {
        played = play(options, &mut stage, &mut report) => played,
        died = demo.died() => Err(TourError::Died(died)),
        () = process::signal() => Err(TourError::Stopped),
    };
    if played.is_err() {
        // The folder may outlive us (--control-plane): nothing of the tour's stays in it.
        stage.clear();
    }
    let delays = stage.delays();
    demo.stop().await?;
    // What was judged before it broke off is still worth reading.
    process::say(&report.table())?;
    if let Some(path) = &options.json {
        report.write(path).map_err(|source| TourError::Json {
            path: path.clone(),
            source,
        })?;
    }
    if !options.control {
        process::say(&delays)?;
    }
    played?;
    process::say(&report.summary())?;
    Ok(report.is_good())
}

async fn play(options: &Options, stage: &mut Stage, report: &mut Report) -> Result<(), TourError> {
    for task in Task::ALL
        .into_iter()
        .filter(|task| options.only.is_none_or(|only| only == *task))
    {
        process::warn(&format!("playing {}", task.name()));
        let checks = match task {
            Task::RequestRouting => request_routing::play(stage).await?,
            Task::TrafficShifting => traffic_shifting::play(stage).await?,
            Task::AbTesting => ab_testing::play(stage).await?,
            Task::BlueGreen => blue_green::play(stage).await?,
        };
        report.add(task.name(), checks);
        stage.restore().await?;
    }
    Ok(())
}
