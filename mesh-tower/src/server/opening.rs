//! Opens one connection by the rules: plaintext, TLS, or not at all.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mesh_core::server::{Chosen, Inbound, Opening, Why};
use tokio::net::TcpStream;

use super::closed::Closing;
use super::connection::{Began, Connection};
use super::door::{Door, Ways};
use super::drain::Member;
use super::places::{At, Places, choose};
use super::stream::{Io, MeshStream};
use crate::security::Plaintext;

/// How long a connection waits for the first rules: as long as a call waits for its own.
const RULES_TIMEOUT: Duration = Duration::from_secs(15);

/// A connection that was accepted, and of which nothing was read.
pub(super) struct Accepted {
    pub(super) tcp: TcpStream,
    pub(super) peer: SocketAddr,
    /// Where its listener is bound.
    pub(super) bound: SocketAddr,
    /// The port by which rules know it, if that is another one.
    pub(super) stands_for: Option<u16>,
    pub(super) member: Member,
}

/// What can be said of a connection at once.
pub(super) enum AtOnce {
    Served(MeshStream),
    Closed,
    /// It takes a while.
    Later(Accepted),
}

impl Accepted {
    /// Serves or closes it without a task, where there is nothing to wait for.
    pub(super) fn at_once(self, door: &Arc<Door>) -> AtOnce {
        match door.ways().inbound.at(self.bound) {
            Inbound::Waiting | Inbound::Rules(_) | Inbound::ByAddress(_) => {
                return AtOnce::Later(self);
            }
            Inbound::Open(_) | Inbound::Closed(_) => {}
        }
        let (peer, bound) = (self.peer, self.bound);
        match self.plaintext(door) {
            Ok(stream) => AtOnce::Served(stream),
            Err(closing) => {
                door.closed.note(peer, bound, &closing);
                AtOnce::Closed
            }
        }
    }

    /// Serves it by the rules, once they are known; none if it is closed.
    pub(super) async fn open(self, door: Arc<Door>) -> Option<MeshStream> {
        let (peer, bound) = (self.peer, self.bound);
        let opened = self.opened(&door).await;
        opened
            .inspect_err(|closing| door.closed.note(peer, bound, closing))
            .ok()
    }

    async fn opened(self, door: &Arc<Door>) -> Result<MeshStream, Closing> {
        let known = tokio::time::timeout(RULES_TIMEOUT, door.known(self.bound)).await;
        let ways = known.map_err(|_| Closing::NotKnown(RULES_TIMEOUT))?;
        match ways.inbound.at(self.bound) {
            Inbound::Rules(_) => self.by_rules(door).await,
            // What it is now, `Connection::enter` says.
            _ => self.plaintext(door),
        }
    }

    fn at(&self) -> At {
        let mut local = self.tcp.local_addr().unwrap_or(self.bound);
        if let Some(port) = self.stands_for {
            local.set_port(port);
        }
        At {
            bound: self.bound,
            local,
        }
    }

    fn plaintext(self, door: &Arc<Door>) -> Result<MeshStream, Closing> {
        // Without rules nobody asks for it.
        let at = match door.is_fixed() {
            true => At {
                bound: self.bound,
                local: self.bound,
            },
            false => self.at(),
        };
        let began = Began::Plaintext(permit(door, at)?);
        let connection = Connection::enter(door, at, began)?;
        let Self {
            tcp, peer, member, ..
        } = self;
        Ok(MeshStream::new(Io::Plain(tcp), peer, connection, member))
    }
}

/// Whether it may be plaintext, by the rules of this moment.
fn permit(door: &Door, At { bound, local }: At) -> Result<Plaintext, Closing> {
    let refused = Closing::NoRules;
    match door.ways().inbound.at(bound) {
        Inbound::Open(who) => door.security.inbound(who).map_err(refused),
        Inbound::Rules(rules) => match choose(rules, local, &Opening::Plaintext, &door.places)? {
            Chosen::Plaintext(pipeline) => door.security.inbound(&pipeline.name).map_err(refused),
            Chosen::Close(why) => Err(why.into()),
            Chosen::Tls(..) => Err(Why::PlaintextRefused.into()),
        },
        Inbound::Closed(reason) => Err(refused(Arc::clone(reason))),
        Inbound::Waiting | Inbound::ByAddress(_) => Err(Closing::NotKnown(RULES_TIMEOUT)),
    }
}

/// Whether the rules of this moment let it in, before anything costly is done for it.
fn chosen<'a>(
    ways: &'a Ways,
    At { bound, local }: At,
    opening: &Opening<'_>,
    places: &Places,
) -> Result<Option<Chosen<'a>>, Closing> {
    match ways.inbound.at(bound) {
        Inbound::Rules(rules) => choose(rules, local, opening, places).map(Some),
        _ => Ok(None),
    }
}

#[cfg(feature = "tls")]
mod secured {
    use super::*;
    use crate::security::Security;
    use crate::server::connection::Secured;
    use crate::tls::{Arrived, Hello, arrival};

    impl Accepted {
        pub(super) async fn by_rules(self, door: &Arc<Door>) -> Result<MeshStream, Closing> {
            let at = self.at();
            let Self {
                tcp, peer, member, ..
            } = self;
            match arrival(tcp).await? {
                Arrived::Plaintext(tcp) => {
                    let began = Began::Plaintext(permit(door, at)?);
                    let connection = Connection::enter(door, at, began)?;
                    Ok(MeshStream::new(Io::Plain(tcp), peer, connection, member))
                }
                Arrived::Tls(hello) => tls(*hello, (at, peer), door, member).await,
            }
        }
    }

    async fn tls(
        hello: Hello,
        (at, peer): (At, SocketAddr),
        door: &Arc<Door>,
        member: Member,
    ) -> Result<MeshStream, Closing> {
        // The newest, not those that were known when it came.
        let ways = Arc::clone(&door.ways());
        let opening = Opening::Tls {
            alpn: &hello.offered().alpn,
            sni: hello.offered().sni.as_deref(),
        };
        if door.security == Security::Disabled {
            return Err(Closing::NoRules(
                "it came with TLS, and Builder::security(Security::Disabled) has none".into(),
            ));
        }
        let terms = match chosen(&ways, at, &opening, &door.places)? {
            Some(Chosen::Tls(terms, _)) => terms,
            Some(Chosen::Close(why)) => {
                hello.refuse(&door.store).await;
                return Err(why.into());
            }
            Some(Chosen::Plaintext(_)) | None => {
                return Err(Closing::NoRules(
                    "no rule says on what terms TLS is spoken here".into(),
                ));
            }
        };
        let offered = hello.offered().clone();
        let server = ways.server(terms, &door.store)?;
        let (stream, proof) = server.accept(hello).await?;
        let secured = Secured::new(offered, Arc::clone(terms), (server, proof), door);
        let connection = Connection::enter(door, at, Began::Tls(Box::new(secured)))?;
        Ok(MeshStream::new(
            Io::Tls(Box::new(stream)),
            peer,
            connection,
            member,
        ))
    }
}

#[cfg(not(feature = "tls"))]
mod plain {
    use mesh_core::server::First;

    use super::*;

    /// As long as with TLS.
    const OPENING: Duration = Duration::from_secs(10);

    impl Accepted {
        pub(super) async fn by_rules(self, door: &Arc<Door>) -> Result<MeshStream, Closing> {
            let at = self.at();
            let mut first = [0];
            let peeked = tokio::time::timeout(OPENING, self.tcp.peek(&mut first)).await;
            let peeked = peeked.map_err(|_| Closing::Silent(OPENING))??;
            match first.get(..peeked).and_then(First::of) {
                None => return Err(Closing::Silent(OPENING)),
                Some(First::Plaintext) => return self.plaintext(door),
                Some(First::Tls) => {}
            }
            let ways = Arc::clone(&door.ways());
            let opening = Opening::Tls {
                alpn: &[],
                sni: None,
            };
            // Without reading what the client offers, the first chain with TLS stands for all.
            let tls = match ways.inbound.at(at.bound) {
                Inbound::Rules(rules) => {
                    let mut chains = rules.port(at.local.port()).chains().iter();
                    chains.find(|chain| chain.tls.is_some())
                }
                _ => None,
            };
            match (tls, chosen(&ways, at, &opening, &door.places)?) {
                (Some(chain), _) => Err(Closing::NoTls(Arc::clone(&chain.name))),
                (None, Some(Chosen::Close(why))) => Err(why.into()),
                (None, _) => Err(Closing::NoRules(
                    "no rule says on what terms TLS is spoken here".into(),
                )),
            }
        }
    }
}
