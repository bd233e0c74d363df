//! The same layer as a middleware of reqwest. What is below a middleware lives no longer than the call, and what is
//! below the layer has to: so the layer stands on a relay, which hands the request over to the middleware.

use std::pin::{Pin, pin};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::{Either, select};
use http::{Extensions, Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use reqwest::{ResponseBuilderExt, Url};
use reqwest_middleware::{Middleware, Next};
use tokio::sync::{mpsc, oneshot};
use tower_layer::Layer;
use tower_service::Service;

use super::OutboundLayer;
use crate::body::Body;
use crate::client::CallOptions;
use crate::error::{BoxError, Error};

type Answer = Result<Response<reqwest::Body>, BoxError>;

/// A request that is ready to go, and whoever waits for its answer.
type Ready = (Request<reqwest::Body>, oneshot::Sender<Answer>);

/// Stands where a client would.
#[derive(Clone)]
struct Relay(mpsc::Sender<Ready>);

/// Nobody was there to send the request: it was not.
#[derive(Debug, thiserror::Error)]
#[error("the call has ended")]
struct Ended;

impl Service<Request<reqwest::Body>> for Relay {
    type Response = Response<reqwest::Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<reqwest::Body>) -> Self::Future {
        let (answer, answered) = oneshot::channel();
        // There is room for the one request of a call.
        let handed_over = self.0.try_send((request, answer));
        Box::pin(async move {
            handed_over.map_err(|_| Ended)?;
            answered.await.map_err(|_| Ended)?
        })
    }
}

/// Errors are [`Error`](crate::Error) inside of `reqwest_middleware::Error::Middleware`; the error of reqwest is its
/// cause. `Response::url` is the URL that was asked for, unless reqwest itself followed a redirect. Middlewares that
/// are added after this one see the endpoint's address. [`CallOptions`] may be among the request's own extensions or
/// come by `with_extension`.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let mesh = mesh_tower::Mesh::from_env().await?;
/// let reqwest = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build()?;
/// let client = reqwest_middleware::ClientBuilder::new(reqwest).with(mesh.outbound()).build();
/// println!("{}", client.get("http://reviews:9080/reviews/0").send().await?.text().await?);
/// # Ok(()) }
/// ```
#[async_trait]
impl Middleware for OutboundLayer {
    async fn handle(
        &self,
        request: reqwest::Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<reqwest::Response> {
        let url = request.url().clone();
        let mut request: Request<_> = request.try_into()?;
        if let Some(options) = extensions.get::<CallOptions>() {
            request.extensions_mut().insert(options.clone());
        }
        let (relay, mut ready) = mpsc::channel(1);
        let mut call = pin!(self.layer(Relay(relay)).call(request));
        let sending = match select(call.as_mut(), pin!(ready.recv())).await {
            Either::Left((result, _)) => return finished(result, url),
            Either::Right((sending, _)) => sending,
        };
        let Some((request, answer)) = sending else {
            return finished(call.await, url);
        };
        let (pointed, asked) = (reqwest::Request::try_from(request)?, url);
        let sent = pointed.url().clone();
        // The call goes on meanwhile: its limits of time may end it, and this is dropped then.
        let running = pin!(next.run(pointed, extensions));
        let (response, url) = match select(call.as_mut(), running).await {
            Either::Left((result, _)) => return finished(result, asked),
            Either::Right((Ok(response), _)) => {
                let followed = *response.url() != sent;
                let url = if followed {
                    response.url().clone()
                } else {
                    asked
                };
                (Ok(Response::from(response)), url)
            }
            // A query may hold what no log should.
            Either::Right((Err(error), _)) => (Err(error.without_url().into()), asked),
        };
        // A call that has ended meanwhile says so itself.
        let _ = answer.send(response);
        finished(call.await, url)
    }
}

fn finished(
    result: Result<Response<Body>, Error>,
    url: Url,
) -> reqwest_middleware::Result<reqwest::Response> {
    let mut response = result.map_err(reqwest_middleware::Error::middleware)?;
    let named = Response::builder().url(url).body(());
    let named = named.map_err(reqwest_middleware::Error::middleware)?;
    let (named, ()) = named.into_parts();
    response.extensions_mut().extend(named.extensions);
    let shared = response.map(|body| reqwest::Body::wrap(Shared(Mutex::new(body))));
    Ok(shared.into())
}

/// reqwest wants its bodies to be `Sync`; nothing ever waits for this lock.
struct Shared(Mutex<Body>);

impl Shared {
    fn read<T>(&self, read: impl FnOnce(&Body) -> T) -> T {
        read(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl HttpBody for Shared {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let body = self.get_mut().0.get_mut();
        Pin::new(body.unwrap_or_else(PoisonError::into_inner)).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.read(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.read(HttpBody::size_hint)
    }
}
