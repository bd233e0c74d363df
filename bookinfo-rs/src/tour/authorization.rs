//! Authorization: Istio's four steps from nobody to who needs it, then denials by path and by namespace.

use http::{HeaderMap, StatusCode};

use super::TourError;
use super::edits::{
    ALL_V1, DENY_ALL, DENY_NAMESPACE, DENY_PATH, V2, VIEW_PAGE, VIEW_RATINGS, VIEW_REVIEWS,
};
use super::judge::{Check, Version};
use super::load::{CONCURRENCY, times};
use super::stage::Stage;
use super::tally::{Outcome, Tally};
use crate::outside::Reply;

/// Pages per check.
const N: u32 = 50;

/// What a request is answered with that a policy denies.
const DENIED: &str = "RBAC: access denied";

/// Plays the four steps.
///
/// # Errors
/// When a rule does not come into force.
pub(crate) async fn play(stage: &mut Stage) -> Result<Vec<Check>, TourError> {
    // One version of each, the one whose stars are black: they are asked for by GET, whatever the red ones are.
    stage.apply(&ALL_V1).await?;
    stage.apply(&V2).await?;
    stage.apply(&DENY_ALL).await?;
    let nobody = pages(stage, is_denied, is_whole).await;
    stage.apply(&VIEW_PAGE).await?;
    let page = pages(stage, is_bare, is_whole).await;
    stage.apply(&VIEW_REVIEWS).await?;
    let reviews = pages(stage, has_no_stars, is_whole).await;
    stage.apply(&VIEW_RATINGS).await?;
    // It is whole without any rule, too: it counts only if stars were missing before.
    let opened = reviews.fits(1.0);
    let all = pages(
        stage,
        |reply| opened && has_black_stars(reply),
        |reply| !opened && is_whole(reply),
    )
    .await;
    Ok(vec![
        Check::share(
            "allow-nothing: 403, `RBAC: access denied`, for the page",
            1.0,
            nobody,
        ),
        Check::share(
            "productpage-viewer: the page, without details and reviews",
            1.0,
            page,
        ),
        Check::share(
            "details-viewer, reviews-viewer: both are there, ratings are not",
            1.0,
            reviews,
        ),
        Check::share("ratings-viewer: all is there", 1.0, all),
    ])
}

/// Plays the denials.
///
/// # Errors
/// When a rule does not come into force.
pub(crate) async fn play_denials(stage: &mut Stage) -> Result<Vec<Check>, TourError> {
    stage.apply(&DENY_PATH).await?;
    let none = HeaderMap::new();
    let ratings = "/api/v1/products/0/ratings";
    let path = asked(stage, ratings, &none, is_denied, |reply| {
        reply.status == StatusCode::OK
    })
    .await;
    let opened = path.fits(1.0);
    let beside = asked(
        stage,
        "/api/v1/products/0",
        &none,
        |reply| opened && reply.status == StatusCode::OK,
        |reply| !opened && reply.status == StatusCode::OK,
    )
    .await;
    // One workload of reviews: the others may hear of the policy a little later.
    stage.apply(&V2).await?;
    stage.apply(&DENY_NAMESPACE).await?;
    let namespace = pages(stage, has_no_reviews, is_whole).await;
    Ok(vec![
        Check::share("DENY by a path template: 403 for ratings", 1.0, path),
        Check::share("and for no other path", 1.0, beside),
        Check::share(
            "DENY by namespace: no reviews for workloads of `default`",
            1.0,
            namespace,
        ),
    ])
}

async fn pages(
    stage: &Stage,
    effect: impl Fn(&Reply) -> bool,
    plain: impl Fn(&Reply) -> bool,
) -> Tally {
    asked(stage, "/productpage", &HeaderMap::new(), effect, plain).await
}

/// How often the ingress answers a path as a rule has it, and how often as it does without.
pub(super) async fn asked(
    stage: &Stage,
    path: &str,
    headers: &HeaderMap,
    effect: impl Fn(&Reply) -> bool,
    plain: impl Fn(&Reply) -> bool,
) -> Tally {
    let url = format!("{}{path}", stage.url());
    let one = || async {
        match stage.client().get(&url, headers).await {
            Ok(reply) => Outcome::of(effect(&reply), plain(&reply)),
            Err(_) => Outcome::Other,
        }
    };
    times(N, CONCURRENCY, one).await
}

pub(super) fn is_denied(reply: &Reply) -> bool {
    reply.status == StatusCode::FORBIDDEN && reply.text() == DENIED
}

pub(super) fn is_whole(reply: &Reply) -> bool {
    reply.status == StatusCode::OK && Version::of_page(&reply.text()).is_some()
}

fn has_black_stars(reply: &Reply) -> bool {
    reply.status == StatusCode::OK && Version::of_page(&reply.text()) == Some(Version(2))
}

/// Neither details nor reviews.
fn is_bare(reply: &Reply) -> bool {
    let page = reply.text();
    reply.status == StatusCode::OK
        && page.contains("Error fetching product details")
        && page.contains("Error fetching product reviews")
}

fn has_no_reviews(reply: &Reply) -> bool {
    let page = reply.text();
    reply.status == StatusCode::OK
        && !page.contains("Error fetching product details")
        && page.contains("Error fetching product reviews")
}

fn has_no_stars(reply: &Reply) -> bool {
    let page = reply.text();
    reply.status == StatusCode::OK
        && page.contains("Ratings service is currently unavailable")
        && !page.contains("Error fetching product")
}
