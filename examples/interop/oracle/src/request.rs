//! A generated request, in a form that both sides can send.

use std::fmt;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Uri};
use http_body_util::Full;

use crate::copies::NUMBER;
use crate::failure::{Doing, Result};

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ask {
    /// `:method`
    pub(crate) method: String,
    /// `:authority`
    pub(crate) authority: String,
    /// `:path`, query included
    pub(crate) path: String,
    /// Names in lower case; a name may stand several times.
    pub(crate) headers: Vec<(String, String)>,
    /// Empty: none.
    pub(crate) body: String,
}

impl Ask {
    /// A GET without headers.
    pub(crate) fn get(authority: impl Into<String>, path: impl Into<String>) -> Self {
        Self {
            method: "GET".to_owned(),
            authority: authority.into(),
            path: path.into(),
            headers: Vec::new(),
            body: String::new(),
        }
    }

    /// The path without its query.
    pub(crate) fn bare_path(&self) -> &str {
        self.path.split(['?', '#']).next().unwrap_or_default()
    }

    /// The values of a header, in order.
    pub(crate) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers
            .iter()
            .filter(move |(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    }

    /// As Envoy gets it: over HTTP/1.1, with path and `Host`.
    pub(crate) fn to_envoy(&self, number: u64) -> Result<http::Request<Full<Bytes>>> {
        let host = HeaderValue::from_str(&self.authority).doing("the authority")?;
        let mut request = self.request(&self.path, number)?;
        request.headers_mut().insert(http::header::HOST, host);
        Ok(request)
    }

    /// As a caller in our process writes it: an absolute URI.
    pub(crate) fn to_ours(&self, number: u64) -> Result<http::Request<Full<Bytes>>> {
        self.request(&format!("http://{}{}", self.authority, self.path), number)
    }

    fn request(&self, uri: &str, number: u64) -> Result<http::Request<Full<Bytes>>> {
        let mut request = http::Request::new(Full::from(self.body.clone()));
        *request.method_mut() = Method::from_bytes(self.method.as_bytes()).doing("the method")?;
        *request.uri_mut() = uri.parse::<Uri>().doing(uri)?;
        for (name, value) in &self.headers {
            let name: HeaderName = name.parse().doing(name)?;
            let value = HeaderValue::from_bytes(value.as_bytes()).doing("a header value")?;
            request.headers_mut().append(name, value);
        }
        request.headers_mut().insert(NUMBER, number.into());
        Ok(request)
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.method, self.authority, self.path)?;
        for (name, value) in &self.headers {
            write!(f, " {name}: {value:?}")?;
        }
        if !self.body.is_empty() {
            write!(f, " body {:?}", self.body)?;
        }
        Ok(())
    }
}
