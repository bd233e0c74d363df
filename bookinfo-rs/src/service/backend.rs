//! A call from one service to another: a plain GET through the mesh, with a timeout.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use mesh_tower::{Body, CallInfo, MeshClient};

/// A service that is called: its name in messages and metrics, and its address in URLs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// `details`, `reviews`, `ratings`.
    pub service: &'static str,
    base: String,
}

/// What came back, whole.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The body.
    pub body: Bytes,
    /// The name of the rule that routed the call, if the client tells (`MeshClient::with_call_info`).
    pub route: Option<String>,
}

/// A call without an answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The mesh refused the call, or the peer failed.
    #[error(transparent)]
    Mesh(#[from] mesh_tower::Error),
    /// The service's own patience ended.
    #[error("GET {url} gave no answer within {timeout:?}")]
    Timeout {
        /// What was called.
        url: String,
        /// How long it was given.
        timeout: Duration,
    },
    /// The URL or a header cannot be sent.
    #[error("GET {url} cannot be sent: {source}")]
    Request {
        /// What was to be called.
        url: String,
        /// What is wrong with it.
        source: http::Error,
    },
}

impl CallError {
    /// What to answer one's own caller: the mesh's status, or 500 where nothing came back.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Mesh(error) => error.status(),
            Self::Timeout { .. } | Self::Request { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl Backend {
    /// A service at `http://host:port`.
    pub fn new(service: &'static str, host: &str, port: u16) -> Self {
        Self {
            service,
            base: format!("http://{host}:{port}"),
        }
    }

    /// `http://details:9080`, as the landing page shows it.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// `xds:///ratings:9090`: the same place, as gRPC names it.
    pub fn target(&self) -> String {
        let place = self.base.trim_start_matches("http://");
        format!("xds:///{place}")
    }

    /// Calls `GET {base}/{path}` and reads the whole answer, all within `timeout`.
    ///
    /// # Errors
    /// When nothing came back.
    pub async fn get(
        &self,
        client: &MeshClient,
        path: &str,
        headers: &HeaderMap,
        timeout: Duration,
    ) -> Result<Answer, CallError> {
        get(client, &format!("{}/{path}", self.base), headers, timeout).await
    }
}

/// Calls `GET url` and reads the whole answer, all within `timeout`.
///
/// # Errors
/// When nothing came back.
pub async fn get(
    client: &MeshClient,
    url: &str,
    headers: &HeaderMap,
    timeout: Duration,
) -> Result<Answer, CallError> {
    let mut request = Request::builder()
        .method(Method::GET)
        .uri(url)
        .body(Body::from(()))
        .map_err(|source| CallError::Request {
            url: url.to_owned(),
            source,
        })?;
    *request.headers_mut() = headers.clone();
    let call = async {
        let response = client.send(request).await?;
        let route = response
            .extensions()
            .get::<CallInfo>()
            .map(|info| info.route.to_string());
        let status = response.status();
        let body = response.into_body().bytes().await?;
        Ok(Answer {
            status,
            body,
            route,
        })
    };
    match tokio::time::timeout(timeout, call).await {
        Ok(answer) => answer,
        Err(_) => Err(CallError::Timeout {
            url: url.to_owned(),
            timeout,
        }),
    }
}

/// One path segment with everything but unreserved characters escaped, so that an id cannot change the path.
pub fn segment(text: &str) -> String {
    use std::fmt::Write;
    text.bytes()
        .fold(String::with_capacity(text.len()), |mut out, byte| {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~' | b'.') {
                out.push(char::from(byte));
            } else {
                let _ = write!(out, "%{byte:02X}");
            }
            out
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_cannot_leave_its_place() {
        assert_eq!(segment("0"), "0");
        assert_eq!(segment("../x?y#z"), "..%2Fx%3Fy%23z");
        assert_eq!(segment("é"), "%C3%A9");
    }
}
