//! Request routing: everything to v1; then jason, signed in, to v2.

use http::header::{CONTENT_TYPE, COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Request, StatusCode};

use super::TourError;
use super::edits::{ALL_V1, TEST_V2};
use super::judge::{Check, Shares};
use super::load::pages;
use super::stage::Stage;

/// Pages per check.
const N: u32 = 100;

/// Plays it.
///
/// # Errors
/// When a rule does not come into force, or jason cannot sign in.
pub(crate) async fn play(stage: &mut Stage) -> Result<Vec<Check>, TourError> {
    let nobody = HeaderMap::new();
    let jason = sign_in(stage, "jason").await?;
    let ann = sign_in(stage, "ann").await?;
    stage.apply(&ALL_V1).await?;
    let all = Check::shares(
        "all to v1, no stars on any page",
        Shares::V1,
        pages(stage, &nobody, N).await,
    );
    stage.apply(&TEST_V2).await?;
    let his = Check::shares(
        "jason sees v2, black stars",
        Shares::V2,
        pages(stage, &jason, N).await,
    );
    let hers = Check::shares(
        "ann sees v1, no stars",
        Shares::V1,
        pages(stage, &ann, N).await,
    );
    let others = Check::shares(
        "nobody signed in sees v1",
        Shares::V1,
        pages(stage, &nobody, N).await,
    );
    Ok(vec![all, his, hers, others])
}

/// Signs in as a browser would, and returns the cookie to send.
async fn sign_in(stage: &Stage, user: &str) -> Result<HeaderMap, TourError> {
    let url = format!("{}/login", stage.url());
    let failed = |reason: String| TourError::Login {
        url: url.clone(),
        reason,
    };
    let request = Request::post(&url)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(format!("username={user}&passwd=any").into())
        .map_err(|error| failed(error.to_string()))?;
    let reply = stage
        .client()
        .send(request)
        .await
        .map_err(|error| failed(error.to_string()))?;
    if reply.status != StatusCode::FOUND {
        return Err(failed(format!("{}: {}", reply.status, reply.text())));
    }
    let cookie = reply
        .headers
        .get(SET_COOKIE)
        .and_then(|value| value.to_str().ok());
    let pair = cookie
        .and_then(|cookie| cookie.split(';').next())
        .unwrap_or_default();
    match HeaderValue::from_str(pair) {
        Ok(pair) if !pair.is_empty() => Ok(HeaderMap::from_iter([(COOKIE, pair)])),
        _ => Err(failed("it sets no cookie".to_owned())),
    }
}
