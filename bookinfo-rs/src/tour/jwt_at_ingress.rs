//! Tokens at the ingress: nobody gets in without one, nor with a bad one.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::TourError;
use super::authorization::{asked, is_denied, is_whole};
use super::edits::TOKENS;
use super::judge::Check;
use super::stage::Stage;

mod token;

const PAGE: &str = "/productpage";

/// Plays it.
///
/// # Errors
/// When the rule does not come into force.
pub(crate) async fn play(stage: &mut Stage) -> Result<Vec<Check>, TourError> {
    let good = token::signed().map_err(|error| TourError::Token(error.to_string()))?;
    let bad = token::forged(&good);
    stage.apply(&TOKENS).await?;
    let without = asked(stage, PAGE, &HeaderMap::new(), is_denied, is_whole).await;
    let refused = |reply: &_| is_refused(reply);
    let forged = asked(stage, PAGE, &bearer(&bad), refused, is_whole).await;
    // The page is there without any rule, too: it counts only if others are kept out.
    let closed = without.fits(1.0) && forged.fits(1.0);
    let with = asked(
        stage,
        PAGE,
        &bearer(&good),
        |reply| closed && is_whole(reply),
        |reply| !closed && is_whole(reply),
    )
    .await;
    Ok(vec![
        Check::share("without a token: 403, `RBAC: access denied`", 1.0, without),
        Check::share("with a token that somebody else signed: 401", 1.0, forged),
        Check::share("with a good token: the page", 1.0, with),
    ])
}

fn is_refused(reply: &crate::outside::Reply) -> bool {
    reply.status == StatusCode::UNAUTHORIZED
}

fn bearer(token: &str) -> HeaderMap {
    let value = HeaderValue::from_str(&format!("Bearer {token}"));
    value.map_or_else(
        |_| HeaderMap::new(),
        |value| HeaderMap::from_iter([(AUTHORIZATION, value)]),
    )
}
