//! The tour: Istio's traffic tasks played without a person, and judged.
//!
//! Each task applies YAML as `meshctl apply` would, waits until it is in force, sends requests from outside through
//! the ingress, and compares. With `--control` nothing is applied: then every check must fail, and must see the
//! baseline (v1, v2 and v3 about a third each, no error; or no effect on any request) instead, or the checks prove
//! nothing.

mod ab_testing;
mod authorization;
mod blue_green;
mod certificate_rotation;
mod edits;
mod edits_in_force;
mod egress;
mod egress_gateway;
mod fault_injection;
mod grpc_ratings;
mod inside;
mod judge;
mod jwt_at_ingress;
mod load;
mod mirroring;
mod mutual_tls;
mod page;
mod report;
mod request_routing;
mod request_timeouts;
mod shop;
mod sign_in;
mod stage;
mod tally;
mod tls_ingress;
mod traffic_shifting;

use std::path::PathBuf;

use clap::ValueEnum;

use self::edits::Edit;
pub use self::edits::EditError;
use self::edits_in_force::Delays;
use self::report::Report;
pub use self::report::Row;
use self::stage::Stage;
use crate::launch::certificates::CertificatesError;
use crate::launch::child::Died;
use crate::launch::folder::FolderError;
use crate::launch::{Demo, LaunchError, Wanted};
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
    /// Reviews have half a second.
    RequestTimeouts,
    /// Stars come late.
    FaultDelay,
    /// Stars do not come.
    FaultAbort,
    /// A prefix of the path is another one further in.
    Rewrite,
    /// The client is sent elsewhere.
    Redirect,
    /// No service is asked.
    DirectResponse,
    /// Another version gets copies.
    Mirroring,
    /// Hosts outside of the mesh.
    Egress,
    /// A rule for a gRPC method.
    GrpcRatings,
    /// PERMISSIVE, then STRICT.
    MutualTls,
    /// From nobody to who needs it.
    Authorization,
    /// A path and a namespace are denied.
    Denial,
    /// Who has no token does not get in.
    JwtAtIngress,
    /// HTTPS for the ingress, and whoever comes by HTTP is sent there.
    TlsIngress,
    /// A way out through a gateway.
    EgressGateway,
    /// New certificates under load.
    CertificateRotation,
    /// How soon the edits of the others were in force.
    EditsInForce,
}

impl Task {
    const ALL: [Self; 21] = [
        Self::RequestRouting,
        Self::TrafficShifting,
        Self::AbTesting,
        Self::BlueGreen,
        Self::RequestTimeouts,
        Self::FaultDelay,
        Self::FaultAbort,
        Self::Rewrite,
        Self::Redirect,
        Self::DirectResponse,
        Self::Mirroring,
        Self::Egress,
        Self::GrpcRatings,
        Self::MutualTls,
        Self::Authorization,
        Self::Denial,
        Self::JwtAtIngress,
        Self::TlsIngress,
        Self::EgressGateway,
        Self::CertificateRotation,
        // Last: it judges what the others measured.
        Self::EditsInForce,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::RequestRouting => "request-routing",
            Self::TrafficShifting => "traffic-shifting",
            Self::AbTesting => "ab-testing",
            Self::BlueGreen => "blue-green",
            Self::RequestTimeouts => "request-timeouts",
            Self::FaultDelay => "fault-delay",
            Self::FaultAbort => "fault-abort",
            Self::Rewrite => "rewrite",
            Self::Redirect => "redirect",
            Self::DirectResponse => "direct-response",
            Self::Mirroring => "mirroring",
            Self::Egress => "egress",
            Self::GrpcRatings => "grpc-ratings",
            Self::MutualTls => "mutual-tls",
            Self::Authorization => "authorization",
            Self::Denial => "denial",
            Self::JwtAtIngress => "jwt-at-ingress",
            Self::TlsIngress => "tls-ingress",
            Self::EgressGateway => "egress-gateway",
            Self::CertificateRotation => "certificate-rotation",
            Self::EditsInForce => "edits-in-force",
        }
    }

    /// What it applies.
    fn edits(self) -> Vec<&'static Edit> {
        use self::edits::{
            AB, ABORT_30, ALL_V1, BLUE, BOOKS, CLOSED, DELAY_2S, DELAY_50, DENY_ALL,
            DENY_NAMESPACE, DENY_PATH, GREEN, GRPC_ABORT, HTTPS, MIRROR, REDIRECT, REGISTRY_ONLY,
            REWRITE, STRICT, STRICT_RATINGS, TEST_ABORT, TEST_DELAY, TEST_V2, TIMEOUT, TOKENS, V1,
            V1_50_V3_50, V1_90_V3_10, V2, V3, VIEW_PAGE, VIEW_RATINGS, VIEW_REVIEWS, WAY_OUT,
        };
        match self {
            Self::RequestRouting => vec![&ALL_V1, &TEST_V2],
            Self::TrafficShifting => vec![&V1, &V1_90_V3_10, &V1_50_V3_50, &V3],
            Self::AbTesting => vec![&AB],
            Self::BlueGreen | Self::EditsInForce => vec![&BLUE, &GREEN],
            Self::RequestTimeouts => vec![&V2, &DELAY_2S, &TIMEOUT],
            Self::FaultDelay => vec![&TEST_V2, &TEST_DELAY, &DELAY_50],
            Self::FaultAbort => vec![&TEST_V2, &TEST_ABORT, &ABORT_30],
            Self::Rewrite => vec![&REWRITE],
            Self::Redirect => vec![&REDIRECT],
            Self::DirectResponse => vec![&CLOSED],
            Self::Mirroring => vec![&MIRROR],
            Self::Egress => vec![&REGISTRY_ONLY, &BOOKS],
            Self::GrpcRatings => vec![&V3, &GRPC_ABORT, &V2],
            Self::MutualTls => vec![&STRICT_RATINGS, &STRICT],
            Self::Authorization => vec![
                &ALL_V1,
                &V2,
                &DENY_ALL,
                &VIEW_PAGE,
                &VIEW_REVIEWS,
                &VIEW_RATINGS,
            ],
            Self::Denial => vec![&DENY_PATH, &V2, &DENY_NAMESPACE],
            Self::JwtAtIngress => vec![&TOKENS],
            Self::TlsIngress => vec![&HTTPS],
            Self::EgressGateway => vec![&BOOKS, &WAY_OUT],
            Self::CertificateRotation => Vec::new(),
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
    /// The tour's own client in the mesh.
    #[error(transparent)]
    Inside(#[from] mesh_tower::StartError),
    /// A token.
    #[error("a token cannot be made: {0}")]
    Token(String),
    /// Certificates for gateways.
    #[error("certificates for the ingress cannot be made: {0}")]
    Files(String),
    /// Certificates are not renewed.
    #[error(transparent)]
    Certificates(#[from] CertificatesError),
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
    let launch = crate::launch::Options {
        grpc_ratings: options.launch.grpc_ratings || tasks.contains(&Task::GrpcRatings),
        gateways: Wanted {
            https: tasks.contains(&Task::TlsIngress),
            egress: tasks.contains(&Task::EgressGateway),
        },
        ..options.launch.clone()
    };
    let demo = tokio::select! {
        demo = Demo::start(&launch) => demo?,
        () = process::signal() => return Err(TourError::Stopped),
    };
    let named = options.launch.config.as_deref();
    let named = named.unwrap_or_else(|| demo.folder().path());
    let mut stage = match Stage::new(&demo, options.control, &tasks, named) {
        Ok(stage) => stage,
        Err(error) => {
            demo.stop().await?;
            return Err(error);
        }
    };
    let mut report = Report::new(options.control);
    let played = tokio::select! {
        played = play(&tasks, &mut stage, &mut report) => played,
        died = demo.died() => Err(TourError::Died(died)),
        () = process::signal() => Err(TourError::Stopped),
    };
    let delays = stage.delays().to_vec();
    // Its client in the mesh goes before the control plane does.
    drop(stage);
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
    if !delays.is_empty() {
        let delays = Delays::new(&delays);
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
            Task::RequestTimeouts => request_timeouts::play(stage).await?,
            Task::FaultDelay => fault_injection::play_delay(stage).await?,
            Task::FaultAbort => fault_injection::play_abort(stage).await?,
            Task::Rewrite => shop::play_rewrite(stage).await?,
            Task::Redirect => shop::play_redirect(stage).await?,
            Task::DirectResponse => shop::play_direct_response(stage).await?,
            Task::Mirroring => mirroring::play(stage).await?,
            Task::Egress => egress::play(stage).await?,
            Task::GrpcRatings => grpc_ratings::play(stage).await?,
            Task::MutualTls => mutual_tls::play(stage).await?,
            Task::Authorization => authorization::play(stage).await?,
            Task::Denial => authorization::play_denials(stage).await?,
            Task::JwtAtIngress => jwt_at_ingress::play(stage).await?,
            Task::TlsIngress => tls_ingress::play(stage).await?,
            Task::EgressGateway => egress_gateway::play(stage).await?,
            Task::CertificateRotation => certificate_rotation::play(stage).await?,
            Task::EditsInForce => edits_in_force::play(stage).await?,
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
        assert_eq!(options.tasks().unwrap(), Task::ALL[..Task::ALL.len() - 1]);
        options.only = Some(Task::EditsInForce);
        assert!(options.tasks().is_err());
        options.launch.control_plane = None;
        assert_eq!(options.tasks().unwrap(), [Task::EditsInForce]);
        options.control = true;
        assert!(options.tasks().is_err());
    }
}
