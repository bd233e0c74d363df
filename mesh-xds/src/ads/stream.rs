//! One ADS stream over a socket, in either variant.
//!
//! Reading never waits for writing: a server that answers only after it was read, or reads only
//! after it answered, does not stop us. A request is composed only when the wire takes it, so all that
//! is wanted until then is one request.

use std::pin::Pin;
use std::time::Instant;

use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryResponse,
};
use prost::Message;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::at::At;
use super::peer::Variant;
use super::request::Request;
use crate::link::{Bounds, Wire, told};

/// The methods of the stream.
const STATE_OF_THE_WORLD: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
const DELTA: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
/// A sidecar's CDS of a large mesh is far above tonic's 4 MiB.
const LARGEST_RESPONSE: usize = 256 * 1024 * 1024;

/// What a stream has come to.
#[derive(Debug)]
pub(super) enum Event {
    /// The wire takes another request.
    Writable,
    Response(DiscoveryResponse),
    Delta(DeltaDiscoveryResponse),
    /// The stream is over; whether because the server does not know the method, and why.
    Ended {
        unimplemented: bool,
        error: String,
    },
}

/// A stream that is open, or being opened.
pub(super) enum Stream {
    StateOfTheWorld(Duplex<Request, DiscoveryResponse>),
    Delta(Duplex<DeltaDiscoveryRequest, DeltaDiscoveryResponse>),
}

impl Stream {
    pub(super) fn open(wire: Wire, variant: Variant) -> Self {
        match variant {
            Variant::StateOfTheWorld => {
                Self::StateOfTheWorld(Duplex::open(wire, STATE_OF_THE_WORLD))
            }
            Variant::Delta => Self::Delta(Duplex::open(wire, DELTA)),
        }
    }

    /// Writes what is due, as far as the wire takes it.
    pub(super) fn write(&mut self, machine: &mut At<'_>, now: Instant) {
        match self {
            Self::StateOfTheWorld(duplex) => duplex.write(|| machine.request(now)),
            Self::Delta(duplex) => duplex.write(|| machine.request_delta(now)),
        }
    }

    /// Can be dropped and called again without loss.
    pub(super) async fn next(&mut self) -> Event {
        match self {
            Self::StateOfTheWorld(duplex) => duplex.next(Event::Response).await,
            Self::Delta(duplex) => duplex.next(Event::Delta).await,
        }
    }
}

/// The two halves of a stream.
pub(super) struct Duplex<Q, R> {
    outgoing: mpsc::Sender<Q>,
    /// Whether the wire took no more when something may still have been due. It is not asked of the channel later:
    /// the wire may have taken a request meanwhile, and nothing else would tell that there is room.
    is_blocked: bool,
    reading: Reading<R>,
}

impl<Q, R> Duplex<Q, R>
where
    Q: Message + 'static,
    R: Message + Default + 'static,
{
    fn open(wire: Wire, method: &'static str) -> Self {
        let (outgoing, requests) = mpsc::channel(1);
        let bounds = Bounds {
            method,
            largest_response: LARGEST_RESPONSE,
        };
        Self {
            outgoing,
            is_blocked: false,
            reading: Reading::Opening(Box::pin(wire.stream(bounds, requests))),
        }
    }

    fn write(&mut self, mut due: impl FnMut() -> Option<Q>) {
        self.is_blocked = loop {
            let Ok(permit) = self.outgoing.try_reserve() else {
                break true;
            };
            match due() {
                Some(request) => permit.send(request),
                None => break false,
            }
        };
    }

    async fn next(&mut self, event: impl FnOnce(R) -> Event) -> Event {
        let response = tokio::select! {
            response = self.reading.next() => response,
            Ok(_) = self.outgoing.reserve(), if self.is_blocked => return Event::Writable,
        };
        match response {
            Ok(Some(response)) => event(response),
            Ok(None) => Event::Ended {
                unimplemented: false,
                error: "the control plane ended the stream".to_owned(),
            },
            Err(status) => Event::Ended {
                unimplemented: status.code() == tonic::Code::Unimplemented,
                error: told(&status),
            },
        }
    }
}

type Opening<R> = Pin<Box<dyn Future<Output = Result<Streaming<R>, Status>> + Send>>;

/// The reading half. A server may send its headers only after it has read a request, so requests go
/// out while the stream is still being opened.
enum Reading<R> {
    Opening(Opening<R>),
    Open(Box<Streaming<R>>),
}

impl<R> Reading<R> {
    /// The next response. Can be dropped and called again without loss.
    async fn next(&mut self) -> Result<Option<R>, Status> {
        loop {
            match self {
                Self::Opening(opening) => *self = Self::Open(Box::new(opening.await?)),
                Self::Open(responses) => return responses.message().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream that brings nothing, and what it sends.
    fn silent() -> (Duplex<Request, DiscoveryResponse>, mpsc::Receiver<Request>) {
        let (outgoing, requests) = mpsc::channel(1);
        let duplex = Duplex {
            outgoing,
            is_blocked: false,
            reading: Reading::Opening(Box::pin(std::future::pending())),
        };
        (duplex, requests)
    }

    fn due(names: &mut Vec<&'static str>) -> Option<Request> {
        Some(Request {
            type_url: names.pop()?.to_owned(),
            ..Request::default()
        })
    }

    async fn is_told(duplex: &mut Duplex<Request, DiscoveryResponse>) -> bool {
        tokio::select! {
            biased;
            event = duplex.next(Event::Response) => matches!(event, Event::Writable),
            () = std::future::ready(()) => false,
        }
    }

    /// The wire is another task: it may take a request just after we found it full.
    #[tokio::test]
    async fn room_that_came_before_it_was_waited_for_is_told() {
        let (mut duplex, mut requests) = silent();
        let mut names = vec!["second", "first"];
        duplex.write(|| due(&mut names));
        assert_eq!(names, ["second"]);
        assert!(!is_told(&mut duplex).await, "there is no room yet");
        assert!(requests.try_recv().is_ok());
        assert!(is_told(&mut duplex).await, "the second request is stuck");
        duplex.write(|| due(&mut names));
        assert!(requests.try_recv().is_ok());
        // Found full again, and then that there is nothing more: nobody is told for ever.
        assert!(is_told(&mut duplex).await);
        duplex.write(|| due(&mut names));
        assert!(!is_told(&mut duplex).await);
    }
}
