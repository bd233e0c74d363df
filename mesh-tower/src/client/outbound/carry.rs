//! The innermost service in front of a foreign client: points a request at its endpoint, and counts what comes of it.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::uri::{PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use tower_service::Service;

use super::cause;
use crate::body::Body;
use crate::client::answer::{aborted, answer};
use crate::client::dispatch::{answered, pick};
use crate::client::seam::{Answered, Attempt, Destination, Goal};
use crate::error::{BoxError, Error, Kind, Place};
use crate::mesh::Shared;
use crate::pool::{Counted, EndpointPool, Failed, Lease, Sending, name_host, refused};
use crate::security::Beyond;

/// Hands attempts to a foreign client.
#[derive(Debug, Clone)]
pub struct Carry<S> {
    shared: Arc<Shared>,
    client: S,
}

impl<S> Carry<S> {
    pub(super) const fn new(shared: Arc<Shared>, client: S) -> Self {
        Self { shared, client }
    }
}

impl<S, B, R> Service<Attempt<B>> for Carry<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Send + 'static,
    R: http_body::Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Response = Answered;
    type Error = Failed<B>;
    type Future = Sending<B>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failed<B>>> {
        // Whether the client is asked at all is not known before the request is.
        Poll::Ready(Ok(()))
    }

    #[cfg(not(feature = "otel"))]
    fn call(&mut self, attempt: Attempt<B>) -> Self::Future {
        self.send(attempt)
    }

    #[cfg(feature = "otel")]
    fn call(&mut self, mut attempt: Attempt<B>) -> Self::Future {
        match attempt.tried(&self.shared) {
            None => self.send(attempt),
            Some(tried) => tried.over(self.send(attempt)),
        }
    }
}

impl<S> Carry<S> {
    fn send<B, R>(&self, attempt: Attempt<B>) -> Sending<B>
    where
        S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: Send + 'static,
        R: http_body::Body<Data = Bytes> + Send + 'static,
        R::Error: Into<BoxError>,
    {
        let Destination { goal, place } = attempt.destination;
        let mut request = attempt.request;
        let (counted, place) = match goal {
            Goal::Cluster(cluster) => {
                let picked = pick(&cluster, attempt.avoid, attempt.trail, place, &self.shared);
                let pointed = picked.and_then(|(endpoint, counted, place)| {
                    match point(&mut request, endpoint) {
                        Ok(()) => Ok((counted, place)),
                        Err((kind, reason)) => Err(Error::new(kind, place, reason)),
                    }
                });
                match pointed {
                    Ok(pointed) => pointed,
                    Err(error) => return refused(error),
                }
            }
            // The client finds the host itself.
            Goal::Beyond(cluster, Beyond::Tls | Beyond::Plaintext(_)) => {
                if let Some(was) = attempt.was {
                    *request.uri_mut() = *was;
                }
                let counted = Counted::start(Arc::clone(&cluster.cells), None, attempt.trail);
                (counted, place)
            }
            Goal::Outside(..) => {
                let reason = "the host is one for connections of the mesh's own";
                return refused(Error::new(Kind::Unsupported, place, reason));
            }
            Goal::Answer(route) => return answered(answer(&route, &request, place)),
            Goal::Abort(fault) => return answered(Ok(aborted(&fault, &request))),
        };
        Box::pin(sent(self.client.clone(), request, counted, place))
    }
}

/// Points a request at an endpoint. An endpoint that may not be called in plaintext, as foreign clients
/// do, is not called.
fn point<B>(request: &mut Request<B>, endpoint: &EndpointPool) -> Result<(), (Kind, String)> {
    if let Some(reason) = endpoint.no_foreign() {
        return Err((Kind::TlsDemanded, reason));
    }
    name_host(request).map_err(|reason| (Kind::InvalidRequest, reason))?;
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = endpoint.authority().cloned();
    parts
        .path_and_query
        .get_or_insert_with(|| PathAndQuery::from_static("/"));
    // With scheme and path, only an authority could be missing, and an address is one.
    let pointed = Uri::from_parts(parts).map_err(|error| (Kind::InvalidRequest, error.to_string()));
    *request.uri_mut() = pointed?;
    Ok(())
}

async fn sent<S, B, R>(
    mut client: S,
    request: Request<B>,
    counted: Counted,
    place: Place,
) -> Result<Answered, Failed<B>>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Into<BoxError>,
    R: http_body::Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    if let Err(error) = poll_fn(|cx| client.poll_ready(cx)).await {
        return Err(cause::not_ready(error.into(), place).into());
    }
    counted.handed_over();
    match client.call(request).await {
        Ok(response) => {
            let (endpoint, edge) = (place.endpoint, counted.edge());
            let lease = Lease::foreign(counted.answered(response.status()), place);
            Ok(Answered {
                response: response.map(|body| Body::leased_any(body, lease)),
                endpoint,
                edge,
                attempts: 1,
            })
        }
        Err(error) => Err(cause::failed(error.into(), place).into()),
    }
}
