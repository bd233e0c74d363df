//! What a channel is for, as its address says.

use http::uri::Authority;

/// The port of a target that names none, as of a URL.
const DEFAULT_PORT: u16 = 80;

/// An address that a channel can be made for: `xds:///host[:port]` or `host[:port]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// As it was written: what the routes' domains are compared with, and what is sent.
    pub(super) authority: Authority,
    pub(super) port: u16,
}

/// Why [`Mesh::channel`](crate::Mesh::channel) can make nothing of an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidTarget {
    /// `xds://authority/...`: of xDS federation (gRFC A47).
    #[error(
        "target {target:?} names the xDS authority {authority:?}; federation is not served, there is the mesh's own control plane only: write xds:///host:port, with three slashes"
    )]
    Federation {
        /// What was given.
        target: String,
        /// The authority in it.
        authority: String,
    },
    /// Another scheme than `xds`.
    #[error(
        "target {target:?} has the scheme {scheme:?}; a channel of the mesh is for xds:///host:port, or host:port"
    )]
    Scheme {
        /// What was given.
        target: String,
        /// The scheme in it.
        scheme: String,
    },
    /// No `host[:port]`.
    #[error("target {target:?} is not for a host and port: {reason}; write xds:///host:port")]
    Host {
        /// What was given.
        target: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl Target {
    pub(super) fn parse(target: &str) -> Result<Self, InvalidTarget> {
        let endpoint = match target.split_once("://") {
            None => target,
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("xds") => {
                match rest.split_once('/') {
                    Some(("", endpoint)) => endpoint,
                    Some((authority, _)) => return Err(federation(target, authority)),
                    None => return Err(federation(target, rest)),
                }
            }
            Some((scheme, _)) => {
                return Err(InvalidTarget::Scheme {
                    target: target.to_owned(),
                    scheme: scheme.to_owned(),
                });
            }
        };
        host_and_port(endpoint).map_err(|reason| InvalidTarget::Host {
            target: target.to_owned(),
            reason,
        })
    }
}

fn federation(target: &str, authority: &str) -> InvalidTarget {
    InvalidTarget::Federation {
        target: target.to_owned(),
        authority: authority.to_owned(),
    }
}

fn host_and_port(endpoint: &str) -> Result<Target, &'static str> {
    if endpoint.is_empty() {
        return Err("it names no host");
    }
    if endpoint.contains(['/', '?', '#']) {
        return Err("it has a path, a query or a fragment, which belong to a call");
    }
    if endpoint.contains('@') {
        return Err("it holds user information, which no host name has");
    }
    let authority: Authority = endpoint
        .parse()
        .map_err(|_| "this is no host name or address")?;
    let host = authority.host();
    if host.is_empty() {
        return Err("it names no host");
    }
    let port = match endpoint.get(host.len()..).unwrap_or_default() {
        "" => DEFAULT_PORT,
        port => port
            .strip_prefix(':')
            .filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|port| port.parse().ok())
            .filter(|port| *port != 0)
            .ok_or("its port is none from 1 to 65535")?,
    };
    Ok(Target { authority, port })
}

#[cfg(test)]
mod tests {
    use super::{InvalidTarget, Target};

    #[test]
    fn hosts_and_ports_are_read() {
        for (target, authority, port) in [
            ("xds:///ratings:9080", "ratings:9080", 9080),
            ("XDS:///ratings", "ratings", 80),
            (
                "ratings.default.svc:50051",
                "ratings.default.svc:50051",
                50051,
            ),
            ("[::1]:50051", "[::1]:50051", 50051),
            ("xds:///[::1]", "[::1]", 80),
        ] {
            let read = Target::parse(target).map(|read| (read.authority.to_string(), read.port));
            assert_eq!(read, Ok((authority.to_owned(), port)), "{target}");
        }
    }

    #[test]
    fn everything_else_is_refused_with_a_reason() {
        use InvalidTarget::{Federation, Host, Scheme};
        for target in ["xds://other.example.com/ratings:9080", "xds://ratings:9080"] {
            assert!(
                matches!(Target::parse(target), Err(Federation { .. })),
                "{target}"
            );
        }
        for target in [
            "http://ratings:9080",
            "dns:///ratings",
            "unix:///run/socket",
            "://x",
        ] {
            assert!(
                matches!(Target::parse(target), Err(Scheme { .. })),
                "{target}"
            );
        }
        for target in [
            "",
            "xds:///",
            "xds:///:80",
            "xds:///ratings:",
            "xds:///ratings:0",
            "ratings:65536",
            "ratings:+80",
            "xds:///ratings/path",
            "ratings?x",
            "me@ratings:80",
            "a b",
            "xds:a:80",
            "[::1",
            "[::1]x",
        ] {
            let refused = Target::parse(target);
            assert!(matches!(refused, Err(Host { .. })), "{target}: {refused:?}");
        }
    }
}
