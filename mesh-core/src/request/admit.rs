//! The door for requests that come in: heads that two readers could take for two requests are refused, and what is let
//! in has one form, which policy and application both see.

use http::header::{COOKIE, HOST};
use http::request::Parts;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version};

use super::checks::{Check, Checks};
use super::normalize::normalized_by;
use super::{HeaderKey, HeaderLines, PathNormalization, RequestView};
use crate::jwt::{Rules, Verified};
use crate::server::ask::{Changes, Malformed};

/// The head of a request that came in and was let in. There is no other way to a [`Seen`].
#[derive(Debug)]
pub struct Admitted {
    parts: Parts,
    scheme: &'static str,
}

/// What policy sees of a request: the head as it was admitted.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    view: RequestView<'a>,
    path_and_query: &'a str,
}

/// Why a head is refused. The texts are for logs; a client is told [`Self::status`] alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadHead {
    /// No tunnels are made here (Envoy without `upgrade_configs` for it).
    #[error("CONNECT asks for a tunnel, and none are made here")]
    Connect,
    /// Methods are told apart by case (RFC 9110, 9.1), and not every application does.
    #[error("the method {0:?} is that of HTTP but for its case")]
    Method(Box<str>),
    /// The target is of another form than a path, as `*`.
    #[error("the target {0:?} has no path that begins with a slash")]
    Target(Box<str>),
    /// The scheme is not one of HTTP.
    #[error("the scheme {0:?} is neither http nor https")]
    Scheme(Box<str>),
    /// The path has no normal form that a URI can hold.
    #[error("the path cannot be normalised: {0}")]
    Path(Box<str>),
    /// A target is ASCII (RFC 3986, 2); what else a reader makes of such a byte is its own affair. Envoy refuses it, too.
    #[error("the target {0:?} has characters that are not ASCII; write them as %XX")]
    NotAscii(Box<str>),
    /// A request is to somebody (RFC 9112, 3.2); Envoy demands it of HTTP/2, too.
    #[error("it names no authority: there is neither :authority nor Host")]
    NoAuthority,
    /// Which of them counts would be a matter of taste (RFC 9112, 3.2).
    #[error("it has {0} Host headers; a request has one")]
    SeveralHosts(usize),
    /// The target and the Host header name different hosts.
    #[error(
        "its Host header is {host:?} and its target names {authority:?}; they must be the same"
    )]
    TwoAuthorities {
        /// Of the header.
        host: Box<str>,
        /// `:authority`, or that of an absolute target.
        authority: Box<str>,
    },
    /// The authority is not a host with or without a port.
    #[error(
        "the authority {0:?} is no host: user information and characters of other parts of a URI are refused"
    )]
    Authority(Box<str>),
}

impl BadHead {
    /// What the client is answered (Envoy's codes).
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Connect => StatusCode::FORBIDDEN,
            Self::Target(_) => StatusCode::NOT_FOUND,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

/// Admits the head of a request to a server, or says why not.
///
/// In the head that comes of it ([`Admitted::into_parts`]):
/// - the path is normalised, and begins with a slash; one whose normal form has another one is refused;
/// - a scheme, if the target has one, is that of the connection: what the client says of it is not believed;
/// - the crumbs of HTTP/2's `cookie` are one line (RFC 9113, 8.2.3), as Envoy's codec hands them to its filters;
/// - `Host` stays what it was; to policy it and `:authority` are one.
///
/// A fragment is no part of what is looked at: the parser of [`Uri`] cuts it before, for policy and application alike.
/// Headers that a proxy sets or strips, as `x-forwarded-proto`, `te` or `connection`, are the client's own words here.
///
/// `scheme` is that of the connection, `http` or `https`. A head that needs no change costs no allocation.
///
/// # Errors
/// When the head means different things to different readers, or nothing that is served.
pub fn admit(
    parts: Parts,
    paths: PathNormalization,
    scheme: &'static str,
) -> Result<Admitted, BadHead> {
    admitted(parts, paths, scheme, Checks::ALL)
}

pub(super) fn admitted(
    mut parts: Parts,
    paths: PathNormalization,
    scheme: &'static str,
    checks: Checks,
) -> Result<Admitted, BadHead> {
    method(&parts.method, checks)?;
    authority(&parts.uri, &parts.headers, checks)?;
    self::scheme(&mut parts.uri, scheme, checks)?;
    target(&mut parts.uri, paths, checks)?;
    if parts.version >= Version::HTTP_2 && checks.has(Check::Crumbs) {
        join_crumbs(&mut parts.headers);
    }
    Ok(Admitted { parts, scheme })
}

impl Admitted {
    /// What policy sees.
    pub fn seen(&self) -> Seen<'_> {
        let Parts {
            method,
            uri,
            headers,
            ..
        } = &self.parts;
        let view = RequestView {
            method,
            scheme: self.scheme,
            authority: named(uri, headers).unwrap_or_default(),
            path: uri.path(),
            query: uri.query(),
            headers,
        };
        Seen {
            view,
            path_and_query: uri.path_and_query().map_or("/", PathAndQuery::as_str),
        }
    }

    /// Changes headers and query as a filter of tokens does that let the request pass ([`Rules::apply`]): what comes behind
    /// the filter, be it policy or the application, sees the head so.
    pub fn apply(&mut self, rules: &Rules, verified: Option<&Verified>) {
        rules.apply(verified, &mut self.parts);
    }

    /// Changes headers and query as an authorizer says that let the request pass: what comes behind it sees the head so. The
    /// path and whom the request is to stay.
    ///
    /// # Errors
    /// As [`Changes::apply`].
    pub fn change(&mut self, changes: &Changes) -> Result<(), Malformed> {
        changes.apply(&mut self.parts)
    }

    /// The version of HTTP that it came by.
    pub const fn version(&self) -> Version {
        self.parts.version
    }

    /// Sets a header of the mesh's own.
    pub fn set(&mut self, name: HeaderName, value: HeaderValue) {
        self.parts.headers.insert(name, value);
    }

    /// The head for the application, and for nobody who would judge it anew.
    pub fn into_parts(self) -> Parts {
        self.parts
    }
}

impl<'a> Seen<'a> {
    /// The request. Its authority is the `Host` of HTTP/1.
    pub const fn view(&self) -> RequestView<'a> {
        self.view
    }

    /// The path with its query.
    pub const fn path_and_query(&self) -> &'a str {
        self.path_and_query
    }

    /// As [`RequestView::header`], and allocates nothing.
    pub fn header(&self, name: &HeaderKey) -> HeaderLines<'a> {
        match name {
            HeaderKey::Path => HeaderLines::One(Some(self.path_and_query.as_bytes().into())),
            name => self.view.header(name),
        }
    }
}

fn method(method: &Method, checks: Checks) -> Result<(), BadHead> {
    const KNOWN: [Method; 9] = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::CONNECT,
        Method::OPTIONS,
        Method::TRACE,
        Method::PATCH,
    ];
    if *method == Method::CONNECT && checks.has(Check::Connect) {
        return Err(BadHead::Connect);
    }
    if KNOWN.contains(method) || !checks.has(Check::MethodCase) {
        return Ok(());
    }
    let text = method.as_str();
    let looks = |known: &Method| known.as_str().eq_ignore_ascii_case(text);
    match KNOWN.iter().any(looks) {
        true => Err(BadHead::Method(text.into())),
        false => Ok(()),
    }
}

/// Who is asked: the target says it, or the one `Host` header.
fn named<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let host = || std::str::from_utf8(headers.get(HOST)?.as_bytes()).ok();
    uri.authority()
        .map(http::uri::Authority::as_str)
        .or_else(host)
}

fn authority(uri: &Uri, headers: &HeaderMap, checks: Checks) -> Result<(), BadHead> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next();
    let more = hosts.count();
    if more > 0 && checks.has(Check::OneHost) {
        return Err(BadHead::SeveralHosts(more + 1));
    }
    let told = |bytes: &[u8]| Box::from(String::from_utf8_lossy(bytes));
    let asked = uri.authority().map(http::uri::Authority::as_str);
    let named = match (asked, host.map(HeaderValue::as_bytes)) {
        (Some(authority), Some(host))
            if authority.as_bytes() != host && checks.has(Check::OneAuthority) =>
        {
            return Err(BadHead::TwoAuthorities {
                host: told(host),
                authority: authority.into(),
            });
        }
        (Some(authority), _) => authority.as_bytes(),
        (None, Some(host)) => host,
        (None, None) => &[],
    };
    match named {
        [] if !checks.has(Check::AnAuthority) => Ok(()),
        [] => Err(BadHead::NoAuthority),
        named if named.iter().all(|byte| is_of_host(*byte)) => Ok(()),
        _ if !checks.has(Check::HostCharacters) => Ok(()),
        named => Err(BadHead::Authority(told(named))),
    }
}

/// The characters of a host with its port (RFC 3986, 3.2.2), so no `@` and nothing that ends an authority.
const fn is_of_host(byte: u8) -> bool {
    OF_HOST[byte as usize]
}

/// A look for each byte of each request's host.
const OF_HOST: [bool; 256] = {
    let mut of_host = [false; 256];
    let mut byte = 0;
    while byte < of_host.len() {
        of_host[byte] = may_be_in_host(byte as u8);
        byte += 1;
    }
    of_host
};

const fn may_be_in_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'%')
        || matches!(
            byte,
            b'!' | b'$' | b'&'..=b',' | b';' | b'=' | b':' | b'[' | b']'
        )
}

/// Whether the client speaks by TLS is the connection's to say.
fn scheme(uri: &mut Uri, scheme: &'static str, checks: Checks) -> Result<(), BadHead> {
    let scheme = match scheme {
        "https" => Scheme::HTTPS,
        _ => Scheme::HTTP,
    };
    let Some(told) = uri.scheme().filter(|told| **told != scheme) else {
        return Ok(());
    };
    let is_https = *told == Scheme::HTTP || *told == Scheme::HTTPS;
    if !is_https && checks.has(Check::SchemeOfHttp) {
        return Err(BadHead::Scheme(told.as_str().into()));
    }
    match is_https && checks.has(Check::SchemeOfConnection) {
        true => change(uri, |parts| parts.scheme = Some(scheme)),
        false => Ok(()),
    }
}

fn target(uri: &mut Uri, paths: PathNormalization, checks: Checks) -> Result<(), BadHead> {
    let whole = uri.path_and_query().map_or("", PathAndQuery::as_str);
    // `http://host?query` has the path of the root (RFC 9110, 4.2.3), and the query alone is not it.
    let is_root = whole.starts_with('?') && uri.authority().is_some();
    if !whole.starts_with('/') && !is_root && checks.has(Check::PathBegins) {
        return Err(BadHead::Target(whole.into()));
    }
    if !whole.is_ascii() && checks.has(Check::Ascii) {
        return Err(BadHead::NotAscii(whole.into()));
    }
    let path = normalized_by(uri.path(), paths, checks);
    if !is_root && path == uri.path() {
        return Ok(());
    }
    // `/%%361dmin` is `/%61dmin` then, which whoever decodes once more takes for `/admin`.
    if checks.has(Check::OneForm) && normalized_by(&path, paths, checks) != path {
        let reason = format!("{path:?}, its normal form, has another one");
        return Err(BadHead::Path(reason.into()));
    }
    let query = uri.query();
    let whole = [&*path, query.map_or("", |_| "?"), query.unwrap_or_default()].concat();
    let whole =
        PathAndQuery::try_from(whole).map_err(|error| BadHead::Path(error.to_string().into()))?;
    change(uri, |parts| parts.path_and_query = Some(whole))
}

fn change(uri: &mut Uri, what: impl FnOnce(&mut http::uri::Parts)) -> Result<(), BadHead> {
    let mut parts = std::mem::take(uri).into_parts();
    what(&mut parts);
    *uri = Uri::from_parts(parts).map_err(|error| BadHead::Path(error.to_string().into()))?;
    Ok(())
}

fn join_crumbs(headers: &mut HeaderMap) {
    let crumbs = headers.get_all(COOKIE);
    if crumbs.iter().nth(1).is_none() {
        return;
    }
    let is_sensitive = crumbs.iter().any(HeaderValue::is_sensitive);
    let lines: Vec<&[u8]> = crumbs.iter().map(HeaderValue::as_bytes).collect();
    // What is joined of values is one.
    if let Ok(mut whole) = HeaderValue::from_bytes(&lines.join(&b"; "[..])) {
        whole.set_sensitive(is_sensitive);
        headers.insert(COOKIE, whole);
    }
}
