//! Why a request goes where it goes: the decision of [`crate::route`] and [`crate::lb`] told with its reasons, nothing
//! drawn and nothing sent. It is built by trying each rule by itself, not by the shortcuts that calls take.
//!
//! Probabilities are of all requests with this head, 0 to 1.

mod cluster;
mod domains;
mod routes;
mod text;
mod words;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};

use crate::cluster::{Cluster, Health};
use crate::route::{ClusterIndex, Limits, VirtualHost};
use crate::snapshot::Target;

pub use cluster::cluster;
pub use domains::{Candidates, HostSeen, NotChosen};
pub use routes::routes;

/// What the configuration of one moment says of a request.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// Its method.
    pub method: Method,
    /// Its URI, the path in the form in which it is matched.
    pub uri: String,
    /// The configuration's number, as in [`Snapshot::generation`](crate::Snapshot::generation).
    pub generation: u64,
    /// The route configuration, if there is one: its name, and its `version_info`.
    pub table: Option<(Arc<str>, Arc<str>)>,
    /// What becomes of the request.
    pub way: Way,
}

/// What becomes of a request.
#[derive(Debug, Clone)]
pub enum Way {
    /// A virtual host is for it, and its routes decide.
    Routes(Candidates, Vec<RouteSeen>),
    /// No route applies: it goes to the host that it asks for. The text says why.
    Outside(Arc<str>),
    /// It fails before any route is asked.
    Refused(Refusal),
}

/// How a request fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What the caller would see.
    pub status: StatusCode,
    /// Envoy's response flags, as `NR`, `NC` or `UH`.
    pub flags: &'static str,
    /// What is wrong, and what to do.
    pub reason: Arc<str>,
}

/// One route of the virtual host.
#[derive(Debug, Clone)]
pub struct RouteSeen {
    /// Its name, `-` for none.
    pub name: Arc<str>,
    /// The object that it was made of, [`Route::source`](crate::route::Route::source).
    pub source: Option<Arc<str>>,
    /// Whether the request takes it.
    pub verdict: Verdict,
}

/// Whether a request takes a route.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// It does not match; the first condition that fails.
    Fails(Unmet),
    /// It matches.
    Takes {
        /// How likely the request takes this route and no earlier one. Below 1 where this or an earlier route has a
        /// `runtime_fraction`.
        probability: f64,
        /// Whether it takes every request that gets to it: no later route is asked, and none is left without a route.
        takes_rest: bool,
        /// What it then does.
        action: Box<ActionSeen>,
    },
    /// Not asked: an earlier route takes every such request.
    NotAsked,
}

/// Which part of a [`RouteMatch`](crate::route::RouteMatch), by its place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// `path`
    Path,
    /// `headers`; the method is the header `:method`.
    Header(usize),
    /// `query`
    Query(usize),
    /// `cookies`
    Cookie(usize),
    /// `fraction`, which is none of all requests.
    Fraction,
}

/// A condition that fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmet {
    /// Which.
    pub condition: Condition,
    /// What it demands, in words, with the name of the header, parameter or cookie.
    pub expected: String,
    /// What the request has; `None` is nothing.
    pub found: Option<String>,
}

/// What a route does to a request.
#[derive(Debug, Clone)]
pub enum ActionSeen {
    /// `route`
    Forward(ForwardSeen),
    /// `redirect`, `direct_response`: an answer in place of a call.
    Answer {
        /// Its status.
        status: StatusCode,
        /// Where a redirect leads.
        location: Option<String>,
        /// How long its body is, in bytes.
        length: usize,
        /// What may be injected before.
        fault: Option<FaultSeen>,
    },
    /// It fails: the action is known and not served.
    Refused(Refusal),
}

/// What a forwarding route does.
#[derive(Debug, Clone)]
pub struct ForwardSeen {
    /// What decides among the choices, where there are several.
    pub by: String,
    /// Every choice that a request can get.
    pub choices: Vec<ChoiceSeen>,
    /// How long the request may take.
    pub limits: Limits,
    /// Where copies go.
    pub mirrors: Vec<MirrorSeen>,
}

/// One cluster of a split.
#[derive(Debug, Clone)]
pub struct ChoiceSeen {
    /// Its weight.
    pub weight: u32,
    /// How likely a request that takes the route gets it. 0 where the request's hash or header chooses another.
    pub probability: f64,
    /// The cluster.
    pub cluster: ClusterSeen,
    /// The URI that is sent, if the rules make it another one; or why it cannot be sent.
    pub rewritten: Option<Result<String, String>>,
    /// The headers that the rules add, change or remove: the value that is sent, `None` for one that is removed.
    pub headers: Vec<(String, Option<String>)>,
    /// What may be injected before.
    pub fault: Option<FaultSeen>,
}

/// Faults that apply to the request.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FaultSeen {
    /// How long it is delayed, and how likely.
    pub delay: Option<(Duration, f64)>,
    /// What it is answered with in place of a call, and how likely.
    pub abort: Option<(String, f64)>,
}

/// Where a copy of the request goes.
#[derive(Debug, Clone)]
pub struct MirrorSeen {
    /// How likely.
    pub probability: f64,
    /// The cluster; without an endpoint no copy is sent.
    pub cluster: ClusterSeen,
}

/// A cluster that a route leads to.
#[derive(Debug, Clone)]
pub struct ClusterSeen {
    /// Its name.
    pub name: Arc<str>,
    /// The subset in Istio's form of the name.
    pub subset: Option<Arc<str>>,
    /// `lb_policy`; empty for a cluster that is not there.
    pub policy: String,
    /// Its endpoints, in the order of the assignment.
    pub endpoints: Vec<EndpointSeen>,
    /// Whether the request goes to the host that it asks for, there being no endpoints (`ORIGINAL_DST`).
    pub is_outside: bool,
    /// Why no call gets anywhere.
    pub refusal: Option<Refusal>,
}

/// One endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointSeen {
    /// Where it listens.
    pub address: SocketAddr,
    /// As its assignment says.
    pub health: Health,
    /// `region/zone/sub_zone`, without the parts that are not known.
    pub locality: Option<String>,
    /// 0 is the highest.
    pub priority: u32,
    /// Its weight.
    pub weight: u32,
    /// Why it is not picked, if it is not.
    pub passed_over: Option<String>,
}

/// What a virtual host leads to: [`Target`], or what a data plane has made of it.
pub trait Reaches {
    /// The host and its routes.
    fn host(&self) -> &Arc<VirtualHost>;
    /// The cluster behind an index, if the control plane has it.
    fn model(&self, index: ClusterIndex) -> Option<&Arc<Cluster>>;
}

impl Reaches for Target {
    fn host(&self) -> &Arc<VirtualHost> {
        &self.host
    }

    fn model(&self, index: ClusterIndex) -> Option<&Arc<Cluster>> {
        self.cluster(index)
    }
}

impl<T: Reaches> Reaches for Arc<T> {
    fn host(&self) -> &Arc<VirtualHost> {
        (**self).host()
    }

    fn model(&self, index: ClusterIndex) -> Option<&Arc<Cluster>> {
        (**self).model(index)
    }
}

impl Explanation {
    /// How likely a request gets to an endpoint, to the host that it asks for, or to an answer that a route gives.
    /// What a fault aborts, what no route is for, and what `REGISTRY_ONLY` blocks gets to nothing.
    pub fn reaches(&self) -> f64 {
        match &self.way {
            Way::Outside(_) => 1.0,
            Way::Refused(_) => 0.0,
            Way::Routes(candidates, _) if candidates.blocks() => 0.0,
            Way::Routes(_, routes) => routes.iter().map(RouteSeen::reaches).sum(),
        }
    }

    /// Whether it goes to the host that it asks for because no rule knows that host: by `https`, or by
    /// `outboundTrafficPolicy` ALLOW_ANY. DNS then decides whether it arrives.
    pub fn is_passed_through(&self) -> bool {
        match &self.way {
            Way::Outside(_) => true,
            Way::Refused(_) => false,
            Way::Routes(candidates, _) => candidates.policy() == Some("ALLOW_ANY"),
        }
    }

    /// How the request fails that takes no route of its virtual host, and how likely that is, if it can happen.
    pub fn unrouted(&self) -> Option<(f64, Refusal)> {
        let Way::Routes(candidates, routes) = &self.way else {
            return None;
        };
        let takes_rest = |route: &RouteSeen| {
            matches!(
                route.verdict,
                Verdict::Takes {
                    takes_rest: true,
                    ..
                }
            )
        };
        if routes.iter().any(takes_rest) {
            return None;
        }
        let probability = 1.0 - routes.iter().map(RouteSeen::probability).sum::<f64>();
        let reason = format!(
            "no route of virtual host {:?} matches; add one that does, or mend a condition above",
            candidates.chosen.name
        );
        let refusal = Refusal::new(StatusCode::NOT_FOUND, "NR", reason);
        Some((probability, refusal))
    }
}

impl RouteSeen {
    /// How likely the request takes it.
    pub fn probability(&self) -> f64 {
        match &self.verdict {
            Verdict::Takes { probability, .. } => *probability,
            Verdict::Fails(_) | Verdict::NotAsked => 0.0,
        }
    }

    fn reaches(&self) -> f64 {
        match &self.verdict {
            Verdict::Takes {
                probability,
                action,
                ..
            } => probability * action.reaches(),
            Verdict::Fails(_) | Verdict::NotAsked => 0.0,
        }
    }
}

impl ActionSeen {
    fn reaches(&self) -> f64 {
        match self {
            Self::Refused(_) => 0.0,
            Self::Answer { fault, .. } => passes(fault.as_ref()),
            Self::Forward(forward) => forward.choices.iter().map(ChoiceSeen::reaches).sum(),
        }
    }
}

impl ChoiceSeen {
    fn reaches(&self) -> f64 {
        if self.cluster.refusal.is_some() || matches!(self.rewritten, Some(Err(_))) {
            return 0.0;
        }
        self.probability * passes(self.fault.as_ref())
    }
}

/// How likely a fault lets a request be.
fn passes(fault: Option<&FaultSeen>) -> f64 {
    let abort = fault.and_then(|fault| fault.abort.as_ref());
    abort.map_or(1.0, |(_, probability)| 1.0 - probability)
}

impl Refusal {
    /// A failure.
    pub fn new(status: StatusCode, flags: &'static str, reason: impl Into<Arc<str>>) -> Self {
        Self {
            status,
            flags,
            reason: reason.into(),
        }
    }
}
