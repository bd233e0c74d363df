//! `HTTPRedirect` and `HTTPDirectResponse`: answers that no destination gives.

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::decode::{Fields, Schema, Sink};
use crate::yaml::Value;

use super::rewrite::PathRewrite;
use super::values::text;

/// A checked `redirect`; at least one of uri, authority, scheme and port is given.
#[derive(Debug, Clone)]
pub(crate) struct Redirect {
    pub(crate) uri: Option<String>,
    /// In the place of `uri`: Gateway API's `ReplacePrefixMatch`.
    pub(crate) rewrite: Option<PathRewrite>,
    pub(crate) authority: Option<String>,
    pub(crate) scheme: Option<&'static str>,
    pub(crate) port: RedirectPort,
    /// 301, 302, 303, 307 or 308.
    pub(crate) code: u32,
}

/// `port` or `derivePort`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RedirectPort {
    /// That of the scheme: nothing is said, or `FROM_PROTOCOL_DEFAULT`.
    OfScheme,
    /// `FROM_REQUEST_PORT`.
    OfRequest,
    Number(u32),
}

/// A checked `directResponse`.
#[derive(Debug, Clone)]
pub(crate) struct DirectResponse {
    /// 200 to 599.
    pub(crate) status: u32,
    pub(crate) body: Option<Body>,
}

/// `body`.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    Text(String),
    Bytes(Vec<u8>),
}

const REDIRECT: Schema = Schema {
    served: &[
        "uri",
        "authority",
        "scheme",
        "port",
        "derivePort",
        "redirectCode",
    ],
    // Not in Istio's API. istiod passes over it; Envoy's field of this name is for Gateway API there.
    unserved: &["prefixRewrite"],
};
const DIRECT: Schema = Schema {
    served: &["status", "body"],
    unserved: &[],
};
const BODY: Schema = Schema {
    served: &["string", "bytes"],
    unserved: &[],
};

/// Istio's bound of a body, and what route configurations say to Envoy.
const MAX_BODY: usize = 1 << 20;

pub(super) fn redirect(value: &Value, path: String, sink: &mut Sink) -> Option<Redirect> {
    let fields = Fields::open(value, path, REDIRECT, sink)?;
    let code = match fields.integer("redirectCode", 0, 399, sink) {
        // protobuf's way to say nothing.
        None | Some(0) => 301,
        Some(code) => code,
    };
    if !matches!(code, 301 | 302 | 303 | 307 | 308) {
        let path = fields.path_of("redirectCode");
        sink.error(
            fields.place("redirectCode"),
            format!("{path} must be one of 301, 302, 303, 307, 308, not {code}"),
        );
    }
    let kinds = ["uri", "authority", "scheme", "port", "derivePort"];
    if kinds.iter().all(|key| fields.get(key).is_none()) {
        sink.error(
            fields.at,
            format!("{} must have one of {}", fields.path, kinds.join(", ")),
        );
    }
    Some(Redirect {
        uri: text(&fields, "uri", sink),
        rewrite: None,
        authority: text(&fields, "authority", sink),
        scheme: fields.word("scheme", &["http", "https"], sink),
        port: port(&fields, sink),
        code,
    })
}

fn port(fields: &Fields<'_>, sink: &mut Sink) -> RedirectPort {
    let number = fields.port("port", sink);
    let kinds = ["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"];
    let derived = fields.word("derivePort", &kinds, sink);
    if fields.get("port").is_some() && fields.get("derivePort").is_some() {
        sink.error(
            fields.place("derivePort"),
            format!("{} may have port or derivePort, not both", fields.path),
        );
    }
    match (number, derived) {
        (Some(number), _) => RedirectPort::Number(number),
        (None, Some("FROM_REQUEST_PORT")) => RedirectPort::OfRequest,
        (None, _) => RedirectPort::OfScheme,
    }
}

pub(super) fn direct_response(
    value: &Value,
    path: String,
    sink: &mut Sink,
) -> Option<DirectResponse> {
    let fields = Fields::open(value, path, DIRECT, sink)?;
    if fields.get("status").is_none() {
        sink.error(fields.at, format!("{}.status is missing", fields.path));
    }
    // Envoy's bounds of DirectResponseAction.status.
    let status = fields.integer("status", 200, 599, sink)?;
    let body = fields
        .get("body")
        .and_then(|v| body(v, fields.path_of("body"), sink));
    Some(DirectResponse { status, body })
}

fn body(value: &Value, path: String, sink: &mut Sink) -> Option<Body> {
    let fields = Fields::open(value, path, BODY, sink)?;
    if fields.get("string").is_some() && fields.get("bytes").is_some() {
        sink.error(
            fields.at,
            format!("{} may have string or bytes, not both", fields.path),
        );
    }
    let text = fields.string("string", sink).map(Body::Text);
    let bytes = fields.string("bytes", sink).and_then(|encoded| {
        let bytes = base64(&encoded);
        if bytes.is_none() {
            sink.error(
                fields.place("bytes"),
                format!("{} must be base64", fields.path_of("bytes")),
            );
        }
        bytes.map(Body::Bytes)
    });
    let body = text.or(bytes)?;
    let size = match &body {
        Body::Text(text) => text.len(),
        Body::Bytes(bytes) => bytes.len(),
    };
    if size > MAX_BODY {
        sink.error(
            fields.at,
            format!("{} has {size} bytes; allowed are {MAX_BODY}", fields.path),
        );
    }
    Some(body)
}

/// The forms that protobuf's JSON mapping reads: both alphabets, with or without padding.
fn base64(text: &str) -> Option<Vec<u8>> {
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let alphabets = [base64::alphabet::STANDARD, base64::alphabet::URL_SAFE];
    alphabets
        .iter()
        .find_map(|alphabet| GeneralPurpose::new(alphabet, config).decode(text).ok())
}
