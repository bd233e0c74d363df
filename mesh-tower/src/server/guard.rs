//! Asks the rules of a connection about one request.

use std::net::SocketAddr;
use std::sync::Arc;

use http::Request;
use http::request::Parts;
use mesh_core::authz::{Action, Claims, Decision, Facts, Rbac, Value, Verdict};
use mesh_core::identity::Peer;
use mesh_core::jwt::{self, Outcome, Verified};
#[cfg(feature = "axum")]
use mesh_core::request::BadHead;
use mesh_core::request::{Admitted, admit};
use mesh_core::server::{Pipeline, Remote, Step};

use super::asking::Paused;
use super::connection::Connection;
use super::door::Door;
use super::gateway::{GatewayChain, may_upgrade};
use super::hygiene;
use super::refusal::Refusal;
use super::stream::PeerIdentity;

const JWT_AUTHN: &str = "envoy.filters.http.jwt_authn";

/// What is asked about one request: made when it comes, and asked when it has been told of.
pub(super) enum Guard {
    /// A stranger, and there are no rules.
    Open,
    Refused(Refusal),
    /// By the rules of its connection, if there are some.
    Ruled(arc_swap::Guard<Option<Arc<Pipeline>>>),
}

impl Guard {
    /// Takes off what the peer may not say, so that nothing behind it hears of that.
    pub(super) fn of<B>(
        request: &mut Request<B>,
        peer: Option<&PeerIdentity>,
        door: &Door,
    ) -> Self {
        let Some(peer) = peer else {
            return match door.takes_strangers() {
                true => Self::Open,
                false => Self::Refused(door.stranger()),
            };
        };
        let connection = &peer.connection;
        connection.guard();
        if connection.is_refused() {
            return Self::Refused(Refusal::leaving());
        }
        let rules = connection.pipeline();
        if let Some(pipeline) = &*rules {
            let is_gateway = pipeline.gateway.is_some();
            let headers = request.headers_mut();
            hygiene::clean(headers, connection, pipeline.xfcc, is_gateway);
        }
        Self::Ruled(rules)
    }

    /// The request in the one form that policy and application see, if it is to be served, or if somebody else says that.
    pub(super) fn pass<B>(
        self,
        request: Request<B>,
        peer: Option<&PeerIdentity>,
    ) -> Result<Judged<B>, Refusal> {
        let (rules, peer) = match (self, peer) {
            (Self::Open, _) => return Ok(Judged::Served(request)),
            (Self::Refused(refusal), _) => return Err(refusal),
            (Self::Ruled(rules), Some(peer)) => (rules, peer),
            (Self::Ruled(_), None) => return Err(Refusal::stranger()),
        };
        let Some(pipeline) = &*rules else {
            return Ok(Judged::Served(request));
        };
        judged(pipeline, peer, request).inspect_err(|no| {
            let (rules, peer) = (&pipeline.name, peer.address);
            // Envoy's words for the access log name no version; the pipeline's name does.
            tracing::debug!(%rules, %peer, details = %no.details, "request refused");
        })
    }
}

/// What became of a request that was not refused.
#[allow(
    clippy::large_enum_variant,
    reason = "it lives for a moment on the stack of a call, where a box would be an allocation"
)]
pub(super) enum Judged<B> {
    Served(Request<B>),
    /// An authorizer has to be asked.
    Asks(Box<Paused<B>>),
}

fn judged<B>(
    pipeline: &Arc<Pipeline>,
    peer: &PeerIdentity,
    request: Request<B>,
) -> Result<Judged<B>, Refusal> {
    let (head, body) = request.into_parts();
    let scheme = match peer.is_encrypted() {
        true => "https",
        false => "http",
    };
    let version = head.version;
    let mut head = admit(head, pipeline.paths, scheme).map_err(|bad| Refusal::head(&bad))?;
    if let Some(gateway) = &pipeline.gateway {
        let view = head.seen().view();
        may_upgrade(gateway, version, view.headers)?;
        if peer.connection.is_misdirected(view.host()) {
            return Err(Refusal::misdirected());
        }
    }
    let mut told = Told::default();
    match Asked::of(peer).about(&mut head, pipeline, 0, &mut told)? {
        None => finished(pipeline, head, body).map(Judged::Served),
        Some(at) => Ok(Judged::Asks(Box::new(Paused {
            pipeline: Arc::clone(pipeline),
            peer: peer.clone(),
            head,
            body,
            at,
            told,
        }))),
    }
}

/// A request that has passed all steps.
pub(super) fn finished<B>(
    pipeline: &Arc<Pipeline>,
    head: Admitted,
    body: B,
) -> Result<Request<B>, Refusal> {
    let mut head = head.into_parts();
    GatewayChain::tell(pipeline, &mut head.extensions);
    routed_alike(&head)?;
    Ok(Request::from_parts(head, body))
}

/// A layer of a router of axum's stands behind its choice of a handler: that was made by the path as it came. Where policies
/// have seen another one, nobody has judged the call that would be made.
fn routed_alike(head: &Parts) -> Result<(), Refusal> {
    #[cfg(feature = "axum")]
    if let Some(axum::extract::OriginalUri(came)) = head.extensions.get()
        && came.path() != head.uri.path()
    {
        let told = "a router has chosen by another path before policies were asked";
        return Err(Refusal::head(&BadHead::Path(told.into())));
    }
    #[cfg(not(feature = "axum"))]
    let _ = head;
    Ok(())
}

pub(super) struct Asked<'a> {
    peer: &'a Peer,
    connection: &'a Connection,
    address: SocketAddr,
}

/// What the filters before a step have written.
#[derive(Default)]
pub(super) struct Told {
    said: Said,
    /// The policies that were met and are only tried, each with the prefix of its rules: of those that an authorizer may be
    /// asked about.
    shadows: Vec<(Box<str>, Box<str>)>,
}

/// What the filters of tokens have.
#[derive(Default)]
enum Said {
    /// There was none.
    #[default]
    NoFilter,
    Nothing,
    Claims(Value),
}

impl<'a> Asked<'a> {
    pub(super) fn of(peer: &'a PeerIdentity) -> Self {
        Self {
            peer: peer.connection.peer(),
            connection: &peer.connection,
            address: peer.address,
        }
    }

    /// Passes the steps from one on. Returns the first at which an authorizer has to be asked about the request.
    pub(super) fn about(
        &self,
        head: &mut Admitted,
        pipeline: &Pipeline,
        from: usize,
        told: &mut Told,
    ) -> Result<Option<usize>, Refusal> {
        let steps = pipeline.steps.get(from..).unwrap_or_default();
        if steps.is_empty() {
            return Ok(None);
        }
        let direct = self.address.ip().to_canonical();
        // Before any filter, as in Envoy.
        let remote = match pipeline.remote {
            Remote::LastForwarded => hygiene::remote(head.seen().view().headers, direct),
            Remote::Direct => direct,
        };
        for (at, step) in steps.iter().enumerate() {
            match step {
                Step::Jwt(rules) => {
                    let verified = self.token(head, rules)?;
                    head.apply(rules, verified.as_ref());
                    told.said = std::mem::take(&mut told.said).and(verified);
                }
                Step::Authorize(rbac) => {
                    let facts = Facts {
                        seen: head.seen(),
                        peer: self.peer,
                        local: self.connection.local,
                        direct,
                        remote,
                        sni: self.connection.sni(),
                        claims: told.said.claims(),
                    };
                    let decision = rbac.decide(&facts);
                    if decision.verdict == Verdict::Deny {
                        return Err(Refusal::policy(denier(rbac, &decision)));
                    }
                    let asks = |step: &Step| matches!(step, Step::Ask(_));
                    if steps.iter().skip(at).any(asks) {
                        told.tried(rbac, &decision);
                    }
                }
                Step::Ask(ask) => {
                    let shadows = told.shadows.iter();
                    if ask.applies(shadows.map(|(of, policy)| (&**of, &**policy))) {
                        return Ok(Some(from + at));
                    }
                }
                Step::Deny(reason) => return Err(Refusal::filter(reason)),
            }
        }
        Ok(None)
    }

    /// What good tokens say, if there are any. Nothing is fetched here: what was, is in the door's hand.
    fn token(&self, head: &Admitted, rules: &jwt::Rules) -> Result<Option<Verified>, Refusal> {
        let door = self.connection.door();
        let (now, verify) = door
            .tokens()
            .map_err(|missing| Refusal::filter(&format!("{JWT_AUTHN}: {missing}")))?;
        let request = head.seen().view();
        let fetched = door.keys.load();
        match jwt::check(rules, &request, now, &**fetched, verify) {
            Outcome::Missing => Ok(None),
            Outcome::Verified(verified) => Ok(Some(verified)),
            Outcome::Refused(why) => Err(Refusal::token(why, rules.answer(why, &request))),
        }
    }
}

impl Told {
    /// A policy of which nobody here can tell whether it was met is a reason to ask.
    fn tried(&mut self, rbac: &Rbac, decision: &Decision<'_>) {
        let Some((shadow, outcome)) = rbac.shadow().zip(decision.shadow) else {
            return;
        };
        if let Some(policy) = outcome.met.or(outcome.unsure) {
            self.shadows.push((shadow.prefix.clone(), policy.into()));
        }
    }
}

impl Said {
    /// Another filter adds what it found; under one name the later counts (Envoy's dynamic metadata).
    fn and(self, verified: Option<Verified>) -> Self {
        match (self, verified.map(|verified| verified.metadata)) {
            (Self::Claims(Value::Object(mut all)), Some(Value::Object(more))) => {
                all.extend(more);
                Self::Claims(Value::Object(all))
            }
            (_, Some(claims)) => Self::Claims(claims),
            (Self::NoFilter, None) => Self::Nothing,
            (before, None) => before,
        }
    }

    const fn claims(&self) -> Claims<'_> {
        match self {
            Self::NoFilter => Claims::NoFilter,
            Self::Nothing => Claims::None,
            Self::Claims(claims) => Claims::Verified(claims),
        }
    }
}

/// The policy that denied. One that lets nobody in for want of knowledge did not.
fn denier<'a>(rbac: &Rbac, decision: &Decision<'a>) -> Option<&'a str> {
    let outcome = decision.enforced?;
    let denies = rbac.rules()?.action() == Action::Deny;
    let unsure = outcome.unsure.filter(|_| denies);
    outcome.met.or(unsure)
}
