//! The tour: Istio's traffic tasks played without a person, and judged.
//!
//! Each task applies YAML as `meshctl apply` would, waits until it is in force, sends requests from outside through
//! the ingress, and compares. With `--control` nothing is applied: then every check must fail, and must see the
//! baseline (v1, v2 and v3 about a third each, no error) instead, or the checks prove nothing.

mod ab_testing;
mod blue_green;
mod edits;
mod edits_in_force;
mod judge;
mod load;
mod report;
mod request_routing;
mod stage;
mod traffic_shifting;

use std::path::PathBuf;

use clap::ValueEnum;

use self::edits::Edit;
pub use self::edits::EditError;
use self::edits_in_force::Delays;
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
    /// How soon the edits of the others were in force.
    EditsInForce,
}

impl Task {
    const ALL: [Self; 5] = [
        Self::RequestRouting,
        Self::TrafficShifting,
        Self::AbTesting,
        Self::BlueGreen,
        // Last: it judges what the others measured.
        Self::EditsInForce,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::RequestRouting => "request-routing",
            Self::TrafficShifting => "traffic-shifting",
            Self::AbTesting => "ab-testing",
            Self::BlueGreen => "blue-green",
            Self::EditsInForce => "edits-in-force",
        }
    }

    /// What it applies.
    fn edits(self) -> Vec<&'static Edit> {
        use self::edits::{AB, ALL_V1, BLUE, GREEN, TEST_V2, V1, V1_50_V3_50, V1_90_V3_10, V3};
        match self {
            Self::RequestRouting => vec![&ALL_V1, &TEST_V2],
            Self::TrafficShifting => vec![&V1, &V1_90_V3_10, &V1_50_V3_50, &V3],
            Self::AbTesting => vec![&AB],
            Self::BlueGreen | Self::EditsInForce => vec![&BLUE, &GREEN],
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
    /// A task that proves nothing here.
    #[error(
        "edits-in-force is judged with our own control plane alone and applies its rules; leave out --control and --control-plane, or --only"
    )]
    NotJudged,
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
    let tasks = options.tasks()?;
    let demo = tokio::select! {
        demo = Demo::start(&options.launch) => demo?,
        () = process::signal() => return Err(TourError::Stopped),
    };
    let named = options.launch.config.as_deref();
    let named = named.unwrap_or_else(|| demo.folder().path());
    let mut stage = match Stage::new(&demo, options.control, &tasks, named) {
        Ok(stage) => stage,
        Err(error) => {
            demo.stop().await?;
            return Err(error.into());
        }
    };
    let mut report = Report::new(options.control);
    let played = tokio::select! {
        played = play(&tasks, &mut stage, &mut report) => played,
        died = demo.died() => Err(TourError::Died(died)),
        () = process::signal() => Err(TourError::Stopped),
    };
    // The folder may outlive us (--control-plane): this takes the tour's file out of it, too.
    demo.stop().await?;
    // What was judged before it broke off is still worth reading.
    process::say(&report.table())?;
    if let Some(path) = &options.json {
        report.write(path).map_err(|source| TourError::Json {
            path: path.clone(),
            source,
        })?;
    }
    if !stage.delays().is_empty() {
        let delays = Delays::new(stage.delays());
        process::say(&format!("an edit was in force in a service after {delays}"))?;
    }
    played?;
    process::say(&report.summary())?;
    Ok(report.is_good())
}

impl Options {
    /// What is played. How soon edits are in force is judged only where there are edits, by our own control plane.
    fn tasks(&self) -> Result<Vec<Task>, TourError> {
        let judged = !self.control && self.launch.control_plane.is_none();
        if self.only == Some(Task::EditsInForce) && !judged {
            return Err(TourError::NotJudged);
        }
        Ok(Task::ALL
            .into_iter()
            .filter(|task| self.only.is_none_or(|only| only == *task))
            .filter(|task| judged || *task != Task::EditsInForce)
            .collect())
    }
}

async fn play(tasks: &[Task], stage: &mut Stage, report: &mut Report) -> Result<(), TourError> {
    for task in tasks {
        process::warn(&format!("playing {}", task.name()));
        let checks = match task {
            Task::RequestRouting => request_routing::play(stage).await?,
            Task::TrafficShifting => traffic_shifting::play(stage).await?,
            Task::AbTesting => ab_testing::play(stage).await?,
            Task::BlueGreen => blue_green::play(stage).await?,
            Task::EditsInForce => {
                let measured = edits_in_force::play(stage).await?;
                report.add_measured(task.name(), measured);
                Vec::new()
            }
        };
        report.add(task.name(), checks);
        stage.restore().await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_soon_edits_are_in_force_is_judged_with_our_own_control_plane_alone() {
        let mut options = Options::default();
        assert_eq!(options.tasks().unwrap(), Task::ALL);
        options.launch.control_plane = Some("127.0.0.1:1".to_owned());
        assert_eq!(options.tasks().unwrap(), Task::ALL[..4]);
        options.only = Some(Task::EditsInForce);
        assert!(options.tasks().is_err());
        options.launch.control_plane = None;
        assert_eq!(options.tasks().unwrap(), [Task::EditsInForce]);
        options.control = true;
        assert!(options.tasks().is_err());
    }
}
