//! HTTPS at the ingress: the host that a client names chooses the certificate, one host wants to see its clients', HTTP is
//! sent to HTTPS, and new files are served without a restart.

use std::net::SocketAddr;
use std::time::Duration;

use http::header::{HOST, LOCATION};
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::time::{Instant, sleep};

use super::TourError;
use super::authorization::{asked, is_whole};
use super::edits::HTTPS;
use super::judge::Check;
use super::load::{CONCURRENCY, times};
use super::stage::Stage;
use super::tally::{Outcome, Tally};
use crate::outside::{OutsideTls, Secured};

mod files;

use files::Files;

/// Requests per check: each is a handshake.
const N: u32 = 40;
const PAGE: &str = "/productpage";
const BOOKINFO: &str = "bookinfo.example.com";
const LIBRARY: &str = "library.example.com";
const PARTNERS: &str = "partners.example.com";
/// How long the ingress may take to serve what is new.
const SERVED: Duration = Duration::from_secs(15);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// The ingress by HTTPS, and who calls it.
struct Scene<'a> {
    stage: &'a Stage,
    address: SocketAddr,
    files: &'a Files,
    /// Shows no certificate.
    anybody: &'a OutsideTls,
    /// Shows one of the authority.
    partner: &'a OutsideTls,
}

/// Plays it.
///
/// # Errors
/// When the rule does not come into force, or there are no certificates.
pub(crate) async fn play(stage: &mut Stage) -> Result<Vec<Check>, TourError> {
    let wrong = |error: &dyn std::fmt::Display| TourError::Files(error.to_string());
    let mut files = Files::new(stage.scratch(), &[BOOKINFO, LIBRARY, PARTNERS])
        .map_err(|error| wrong(&error))?;
    let played = stage.apply(&HTTPS).await?;
    let of = |own| OutsideTls::new(&files.root(), own);
    let (chain, key) = files.client();
    let anybody = of(None).map_err(|error| wrong(&error))?;
    let partner = of(Some((&chain, &key))).map_err(|error| wrong(&error))?;
    let callers = [anybody, partner];
    let first = Scene::new(stage, &files, &callers);
    if played {
        first.until_served(BOOKINFO).await;
    }
    let mut checks = vec![
        Check::share(
            "two hosts, each with its own certificate, by the name that is asked for",
            1.0,
            first.by_name().await,
        ),
        Check::share(
            "MUTUAL: the page for who shows a certificate, nothing for others",
            1.0,
            first.mutual().await,
        ),
        Check::share("HTTP is sent to HTTPS (301)", 1.0, first.redirected().await),
    ];
    files.renew(BOOKINFO).map_err(|error| wrong(&error))?;
    let second = Scene::new(stage, &files, &callers);
    if played {
        second.until_served(BOOKINFO).await;
    }
    checks.push(Check::share(
        "a certificate that is replaced is served, without a restart",
        1.0,
        second.shows(BOOKINFO).await,
    ));
    Ok(checks)
}

impl<'a> Scene<'a> {
    fn new(stage: &'a Stage, files: &'a Files, [anybody, partner]: &'a [OutsideTls; 2]) -> Self {
        Self {
            stage,
            address: stage.https(),
            files,
            anybody,
            partner,
        }
    }

    async fn get(&self, client: &OutsideTls, host: &str) -> Option<Secured> {
        let none = HeaderMap::new();
        client.get(self.address, host, PAGE, &none).await.ok()
    }

    /// Whether a host's own certificate is shown, and the page behind it whole; no answer at all is what there is without
    /// certificates.
    async fn one(&self, host: &str) -> Outcome {
        let answer = self.get(self.anybody, host).await;
        let good = answer.as_ref().is_some_and(|answer| {
            is_whole(&answer.reply) && self.files.is_of(host, &answer.certificate)
        });
        Outcome::of(good, answer.is_none())
    }

    async fn until_served(&self, host: &str) {
        let until = Instant::now() + SERVED;
        while Instant::now() < until && self.one(host).await != Outcome::Effect {
            sleep(PAUSE).await;
        }
    }

    async fn shows(&self, host: &str) -> Tally {
        times(N, CONCURRENCY, || self.one(host)).await
    }

    async fn by_name(&self) -> Tally {
        let (a, b) = (self.shows(BOOKINFO).await, self.shows(LIBRARY).await);
        Tally {
            effect: a.effect + b.effect,
            plain: a.plain + b.plain,
            other: a.other + b.other,
        }
    }

    async fn mutual(&self) -> Tally {
        let one = || async {
            let with = self.get(self.partner, PARTNERS).await;
            let without = self.get(self.anybody, PARTNERS).await;
            let whole = with.as_ref().is_some_and(|with| is_whole(&with.reply));
            Outcome::of(
                whole && without.is_none(),
                with.is_none() && without.is_none(),
            )
        };
        times(N, CONCURRENCY, one).await
    }

    async fn redirected(&self) -> Tally {
        let host = HeaderMap::from_iter([(HOST, HeaderValue::from_static(BOOKINFO))]);
        let to = format!("https://{BOOKINFO}{PAGE}");
        let moved = |reply: &crate::outside::Reply| {
            let location = reply.headers.get(LOCATION);
            reply.status == StatusCode::MOVED_PERMANENTLY
                && location.is_some_and(|location| location == to.as_str())
        };
        asked(self.stage, PAGE, &host, moved, is_whole).await
    }
}
