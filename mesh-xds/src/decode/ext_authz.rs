//! `envoy.extensions.filters.http.ext_authz.v3.ExtAuthz`: whom a server asks about requests.
//!
//! Everything in it decides, or tells the authorizer by what it decides. What is not known here is refused with its field
//! path and never passed over: a field of a newer protocol, an arm that is not served, and what Envoy would refuse. Without
//! effect are, and may be: `clear_route_cache` (nothing is routed behind the filters of a server), what only counts and
//! traces (`stat_prefix`, `filter_metadata`, `emit_filter_state_stats`, `emit_client_span`), the retry policies of the calls,
//! and the switches that only make Envoy stricter than it is by default where no laxer way is taken here
//! (`validate_mutations`, `enforce_response_header_limits`), or that are about metadata, which no answer writes here
//! (`enable_dynamic_metadata_ingestion`).

mod service;
#[cfg(test)]
mod tests;

use envoy_types::pb::envoy::config::core::v3::ApiVersion;
use envoy_types::pb::envoy::extensions::filters::http::ext_authz::v3::{
    BufferSettings, ExtAuthz, ext_authz::Services,
};
use envoy_types::pb::envoy::r#type::matcher::v3::{
    ListStringMatcher, MetadataMatcher, metadata_matcher::path_segment::Segment, value_matcher,
};
use http::StatusCode;
use mesh_core::matcher::StringMatcher;
use mesh_core::server::ask::{Ask, BodyRule, MOST_BODY, OnError, When};
use prost::Message;

use super::matcher::string;
use super::{Faults, Invalid, message};

/// The filter whose tried rules say who is asked about.
const RBAC: &str = "envoy.filters.http.rbac";
/// Behind the prefix of tried rules: the name of the policy that was met.
const EFFECTIVE: &str = "shadow_effective_policy_id";

/// Decodes the configuration of the HTTP filter.
pub(crate) fn ext_authz(bytes: &[u8]) -> Result<Ask, Invalid> {
    let filter: ExtAuthz = message(bytes)?;
    // What a newer protocol adds may be a condition. What was on the wire twice and is kept once is found, too.
    if filter.encoded_len() != bytes.len() {
        let reason = "has fields that this version does not know, or one of them twice; it is not served in parts";
        return Err(Invalid::new("", reason));
    }
    let mut faults = Faults::default();
    refuse(&filter, &mut faults);
    if filter.transport_api_version != ApiVersion::V3 as i32 {
        faults.add(Invalid::new("transport_api_version", "is not V3"));
    }
    let when = faults.take(when(filter.filter_enabled_metadata.as_ref()));
    let body = faults.take(body(filter.with_request_body.as_ref()));
    let allowed = faults.take(list("allowed_headers", filter.allowed_headers.as_ref()));
    let disallowed = filter.disallowed_headers.as_ref();
    let disallowed = faults.take(list("disallowed_headers", disallowed));
    let service = faults.take(match &filter.services {
        Some(Services::GrpcService(wire)) => {
            service::grpc(wire).map_err(|error| error.within("grpc_service"))
        }
        Some(Services::HttpService(wire)) => {
            service::http(wire).map_err(|error| error.within("http_service"))
        }
        None => Err(Invalid::new("services", "is missing")),
    });
    let parts = when.zip(body).zip(allowed.zip(disallowed)).zip(service);
    let (((when, body), (allowed_headers, disallowed)), service) = faults.or(parts)?;
    let on_error = match filter.failure_mode_allow {
        true => OnError::Allow {
            tells: filter.failure_mode_allow_header_add,
        },
        false => OnError::Deny(status(filter.status_on_error.map(|it| it.code))),
    };
    Ok(Ask {
        cluster: service.cluster,
        authorizer: service.authorizer,
        timeout: service.timeout,
        on_error,
        when,
        allowed_headers,
        disallowed_headers: disallowed.unwrap_or_default(),
        body,
        tells_sni: filter.include_tls_session,
        most_denied_body: filter.max_denied_response_body_bytes as usize,
    })
}

/// What is set and not served.
fn refuse(filter: &ExtAuthz, faults: &mut Faults) {
    let mutation = filter.decoder_header_mutation_rules.is_some();
    let unserved = [
        (
            "metadata_context_namespaces",
            !filter.metadata_context_namespaces.is_empty(),
        ),
        (
            "typed_metadata_context_namespaces",
            !filter.typed_metadata_context_namespaces.is_empty(),
        ),
        (
            "route_metadata_context_namespaces",
            !filter.route_metadata_context_namespaces.is_empty(),
        ),
        (
            "route_typed_metadata_context_namespaces",
            !filter.route_typed_metadata_context_namespaces.is_empty(),
        ),
        ("filter_enabled", filter.filter_enabled.is_some()),
        ("deny_at_disable", filter.deny_at_disable.is_some()),
        ("include_peer_certificate", filter.include_peer_certificate),
        (
            "bootstrap_metadata_labels_key",
            !filter.bootstrap_metadata_labels_key.is_empty(),
        ),
        ("encode_raw_headers", filter.encode_raw_headers),
        ("decoder_header_mutation_rules", mutation),
        ("shadow_mode", filter.shadow_mode),
    ];
    for (field, _) in unserved.iter().filter(|(_, is_set)| *is_set) {
        faults.add(unserved_field(field));
    }
}

fn unserved_field(field: &str) -> Invalid {
    Invalid::new(
        field,
        "is not served, and authorization is not served in parts",
    )
}

/// Envoy takes a number that is no status of an answer for 403.
fn status(code: Option<i32>) -> StatusCode {
    let code = code.and_then(|code| StatusCode::from_u16(code.try_into().ok()?).ok());
    let code = code.filter(|code| !code.is_informational());
    code.unwrap_or(StatusCode::FORBIDDEN)
}

fn body(wire: Option<&BufferSettings>) -> Result<Option<BodyRule>, Invalid> {
    let Some(wire) = wire else { return Ok(None) };
    let within = |reason: String| Invalid::new("with_request_body.max_request_bytes", reason);
    match wire.max_request_bytes as usize {
        0 => Err(within("is 0, and must be more".to_owned())),
        most if most > MOST_BODY => Err(within(format!("is {most}; {MOST_BODY} are served"))),
        most => Ok(Some(BodyRule {
            most,
            partial: wire.allow_partial_message,
            as_bytes: wire.pack_as_bytes,
        })),
    }
}

type Matchers = Box<[StringMatcher]>;

/// A list of names of headers, which are in lower case here.
fn list(field: &str, wire: Option<&ListStringMatcher>) -> Result<Option<Matchers>, Invalid> {
    let Some(wire) = wire else { return Ok(None) };
    let mut faults = Faults::default();
    let all = wire.patterns.iter().enumerate().filter_map(|(at, one)| {
        let decoded = string(one).map_err(|e| e.within(format_args!("{field}.patterns[{at}]")));
        faults.take(decoded)
    });
    let all: Vec<StringMatcher> = all.collect();
    faults.or(Some(Some(all.into())))
}

/// Istio's way of asking about what some policies match; there is no other that is served.
fn when(wire: Option<&MetadataMatcher>) -> Result<When, Invalid> {
    let Some(wire) = wire else {
        return Ok(When::Always);
    };
    let within = |field: &str, reason: &str| {
        Err(Invalid::new(
            format!("filter_enabled_metadata.{field}"),
            reason,
        ))
    };
    if wire.filter != RBAC {
        return within("filter", "is not that of authorization by policies");
    }
    if wire.invert {
        return within("invert", "is not served");
    }
    let key = match &*wire.path {
        [one] => match &one.segment {
            Some(Segment::Key(key)) => key.strip_suffix(EFFECTIVE),
            None => None,
        },
        _ => None,
    };
    let Some(prefix) = key else {
        return within("path", "does not lead to the policy that tried rules met");
    };
    let value = wire.value.as_ref().and_then(|it| it.match_pattern.as_ref());
    let Some(value_matcher::MatchPattern::StringMatch(policy)) = value else {
        return within("value", "is no test of a name");
    };
    let policy = string(policy).map_err(|e| e.within("filter_enabled_metadata.value"))?;
    Ok(When::Shadow {
        prefix: prefix.into(),
        policy,
    })
}
