//! `envoy.config.route.v3.RedirectAction`.

use http::{HeaderValue, StatusCode};

use super::mutate::Mutation;
use super::rewrite::PathRewrite;
use super::template::Values;
use crate::request::{RequestView, split_port};

/// Sends the caller elsewhere.
#[derive(Debug, Clone)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
    /// What is done to the answer's headers.
    pub headers: Mutation,
    /// `scheme_redirect`, `https_redirect`; `None` is the request's.
    pub scheme: Option<Box<str>>,
    /// `host_redirect`, as it is written, port and all; `None` is the request's.
    pub host: Option<Box<str>>,
    /// `port_redirect`; `None` is the host's own.
    pub port: Option<u32>,
    /// Where to.
    pub path: RedirectPath,
    /// `strip_query`
    pub strip_query: bool,
    /// Whether the request's host keeps a port that was the default of its own scheme (`require_tls`).
    pub keeps_port: bool,
}

/// The path of a redirect.
#[derive(Debug, Clone)]
pub enum RedirectPath {
    /// `path_redirect`, with a slash in front; a query in it replaces the request's.
    To(Box<str>),
    /// `prefix_rewrite`, `regex_rewrite`, or the request's.
    Rewrite(PathRewrite),
}

impl Redirect {
    /// 301 to the request's own URI.
    pub fn permanent() -> Self {
        Self {
            status: StatusCode::MOVED_PERMANENTLY,
            headers: Mutation::default(),
            scheme: None,
            host: None,
            port: None,
            path: RedirectPath::Rewrite(PathRewrite::Keep),
            strip_query: false,
            keeps_port: false,
        }
    }

    /// 301 to the request's own URI by `https`, host and port as they came (Envoy's answer of `require_tls`).
    pub fn to_https() -> Self {
        Self {
            scheme: Some("https".into()),
            keeps_port: true,
            ..Self::permanent()
        }
    }

    /// The `location` of the answer; `None` when it would be no header value.
    pub fn location(&self, request: &RequestView<'_>) -> Option<HeaderValue> {
        let scheme = self.scheme.as_deref().unwrap_or(request.scheme);
        let mut location = Vec::from(scheme.as_bytes());
        location.extend_from_slice(b"://");
        let host = match &self.host {
            Some(host) => host,
            None if self.keeps_port => request.authority,
            None => own_host(request, scheme, self.port.is_some()),
        };
        location.extend_from_slice(host.as_bytes());
        if let Some(port) = self.port {
            location.extend_from_slice(format!(":{port}").as_bytes());
        }
        self.write_path(request, &mut location);
        HeaderValue::from_maybe_shared(bytes::Bytes::from(location)).ok()
    }

    fn write_path(&self, request: &RequestView<'_>, to: &mut Vec<u8>) {
        let values = Values {
            request: Some(*request),
            ..Values::default()
        };
        let (path, query) = match &self.path {
            // A query of the rule's own is neither replaced nor stripped.
            RedirectPath::To(path) if path.contains('?') => {
                to.extend_from_slice(path.as_bytes());
                return;
            }
            RedirectPath::To(path) => (path.as_bytes().to_vec(), request.query),
            RedirectPath::Rewrite(rewrite) => match rewrite.text(request, &values) {
                Some(text) => (text, None),
                None => (request.path.as_bytes().to_vec(), request.query),
            },
        };
        // As Envoy: a rewrite may leave no slash in front.
        if !path.starts_with(b"/") {
            to.push(b'/');
        }
        let end = path.iter().position(|byte| *byte == b'?');
        let end = end.filter(|_| self.strip_query).unwrap_or(path.len());
        to.extend_from_slice(&path[..end]);
        if let Some(query) = query.filter(|_| !self.strip_query) {
            to.extend_from_slice(b"?");
            to.extend_from_slice(query.as_bytes());
        }
    }
}

/// The request's host. Its port leaves when the redirect names one, and when it is the default port of a
/// scheme that is left.
fn own_host<'a>(request: &RequestView<'a>, scheme: &str, other_port: bool) -> &'a str {
    let (host, port) = split_port(request.authority);
    let came_by = request.came_by();
    let default = match came_by {
        b"http" => Some(80),
        b"https" => Some(443),
        _ => None,
    };
    let leaves = port == default && scheme.as_bytes() != came_by;
    if port.is_some() && (other_port || leaves) {
        host
    } else {
        request.authority
    }
}
