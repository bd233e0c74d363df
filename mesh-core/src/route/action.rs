//! What a matched route does (`Route.action`).

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use super::forward::Forward;
use super::mutate::Mutation;
use super::redirect::Redirect;
use crate::request::RequestView;

/// Which of the virtual host's clusters: an index into [`VirtualHost::clusters`](super::VirtualHost).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClusterIndex(pub u32);

/// The action of a route.
#[derive(Debug, Clone)]
pub enum Action {
    /// `route`: forward to one cluster of a split.
    Forward(Box<Forward>),
    /// `redirect`: answer 3xx here. The client does not follow it.
    Redirect(Box<Redirect>),
    /// `direct_response`: answer here.
    DirectResponse(DirectResponse),
    /// An action that is known but not served; the text names it.
    Unsupported(Arc<str>),
}

impl Action {
    /// Forwards everything to one cluster, and changes nothing on the way.
    pub fn forward(cluster: ClusterIndex) -> Self {
        Self::Forward(Box::new(Forward::to(cluster)))
    }
}

/// An answer that the configuration itself gives.
#[derive(Debug, Clone)]
pub struct DirectResponse {
    /// Its status.
    pub status: StatusCode,
    /// Its body, may be empty. Shared by all answers. One that is not empty is `text/plain`, unless
    /// `headers` give it another type.
    pub body: Bytes,
    /// What is done to its headers.
    pub headers: Mutation,
}

impl DirectResponse {
    /// The `location` that an answer of status 201 or 3xx has in Envoy: the request's own URI. It is
    /// there before `headers` are changed.
    pub fn location(&self, request: &RequestView<'_>) -> Option<HeaderValue> {
        if self.status == StatusCode::CREATED || self.status.is_redirection() {
            Redirect::permanent().location(request)
        } else {
            None
        }
    }
}
