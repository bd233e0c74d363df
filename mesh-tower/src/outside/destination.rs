//! One host outside of the mesh with its connections.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Version};
use mesh_core::cluster::Protocol;
use tokio::sync::Mutex;

use super::destinations::Used;
use super::dial::{Dial, Security};
use super::{Means, Name};
use crate::body::Body;
use crate::error::Place;
use crate::pool::{
    ConnectError, Counted, Failed, Peer, Sending, Way, by_http1, by_http2, connect_failed,
};
use crate::telemetry::Cells;

/// The connections to one port of one host, and what is counted of them.
#[derive(Debug)]
pub(crate) struct Destination {
    host: Box<str>,
    port: u16,
    secure: bool,
    dial: Arc<Dial>,
    http1: Arc<dyn Way>,
    http2: Arc<dyn Way>,
    /// Held by the first call, which finds out what the other side speaks.
    settling: Mutex<()>,
    pub(crate) cells: Arc<Cells>,
    pub(super) used: Used,
}

impl Destination {
    pub(super) fn new(name: Name<'_>, connect_timeout: Duration, means: &Means) -> Self {
        let dial = Arc::new(Dial::new(
            name.host,
            name.port,
            connect_timeout,
            means.resolver.clone(),
            security(name.secure, means),
        ));
        let peer = || Peer::Outside(Arc::clone(&dial));
        Self {
            host: name.host.into(),
            port: name.port,
            secure: name.secure,
            http1: by_http1(peer()),
            http2: by_http2(peer()),
            dial,
            settling: Mutex::default(),
            cells: Arc::new(Cells::of_endpoint(means.edges.outside(name.host))),
            used: Used::default(),
        }
    }

    pub(super) fn is(&self, name: Name<'_>, connect_timeout: Duration) -> bool {
        *self.host == *name.host
            && self.port == name.port
            && self.secure == name.secure
            && self.dial.connect_timeout() == connect_timeout
    }

    /// Closes what has been idle for too long.
    pub(super) fn sweep(&self) {
        self.http1.sweep();
    }

    pub(super) fn is_idle(&self) -> bool {
        self.cells.in_flight() == 0
    }

    /// Sends a request. Over TLS the server chooses the version of HTTP; in plaintext it is `protocol`, or the
    /// caller's own where there is none.
    pub(crate) fn send(
        self: &Arc<Self>,
        request: Request<Body>,
        protocol: Option<Protocol>,
        counted: Counted,
        place: Place,
    ) -> Sending {
        let known = if self.secure {
            self.dial.spoken()
        } else {
            Some(protocol.unwrap_or_else(|| callers(request.version())))
        };
        if let Some(protocol) = known {
            return self.send_by(protocol, request, counted, place);
        }
        let this = Arc::clone(self);
        Box::pin(async move {
            match this.settle().await {
                Ok(protocol) => this.send_by(protocol, request, counted, place).await,
                Err(error) => Err(Failed {
                    error: connect_failed(error, place),
                    unsent: Some(request),
                }),
            }
        })
    }

    fn send_by(
        &self,
        protocol: Protocol,
        request: Request<Body>,
        counted: Counted,
        place: Place,
    ) -> Sending {
        match protocol {
            Protocol::Http1 => self.http1.send(request, counted, place),
            Protocol::Http2 => self.http2.send(request, counted, place),
        }
    }

    /// Opens the connection that tells what the other side speaks, and leaves it to the pool.
    async fn settle(&self) -> Result<Protocol, ConnectError> {
        let limit = self.dial.connect_timeout();
        let settling = async {
            let _one_at_a_time = self.settling.lock().await;
            if let Some(known) = self.dial.spoken() {
                return Ok(known);
            }
            let (open, chosen) = self.dial.negotiate().await?;
            match chosen {
                Protocol::Http1 => self.http1.adopt(open).await?,
                Protocol::Http2 => self.http2.adopt(open).await?,
            }
            Ok(chosen)
        };
        // Waiting for another's attempt counts; the dial's own limit is at least as near, and says more.
        match tokio::time::timeout(limit + limit / 8, settling).await {
            Ok(settled) => settled,
            Err(_) => Err(ConnectError::Timeout(self.http1.peer().clone(), limit)),
        }
    }
}

/// What a plain caller speaks: HTTP/2 with prior knowledge where the request says so, as gRPC's do.
fn callers(version: Version) -> Protocol {
    if version == Version::HTTP_2 {
        Protocol::Http2
    } else {
        Protocol::Http1
    }
}

#[cfg(feature = "tls")]
fn security(secure: bool, means: &Means) -> Security {
    if secure {
        Security::Tls(Arc::clone(&means.tls))
    } else {
        Security::Plaintext(means.security.beyond())
    }
}

#[cfg(not(feature = "tls"))]
fn security(secure: bool, means: &Means) -> Security {
    if secure {
        Security::Unavailable
    } else {
        Security::Plaintext(means.security.beyond())
    }
}
