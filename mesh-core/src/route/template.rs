//! Values of headers with Envoy's substitutions, as `%REQ(x-user?x-guest):8%`.

mod not_served;
mod parse;

use std::io::Write;
use std::net::SocketAddr;

use http::{HeaderMap, HeaderValue, StatusCode, Version};

use crate::matcher::first_parameter;
use crate::request::{HeaderKey, RequestView, escaped};
use parse::{invalid, parse, shown};

/// A parsed value. Text without substitutions is a ready [`HeaderValue`], which is only cloned.
#[derive(Debug, Clone)]
pub struct Template(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Fixed(Option<HeaderValue>),
    Made {
        parts: Box<[Part]>,
        keep_empty: bool,
    },
}

#[derive(Debug, Clone)]
enum Part {
    Text(Box<[u8]>),
    Command(Command, Option<usize>),
}

/// The substitutions that mean something inside a process.
#[derive(Debug, Clone)]
enum Command {
    /// `%REQ(name?alternative)%`: the first value.
    Request(Names),
    /// `%RESP(name?alternative)%`: the first value; `:status` too.
    Response(Names),
    /// `%QUERY_PARAM(name)%`: the first value, decoded.
    Query(Box<[u8]>),
    Protocol,
    Cluster,
    Route,
    Endpoint,
    EndpointAddress,
    EndpointPort,
    Status,
}

#[derive(Debug, Clone)]
struct Names {
    main: Named,
    alternative: Option<Named>,
}

#[derive(Debug, Clone)]
enum Named {
    Key(HeaderKey),
    /// `:status`, which only responses have.
    Status,
    /// A name that no message has.
    Nobody,
}

/// What a template may look at.
#[derive(Debug, Clone, Copy, Default)]
pub struct Values<'a> {
    /// The request. While it is being changed, its headers are those of this moment.
    pub request: Option<RequestView<'a>>,
    /// The response's headers. [`Mutation::apply`](super::Mutation::apply) puts those that it changes here.
    pub response: Option<&'a HeaderMap>,
    /// The response's status.
    pub status: Option<StatusCode>,
    /// The version of HTTP in which the caller made the request.
    pub version: Version,
    /// The name of the route.
    pub route: &'a str,
    /// The name of the cluster, empty for an answer of the configuration itself.
    pub cluster: &'a str,
    /// The endpoint that answered.
    pub endpoint: Option<SocketAddr>,
}

/// What a template made of a message are bytes that no header may hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct IllegalValue;

/// A value that makes no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Envoy would refuse it.
    #[error("{text:?}: {reason}")]
    Invalid {
        /// The value.
        text: String,
        /// Why.
        reason: &'static str,
    },
    /// Envoy knows the substitution, which has no meaning inside a process or is not served.
    #[error("{text:?}: {command} is not served in header values")]
    NotServed {
        /// The value.
        text: String,
        /// What is not served.
        command: String,
    },
}

impl Template {
    /// Parses a value. `keep_empty` (`keep_empty_value`) is whether a value that comes out empty is a value.
    ///
    /// # Errors
    /// When Envoy would refuse it, or when it uses a substitution that is not served.
    pub fn new(text: &[u8], keep_empty: bool) -> Result<Self, TemplateError> {
        let parts = parse(text)?;
        let fixed = match &parts[..] {
            [] => Some(&[][..]),
            [Part::Text(text)] => Some(&**text),
            _ => None,
        };
        let Some(fixed) = fixed else {
            return Ok(Self(Kind::Made {
                parts: parts.into(),
                keep_empty,
            }));
        };
        if fixed.is_empty() && !keep_empty {
            return Ok(Self(Kind::Fixed(None)));
        }
        match HeaderValue::from_bytes(fixed) {
            Ok(value) => Ok(Self(Kind::Fixed(Some(value)))),
            Err(_) if fixed.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n')) => {
                Err(invalid(text, "holds a line break or a null byte"))
            }
            Err(_) => Err(TemplateError::NotServed {
                text: shown(text),
                command: "a control character".to_owned(),
            }),
        }
    }

    /// The value for one message; `None` when it comes out empty and empty values are not kept.
    pub(super) fn value(&self, values: &Values<'_>) -> Option<Result<HeaderValue, IllegalValue>> {
        match &self.0 {
            Kind::Fixed(value) => value.clone().map(Ok),
            Kind::Made { parts, keep_empty } => {
                let text = made(parts, values, "");
                if text.is_empty() && !keep_empty {
                    return None;
                }
                Some(HeaderValue::from_bytes(&text).map_err(|_| IllegalValue))
            }
        }
    }

    /// The text for one message; what is not there reads as `missing`.
    pub(super) fn text(&self, values: &Values<'_>, missing: &str) -> Vec<u8> {
        match &self.0 {
            Kind::Fixed(value) => value
                .as_ref()
                .map_or_else(Vec::new, |v| v.as_bytes().into()),
            Kind::Made { parts, .. } => made(parts, values, missing),
        }
    }

    /// Whether the value differs from message to message.
    pub(super) const fn is_made(&self) -> bool {
        matches!(self.0, Kind::Made { .. })
    }

    /// Whether the value is made of the request.
    pub(super) fn reads_request(&self) -> bool {
        let reads = |part: &Part| {
            matches!(
                part,
                Part::Command(Command::Request(_) | Command::Query(_), _)
            )
        };
        match &self.0 {
            Kind::Fixed(_) => false,
            Kind::Made { parts, .. } => parts.iter().any(reads),
        }
    }
}

fn made(parts: &[Part], values: &Values<'_>, missing: &str) -> Vec<u8> {
    let mut text = Vec::new();
    for part in parts {
        match part {
            Part::Text(fixed) => text.extend_from_slice(fixed),
            Part::Command(command, limit) => {
                let start = text.len();
                if !command.write(values, &mut text) {
                    text.extend_from_slice(missing.as_bytes());
                }
                if let Some(limit) = limit {
                    text.truncate(start.saturating_add(*limit));
                }
            }
        }
    }
    text
}

impl Command {
    /// Writes what it stands for; `false` when that is not there.
    fn write(&self, values: &Values<'_>, to: &mut Vec<u8>) -> bool {
        let mut put = |text: &[u8]| {
            to.extend_from_slice(text);
            !text.is_empty()
        };
        match self {
            Self::Request(names) => names
                .find(|name| {
                    let Named::Key(key) = name else { return None };
                    values.request?.header(key).next()
                })
                .is_some_and(|value| put(&value)),
            Self::Response(names) => names
                .find(|name| match name {
                    Named::Status => Some(values.status.as_ref()?.as_str().as_bytes()),
                    Named::Key(HeaderKey::Name(name)) => {
                        values.response?.get(name).map(HeaderValue::as_bytes)
                    }
                    _ => None,
                })
                .is_some_and(put),
            Self::Query(name) => {
                let query = values.request.and_then(|request| request.query);
                query
                    .and_then(|query| first_parameter(query, name))
                    .is_some_and(|value| put(&percent_decoded(value)))
            }
            Self::Protocol => put(protocol(values.version).as_bytes()),
            Self::Cluster => put(values.cluster.as_bytes()),
            Self::Route => put(values.route.as_bytes()),
            Self::Endpoint => written(to, values.endpoint),
            Self::EndpointAddress => written(to, values.endpoint.map(|address| address.ip())),
            Self::EndpointPort => written(to, values.endpoint.map(|address| address.port())),
            // A request is changed before there is a status, which Envoy writes as 0.
            Self::Status => put(values
                .status
                .as_ref()
                .map_or("0", StatusCode::as_str)
                .as_bytes()),
        }
    }
}

impl Names {
    /// What the name leads to, else what the alternative leads to.
    fn find<T>(&self, look: impl Fn(&Named) -> Option<T>) -> Option<T> {
        look(&self.main).or_else(|| look(self.alternative.as_ref()?))
    }
}

fn written(to: &mut Vec<u8>, value: Option<impl std::fmt::Display>) -> bool {
    // Writing to a vector cannot fail.
    value.is_some_and(|value| write!(to, "{value}").is_ok())
}

const fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    }
}

/// `%41` -> `A`; a percent sign that begins no escape stays.
fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        if let Some((byte, after)) = escaped(rest) {
            decoded.push(byte);
            rest = after;
        } else {
            decoded.push(*first);
            rest = after;
        }
    }
    decoded
}
