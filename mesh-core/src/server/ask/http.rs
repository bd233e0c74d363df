//! The authorizer that is asked by the request itself (`envoy.extensions.filters.http.ext_authz.v3.HttpService`).

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST, LOCATION, WWW_AUTHENTICATE};
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::answer::{Answer, Changes, Denial, HeaderChange, Malformed, Put};
use super::{Ask, PARTIAL_BODY};
use crate::matcher::StringMatcher;
use crate::request::Seen;

/// In the answer of an authorizer: headers that are taken off the request, with commas between them.
const HEADERS_TO_REMOVE: HeaderName = HeaderName::from_static("x-envoy-auth-headers-to-remove");

/// `envoy.extensions.filters.http.ext_authz.v3.HttpService`
#[derive(Debug, Clone, Default)]
pub struct HttpAuthorizer {
    /// `path_prefix`: stands before the path of the request.
    pub path_prefix: Box<str>,
    /// `authorization_request.headers_to_add`: set in the place of the client's own.
    pub headers_to_add: Box<[(HeaderName, HeaderValue)]>,
    /// `allowed_upstream_headers`: which headers of an answer that allows are set in the request.
    pub upstream: Box<[StringMatcher]>,
    /// `allowed_upstream_headers_to_append`: which are put behind those of the request.
    pub upstream_append: Box<[StringMatcher]>,
    /// `allowed_client_headers`: which headers of an answer that denies the client gets; without a list all of them.
    pub client: Option<Box<[StringMatcher]>>,
    /// `allowed_client_headers_on_success`: which headers of an answer that allows are set in the response.
    pub client_on_success: Box<[StringMatcher]>,
}

/// The request to an authorizer, but for its body.
#[derive(Debug, Clone)]
pub struct HttpCheck {
    /// That of the request.
    pub method: Method,
    /// Whom the request is to.
    pub authority: Box<str>,
    /// The path with its query.
    pub target: Box<str>,
    /// What is told of its headers. No `host` is among them.
    pub headers: HeaderMap,
}

impl HttpAuthorizer {
    /// What is asked about a request. `body` is how much of its body is shown, and whether that is not all of it.
    pub fn check(&self, ask: &Ask, seen: Seen<'_>, body: Option<(usize, bool)>) -> HttpCheck {
        let view = seen.view();
        let mut headers = HeaderMap::new();
        for (name, value) in view.headers {
            let is_told = *name == AUTHORIZATION || ask.tells(name.as_str());
            if is_told && *name != HOST && !is_of_connection(name) {
                headers.append(name, value.clone());
            }
        }
        if let Some((_, partial)) = body {
            let partial = if partial { "true" } else { "false" };
            headers.insert(PARTIAL_BODY, HeaderValue::from_static(partial));
        }
        for (name, value) in &self.headers_to_add {
            headers.insert(name, value.clone());
        }
        let length = body.map_or(0, |(length, _)| length);
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        HttpCheck {
            method: view.method.clone(),
            authority: view.authority.into(),
            target: [&*self.path_prefix, seen.path_and_query()].concat().into(),
            headers,
        }
    }

    /// What an answer says: 200 allows, 5xx is an authorizer's own trouble, as is 1xx, and all else denies.
    ///
    /// # Errors
    /// When a header of it cannot be one of the request's.
    pub fn answer(&self, head: &Parts, body: Bytes) -> Result<Answer, Malformed> {
        match head.status {
            StatusCode::OK => self.allowed(&head.headers),
            // What is said before an answer is none, and the last of them changes the protocol.
            status if status.is_server_error() || status.is_informational() => {
                let told = format!("it answered with {status}");
                Ok(Answer::Failed(told.into(), None))
            }
            status => Ok(Answer::Denied(Box::new(Denial {
                status: Some(status),
                headers: self.denied(&head.headers)?,
                body,
            }))),
        }
    }

    fn allowed(&self, headers: &HeaderMap) -> Result<Answer, Malformed> {
        let mut changes = Changes::default();
        let lines = headers.get_all(HEADERS_TO_REMOVE).iter();
        for line in lines.filter_map(|line| line.to_str().ok()) {
            line.split(',').for_each(|name| changes.remove(name));
        }
        // Of several lines with one name the first replaces what was there, and the others join it.
        changes.request = picked(headers, &self.upstream, Put::Set)?;
        changes
            .request
            .extend(picked(headers, &self.upstream_append, Put::Join)?);
        changes.response = picked(headers, &self.client_on_success, Put::Set)?;
        Ok(Answer::Allowed(Box::new(changes)))
    }

    fn denied(&self, headers: &HeaderMap) -> Result<Vec<HeaderChange>, Malformed> {
        let Some(listed) = &self.client else {
            let all = [StringMatcher::Prefix(Box::default())];
            return picked(headers, &all, Put::Set);
        };
        let mut picked = picked(headers, listed, Put::Set)?;
        for name in [WWW_AUTHENTICATE, LOCATION] {
            if !picked.iter().any(|it| it.name == name) {
                for value in headers.get_all(&name) {
                    picked.extend(HeaderChange::new(
                        Put::Append,
                        name.as_str(),
                        value.as_bytes(),
                    )?);
                }
            }
        }
        Ok(picked)
    }
}

/// The headers that are listed. The first line of a name is put so, further ones of it beside that.
fn picked(
    headers: &HeaderMap,
    listed: &[StringMatcher],
    put: Put,
) -> Result<Vec<HeaderChange>, Malformed> {
    let mut picked: Vec<HeaderChange> = Vec::new();
    for name in headers.keys() {
        if !listed.iter().any(|it| it.matches(name.as_str().as_bytes())) {
            continue;
        }
        for (at, value) in headers.get_all(name).iter().enumerate() {
            let put = match (put, at) {
                (Put::Set, 1..) => Put::Append,
                (put, _) => put,
            };
            picked.extend(HeaderChange::new(put, name.as_str(), value.as_bytes())?);
        }
    }
    Ok(picked)
}

/// Headers that are about one connection, or about the body of the request.
fn is_of_connection(name: &HeaderName) -> bool {
    const OF_CONNECTION: [&str; 9] = [
        "connection",
        "content-length",
        "expect",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    OF_CONNECTION.contains(&name.as_str())
}
