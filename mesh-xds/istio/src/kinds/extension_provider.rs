//! `MeshConfig.extensionProviders`: the services that `AuthorizationPolicy` with the action `CUSTOM` names.

use std::collections::BTreeMap;
use std::time::Duration;

use envoy_types::pb::envoy::r#type::v3::StatusCode;

use crate::decode::{Fields, Schema, Sink};
use crate::yaml::Value;

/// istiod's limit of time where the provider has none.
const TIMEOUT: Duration = Duration::from_secs(600);

/// A service that decides about requests.
#[derive(Debug, Clone)]
pub(crate) struct Authorizer {
    /// `service`: a host, or a host of a namespace with a slash between.
    pub(crate) service: String,
    pub(crate) port: u32,
    pub(crate) timeout: Duration,
    /// `failOpen`
    pub(crate) fail_open: bool,
    /// `statusOnError`
    pub(crate) status_on_error: Option<i32>,
    /// `includeRequestBodyInCheck`
    pub(crate) body: Option<Body>,
    /// What only one that is asked by HTTP has.
    pub(crate) http: Option<Http>,
}

/// How much of a body is shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Body {
    pub(crate) most: u32,
    pub(crate) partial: bool,
    pub(crate) as_bytes: bool,
}

/// `envoyExtAuthzHttp`
#[derive(Debug, Clone, Default)]
pub(crate) struct Http {
    pub(crate) path_prefix: String,
    pub(crate) told: Vec<String>,
    /// In the order of their names, as istiod has them.
    pub(crate) added: BTreeMap<String, String>,
    pub(crate) upstream: Vec<String>,
    pub(crate) client: Vec<String>,
    pub(crate) client_on_success: Vec<String>,
}

/// By their names.
pub(crate) type Authorizers = BTreeMap<String, Authorizer>;

const HTTP: &str = "envoyExtAuthzHttp";
const GRPC: &str = "envoyExtAuthzGrpc";
const PROVIDER: Schema = Schema {
    served: &["name", "envoyExtAuthzGrpc", "envoyExtAuthzHttp"],
    unserved: &[
        "datadog",
        "envoyFileAccessLog",
        "envoyHttpAls",
        "envoyOtelAls",
        "envoyTcpAls",
        "lightstep",
        "opencensus",
        "opentelemetry",
        "prometheus",
        "sds",
        "skywalking",
        "stackdriver",
        "zipkin",
    ],
};
const OF_GRPC: Schema = Schema {
    served: &[
        "clearRouteCache",
        "failOpen",
        "includeRequestBodyInCheck",
        "port",
        "service",
        "statusOnError",
        "timeout",
    ],
    unserved: &[],
};
const OF_HTTP: Schema = Schema {
    served: &[
        "clearRouteCache",
        "failOpen",
        "headersToDownstreamOnAllow",
        "headersToDownstreamOnDeny",
        "headersToUpstreamOnAllow",
        "includeAdditionalHeadersInCheck",
        "includeHeadersInCheck",
        "includeRequestBodyInCheck",
        "includeRequestHeadersInCheck",
        "pathPrefix",
        "port",
        "service",
        "statusOnError",
        "timeout",
    ],
    unserved: &[],
};
const BODY: Schema = Schema {
    served: &["allowPartialMessage", "maxRequestBytes", "packAsBytes"],
    unserved: &[],
};

/// The providers that authorize; of all others a note says that they have no effect.
pub(crate) fn decode(parent: &Fields<'_>, sink: &mut Sink) -> Authorizers {
    let mut all = Authorizers::new();
    for (at, item) in parent.list("extensionProviders", sink).iter().enumerate() {
        let path = format!("{}[{at}]", parent.path_of("extensionProviders"));
        let Some((name, authorizer)) = provider(item, &path, sink) else {
            continue;
        };
        if all.insert(name.clone(), authorizer).is_some() {
            let message = format!("{path}.name {name:?} is that of another provider, too");
            sink.error(item.at, message);
        }
    }
    all
}

fn provider(item: &Value, path: &str, sink: &mut Sink) -> Option<(String, Authorizer)> {
    let fields = Fields::open(item, path, PROVIDER, sink)?;
    fields.at_most_one(&[HTTP, GRPC], sink);
    let authorizer = match fields.get(HTTP) {
        Some(_) => authorizer(&fields.sub(HTTP, OF_HTTP, sink)?, true, sink),
        None => authorizer(&fields.sub(GRPC, OF_GRPC, sink)?, false, sink),
    };
    let name = fields.string("name", sink).unwrap_or_default();
    if !is_name(&name) {
        let path = fields.path_of("name");
        let message = format!(
            "{path} {name:?} must be 1 to 63 lower-case letters, digits and hyphens, without a hyphen at either end"
        );
        sink.error(fields.place("name"), message);
    }
    Some((name, authorizer?))
}

/// Policies are named by it, and looked for by these names (istiod's `validateProviderName`).
fn is_name(name: &str) -> bool {
    let is_of = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&name.len())
        && name.chars().all(is_of)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

fn authorizer(fields: &Fields<'_>, is_http: bool, sink: &mut Sink) -> Option<Authorizer> {
    let service = fields.string("service", sink).unwrap_or_default();
    let port = fields.port("port", sink);
    for (key, is_missing) in [
        ("service", service.is_empty()),
        ("port", fields.get("port").is_none()),
    ] {
        if is_missing {
            sink.error(fields.at, format!("{} is missing", fields.path_of(key)));
        }
    }
    // Nothing is routed behind a server's filters.
    fields.flag("clearRouteCache", sink);
    let authorizer = Authorizer {
        service,
        port: port.unwrap_or_default(),
        timeout: fields.duration("timeout", sink).unwrap_or(TIMEOUT),
        fail_open: fields.bool("failOpen", sink),
        status_on_error: status(fields, sink),
        body: body(fields, sink),
        http: is_http.then(|| http(fields, sink)),
    };
    port.map(|_| authorizer)
}

/// Envoy's list of statuses; empty is as if it was not there.
fn status(fields: &Fields<'_>, sink: &mut Sink) -> Option<i32> {
    let text = fields.string("statusOnError", sink)?;
    if text.is_empty() {
        return None;
    }
    let code = text.parse().ok();
    let code = code.filter(|code| StatusCode::try_from(*code).is_ok());
    if code.is_none() {
        let path = fields.path_of("statusOnError");
        let message = format!("{path} {text:?} is no status of HTTP that Envoy knows");
        sink.error(fields.place("statusOnError"), message);
    }
    code
}

fn body(parent: &Fields<'_>, sink: &mut Sink) -> Option<Body> {
    let fields = parent.sub("includeRequestBodyInCheck", BODY, sink)?;
    let most = fields.integer("maxRequestBytes", 1, u32::MAX, sink);
    if fields.get("maxRequestBytes").is_none() {
        let path = fields.path_of("maxRequestBytes");
        // Envoy refuses the listener of such a provider.
        sink.error(fields.at, format!("{path} is missing"));
    }
    Some(Body {
        most: most?,
        partial: fields.bool("allowPartialMessage", sink),
        as_bytes: fields.bool("packAsBytes", sink),
    })
}

fn http(fields: &Fields<'_>, sink: &mut Sink) -> Http {
    let prefix = fields.string("pathPrefix", sink).unwrap_or_default();
    if !prefix.is_empty() && !prefix.starts_with('/') {
        let message = format!("{} must begin with a slash", fields.path_of("pathPrefix"));
        sink.error(fields.place("pathPrefix"), message);
    }
    let told = patterns(fields, "includeRequestHeadersInCheck", sink);
    let older = patterns(fields, "includeHeadersInCheck", sink);
    let added = fields.labels("includeAdditionalHeadersInCheck", sink);
    if added.values().any(|value| value.contains('%')) {
        let path = fields.path_of("includeAdditionalHeadersInCheck");
        let message = format!("{path}: values with a % are format strings, which are not served");
        sink.error(fields.place("includeAdditionalHeadersInCheck"), message);
    }
    Http {
        path_prefix: prefix,
        told: if told.is_empty() { older } else { told },
        added: added.into_iter().collect(),
        upstream: patterns(fields, "headersToUpstreamOnAllow", sink),
        client: patterns(fields, "headersToDownstreamOnDeny", sink),
        client_on_success: patterns(fields, "headersToDownstreamOnAllow", sink),
    }
}

/// Names of headers, with a `*` at either end.
fn patterns(fields: &Fields<'_>, key: &str, sink: &mut Sink) -> Vec<String> {
    let mut all = Vec::new();
    for (name, at) in fields.strings(key, sink) {
        if name == "*" || name.is_empty() {
            let message = format!("{} may not hold {name:?}", fields.path_of(key));
            sink.error(at, message);
        }
        all.push(name);
    }
    all
}
