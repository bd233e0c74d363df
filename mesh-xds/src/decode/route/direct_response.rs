//! `envoy.config.route.v3.DirectResponseAction`.

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::config::route::v3 as pb;
use http::StatusCode;
use mesh_core::route::{Action, DirectResponse};

use super::one::{Around, Levels};
use crate::decode::{Faults, Invalid};

pub(super) fn decode(
    direct: &pb::DirectResponseAction,
    levels: &Levels,
    around: &mut Around<'_>,
) -> Result<Action, Invalid> {
    let mut faults = Faults::default();
    let status = faults.take(status(direct.status));
    let body = faults.take(body(direct, around.common.largest_body));
    let (status, body) = faults.or(status.zip(body))?;
    if direct.body_format.is_some() {
        around
            .ignored
            .add("direct_response.body_format has no effect yet");
    }
    Ok(match body {
        Some(body) => Action::DirectResponse(DirectResponse {
            status,
            body,
            headers: levels.response(None),
        }),
        // A control plane must not make us read files or variables.
        None => Action::Unsupported("direct_response with a body that is not inline".into()),
    })
}

fn status(number: u32) -> Result<StatusCode, Invalid> {
    u16::try_from(number)
        .ok()
        .filter(|number| (200..600).contains(number))
        .and_then(|number| StatusCode::from_u16(number).ok())
        .ok_or_else(|| Invalid::new("status", format_args!("{number} is not in 200..600")))
}

/// `None` for a body that is somewhere else.
fn body(direct: &pb::DirectResponseAction, largest: usize) -> Result<Option<Bytes>, Invalid> {
    let Some(body) = &direct.body else {
        return Ok(Some(Bytes::new()));
    };
    let bytes = match &body.specifier {
        Some(Specifier::InlineString(text)) => text.as_bytes(),
        Some(Specifier::InlineBytes(bytes)) => bytes,
        Some(_) => return Ok(None),
        None => return Err(Invalid::new("body", "is empty")),
    };
    if bytes.len() > largest {
        let reason = format_args!("has {} bytes; the most is {largest}", bytes.len());
        return Err(Invalid::new("body", reason));
    }
    Ok(Some(Bytes::copy_from_slice(bytes)))
}
