//! A host of its own at the ingress: a path that is rewritten, one that is redirected, an answer of no service.

use http::header::{HOST, LOCATION};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::TourError;
use super::edits::{CLOSED, Edit, REDIRECT, REWRITE};
use super::judge::Check;
use super::load::{CONCURRENCY, times};
use super::stage::{Stage, version};
use super::tally::Outcome;
use crate::outside::Reply;

/// The host.
const SHOP: &str = "shop.example.com";

/// Requests per check.
const N: u32 = 100;

/// Asks the ingress for that host.
pub(crate) fn headers() -> HeaderMap {
    HeaderMap::from_iter([(HOST, HeaderValue::from_static(SHOP))])
}

/// Plays a prefix rewrite.
///
/// # Errors
/// When the rule does not come into force.
pub(crate) async fn play_rewrite(stage: &mut Stage) -> Result<Vec<Check>, TourError> {
    let effect = |reply: &Reply| version(reply).is_some();
    let of = "/books/ is /api/v1/products/";
    play(stage, &REWRITE, of, "/books/0/reviews", effect, is_unknown).await
}

/// Plays a redirect.
///
/// # Errors
/// When the rule does not come into force.
pub(crate) async fn play_redirect(stage: &mut Stage) -> Result<Vec<Check>, TourError> {
    let to = format!("http://{SHOP}/productpage");
    let effect = |reply: &Reply| {
        let location = reply.headers.get(LOCATION);
        reply.status == StatusCode::MOVED_PERMANENTLY
            && location.is_some_and(|location| location == to.as_str())
    };
    let of = "/comedy-of-errors has moved to /productpage";
    play(
        stage,
        &REDIRECT,
        of,
        "/comedy-of-errors",
        effect,
        is_unknown,
    )
    .await
}

/// Plays a direct response.
///
/// # Errors
/// When the rule does not come into force.
pub(crate) async fn play_direct_response(stage: &mut Stage) -> Result<Vec<Check>, TourError> {
    let effect = |reply: &Reply| {
        reply.status == StatusCode::SERVICE_UNAVAILABLE && reply.text() == "The shop is closed."
    };
    let plain = |reply: &Reply| {
        reply.status == StatusCode::OK && reply.text().contains("Simple Bookstore App")
    };
    let of = "no service is asked: the shop is closed";
    play(stage, &CLOSED, of, "/productpage", effect, plain).await
}

/// A path that no route has.
fn is_unknown(reply: &Reply) -> bool {
    reply.status == StatusCode::NOT_FOUND
}

async fn play(
    stage: &mut Stage,
    edit: &'static Edit,
    of: &str,
    path: &str,
    effect: impl Fn(&Reply) -> bool,
    plain: impl Fn(&Reply) -> bool,
) -> Result<Vec<Check>, TourError> {
    stage.apply(edit).await?;
    let url = format!("{}{path}", stage.url());
    let headers = headers();
    let one = || async {
        match stage.client().get(&url, &headers).await {
            Ok(reply) => Outcome::of(effect(&reply), plain(&reply)),
            Err(_) => Outcome::Other,
        }
    };
    let tally = times(N, CONCURRENCY, one).await;
    Ok(vec![Check::share(of, 1.0, tally)])
}
