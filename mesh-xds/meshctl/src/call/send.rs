//! Sending: a fixed number of requests under way, or a fixed number each second.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use hyper::body::Bytes;
use mesh_tower::{Body, CallInfo, Error, MeshClient};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// How many outcomes may wait to be printed.
const WAITING: usize = 1024;

/// One request, to be sent many times.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) url: Uri,
    pub(crate) method: Method,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: Bytes,
}

/// When requests are sent.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// So many under way at once.
    Closed(u16),
    /// So many each second.
    Open(f64),
}

/// What became of a request.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: StatusCode,
    pub(crate) flags: &'static str,
    pub(crate) route: Option<Arc<str>>,
    pub(crate) cluster: Option<Arc<str>>,
    pub(crate) endpoint: Option<SocketAddr>,
    pub(crate) generation: u64,
    pub(crate) elapsed: Duration,
    /// The body, when it is wanted; else empty.
    pub(crate) body: Bytes,
    pub(crate) error: Option<String>,
}

/// Sends in the background. The outcomes come as they come; dropping the receiver stops.
pub(crate) fn start(
    client: MeshClient,
    call: Call,
    count: u64,
    pace: Pace,
    keep_body: bool,
) -> mpsc::Receiver<Outcome> {
    let (outcomes, receiver) = mpsc::channel(WAITING);
    match pace {
        Pace::Closed(concurrency) => {
            let next = Arc::new(AtomicU64::new(0));
            for _ in 0..concurrency {
                let (client, call) = (client.clone(), call.clone());
                let (outcomes, next) = (outcomes.clone(), Arc::clone(&next));
                tokio::spawn(async move {
                    while next.fetch_add(1, Ordering::Relaxed) < count {
                        let outcome = one(&client, &call, Instant::now(), keep_body).await;
                        if outcomes.send(outcome).await.is_err() {
                            return;
                        }
                    }
                });
            }
        }
        Pace::Open(rate) => {
            tokio::spawn(async move {
                let start = Instant::now();
                for due in (0..count).map(|i| start + Duration::from_secs_f64(i as f64 / rate)) {
                    sleep_until(due).await;
                    if outcomes.is_closed() {
                        return;
                    }
                    let (client, call, outcomes) = (client.clone(), call.clone(), outcomes.clone());
                    tokio::spawn(async move {
                        // An error means that nobody listens any more.
                        let _ = outcomes
                            .send(one(&client, &call, due, keep_body).await)
                            .await;
                    });
                }
            });
        }
    }
    receiver
}

async fn one(client: &MeshClient, call: &Call, due: Instant, keep_body: bool) -> Outcome {
    let mut request = Request::new(Body::from(call.body.clone()));
    *request.uri_mut() = call.url.clone();
    *request.method_mut() = call.method.clone();
    request.headers_mut().extend(
        call.headers
            .iter()
            .cloned()
            .map(|(name, value)| (Some(name), value)),
    );
    let answer = client.send(request).await;
    let response = match answer {
        Ok(response) => response,
        Err(error) => return failed(&error, due),
    };
    let (head, body) = response.into_parts();
    let body = match body.bytes().await {
        Ok(body) => body,
        Err(error) => return failed(&error, due),
    };
    let info = head.extensions.get::<CallInfo>();
    Outcome {
        status: head.status,
        flags: "",
        route: info.map(|info| info.route.clone()),
        cluster: info.map(|info| info.cluster.clone()),
        endpoint: info.and_then(|info| info.endpoint),
        generation: info.map_or(0, |info| info.generation),
        elapsed: due.elapsed(),
        body: if keep_body { body } else { Bytes::new() },
        error: None,
    }
}

fn failed(error: &Error, due: Instant) -> Outcome {
    Outcome {
        status: error.status(),
        flags: error.flags(),
        route: error.route().map(Into::into),
        cluster: error.cluster().map(Into::into),
        endpoint: error.endpoint(),
        generation: error.generation(),
        elapsed: due.elapsed(),
        body: Bytes::new(),
        error: Some(error.to_string()),
    }
}
