//! What a route changes: the request before it goes, and the response when it comes.

use std::sync::Arc;

use http::uri::Authority;
use http::{HeaderMap, Method, Request, Uri, Version};
use mesh_core::RequestView;
use mesh_core::route::{Action, Choice, Forward, InvalidRewrite, Requested, Route, Values};

use crate::client::head::Head;
use crate::client::seam::Answered;
use crate::pool::name_host;

/// The changes of the route that one request takes. Routes that change nothing have none.
#[derive(Debug)]
pub(super) struct Change {
    route: Arc<Route>,
    /// Which of the route's choices.
    choice: usize,
    /// Whether it changes the request; if not, the response only.
    rewrites: bool,
    cluster: Arc<str>,
    /// Of the request, as the caller made it.
    version: Version,
    /// The request as it was sent, if the response's headers tell of it.
    sent: Option<Box<Sent>>,
}

#[derive(Debug)]
struct Sent {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl Change {
    /// What a route does to a request that goes by one of its choices.
    pub(super) fn of(
        route: &Arc<Route>,
        forward: &Forward,
        choice: &Choice,
        cluster: &Arc<str>,
        requested: &Requested,
    ) -> Option<Self> {
        let rewrites = !forward.leaves(choice, requested);
        if !rewrites && choice.response_headers.is_empty() {
            return None;
        }
        let mut choices = forward.split.weights();
        Some(Self {
            route: Arc::clone(route),
            choice: choices.position(|(one, _)| std::ptr::eq(one, choice))?,
            rewrites,
            cluster: Arc::clone(cluster),
            version: Version::default(),
            sent: None,
        })
    }

    /// Whether it changes the request.
    pub(super) const fn rewrites(&self) -> bool {
        self.rewrites
    }

    fn rules(&self) -> Option<(&Forward, &Choice)> {
        let Action::Forward(forward) = &self.route.action else {
            return None;
        };
        let (choice, _) = forward.split.weights().nth(self.choice)?;
        Some((forward, choice))
    }

    /// Changes the request. The change is `None` when nothing is left to do to the response.
    pub(super) fn request<B>(
        mut self,
        mut request: Request<B>,
    ) -> Result<(Request<B>, Option<Self>), InvalidRewrite> {
        self.version = request.version();
        let Some((forward, choice)) = self.rules() else {
            return Ok((request, None));
        };
        if self.rewrites {
            let (mut parts, body) = request.into_parts();
            forward.rewrite(choice, &mut parts, &self.route.name, &self.cluster)?;
            request = Request::from_parts(parts, body);
        }
        if choice.response_headers.is_empty() {
            return Ok((request, None));
        }
        if choice.response_headers.reads_request() {
            self.sent = Some(Box::new(Sent::of(&request)));
        }
        Ok((request, Some(self)))
    }

    /// Changes the response. It is the last thing that is done to it.
    pub(super) fn response(&self, answered: &mut Answered) {
        let Some((_, choice)) = self.rules() else {
            return;
        };
        let values = Values {
            request: self.sent.as_deref().map(Sent::view),
            response: None,
            status: Some(answered.response.status()),
            version: self.version,
            route: &self.route.name,
            cluster: &self.cluster,
            endpoint: answered.endpoint,
        };
        choice
            .response_headers
            .apply(answered.response.headers_mut(), &values);
    }
}

/// A rewritten host is what a server is told. Where the request goes is the host that was asked for, and a foreign
/// client that finds it itself does so by the URI.
pub(super) fn keep_destination<B>(
    request: &mut Request<B>,
    asked: Option<&Authority>,
) -> Result<(), String> {
    let rewritten = request.uri().authority();
    let (Some(asked), true) = (asked, rewritten != asked) else {
        return Ok(());
    };
    name_host(request)?;
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.authority = Some(asked.clone());
    *request.uri_mut() = Uri::from_parts(parts).map_err(|error| error.to_string())?;
    Ok(())
}

impl Sent {
    fn of<B>(request: &Request<B>) -> Self {
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: request.headers().clone(),
        }
    }

    fn view(&self) -> RequestView<'_> {
        Head {
            method: &self.method,
            uri: &self.uri,
            headers: &self.headers,
        }
        .view()
    }
}
