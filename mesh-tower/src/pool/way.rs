//! What requests to one peer are sent over, whatever it is made of.
//!
//! A trait, because all pools are a part of every client, and so of many types of a program: where the compiler looks
//! whether those are `Send`, it goes no deeper than this, and not on through hyper, h2 and tokio. That would take more than
//! its limit, here or in the program.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use http::Request;

use super::connect::{ConnectError, Open, Peer};
use super::lease::Counted;
use super::{Sending, http1, http2};
use crate::body::Body;
use crate::error::Place;

pub(crate) type Adopting<'a> = Pin<Box<dyn Future<Output = Result<(), ConnectError>> + Send + 'a>>;

pub(crate) trait Way: fmt::Debug + Send + Sync {
    fn peer(&self) -> &Peer;

    /// The request is on its way when this returns, unless a connection has to be opened first.
    fn send(&self, request: Request<Body>, counted: Counted, place: Place) -> Sending;

    /// Takes an open connection over.
    fn adopt(&self, open: Open) -> Adopting<'_>;

    /// Closes what has been idle for too long, for pools that are not called any more.
    fn sweep(&self) {}
}

/// One request at a time on a connection.
pub(crate) fn by_http1(peer: Peer) -> Arc<dyn Way> {
    Arc::new(Arc::new(http1::Pool::new(peer)))
}

/// Many at a time.
pub(crate) fn by_http2(peer: Peer) -> Arc<dyn Way> {
    Arc::new(Arc::new(http2::Pool::new(peer)))
}

impl Way for Arc<http1::Pool> {
    fn peer(&self) -> &Peer {
        http1::Pool::peer(self)
    }

    fn send(&self, request: Request<Body>, counted: Counted, place: Place) -> Sending {
        http1::Pool::send(self, request, counted, place)
    }

    fn adopt(&self, open: Open) -> Adopting<'_> {
        Box::pin(http1::Pool::adopt(self, open))
    }

    fn sweep(&self) {
        http1::Pool::sweep(self);
    }
}

impl Way for Arc<http2::Pool> {
    fn peer(&self) -> &Peer {
        http2::Pool::peer(self)
    }

    fn send(&self, request: Request<Body>, counted: Counted, place: Place) -> Sending {
        http2::Pool::send(self, request, counted, place)
    }

    fn adopt(&self, open: Open) -> Adopting<'_> {
        Box::pin(http2::Pool::adopt(self, open))
    }
}
