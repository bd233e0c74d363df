//! What an authorizer says, and what it may change.

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};

use super::MOST_CHANGES;
use crate::jwt::is_named;

/// What an authorizer says of a request.
#[derive(Debug, Clone)]
pub enum Answer {
    /// It goes on, changed so.
    Allowed(Box<Changes>),
    /// It is answered so.
    Denied(Box<Denial>),
    /// The authorizer says that it could not find out, in these words; where the request is refused for it, it is answered
    /// so, if that is said.
    Failed(Box<str>, Option<Box<Denial>>),
}

/// What an answer that allows changes.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// Headers of the request.
    pub request: Vec<HeaderChange>,
    /// Headers that are taken off the request after that.
    pub remove: Vec<HeaderName>,
    /// Parameters of the query, set in the place of all of their name.
    pub set_params: Vec<(Box<str>, Box<str>)>,
    /// Parameters that are taken off, by their names.
    pub remove_params: Vec<Box<str>>,
    /// Headers of the response.
    pub response: Vec<HeaderChange>,
}

/// The answer to a request that is denied.
#[derive(Debug, Clone)]
pub struct Denial {
    /// Its status; none is that of the configuration for an error, or else 403.
    pub status: Option<StatusCode>,
    /// Its headers.
    pub headers: Vec<HeaderChange>,
    /// Its body.
    pub body: Bytes,
}

/// One header that is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderChange {
    /// How.
    pub put: Put,
    /// Which.
    pub name: HeaderName,
    /// To what.
    pub value: HeaderValue,
}

/// How a header is changed (`HeaderValueOption`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It has this value and no other.
    Set,
    /// It has this value, too.
    Append,
    /// The value is put behind the others, if there are any, in one line with them (Envoy's `append` of requests).
    Join,
    /// It has this value if it has none.
    IfAbsent,
    /// It has this value in the place of the one that it has, if it has one.
    IfPresent,
}

/// What is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It cannot be read.
    #[error("it is no message: {0}")]
    Message(Box<str>),
    /// A header has a name or a value that no header has.
    #[error("its header {0:?} is none: the name or the value has characters that may not be there")]
    Header(Box<str>),
    /// More changes than are made.
    #[error("it changes {0} headers and parameters, and {MOST_CHANGES} are the most")]
    TooMany(usize),
    /// A status that is none.
    #[error("its status {0} is none of HTTP")]
    Status(i64),
    /// A parameter of the query would be another one, or no part of a URI.
    #[error("its query parameter {0:?} has characters that must be written as %XX")]
    Parameter(Box<str>),
}

/// Headers that tell where a message ends and who gets it; and what is proven of the caller.
const OWN: [HeaderName; 10] = [
    CONNECTION,
    CONTENT_LENGTH,
    HOST,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("x-forwarded-client-cert"),
];

/// Whether an authorizer may change a header: not those by which messages are framed and addressed, not what the mesh has
/// proven of the caller (`x-forwarded-client-cert`), and none of Envoy's own (`x-envoy-`). Names of pseudo-headers are no
/// names here.
fn is_free(name: &HeaderName) -> bool {
    !OWN.contains(name) && !name.as_str().starts_with("x-envoy-")
}

impl Malformed {
    /// Whether an answer changes no more than is made.
    ///
    /// # Errors
    /// When it changes more.
    pub const fn unless_few(changes: usize) -> Result<(), Self> {
        match changes {
            ..=MOST_CHANGES => Ok(()),
            more => Err(Self::TooMany(more)),
        }
    }
}

impl HeaderChange {
    /// Reads a change. `None` for a header that no authorizer changes.
    ///
    /// # Errors
    /// When the name or the value is none.
    pub fn new(put: Put, name: &str, value: &[u8]) -> Result<Option<Self>, Malformed> {
        if name.starts_with(':') {
            return Ok(None);
        }
        let malformed = || Malformed::Header(name.into());
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| malformed())?;
        let value = HeaderValue::from_bytes(value).map_err(|_| malformed())?;
        Ok(is_free(&name).then_some(Self { put, name, value }))
    }

    /// Changes headers so.
    pub fn apply(&self, headers: &mut HeaderMap) {
        let Self { put, name, value } = self;
        match (put, headers.contains_key(name)) {
            (Put::Set, _) | (Put::IfAbsent, false) | (Put::IfPresent, true) => {
                headers.insert(name, value.clone());
            }
            (Put::Append, _) => {
                headers.append(name, value.clone());
            }
            (Put::Join, true) => self.join(headers),
            (Put::Join | Put::IfPresent, false) | (Put::IfAbsent, true) => {}
        }
    }

    fn join(&self, headers: &mut HeaderMap) {
        let between: &[u8] = if self.name == COOKIE { b"; " } else { b"," };
        let lines = headers.get_all(&self.name).iter().chain([&self.value]);
        let lines: Vec<&[u8]> = lines.map(HeaderValue::as_bytes).collect();
        // What is joined of values is one.
        if let Ok(whole) = HeaderValue::from_bytes(&lines.join(between)) {
            headers.insert(&self.name, whole);
        }
    }
}

impl Changes {
    /// Takes a header off; one that no authorizer changes stays, and so does what is no name.
    pub fn remove(&mut self, name: &str) {
        let name = HeaderName::from_bytes(name.trim().as_bytes());
        self.remove.extend(name.ok().filter(is_free));
    }

    /// Changes the head of a request: its headers, then its query.
    ///
    /// # Errors
    /// When a parameter of the query cannot be one. The head is then as it was but for its headers.
    pub fn apply(&self, parts: &mut Parts) -> Result<(), Malformed> {
        for change in &self.request {
            change.apply(&mut parts.headers);
        }
        for name in &self.remove {
            parts.headers.remove(name);
        }
        if self.set_params.is_empty() && self.remove_params.is_empty() {
            return Ok(());
        }
        self.query(&mut parts.uri)
    }

    fn query(&self, uri: &mut Uri) -> Result<(), Malformed> {
        // Also where the client has written the name with escapes: the application would find it.
        let is_of = |piece: &str, name: &str| is_named(name, piece);
        let query = uri.query().unwrap_or_default();
        let removed = |piece: &str| self.remove_params.iter().any(|name| is_of(piece, name));
        let kept = query.split('&').filter(|it| !it.is_empty() && !removed(it));
        let mut pieces: Vec<String> = kept.map(str::to_owned).collect();
        for (name, value) in &self.set_params {
            if !(is_plain(name) && is_plain(value)) || name.is_empty() || name.contains('=') {
                return Err(Malformed::Parameter(name.clone()));
            }
            let at = pieces.iter().position(|piece| is_of(piece, name));
            pieces.retain(|piece| !is_of(piece, name));
            pieces.insert(at.unwrap_or(pieces.len()), format!("{name}={value}"));
        }
        let whole = match &*pieces {
            [] => uri.path().to_owned(),
            pieces => format!("{}?{}", uri.path(), pieces.join("&")),
        };
        let malformed = || Malformed::Parameter(whole.as_str().into());
        let mut parts = uri.clone().into_parts();
        parts.path_and_query = Some(PathAndQuery::try_from(&*whole).map_err(|_| malformed())?);
        *uri = Uri::from_parts(parts).map_err(|_| malformed())?;
        Ok(())
    }
}

/// Whether a text stays what it is in a query.
fn is_plain(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'&' | b'#' | b'"' | b'<' | b'>'))
}
