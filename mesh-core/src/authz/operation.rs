//! What a request does: the tests of `envoy.config.rbac.v3.Permission`.

use std::ops::RangeInclusive;

use super::cidr::CidrRange;
use super::claims::ClaimMatcher;
use super::facts::Facts;
use super::template::UriTemplate;
use super::truth::Truth;
use crate::matcher::{HeaderMatcher, StringMatcher};

/// A test of what is done.
#[derive(Debug, Clone)]
pub enum Operation {
    /// `header`: a header or pseudo-header.
    Header(HeaderMatcher),
    /// `url_path`: the path without its query.
    UrlPath(StringMatcher),
    /// `uri_template`: the same, by a template.
    UriTemplate(UriTemplate),
    /// `destination_ip`: our own address.
    DestinationIp(CidrRange),
    /// `destination_port`: our own port.
    DestinationPort(u16),
    /// `destination_port_range`
    DestinationPortRange(PortRange),
    /// `requested_server_name`: empty when the client asked for none.
    RequestedServerName(StringMatcher),
    /// `metadata`, `sourced_metadata`
    Metadata(ClaimMatcher),
}

/// Ports from one to another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PortRange(RangeInclusive<u16>);

/// Bounds that are no range of ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{start} to before {end} is no range of ports: the bounds are 0 to 65536, and the first is below the second"
)]
pub struct NotPorts {
    start: i32,
    end: i32,
}

impl PortRange {
    /// The ports from a first one to the one before `end` (`envoy.type.v3.Int32Range`).
    ///
    /// # Errors
    /// When there are none, or a bound is no port; Envoy refuses both.
    pub fn new(start: i32, end: i32) -> Result<Self, NotPorts> {
        let first = u16::try_from(start).ok();
        let last = end.checked_sub(1).and_then(|last| u16::try_from(last).ok());
        match (first, last) {
            (Some(first), Some(last)) if first <= last => Ok(Self(first..=last)),
            _ => Err(NotPorts { start, end }),
        }
    }
}

impl Operation {
    pub(super) fn holds(&self, facts: &Facts<'_>) -> Truth {
        let path = facts.seen.view().path;
        let known = match self {
            Self::Header(matcher) => matcher.holds(facts.seen.header(&matcher.name)),
            Self::UrlPath(matcher) => matcher.matches(path.as_bytes()),
            Self::UriTemplate(template) => return template.matches(path),
            Self::DestinationIp(range) => range.contains(facts.local.ip()),
            Self::DestinationPort(port) => facts.local.port() == *port,
            Self::DestinationPortRange(range) => range.0.contains(&facts.local.port()),
            Self::RequestedServerName(matcher) => {
                matcher.matches(facts.sni.unwrap_or_default().as_bytes())
            }
            Self::Metadata(claim) => return claim.holds(facts.claims),
        };
        known.into()
    }
}
