//! `RequestAuthentication`: whose tokens the servers of a workload believe.

use std::time::Duration;

use mesh_core::jwt::Jwks;

use crate::decode::{Fields, Labels, Schema, Sink};
use crate::yaml::Value;

/// A checked `RequestAuthentication`.
#[derive(Debug, Clone, Default)]
pub(crate) struct RequestAuthentication {
    /// The workloads that it is for; empty for all of its namespace, or of the mesh in the root namespace.
    pub(crate) selector: Labels,
    /// `jwtRules`
    pub(crate) rules: Vec<JwtRule>,
}

/// `JWTRule`: one issuer.
#[derive(Debug, Clone)]
pub(crate) struct JwtRule {
    pub(crate) issuer: String,
    /// Any, where there are none.
    pub(crate) audiences: Vec<String>,
    pub(crate) keys: Keys,
    /// `fromHeaders`: name and prefix.
    pub(crate) headers: Vec<(String, String)>,
    /// `fromParams`
    pub(crate) params: Vec<String>,
    /// `fromCookies`
    pub(crate) cookies: Vec<String>,
    /// `forwardOriginalToken`
    pub(crate) forward: bool,
    /// `outputPayloadToHeader`; empty where it is not said.
    pub(crate) payload_header: String,
    /// `outputClaimToHeaders`: header and claim.
    pub(crate) claim_headers: Vec<(String, String)>,
}

/// Where the keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Keys {
    /// `jwks`
    Inline(String),
    /// `jwksUri`, from where servers fetch them.
    At(JwksUri),
}

/// `jwksUri`, and how long an answer may take (`timeout`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JwksUri {
    pub(crate) uri: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) timeout: Duration,
}

/// `timeout`, where it is not said (Istio).
const TIMEOUT: Duration = Duration::from_secs(5);

const SPEC: Schema = Schema {
    served: &["selector", "jwtRules", "targetRef", "targetRefs"],
    unserved: &[],
};
const SELECTOR: Schema = Schema {
    served: &["matchLabels"],
    unserved: &[],
};
const RULE: Schema = Schema {
    served: &[
        "issuer",
        "audiences",
        "jwks",
        "jwksUri",
        "jwks_uri",
        "fromHeaders",
        "fromParams",
        "fromCookies",
        "forwardOriginalToken",
        "outputPayloadToHeader",
        "outputClaimToHeaders",
        "timeout",
    ],
    unserved: &[],
};
const HEADER: Schema = Schema {
    served: &["name", "prefix"],
    unserved: &[],
};
const CLAIM: Schema = Schema {
    served: &["header", "claim"],
    unserved: &[],
};

/// Reads the spec; without one it asks for nothing.
pub(crate) fn decode(spec: Option<&Value>, sink: &mut Sink) -> Option<RequestAuthentication> {
    let Some(spec) = spec else {
        return Some(RequestAuthentication::default());
    };
    let fields = Fields::open(spec, "spec", SPEC, sink)?;
    for key in ["targetRef", "targetRefs"] {
        if fields.get(key).is_some() {
            let message =
                format!("spec.{key} is not served: the rules would hold for others than it says");
            sink.error(fields.place(key), message);
        }
    }
    let selector = fields.sub("selector", SELECTOR, sink);
    let selector = selector.map(|selector| selector.labels("matchLabels", sink));
    let mut rules = Vec::new();
    for (at, value) in fields.list("jwtRules", sink).iter().enumerate() {
        rules.extend(rule(value, format!("spec.jwtRules[{at}]"), sink));
    }
    Some(RequestAuthentication {
        selector: selector.unwrap_or_default(),
        rules,
    })
}

fn rule(value: &Value, path: String, sink: &mut Sink) -> Option<JwtRule> {
    let fields = Fields::open(value, path, RULE, sink)?;
    let issuer = required(&fields, "issuer", sink);
    let keys = keys(&fields, sink);
    let payload_header = fields.string("outputPayloadToHeader", sink);
    let payload_header = payload_header.unwrap_or_default();
    if !payload_header.is_empty() {
        header_name(&payload_header, &fields, "outputPayloadToHeader", sink);
    }
    Some(JwtRule {
        audiences: texts(&fields, "audiences", sink),
        headers: pairs(&fields, "fromHeaders", HEADER, ["name", "prefix"], sink),
        params: texts(&fields, "fromParams", sink),
        cookies: texts(&fields, "fromCookies", sink),
        forward: fields.bool("forwardOriginalToken", sink),
        claim_headers: pairs(
            &fields,
            "outputClaimToHeaders",
            CLAIM,
            ["header", "claim"],
            sink,
        ),
        payload_header,
        issuer: issuer?,
        keys: keys?,
    })
}

fn required(fields: &Fields<'_>, key: &str, sink: &mut Sink) -> Option<String> {
    match fields.string(key, sink) {
        Some(text) if !text.is_empty() => Some(text),
        // What is no string was told.
        None if fields.get(key).is_some() => None,
        _ => {
            let message = format!("{} is missing", fields.path_of(key));
            fields.lacks(key, fields.place(key), message, sink);
            None
        }
    }
}

fn texts(fields: &Fields<'_>, key: &str, sink: &mut Sink) -> Vec<String> {
    let mut all = Vec::new();
    for (text, at) in fields.strings(key, sink) {
        if text.is_empty() {
            sink.error(at, format!("{} holds an empty text", fields.path_of(key)));
        }
        all.push(text);
    }
    all
}

/// A list of mappings from a header's name to a text; the text that says a claim must be there.
fn pairs(
    fields: &Fields<'_>,
    key: &str,
    schema: Schema,
    [name, text]: [&str; 2],
    sink: &mut Sink,
) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (at, value) in fields.list(key, sink).iter().enumerate() {
        let path = format!("{}[{at}]", fields.path_of(key));
        let Some(pair) = Fields::open(value, path, schema, sink) else {
            continue;
        };
        let header = required(&pair, name, sink);
        let text = match text {
            "claim" => required(&pair, text, sink),
            _ => Some(pair.string(text, sink).unwrap_or_default()),
        };
        let Some((header, text)) = header.zip(text) else {
            continue;
        };
        if header_name(&header, &pair, name, sink) {
            all.push((header, text));
        }
    }
    all
}

/// A header's name (RFC 9110, 5.1).
fn header_name(name: &str, fields: &Fields<'_>, key: &str, sink: &mut Sink) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let is_name = name.bytes().all(legal);
    if !is_name {
        let message = format!("{}: {name:?} is no header name", fields.path_of(key));
        sink.error(fields.place(key), message);
    }
    is_name
}

/// One of `jwks` and `jwksUri`. Without both istiod asks the issuer where they are, which is not done here.
fn keys(fields: &Fields<'_>, sink: &mut Sink) -> Option<Keys> {
    fields.at_most_one(&["jwks", "jwksUri", "jwks_uri"], sink);
    let timeout = fields.duration("timeout", sink).unwrap_or(TIMEOUT);
    if let Some(text) = fields.string("jwks", sink) {
        return inline(text, fields, sink);
    }
    let key = match fields.get("jwksUri") {
        Some(_) => "jwksUri",
        None => "jwks_uri",
    };
    match fields.string(key, sink) {
        Some(uri) => at(uri, timeout, fields, key, sink),
        None if fields.get(key).is_some() || fields.get("jwks").is_some() => None,
        None => {
            let message = format!(
                "{} has neither jwks nor jwksUri; they are not looked up at the issuer",
                fields.path
            );
            sink.error(fields.at, message);
            None
        }
    }
}

/// Keys that could never prove anything are told here: in Envoy they refuse every token when it comes.
fn inline(text: String, fields: &Fields<'_>, sink: &mut Sink) -> Option<Keys> {
    match Jwks::parse(text.as_bytes()) {
        Ok(_) => Some(Keys::Inline(text)),
        Err(why) => {
            let message = format!("{}: {why}", fields.path_of("jwks"));
            sink.error(fields.place("jwks"), message);
            None
        }
    }
}

fn at(
    uri: String,
    timeout: Duration,
    fields: &Fields<'_>,
    key: &str,
    sink: &mut Sink,
) -> Option<Keys> {
    match split(&uri) {
        Some((host, port)) => Some(Keys::At(JwksUri {
            host,
            port,
            timeout,
            uri,
        })),
        None => {
            let message = format!(
                "{}: {uri:?} is no http(s) URI with a host",
                fields.path_of(key)
            );
            sink.error(fields.place(key), message);
            None
        }
    }
}

/// Host and port of a URI; user information is none of it.
fn split(uri: &str) -> Option<(String, u16)> {
    let (rest, port) = match uri.split_once("://")? {
        ("http", rest) => (rest, 80),
        ("https", rest) => (rest, 443),
        _ => return None,
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, digits)) => (host, digits.parse().ok().filter(|port| *port > 0)?),
        None => (authority, port),
    };
    crate::host::check(host).ok()?;
    Some((host.to_ascii_lowercase(), port))
}
