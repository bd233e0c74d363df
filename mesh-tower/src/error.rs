//! The one error of a call: what failed, where, under which configuration, and whether the request
//! may have been processed. Flags are Envoy's response flags.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use http::{Response, StatusCode};

use crate::body::Body;
use crate::client::Limit;
use crate::telemetry::Edge;

/// Any error of the user's.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a call failed inside the mesh. Statuses that a backend answers are no errors.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    sent: Sent,
    place: Place,
    reason: String,
    cause: Option<Arc<dyn std::error::Error + Send + Sync>>,
    /// What generated gRPC clients look for in the source chain; the cause is its source. Made when it is first
    /// looked for: its message is the whole sentence, which is known at the end.
    status: OnceLock<tonic::Status>,
    /// Where it is counted, if that is another edge than that of the cluster.
    edge: Option<Arc<Edge>>,
}

/// Where a call was when it failed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Place {
    pub(crate) authority: Option<Box<str>>,
    pub(crate) route: Option<Arc<str>>,
    pub(crate) cluster: Option<Arc<str>>,
    pub(crate) endpoint: Option<SocketAddr>,
    pub(crate) generation: u64,
}

/// How far a request came: the only thing that decides what may be repeated unasked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Sent {
    /// No byte of it left this process.
    NotSent,
    /// The peer said that it did not process it.
    Refused,
    /// It left; whether it was processed is unknown.
    MaybeProcessed,
    /// It was processed: a response had begun.
    Processed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    InvalidRequest,
    NotReady,
    NoRoute,
    /// With the status that the route has for it (`cluster_not_found_response_code`).
    NoCluster(StatusCode),
    NoEndpoint,
    Blocked,
    Full,
    Unsupported,
    TlsDemanded,
    /// No TLS with a peer that was reached.
    Tls,
    Connect,
    Reset,
    Upload,
    Body,
    /// A limit of the call's time. `uploaded` is whether the request was whole.
    Timeout {
        limit: Limit,
        uploaded: bool,
    },
}

impl Kind {
    /// HTTP status and Envoy's short flag.
    const fn answer(self) -> (StatusCode, &'static str) {
        match self {
            Self::InvalidRequest => (StatusCode::BAD_REQUEST, "DPE"),
            // Envoy's name for configuration that did not arrive within its deadline.
            Self::NotReady => (StatusCode::SERVICE_UNAVAILABLE, "NFCF"),
            Self::NoRoute => (StatusCode::NOT_FOUND, "NR"),
            Self::NoCluster(status) => (status, "NC"),
            Self::NoEndpoint => (StatusCode::SERVICE_UNAVAILABLE, "UH"),
            // What istiod's `block_all` answers, and the flag of its cluster without endpoints.
            Self::Blocked => (StatusCode::BAD_GATEWAY, "UH"),
            // Envoy's overflow.
            Self::Full => (StatusCode::SERVICE_UNAVAILABLE, "UO"),
            Self::Unsupported => (StatusCode::SERVICE_UNAVAILABLE, "NR"),
            Self::TlsDemanded | Self::Tls | Self::Connect => {
                (StatusCode::SERVICE_UNAVAILABLE, "UF")
            }
            Self::Reset => (StatusCode::SERVICE_UNAVAILABLE, "UC"),
            // The caller's side broke off: Envoy's downstream remote reset.
            Self::Upload => (StatusCode::BAD_REQUEST, "DR"),
            Self::Body => (StatusCode::BAD_GATEWAY, "UPE"),
            Self::Timeout { limit, uploaded } => (
                match (limit, uploaded) {
                    // Envoy blames the peer of a whole request, and the caller of half a one.
                    (Limit::Whole | Limit::Idle, false) => StatusCode::REQUEST_TIMEOUT,
                    _ => StatusCode::GATEWAY_TIMEOUT,
                },
                match limit {
                    Limit::Route | Limit::Caller | Limit::Deadline => "UT",
                    Limit::Idle => "SI",
                    // Envoy sets no flag here; this is the one of its other limits of duration.
                    Limit::Whole => "DT",
                },
            ),
        }
    }

    /// What gRPC calls it.
    const fn code(self) -> tonic::Code {
        match self {
            Self::Timeout { .. } => tonic::Code::DeadlineExceeded,
            Self::Upload => tonic::Code::Cancelled,
            _ => tonic::Code::Unavailable,
        }
    }
}

impl Error {
    pub(crate) fn new(kind: Kind, place: Place, reason: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            sent: Sent::NotSent,
            place,
            reason: reason.into(),
            cause: None,
            status: OnceLock::new(),
            edge: None,
        }))
    }

    pub(crate) fn caused(mut self, sent: Sent, cause: impl Into<BoxError>) -> Self {
        self.0.sent = sent;
        self.0.cause = Some(Arc::from(cause.into()));
        self
    }

    /// Of the body of a request whose call has ended: nobody waits for the rest.
    pub(crate) fn abandoned() -> Self {
        let reason = "the call ended before its request was whole";
        // The reason with which the stream is reset; it would be INTERNAL_ERROR.
        let cancel = h2::Error::from(h2::Reason::CANCEL);
        Self::new(Kind::Upload, Place::default(), reason).caused(Sent::MaybeProcessed, cancel)
    }

    /// How far the request came, where nothing below is the cause.
    pub(crate) fn came(mut self, sent: Sent) -> Self {
        self.0.sent = sent;
        self
    }

    /// Adds the authority to an error from below the routing layer, where only the route is known.
    pub(crate) fn called(mut self, authority: Option<&http::uri::Authority>) -> Self {
        let place = &mut self.0.place;
        place.authority = place
            .authority
            .take()
            .or_else(|| Some(authority?.as_str().into()));
        self
    }

    /// Says on which edge it is to be counted.
    pub(crate) fn toward(mut self, edge: &Arc<Edge>) -> Self {
        self.0.edge = Some(Arc::clone(edge));
        self
    }

    pub(crate) const fn edge(&self) -> Option<&Arc<Edge>> {
        self.0.edge.as_ref()
    }

    /// Why no connection came about, if that is what failed.
    pub(crate) fn connect_failure(&self) -> Option<String> {
        self.is_connect().then(|| self.0.reason.clone())
    }

    /// What gRPC calls it.
    pub(crate) const fn code(&self) -> tonic::Code {
        self.0.kind.code()
    }

    /// The status that a server would answer in our place.
    pub fn status(&self) -> StatusCode {
        self.0.kind.answer().0
    }

    /// Envoy's response flag of the failure: `NR`, `NC`, `UH`, `UF`, `UC`, ... Of the limits of time: `UT` is the
    /// route's `timeout` and the caller's own, `SI` is `idle_timeout`, `DT` is `max_stream_duration` (Envoy
    /// itself sets none there). That a fault made the call wait before is no part of it; metrics and access logs have
    /// that too (`DI,UT`).
    pub fn flags(&self) -> &'static str {
        self.0.kind.answer().1
    }

    /// How far the request came.
    pub fn sent(&self) -> Sent {
        self.0.sent
    }

    /// The route that was taken.
    pub fn route(&self) -> Option<&str> {
        self.0.place.route.as_deref()
    }

    /// The cluster that was chosen.
    pub fn cluster(&self) -> Option<&str> {
        self.0.place.cluster.as_deref()
    }

    /// The endpoint that was tried last.
    pub fn endpoint(&self) -> Option<SocketAddr> {
        self.0.place.endpoint
    }

    /// The generation of the configuration that decided.
    pub fn generation(&self) -> u64 {
        self.0.place.generation
    }

    /// No configuration arrived in time.
    pub fn is_not_ready(&self) -> bool {
        self.0.kind == Kind::NotReady
    }

    /// No virtual host or no route matched.
    pub fn is_no_route(&self) -> bool {
        self.0.kind == Kind::NoRoute
    }

    /// The cluster has no endpoint that may be picked.
    pub fn is_no_endpoint(&self) -> bool {
        self.0.kind == Kind::NoEndpoint
    }

    /// A limit of how much there may be at once is reached: Envoy's overflow. Of hosts outside of the mesh, each of
    /// which has connections of its own, 1024 are called at once.
    pub fn is_overloaded(&self) -> bool {
        self.0.kind == Kind::Full
    }

    /// The outbound policy `REGISTRY_ONLY` lets no call leave to a host that the mesh does not know.
    pub fn is_blocked(&self) -> bool {
        self.0.kind == Kind::Blocked
    }

    /// The request itself cannot be sent: its URI, method or Host header.
    pub fn is_invalid_request(&self) -> bool {
        self.0.kind == Kind::InvalidRequest
    }

    /// There is no cluster to call: the route's is not there, or was refused because of what it says; or the subset
    /// that [`CallOptions`](crate::CallOptions) ask for is none that the route leads to.
    pub fn is_no_cluster(&self) -> bool {
        matches!(self.0.kind, Kind::NoCluster(_))
    }

    /// TLS is demanded and cannot be done, or [`Security::Required`](crate::Security::Required) permits no plaintext:
    /// nothing was tried.
    pub fn is_tls_demanded(&self) -> bool {
        self.0.kind == Kind::TlsDemanded
    }

    /// The connection ended before the response did.
    pub fn is_reset(&self) -> bool {
        matches!(self.0.kind, Kind::Reset | Kind::Body)
    }

    /// A limit of the call's time has passed: of its route, or of its own
    /// [`CallOptions`](crate::CallOptions). [`Self::sent`] tells how far the request had come. That no
    /// connection came about in time is [`Self::is_connect`].
    pub fn is_timeout(&self) -> bool {
        matches!(self.0.kind, Kind::Timeout { .. })
    }

    /// No connection came about, or no TLS on it ([`Self::is_tls`]).
    pub fn is_connect(&self) -> bool {
        matches!(self.0.kind, Kind::Connect | Kind::Tls)
    }

    /// No TLS came about with an endpoint of the mesh: one of the two sides refused the other. The sentence has the names
    /// that the peer showed, those that the configuration asks for, and by which authorities it was judged.
    pub fn is_tls(&self) -> bool {
        self.0.kind == Kind::Tls
    }

    /// The answer of a proxy or a page: our status, with the sentence as its body.
    pub fn to_response(&self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.to_string()));
        *response.status_mut() = self.status();
        let text = http::HeaderValue::from_static("text/plain; charset=utf-8");
        response
            .headers_mut()
            .insert(http::header::CONTENT_TYPE, text);
        response
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { place, reason, .. } = &*self.0;
        write!(f, "{} {}: ", self.status().as_u16(), self.flags())?;
        place.fmt(f)?;
        f.write_str(reason)
    }
}

impl fmt::Display for Place {
    /// `call to "reviews:9080", route "canary", cluster "...", endpoint ... (configuration 7): `, as far as known.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        let mut part = |f: &mut fmt::Formatter<'_>, what: &str, name: Option<&str>| match name {
            // A route without a name is called "-"; that says nothing.
            None | Some("-") => Ok(()),
            Some(name) => {
                let before = std::mem::replace(&mut separator, ", ");
                write!(f, "{before}{what} {name:?}")
            }
        };
        part(f, "call to", self.authority.as_deref())?;
        part(f, "route", self.route.as_deref())?;
        part(f, "cluster", self.cluster.as_deref())?;
        if let Some(endpoint) = &self.endpoint {
            write!(f, "{separator}endpoint {endpoint}")?;
            separator = ", ";
        }
        if separator.is_empty() {
            Ok(())
        } else {
            write!(f, " (configuration {}): ", self.generation)
        }
    }
}

/// The sentence, not the fields: a `main` that returns the error prints this.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} ({:?})", self.0.sent)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let made = || {
            let mut status = tonic::Status::new(self.0.kind.code(), self.to_string());
            if let Some(cause) = &self.0.cause {
                status.set_source(Arc::clone(cause));
            }
            status
        };
        Some(self.0.status.get_or_init(made))
    }
}

impl From<Error> for tonic::Status {
    fn from(error: Error) -> Self {
        let mut status = Self::new(error.0.kind.code(), error.to_string());
        status.set_source(Arc::new(error));
        status
    }
}
