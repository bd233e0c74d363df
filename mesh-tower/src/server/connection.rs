//! What is known of a connection, and the rules that its requests pass now.

use std::fmt;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::{ArcSwapOption, Guard};
use http::HeaderValue;
use mesh_core::identity::{Peer, SpiffeId};
#[cfg(feature = "tls")]
use mesh_core::server::Why;
use mesh_core::server::{Chosen, Inbound, Opening, Pipeline};
#[cfg(feature = "tls")]
use mesh_core::tls::{CertName, ClientAuth};
use tokio::sync::Notify;

use super::closed::Closing;
use super::door::{Door, Ways};
use super::places::{At, choose};
#[cfg(feature = "tls")]
use super::xfcc;
use crate::mesh::DRAIN_TIMEOUT;
use crate::security::{Plaintext, Security};
use crate::telemetry::{Edge, Edges};
#[cfg(feature = "tls")]
use crate::tls::{Kept, Offered, Proof, Server, Side};

/// A connection that was let in. Shared by its stream and its requests.
pub(super) struct Connection {
    /// Our end.
    pub(super) local: SocketAddr,
    /// Where its listener is bound.
    bound: SocketAddr,
    began: Began,
    /// What each request has to pass; a publication changes it. None where there are no rules.
    pipeline: ArcSwapOption<Pipeline>,
    /// Whether a layer sees its requests.
    is_guarded: AtomicBool,
    /// Whether the rules of now would not let it in.
    is_leaving: AtomicBool,
    leaves: Notify,
    /// Whether something is written that is not flushed yet.
    pub(super) sends: AtomicBool,
    door: Arc<Door>,
    key: Option<u64>,
    /// Where its requests are counted; found at the first.
    edge: OnceLock<Arc<Edge>>,
}

/// How it began.
pub(super) enum Began {
    Plaintext(Plaintext),
    #[cfg(feature = "tls")]
    Tls(Box<Secured>),
}

/// What a handshake has shown.
#[cfg(feature = "tls")]
pub(super) struct Secured {
    pub(super) alpn: Box<[Box<[u8]>]>,
    pub(super) sni: Option<Box<str>>,
    pub(super) terms: Arc<mesh_core::tls::ServerTls>,
    /// Judged again when other authorities are believed, and when it has ended.
    pub(super) kept: Kept,
    /// Whom we have proven to be.
    own: Option<SpiffeId>,
    /// The element of `x-forwarded-client-cert` that tells of it.
    pub(super) xfcc: Option<HeaderValue>,
}

impl Connection {
    /// Takes it in by the rules of this moment, or says why not.
    pub(super) fn enter(
        door: &Arc<Door>,
        at: impl Into<At>,
        began: Began,
    ) -> Result<Arc<Self>, Closing> {
        let At { bound, local } = at.into();
        let made = door.enter(|key| Self {
            local,
            bound,
            began,
            pipeline: ArcSwapOption::empty(),
            is_guarded: AtomicBool::new(false),
            is_leaving: AtomicBool::new(false),
            leaves: Notify::new(),
            sends: AtomicBool::new(false),
            door: Arc::clone(door),
            key,
            edge: OnceLock::new(),
        });
        match made.is_leaving() {
            false => Ok(made),
            true => Err(Closing::NoRules(
                "the rules changed while it was opened".into(),
            )),
        }
    }

    /// Where its requests are counted.
    pub(super) fn edge(&self, edges: &Edges) -> &Arc<Edge> {
        self.edge.get_or_init(|| match self.peer() {
            Peer::Plaintext | Peer::Anonymous => Arc::clone(edges.inbound()),
            Peer::Proven(certificate) => {
                let id = certificate.spiffe.as_ref();
                edges.proven(id.map_or("", SpiffeId::as_str))
            }
        })
    }

    fn opening(&self) -> Opening<'_> {
        match &self.began {
            Began::Plaintext(_) => Opening::Plaintext,
            #[cfg(feature = "tls")]
            Began::Tls(secured) => Opening::Tls {
                alpn: &secured.alpn,
                sni: secured.sni.as_deref(),
            },
        }
    }

    /// Judges it for the first time. Where nothing is known there are no rules to serve it by, and nobody has said that there
    /// are none.
    pub(super) fn begin(&self, ways: &Ways) {
        match ways.inbound.at(self.bound) {
            Inbound::Waiting | Inbound::ByAddress(_) => self.leave(),
            Inbound::Open(_) | Inbound::Closed(_) | Inbound::Rules(_) => self.reconsider(ways),
        }
    }

    /// Judges it by the rules that hold from now on.
    pub(super) fn reconsider(&self, ways: &Ways) {
        let rules = match ways.inbound.at(self.bound) {
            Inbound::Waiting | Inbound::ByAddress(_) => return,
            // Who requires TLS does not serve without rules, to nobody.
            Inbound::Open(_) if self.door.security == Security::Required => return self.leave(),
            Inbound::Open(_) => return self.pipeline.store(None),
            Inbound::Closed(_) => return self.leave(),
            Inbound::Rules(rules) => rules,
        };
        let places = &self.door.places;
        let Ok(chosen) = choose(rules, self.local, &self.opening(), places) else {
            return self.leave();
        };
        match (chosen, &self.began) {
            (Chosen::Plaintext(pipeline), Began::Plaintext(_)) => {
                self.pipeline.store(Some(Arc::clone(pipeline)));
            }
            #[cfg(feature = "tls")]
            (Chosen::Tls(terms, pipeline), Began::Tls(secured))
                if self.still_proves(secured, ways, terms) =>
            {
                self.pipeline.store(Some(Arc::clone(pipeline)));
            }
            _ => self.leave(),
        }
    }

    #[cfg(feature = "tls")]
    fn still_proves(
        &self,
        secured: &Secured,
        ways: &Ways,
        terms: &mesh_core::tls::ServerTls,
    ) -> bool {
        if *terms == *secured.terms {
            return true;
        }
        // Its proof is judged again, in time, by the terms that it came by.
        if !terms.terms().judges_as(secured.terms.terms()) {
            return false;
        }
        let server = ways.server(terms, &self.door.store);
        server.is_ok_and(|server| server.still_takes(secured.kept.proof()).is_ok())
    }

    /// Whether the server of a gateway that is for this host asks for more than the one that has let this connection in: its
    /// routes may lead there, too, where its own name is a wildcard.
    #[cfg(feature = "tls")]
    pub(super) fn is_misdirected(&self, host: &str) -> bool {
        let Began::Tls(secured) = &self.began else {
            return false;
        };
        let host = host.strip_suffix('.').unwrap_or(host);
        let sni = secured.sni.as_deref();
        if sni.is_some_and(|sni| sni.eq_ignore_ascii_case(host)) {
            return false;
        }
        let ways = self.door.ways();
        let Inbound::Rules(rules) = ways.inbound.at(self.bound) else {
            return false;
        };
        let opening = Opening::Tls {
            alpn: &secured.alpn,
            sni: Some(host),
        };
        match rules.port(self.local.port()).choose(&opening) {
            Chosen::Tls(terms, _) => {
                let is_for_all = matches!(terms.terms().client, ClientAuth::None);
                !is_for_all && !self.still_proves(secured, &ways, terms)
            }
            Chosen::Close(why) => why == Why::Shut,
            Chosen::Plaintext(_) => false,
        }
    }

    #[cfg(not(feature = "tls"))]
    #[allow(clippy::unused_self, reason = "as with the feature")]
    pub(super) const fn is_misdirected(&self, _: &str) -> bool {
        false
    }

    /// Asks whoever serves it to end it. There is no way back.
    fn leave(&self) {
        self.is_leaving.store(true, Ordering::Release);
        self.leaves.notify_waiters();
    }

    /// Whether the rules of now would not let it in, so that no request of it is served any more.
    pub(super) fn is_refused(&self) -> bool {
        self.is_leaving.load(Ordering::Acquire)
    }

    /// Whether it is to end. Where that is because what its peer has shown does not hold any more, its requests are served
    /// until it is [`over`](Self::over): a peer that has a newer certificate by now loses none.
    pub(super) fn is_leaving(&self) -> bool {
        self.is_refused() || self.is_withdrawn()
    }

    /// Whether what its peer has shown does not hold any more.
    fn is_withdrawn(&self) -> bool {
        match &self.began {
            Began::Plaintext(_) => false,
            #[cfg(feature = "tls")]
            Began::Tls(secured) => secured.kept.is_withdrawn(),
        }
    }

    async fn withdrawn(&self) {
        match &self.began {
            Began::Plaintext(_) => std::future::pending().await,
            #[cfg(feature = "tls")]
            Began::Tls(secured) => secured.kept.withdrawn().await,
        }
    }

    async fn refused(&self) {
        let mut told = pin!(self.leaves.notified());
        told.as_mut().enable();
        if !self.is_refused() {
            told.await;
        }
    }

    /// Resolves when it is to end.
    pub(super) async fn leaving(&self) {
        tokio::select! {
            () = self.refused() => {}
            () = self.withdrawn() => {}
        }
    }

    /// Resolves when it has had the time that it is given to end by itself.
    pub(super) async fn over(&self) {
        let refused = async {
            self.refused().await;
            tokio::time::sleep(DRAIN_TIMEOUT).await;
        };
        match &self.began {
            Began::Plaintext(_) => refused.await,
            #[cfg(feature = "tls")]
            Began::Tls(secured) => tokio::select! {
                () = refused => {}
                () = secured.kept.over() => {}
            },
        }
    }

    /// Whether it may ever be asked to leave.
    pub(super) const fn is_ruled(&self) -> bool {
        self.key.is_some()
    }

    /// What a request has to pass now.
    pub(super) fn pipeline(&self) -> Guard<Option<Arc<Pipeline>>> {
        self.pipeline.load()
    }

    /// Who is at the other end.
    pub(super) fn peer(&self) -> &Peer {
        match &self.began {
            Began::Plaintext(_) => &Peer::Plaintext,
            #[cfg(feature = "tls")]
            Began::Tls(secured) => secured.kept.proof().peer(),
        }
    }

    /// Whom we have proven to be on it; empty in plaintext.
    pub(super) fn own_principal(&self) -> &str {
        match &self.began {
            Began::Plaintext(_) => "",
            #[cfg(feature = "tls")]
            Began::Tls(secured) => secured.own.as_ref().map_or("", SpiffeId::as_str),
        }
    }

    /// The server name that the client asked for.
    pub(super) fn sni(&self) -> Option<&str> {
        match self.opening() {
            Opening::Plaintext => None,
            Opening::Tls { sni, .. } => sni,
        }
    }

    /// What tells the application of the peer's certificate.
    pub(super) const fn xfcc(&self) -> Option<&HeaderValue> {
        match &self.began {
            Began::Plaintext(_) => None,
            #[cfg(feature = "tls")]
            Began::Tls(secured) => secured.xfcc.as_ref(),
        }
    }

    pub(super) fn door(&self) -> &Door {
        &self.door
    }

    /// Says that each of its requests is seen by the layer.
    pub(super) fn guard(&self) {
        // Read first: each request says so.
        if !self.is_guarded.load(Ordering::Relaxed) {
            self.is_guarded.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn is_guarded(&self) -> bool {
        self.is_guarded.load(Ordering::Relaxed)
    }

    /// Whether it must not be served by who does not ask the pipeline.
    pub(super) fn needs_guard(&self) -> bool {
        let pipeline = self.pipeline();
        pipeline.as_ref().is_some_and(|it| !it.steps.is_empty())
    }

    /// Whether a layer was ever made that could see its requests.
    pub(super) fn could_be_guarded(&self) -> bool {
        self.door.is_layered.load(Ordering::Relaxed)
    }
}

#[cfg(feature = "tls")]
impl Secured {
    pub(super) fn new(
        Offered { alpn, sni }: Offered,
        terms: Arc<mesh_core::tls::ServerTls>,
        (server, proof): (Arc<Server>, Proof),
        door: &Door,
    ) -> Self {
        // A certificate of files is no workload's.
        let is_workload = terms.terms().identity == CertName::Workload;
        let own = door.store.own().filter(|_| is_workload);
        let by = own.as_ref().and_then(|own| own.certificate.spiffe.as_ref());
        let certificate = proof.peer().certificate();
        let xfcc = certificate.and_then(|it| xfcc::element(by, it));
        let by = by.cloned();
        Self {
            alpn,
            // As Envoy's inspector hands it on.
            sni: sni.map(|name| name.to_ascii_lowercase().into()),
            terms,
            kept: door.store.keep(Side::Server(server), proof),
            own: by,
            xfcc,
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.door.left(key);
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("local", &self.local)
            .field("peer", self.peer())
            .finish_non_exhaustive()
    }
}
