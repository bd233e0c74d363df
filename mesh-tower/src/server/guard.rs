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
use mesh_core::server::{Pipeline, Step};

use super::connection::Connection;
use super::door::Door;
use super::hygiene;
use super::refusal::Refusal;
use super::stream::PeerIdentity;

const JWT_AUTHN: &str = "envoy.filters.http.jwt_authn";

/// What is asked about one request: made when it comes, and asked when it has been told of.
pub(super) enum Guard {
    /// There are no rules.
    Open,
    Refused(Refusal),
    Ruled(Arc<Pipeline>, PeerIdentity),
}

impl Guard {
    /// Takes off what the peer may not say, so that nothing behind it hears of that.
    pub(super) fn of<B>(request: &mut Request<B>, door: &Door) -> Self {
        let Some(peer) = request.extensions().get::<PeerIdentity>() else {
            return match door.takes_strangers() {
                true => Self::Open,
                false => Self::Refused(door.stranger()),
            };
        };
        let connection = &peer.connection;
        connection.guard();
        if connection.is_leaving() {
            return Self::Refused(Refusal::leaving());
        }
        let Some(pipeline) = connection.pipeline().as_ref().map(Arc::clone) else {
            return Self::Open;
        };
        let peer = peer.clone();
        hygiene::clean(request.headers_mut(), &peer.connection, pipeline.xfcc);
        Self::Ruled(pipeline, peer)
    }

    /// The request in the one form that policy and application see, if it is to be served.
    pub(super) fn pass<B>(self, request: Request<B>) -> Result<Request<B>, Refusal> {
        match self {
            Self::Open => Ok(request),
            Self::Refused(refusal) => Err(refusal),
            Self::Ruled(pipeline, peer) => judged(&pipeline, &peer, request).inspect_err(|no| {
                // Envoy's words for the access log name no version; the pipeline's name does.
                let (rules, peer) = (&pipeline.name, peer.address);
                tracing::debug!(%rules, %peer, details = %no.details, "request refused");
            }),
        }
    }
}

fn judged<B>(
    pipeline: &Pipeline,
    peer: &PeerIdentity,
    request: Request<B>,
) -> Result<Request<B>, Refusal> {
    let (head, body) = request.into_parts();
    let scheme = match peer.is_encrypted() {
        true => "https",
        false => "http",
    };
    let mut head = admit(head, pipeline.paths, scheme).map_err(|bad| Refusal::head(&bad))?;
    let asked = Asked {
        peer: peer.connection.peer(),
        connection: &peer.connection,
        address: peer.address,
    };
    asked.about(&mut head, pipeline)?;
    let head = head.into_parts();
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

struct Asked<'a> {
    peer: &'a Peer,
    connection: &'a Connection,
    address: SocketAddr,
}

/// What the filters of tokens before a step have written.
enum Said {
    /// There was none.
    NoFilter,
    Nothing,
    Claims(Value),
}

impl Asked<'_> {
    fn about(&self, head: &mut Admitted, pipeline: &Pipeline) -> Result<(), Refusal> {
        if pipeline.steps.is_empty() {
            return Ok(());
        }
        let direct = self.address.ip().to_canonical();
        // Before any filter, as in Envoy.
        let remote = hygiene::remote(head.seen().view().headers, direct);
        let mut said = Said::NoFilter;
        for step in &pipeline.steps {
            match step {
                Step::Jwt(rules) => {
                    let verified = self.token(head, rules)?;
                    head.apply(rules, verified.as_ref());
                    said = said.and(verified);
                }
                Step::Authorize(rbac) => {
                    let facts = Facts {
                        seen: head.seen(),
                        peer: self.peer,
                        local: self.connection.local,
                        direct,
                        remote,
                        sni: self.connection.sni(),
                        claims: said.claims(),
                    };
                    let decision = rbac.decide(&facts);
                    if decision.verdict == Verdict::Deny {
                        return Err(Refusal::policy(denier(rbac, &decision)));
                    }
                }
                Step::Deny(reason) => return Err(Refusal::filter(reason)),
            }
        }
        Ok(())
    }

    /// What good tokens say, if there are any. Keys are not fetched: a token whose keys would have to be is refused.
    fn token(&self, head: &Admitted, rules: &jwt::Rules) -> Result<Option<Verified>, Refusal> {
        let (now, verify) = self
            .connection
            .door()
            .tokens()
            .map_err(|missing| Refusal::filter(&format!("{JWT_AUTHN}: {missing}")))?;
        let request = head.seen().view();
        match jwt::check(rules, &request, now, &(), verify) {
            Outcome::Missing => Ok(None),
            Outcome::Verified(verified) => Ok(Some(verified)),
            Outcome::Refused(why) => Err(Refusal::token(why, rules.answer(why, &request))),
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
