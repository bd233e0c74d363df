//! The head of a request, as the rules read it.

use http::{HeaderMap, Method, Request, Uri, request};
use mesh_core::RequestView;

/// The parts of a request by which it is routed. Building it costs nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head<'a> {
    pub(super) method: &'a Method,
    pub(super) uri: &'a Uri,
    pub(super) headers: &'a HeaderMap,
}

impl<'a> Head<'a> {
    pub(super) fn of<B>(request: &'a Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
        }
    }

    /// Of a request whose body is elsewhere.
    pub(super) const fn of_parts(parts: &'a request::Parts) -> Self {
        Self {
            method: &parts.method,
            uri: &parts.uri,
            headers: &parts.headers,
        }
    }

    pub(super) fn authority(self) -> &'a str {
        self.uri
            .authority()
            .map_or("", http::uri::Authority::as_str)
    }

    pub(super) fn view(self) -> RequestView<'a> {
        RequestView::of(self.method, self.uri, self.headers)
    }
}
