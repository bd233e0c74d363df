//! The body of a request, or its beginning, read ahead for an authorizer (`with_request_body`).

use std::any::Any;
use std::mem::replace;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use mesh_core::server::ask::BodyRule;

use crate::body::Body;
use crate::error::Error;
use crate::server::refusal::Refusal;

/// What an authorizer is shown.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) bytes: Bytes,
    /// Whether that is not all.
    pub(super) partial: bool,
}

impl Shown {
    /// Reads up to what the rule admits. The body afterwards has all that it had, for whoever comes behind.
    pub(super) async fn read<B: 'static>(body: &mut B, rule: &BodyRule) -> Result<Self, Refusal> {
        let Some(mut whole) = swapped(body, Body::empty()) else {
            return Err(Refusal::filter(
                "ext_authz: with_request_body: the body is of a type that cannot be read ahead",
            ));
        };
        let mut begun = BytesMut::new();
        let mut frames = Vec::new();
        let mut is_over = false;
        while begun.len() < rule.most || !rule.partial {
            let Some(frame) = whole.frame().await else {
                is_over = true;
                break;
            };
            let frame = frame.map_err(|_| Refusal::broken_off())?;
            match frame.into_data() {
                Ok(data) => {
                    begun.extend_from_slice(&data);
                    if !rule.partial && begun.len() > rule.most {
                        return Err(Refusal::too_long());
                    }
                }
                Err(frame) => {
                    frames.push(frame);
                    is_over = true;
                    break;
                }
            }
        }
        let begun = begun.freeze();
        let shown = begun.slice(..begun.len().min(rule.most));
        let partial =
            rule.partial && (shown.len() < begun.len() || !(is_over || whole.is_end_stream()));
        let read = Read {
            begun: Some(begun).filter(|begun| !begun.is_empty()),
            trailers: frames.pop(),
            rest: Some(whole).filter(|_| !is_over),
        };
        swapped(body, Body::new(read));
        Ok(Self {
            bytes: shown,
            partial,
        })
    }
}

/// What was read, then what was not.
struct Read {
    begun: Option<Bytes>,
    rest: Option<Body>,
    trailers: Option<Frame<Bytes>>,
}

impl HttpBody for Read {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Some(begun) = self.begun.take() {
            return Poll::Ready(Some(Ok(Frame::data(begun))));
        }
        match &mut self.rest {
            Some(rest) => Pin::new(rest).poll_frame(cx),
            None => Poll::Ready(self.trailers.take().map(Ok)),
        }
    }

    fn is_end_stream(&self) -> bool {
        let rest = self.rest.as_ref();
        self.begun.is_none() && self.trailers.is_none() && rest.is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let begun = self.begun.as_ref().map_or(0, |begun| begun.len() as u64);
        let rest = self
            .rest
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint);
        let mut hint = SizeHint::new();
        hint.set_lower(begun + rest.lower());
        if let Some(upper) = rest.upper() {
            hint.set_upper(begun + upper);
        }
        hint
    }
}

/// Puts a body in the place of another one, if that is of a type that can be made: our own, and those of the servers that
/// are served here.
fn swapped<B: 'static>(place: &mut B, next: Body) -> Option<Body> {
    let place: &mut dyn Any = place;
    if let Some(place) = place.downcast_mut::<Body>() {
        return Some(replace(place, next));
    }
    #[cfg(feature = "axum")]
    if let Some(place) = place.downcast_mut::<axum::body::Body>() {
        return Some(Body::new(replace(place, axum::body::Body::new(next))));
    }
    let place = place.downcast_mut::<tonic::body::Body>()?;
    Some(Body::new(replace(place, tonic::body::Body::new(next))))
}
