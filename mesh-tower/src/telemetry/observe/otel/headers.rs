//! W3C Trace Context (level 1) and B3 in headers. What is malformed is as if it were not there: a broken peer must not
//! break a call, and W3C asks for it (3.2.2).

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};

use super::super::propagation::{
    B3, B3_FLAGS, B3_SAMPLED, B3_SPAN_ID, B3_TRACE_ID, Propagation, TRACE, TRACE_PARENT,
    TRACE_STATE,
};

impl Propagation {
    const fn has_w3c(self) -> bool {
        matches!(self, Self::All | Self::W3c)
    }

    const fn has_b3(self) -> bool {
        !matches!(self, Self::W3c)
    }

    /// What a peer says that it is in.
    pub(super) fn extract(self, headers: &HeaderMap) -> Option<SpanContext> {
        let w3c = self.has_w3c().then(|| w3c(headers)).flatten();
        let b3 = || single(headers).or_else(|| multi(headers));
        w3c.or_else(|| self.has_b3().then(b3).flatten())
    }

    /// Says what we are in, in place of whatever was said before. Nothing changes without a trace.
    pub(super) fn inject(self, context: &Context, headers: &mut HeaderMap) {
        let span = context.span();
        let span = span.span_context();
        if !span.is_valid() {
            return;
        }
        for name in &TRACE {
            headers.remove(name);
        }
        let (trace, id) = (span.trace_id(), span.span_id());
        let sampled = u8::from(span.is_sampled());
        let mut set = |name: HeaderName, value: String| {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        };
        if self.has_w3c() {
            set(TRACE_PARENT, format!("00-{trace}-{id}-{sampled:02x}"));
            let state = span.trace_state().header();
            if !state.is_empty() {
                set(TRACE_STATE, state);
            }
        }
        match self {
            Self::W3c => {}
            Self::B3Single => set(B3, format!("{trace}-{id}-{sampled}")),
            Self::All | Self::B3 => {
                set(B3_TRACE_ID, trace.to_string());
                set(B3_SPAN_ID, id.to_string());
                set(B3_SAMPLED, sampled.to_string());
            }
        }
    }
}

/// The value of a header that is there once.
fn once<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

fn w3c(headers: &HeaderMap) -> Option<SpanContext> {
    let parent = once(headers, &TRACE_PARENT)?.trim();
    let mut parts = parent.split('-');
    let version = hex(parts.next()?, 2)?;
    let (trace, span) = ids(parts.next()?, parts.next()?)?;
    let flags = parts.next()?;
    hex(flags, 2)?;
    // A later version may say more; ff is none (3.2.2.1).
    if version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    Some(SpanContext::new(trace, span, flags, true, state(headers)))
}

/// A list over all headers of the name. One that is malformed is dropped, its trace goes on (3.3.1.3).
fn state(headers: &HeaderMap) -> TraceState {
    let values = headers.get_all(TRACE_STATE).iter();
    let values: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
    values.join(",").parse().unwrap_or_default()
}

/// `b3: TRACE-SPAN[-SAMPLED[-PARENT]]`. A mere decision to sample is no trace.
fn single(headers: &HeaderMap) -> Option<SpanContext> {
    let mut parts = once(headers, &B3)?.trim().split('-');
    let (trace, span) = (parts.next()?, parts.next()?);
    let sampled = parts.next();
    let parent = parts.next();
    if parent.is_some_and(|parent| hex(parent, 16).is_none()) || parts.next().is_some() {
        return None;
    }
    let is_sampled = match sampled {
        None | Some("0") => false,
        Some("1" | "d") => true,
        Some(_) => return None,
    };
    of_b3(trace, span, is_sampled)
}

fn multi(headers: &HeaderMap) -> Option<SpanContext> {
    let (trace, span) = (once(headers, &B3_TRACE_ID)?, once(headers, &B3_SPAN_ID)?);
    let is_debug = once(headers, &B3_FLAGS) == Some("1");
    // Older tracers write a word.
    let sampled = once(headers, &B3_SAMPLED);
    let is_sampled = sampled.is_some_and(|it| it == "1" || it.eq_ignore_ascii_case("true"));
    of_b3(trace, span, is_debug || is_sampled)
}

fn of_b3(trace: &str, span: &str, is_sampled: bool) -> Option<SpanContext> {
    // An id of 64 bits is the lower half.
    let padded = match trace.len() {
        16 => format!("{trace:0>32}"),
        _ => trace.to_owned(),
    };
    let (trace, span) = ids(&padded.to_ascii_lowercase(), &span.to_ascii_lowercase())?;
    let flags = TraceFlags::default().with_sampled(is_sampled);
    Some(SpanContext::new(trace, span, flags, true, TraceState::NONE))
}

/// Ids that are not zero.
fn ids(trace: &str, span: &str) -> Option<(TraceId, SpanId)> {
    let trace = TraceId::from_hex(hex(trace, 32)?).ok()?;
    let span = SpanId::from_hex(hex(span, 16)?).ok()?;
    (trace != TraceId::INVALID && span != SpanId::INVALID).then_some((trace, span))
}

/// So many digits of lower case, and nothing else.
fn hex(text: &str, digits: usize) -> Option<&str> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (text.len() == digits && text.bytes().all(is_digit)).then_some(text)
}
