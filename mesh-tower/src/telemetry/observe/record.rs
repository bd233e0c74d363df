//! What is known of a call when it has ended, and its line in the access log.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Uri, Version};
use mesh_core::request::content_length;
use serde_json::{Value, json};

#[cfg(feature = "otel")]
use super::super::ended::Protocol;
use super::super::ended::{Ended, Flags};
use super::propagation::REQUEST_ID;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The path before a rewrite, from a proxy in front of this process.
const ORIGINAL_PATH: HeaderName = HeaderName::from_static("x-envoy-original-path");

/// Envoy's `%RESPONSE_CODE_DETAILS%` for its flags, those that name the end before those that name a part of it.
const DETAILS: [(&str, &str); 14] = [
    ("DC", "downstream_remote_disconnect"),
    ("DR", "downstream_remote_reset"),
    ("DPE", "http1.codec_error"),
    ("NR", "route_not_found"),
    ("NC", "cluster_not_found"),
    ("UH", "no_healthy_upstream"),
    (
        "UF",
        "upstream_reset_before_response_started{connection_failure}",
    ),
    ("UO", "upstream_reset_before_response_started{overflow}"),
    ("UT", "response_timeout"),
    ("SI", "stream_idle_timeout"),
    ("DT", "max_duration_timeout"),
    (
        "UPE",
        "upstream_reset_after_response_started{protocol_error}",
    ),
    (
        "UC",
        "upstream_reset_before_response_started{connection_termination}",
    ),
    ("FI", "fault_filter_abort"),
];

/// A call or a request.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) start: SystemTime,
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) version: Version,
    pub(super) authority: Option<Box<str>>,
    original_path: Option<HeaderValue>,
    forwarded_for: Option<HeaderValue>,
    pub(super) user_agent: Option<HeaderValue>,
    pub(super) request_id: Option<HeaderValue>,
    /// The length of the request's body, if its beginning tells it.
    pub(super) received: Option<u64>,
    pub(super) sent: u64,
    pub(super) ended: Ended,
    pub(super) took: Duration,
    /// Until the response began.
    pub(super) answered_after: Option<Duration>,
    /// Why no connection came about.
    pub(super) failure: Option<String>,
    pub(super) endpoint: Option<SocketAddr>,
    pub(super) cluster: Option<Arc<str>>,
    pub(super) route: Option<Arc<str>>,
    /// Who asked, of a request.
    pub(super) peer: Option<SocketAddr>,
    /// Why the mesh answered for the application, of a request.
    pub(super) details: Option<Box<str>>,
    /// Whether the configuration answered itself.
    pub(super) is_direct: bool,
}

impl Record {
    pub(super) fn of<B>(request: &Request<B>, received: Option<u64>, grpc: bool) -> Self {
        let headers = request.headers();
        let get = |name: HeaderName| headers.get(name).cloned();
        Self {
            start: SystemTime::now(),
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            authority: authority(request.uri(), headers),
            original_path: get(ORIGINAL_PATH),
            forwarded_for: get(FORWARDED_FOR),
            user_agent: get(header::USER_AGENT),
            request_id: get(REQUEST_ID),
            received: received.or_else(|| content_length(headers)),
            sent: 0,
            ended: Ended::abandoned(grpc),
            took: Duration::ZERO,
            answered_after: None,
            failure: None,
            endpoint: None,
            cluster: None,
            route: None,
            peer: None,
            details: None,
            is_direct: false,
        }
    }

    fn path(&self) -> String {
        match &self.original_path {
            Some(path) => lossy(path),
            None => self
                .uri
                .path_and_query()
                .map_or("/", |path| path.as_str())
                .to_owned(),
        }
    }

    pub(super) fn protocol(&self) -> &'static str {
        match self.version {
            Version::HTTP_10 => "HTTP/1.0",
            Version::HTTP_2 => "HTTP/2",
            _ => "HTTP/1.1",
        }
    }

    /// Whether it failed: what Envoy marks as an error in a trace, and any flag but those of faults.
    #[cfg(feature = "otel")]
    pub(super) fn is_error(&self) -> bool {
        let injected = Flags::named("DI,FI");
        let failed = self.ended.flags.and(injected) != injected;
        failed || matches!(self.ended.code, 0 | 500..)
    }

    fn details(&self) -> Option<&str> {
        if let Some(details) = &self.details {
            return Some(details);
        }
        let flags = self.ended.flags;
        let has = |name| flags.and(Flags::named(name)) == flags;
        if let Some((flag, details)) = DETAILS.iter().find(|(flag, _)| has(flag)) {
            // A response that has begun is not there to be reset before.
            return match (*flag, self.answered_after) {
                ("UC", Some(_)) => {
                    Some("upstream_reset_after_response_started{connection_termination}")
                }
                _ => Some(details),
            };
        }
        match self.is_direct {
            true => Some("direct_response"),
            false => self.answered_after.map(|_| "via_upstream"),
        }
    }

    /// Istio's default format, with the end of the line.
    pub(super) fn text(&self) -> String {
        let header = |value: &Option<HeaderValue>| Quoted(value.as_ref().map(lossy));
        let failure = Quoted(self.failure.as_deref().map(|text| text.replace(' ', "_")));
        format!(
            "[{}] \"{} {} {}\" {} {} {} - {failure} {} {} {} {} {} {} {} {} {} {} - - {} - {}\n",
            Time(self.start),
            self.method,
            escaped(&self.path()),
            self.protocol(),
            self.ended.code,
            self.ended.flags,
            Known(self.details()),
            Known(self.received),
            self.sent,
            self.took.as_millis(),
            Known(self.answered_after.map(|after| after.as_millis())),
            header(&self.forwarded_for),
            header(&self.user_agent),
            header(&self.request_id),
            Quoted(self.authority.as_deref().map(str::to_owned)),
            Quoted(self.endpoint.map(|endpoint| endpoint.to_string())),
            Known(self.cluster.as_deref()),
            Known(self.peer),
            Known(self.route.as_deref()),
        )
    }

    /// The same with Istio's keys, with the end of the line.
    pub(super) fn json(&self) -> String {
        let header = |value: &Option<HeaderValue>| value.as_ref().map(lossy);
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let line = json!({
            "start_time": Time(self.start).to_string(),
            "route_name": self.route.as_deref(),
            "method": self.method.as_str(),
            "path": self.path(),
            "protocol": self.protocol(),
            "response_code": self.ended.code,
            "response_flags": self.ended.flags.to_string(),
            "response_code_details": self.details(),
            "connection_termination_details": Value::Null,
            "bytes_received": self.received,
            "bytes_sent": self.sent,
            "duration": millis(self.took),
            "upstream_service_time": self.answered_after.map(|after| millis(after).to_string()),
            "x_forwarded_for": header(&self.forwarded_for),
            "user_agent": header(&self.user_agent),
            "request_id": header(&self.request_id),
            "authority": self.authority.as_deref(),
            "upstream_host": self.endpoint.map(|endpoint| endpoint.to_string()),
            "upstream_cluster": self.cluster.as_deref(),
            "upstream_local_address": Value::Null,
            "downstream_local_address": Value::Null,
            "downstream_remote_address": self.peer.map(|peer| peer.to_string()),
            "requested_server_name": Value::Null,
            "upstream_transport_failure_reason": self.failure.as_deref(),
        });
        format!("{line}\n")
    }

    /// `grpc-status`, of gRPC.
    #[cfg(feature = "otel")]
    pub(super) const fn grpc_status(&self) -> Option<u8> {
        match self.ended.protocol {
            Protocol::Grpc(status) => status,
            Protocol::Http => None,
        }
    }
}

/// The host that was asked for, with its port if one was named.
fn authority(uri: &Uri, headers: &HeaderMap) -> Option<Box<str>> {
    let text = match uri.authority() {
        Some(authority) => authority.as_str().to_owned(),
        None => lossy(headers.get(header::HOST)?),
    };
    // User information may hold what no log should.
    let host = text.rsplit_once('@').map_or(&*text, |(_, host)| host);
    Some(host.into())
}

pub(super) fn lossy(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// What it is, or `-`.
struct Known<T>(Option<T>);

impl<T: fmt::Display> fmt::Display for Known<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(known) => known.fmt(f),
            None => f.write_str("-"),
        }
    }
}

/// The same in quotes. A quote inside could begin what a reader takes for the next field.
struct Quoted(Option<String>);

impl fmt::Display for Quoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(known) => write!(f, "\"{}\"", escaped(known)),
            None => f.write_str("\"-\""),
        }
    }
}

/// What a peer chose, between quotes that it cannot end.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

/// `%START_TIME%`: UTC with milliseconds.
struct Time(SystemTime);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.0.duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = since.as_secs();
        let (year, month, day) = date(seconds / 86_400);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
            seconds / 3600 % 24,
            seconds / 60 % 60,
            seconds % 60,
            since.subsec_millis(),
        )
    }
}

/// The date of a day since 1970. Years begin in March, so that the leap day is their last; 400 of them are an era.
const fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = shifted / 146_097 * 400 + year_of_era + (month <= 2) as u64;
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_that_of_the_calendar() {
        let at = |seconds, millis| {
            let time = UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(millis);
            Time(time).to_string()
        };
        assert_eq!(at(0, 0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(951_782_399, 999), "2000-02-28T23:59:59.999Z");
        assert_eq!(at(951_782_400, 0), "2000-02-29T00:00:00.000Z");
        assert_eq!(at(951_868_800, 5), "2000-03-01T00:00:00.005Z");
        assert_eq!(at(4_107_542_400, 0), "2100-03-01T00:00:00.000Z");
        assert_eq!(at(1_735_689_599, 0), "2024-12-31T23:59:59.000Z");
    }
}
