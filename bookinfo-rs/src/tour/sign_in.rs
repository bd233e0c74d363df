//! A user's session.

use http::header::{CONTENT_TYPE, COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Request, StatusCode};

use super::TourError;
use super::stage::Stage;

/// Signs in as a browser would, and returns the cookie to send.
///
/// # Errors
/// When there is no cookie.
pub(crate) async fn sign_in(stage: &Stage, user: &str) -> Result<HeaderMap, TourError> {
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
