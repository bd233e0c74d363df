//! `*_headers_to_add` and `*_headers_to_remove` of one level.

use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::{
    HeaderValueOption, header_value_option::HeaderAppendAction,
};
use http::HeaderName;
use mesh_core::route::{HeaderOp, Level, Template, TemplateError};

use super::ignored::Ignored;
use crate::decode::{Faults, Invalid};

/// Envoy's largest name and value.
const LARGEST: usize = 16_384;
/// Envoy's longest list.
const MOST: usize = 1000;

/// What one level does to requests and to responses.
#[derive(Debug, Clone, Default)]
pub(super) struct Changes {
    pub(super) request: Arc<Level>,
    pub(super) response: Arc<Level>,
}

/// What is added, and what is removed.
type Lists<'a> = (&'a [HeaderValueOption], &'a [String]);

impl Changes {
    pub(super) fn decode(
        request: Lists<'_>,
        response: Lists<'_>,
        ignored: &mut Ignored,
    ) -> Result<Self, Invalid> {
        let mut faults = Faults::default();
        let request = faults.take(level("request", request, ignored));
        let response = faults.take(level("response", response, ignored));
        let decoded = request.zip(response).map(|(request, response)| Self {
            request: Arc::new(request),
            response: Arc::new(response),
        });
        faults.or(decoded)
    }
}

/// `side` is `request` or `response`.
pub(super) fn level(
    side: &str,
    (add, remove): Lists<'_>,
    ignored: &mut Ignored,
) -> Result<Level, Invalid> {
    let mut faults = Faults::default();
    let mut ops = Vec::with_capacity(add.len() + remove.len());
    if add.len() > MOST {
        let reason = format_args!("has more than {MOST} entries");
        faults.add(Invalid::new(format!("{side}_headers_to_add"), reason));
    }
    for (at, name) in remove.iter().enumerate() {
        let place = || format!("{side}_headers_to_remove[{at}]");
        match changeable(name, ignored) {
            Ok(name) => ops.extend(name.map(HeaderOp::Remove)),
            Err(error) => faults.add(error.within(place())),
        }
    }
    for (at, option) in add.iter().enumerate().take(MOST) {
        let place = || format!("{side}_headers_to_add[{at}]");
        match added(option, ignored) {
            Ok(op) => ops.extend(op),
            Err(error) => faults.add(error.within(place())),
        }
    }
    faults.or(Some(Level::new(ops)))
}

/// `None` for a name that cannot be changed here.
fn changeable(name: &str, ignored: &mut Ignored) -> Result<Option<HeaderName>, Invalid> {
    if name.is_empty() {
        return Err(Invalid::new("", "is empty"));
    }
    super::one_line("", name)?;
    if !HeaderOp::may_change(name) {
        let reason = format_args!(
            "{name:?}: host and names with a colon may not be changed; use the route's rewrites"
        );
        return Err(Invalid::new("", reason));
    }
    match HeaderName::try_from(name) {
        Ok(name) if !HeaderOp::is_framing(&name) => Ok(Some(name)),
        _ => {
            ignored.add(format!("the change of header {name:?} is left out"));
            Ok(None)
        }
    }
}

fn added(option: &HeaderValueOption, ignored: &mut Ignored) -> Result<Option<HeaderOp>, Invalid> {
    let header = option.header.as_ref();
    let header = header.ok_or_else(|| Invalid::new("header", "is missing"))?;
    let value: &[u8] = if header.raw_value.is_empty() {
        header.value.as_bytes()
    } else {
        &header.raw_value
    };
    if header.key.len() > LARGEST || value.len() > LARGEST {
        let reason = format_args!("its name or value is longer than {LARGEST} bytes");
        return Err(Invalid::new("header", reason));
    }
    let action = HeaderAppendAction::try_from(option.append_action)
        .map_err(|_| Invalid::new("append_action", "is unknown"))?;
    let name = changeable(&header.key, ignored).map_err(|error| error.within("header.key"))?;
    let template = match Template::new(value, option.keep_empty_value) {
        Ok(template) => template,
        Err(TemplateError::NotServed { .. }) if name.is_none() => return Ok(None),
        Err(error @ TemplateError::NotServed { .. }) => {
            ignored.add(format!("header {:?} is left out: {error}", header.key));
            return Ok(None);
        }
        Err(error @ TemplateError::Invalid { .. }) => {
            return Err(Invalid::new("header.value", error));
        }
    };
    let op = operation(option, action)?;
    Ok(name.map(|name| op(name, template)))
}

type MakeOp = fn(HeaderName, Template) -> HeaderOp;

fn operation(option: &HeaderValueOption, action: HeaderAppendAction) -> Result<MakeOp, Invalid> {
    #[allow(deprecated, reason = "Envoy still serves it")]
    let append = option.append.map(|append| append.value);
    Ok(match (append, action) {
        (Some(false), HeaderAppendAction::AppendIfExistsOrAdd) => HeaderOp::Set,
        (_, HeaderAppendAction::AppendIfExistsOrAdd) => HeaderOp::Append,
        (Some(_), _) => {
            return Err(Invalid::new("append", "is set together with append_action"));
        }
        (None, HeaderAppendAction::AddIfAbsent) => HeaderOp::AddIfAbsent,
        (None, HeaderAppendAction::OverwriteIfExistsOrAdd) => HeaderOp::Set,
        (None, HeaderAppendAction::OverwriteIfExists) => HeaderOp::SetIfPresent,
    })
}
