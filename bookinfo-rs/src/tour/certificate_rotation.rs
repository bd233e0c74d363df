//! Rotation: while requests run, each workload gets one certificate after another. New connections are shown the new one,
//! and no request fails.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::TourError;
use super::judge::Check;
use super::load::{OpenLoop, Record};
use super::stage::Stage;
use super::tally::{Outcome, Tally};
use crate::launch::bootstrap::INGRESS;
use crate::outside::OutsideTls;

/// Requests a second.
const RATE: u32 = 50;
/// How often all certificates are renewed.
const RENEWALS: usize = 3;
/// How soon a workload is to show a new certificate: it looks for one each second.
const SHOWN: Duration = Duration::from_secs(5);
/// How long requests run before the first renewal and after the last one.
const AROUND: Duration = Duration::from_millis(500);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// What each workload has shown so far, by its address.
type Shown = BTreeMap<SocketAddr, Vec<Vec<u8>>>;

/// Plays it.
///
/// # Errors
/// When certificates cannot be renewed.
pub(crate) async fn play(stage: &mut Stage) -> Result<Vec<Check>, TourError> {
    let mut shown: Shown = stage.listening().map(|at| (at, Vec::new())).collect();
    look(stage, &mut shown).await;
    let load = OpenLoop::start(stage.client().clone(), stage.api(), RATE);
    sleep(AROUND).await;
    for renewed in 1..=RENEWALS {
        if stage.renew().await? {
            let until = Instant::now() + SHOWN;
            while Instant::now() < until && shown.values().any(|all| all.len() <= renewed) {
                look(stage, &mut shown).await;
                sleep(PAUSE).await;
            }
        }
    }
    sleep(AROUND).await;
    let records = load.stop().await;
    let rotated = shown.values().filter(|all| all.len() > RENEWALS).count();
    Ok(vec![
        Check::share(
            &format!("each workload shows {RENEWALS} new certificates, one after another"),
            1.0,
            shown.values().map(|all| of_workload(all)).collect(),
        ),
        Check::share(
            "and no request fails meanwhile",
            1.0,
            of_requests(&records, rotated == shown.len()),
        ),
    ])
}

fn of_workload(shown: &[Vec<u8>]) -> Outcome {
    Outcome::of(shown.len() > RENEWALS, shown.len() == 1)
}

/// They count only if certificates changed under them.
fn of_requests(records: &[Record], rotated: bool) -> Tally {
    let outcome = |record: &Record| {
        let answered = record.version.is_some();
        Outcome::of(answered && rotated, answered && !rotated)
    };
    records.iter().map(outcome).collect()
}

/// Connects to each workload as another one does; what it shows that it did not show last is added.
async fn look(stage: &Stage, shown: &mut Shown) {
    // Read each time: the certificate of who asks is renewed, too.
    let folder = stage.certificates_of(INGRESS);
    let Some(client) = folder.and_then(|folder| OutsideTls::workload(&folder).ok()) else {
        return;
    };
    for (address, known) in shown {
        let name = address.ip().to_string();
        if let Ok(certificate) = client.shown(*address, &name).await
            && known.last() != Some(&certificate)
        {
            known.push(certificate);
        }
    }
}
