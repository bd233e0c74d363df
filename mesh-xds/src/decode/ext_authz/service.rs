//! `GrpcService` and `HttpService`: who is asked.

use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::{
    GrpcService, HeaderValue as PbHeader, grpc_service::TargetSpecifier, http_uri::HttpUpstreamType,
};
use envoy_types::pb::envoy::extensions::filters::http::ext_authz::v3::{
    AuthorizationResponse, HttpService,
};
use envoy_types::pb::google::protobuf::Duration as PbDuration;
use http::{HeaderName, HeaderValue};
use mesh_core::server::ask::{Authorizer, DEFAULT_TIMEOUT, HttpAuthorizer};

use super::{Matchers, list, unserved_field};
use crate::decode::{Faults, Invalid, duration};

/// The authority of a call for which the configuration names none.
const UNNAMED: &str = "localhost";

/// Who is asked, by what protocol, and how long.
pub(super) struct Service {
    pub(super) cluster: Arc<str>,
    pub(super) authorizer: Authorizer,
    pub(super) timeout: Duration,
}

pub(super) fn grpc(wire: &GrpcService) -> Result<Service, Invalid> {
    let Some(TargetSpecifier::EnvoyGrpc(target)) = &wire.target_specifier else {
        return Err(unserved_field("target_specifier"));
    };
    if !wire.initial_metadata.is_empty() {
        return Err(unserved_field("initial_metadata"));
    }
    let cluster = named(&target.cluster_name, "envoy_grpc.cluster_name")?;
    let is_one = |text: &str| http::uri::Authority::try_from(text).is_ok();
    let authority = match &*target.authority {
        // Envoy's default is the cluster's name, which need not be an authority.
        "" if is_one(&cluster) => Arc::clone(&cluster),
        "" => UNNAMED.into(),
        authority if is_one(authority) => authority.into(),
        authority => {
            let reason = format_args!("{authority:?} is no authority");
            return Err(Invalid::new("envoy_grpc.authority", reason));
        }
    };
    Ok(Service {
        cluster,
        authorizer: Authorizer::Grpc(authority),
        timeout: limit("timeout", wire.timeout.as_ref())?,
    })
}

pub(super) fn http(wire: &HttpService) -> Result<Service, Invalid> {
    let mut faults = Faults::default();
    let uri = wire.server_uri.as_ref();
    let uri = uri.ok_or_else(|| Invalid::new("server_uri", "is missing"))?;
    let cluster = faults.take(match &uri.http_upstream_type {
        Some(HttpUpstreamType::Cluster(name)) => named(name, "server_uri.cluster"),
        None => Err(Invalid::new("server_uri.cluster", "is missing")),
    });
    let timeout = faults.take(limit("server_uri.timeout", uri.timeout.as_ref()));
    if !wire.path_override.is_empty() {
        faults.add(unserved_field("path_override"));
    }
    let prefix = &*wire.path_prefix;
    if !prefix.is_empty() && (!prefix.starts_with('/') || !is_path(prefix)) {
        let reason = format_args!("{prefix:?} is no path that begins with a slash");
        faults.add(Invalid::new("path_prefix", reason));
    }
    let request = wire.authorization_request.as_ref();
    #[allow(deprecated, reason = "Envoy still serves it")]
    let is_listed = request.is_some_and(|it| it.allowed_headers.is_some());
    if is_listed {
        faults.add(unserved_field("authorization_request.allowed_headers"));
    }
    let added = request.map(|it| &*it.headers_to_add).unwrap_or_default();
    let added = added.iter().enumerate().filter_map(|(at, wire)| {
        let field = format!("authorization_request.headers_to_add[{at}]");
        faults.take(header(wire).map_err(|error| error.within(field)))
    });
    let headers_to_add = added.collect();
    let response = response(wire.authorization_response.as_ref());
    let response = response.map_err(|error| error.within("authorization_response"));
    let response = faults.take(response);
    let ((cluster, timeout), response) = faults.or(cluster.zip(timeout).zip(response))?;
    Ok(Service {
        cluster,
        authorizer: Authorizer::Http(Box::new(HttpAuthorizer {
            path_prefix: prefix.into(),
            headers_to_add,
            ..response
        })),
        timeout,
    })
}

/// Which headers of the answer count.
fn response(wire: Option<&AuthorizationResponse>) -> Result<HttpAuthorizer, Invalid> {
    let none = AuthorizationResponse::default();
    let wire = wire.unwrap_or(&none);
    let mut faults = Faults::default();
    if wire.dynamic_metadata_from_headers.is_some() {
        faults.add(unserved_field("dynamic_metadata_from_headers"));
    }
    let mut take =
        |field: &str, wire| -> Option<Option<Matchers>> { faults.take(list(field, wire)) };
    let upstream = take(
        "allowed_upstream_headers",
        wire.allowed_upstream_headers.as_ref(),
    );
    let append = take(
        "allowed_upstream_headers_to_append",
        wire.allowed_upstream_headers_to_append.as_ref(),
    );
    let client = take(
        "allowed_client_headers",
        wire.allowed_client_headers.as_ref(),
    );
    let success = take(
        "allowed_client_headers_on_success",
        wire.allowed_client_headers_on_success.as_ref(),
    );
    let all = upstream.zip(append).zip(client.zip(success));
    let ((upstream, append), (client, success)) = faults.or(all)?;
    Ok(HttpAuthorizer {
        upstream: upstream.unwrap_or_default(),
        upstream_append: append.unwrap_or_default(),
        // Envoy takes an empty list for none.
        client: client.filter(|listed| !listed.is_empty()),
        client_on_success: success.unwrap_or_default(),
        ..HttpAuthorizer::default()
    })
}

/// A value with a `%` is one of Envoy's format strings.
fn header(wire: &PbHeader) -> Result<(HeaderName, HeaderValue), Invalid> {
    if !wire.raw_value.is_empty() {
        return Err(unserved_field("raw_value"));
    }
    if wire.value.contains('%') {
        let reason = format_args!("{:?} is a format string, which is not served", wire.value);
        return Err(Invalid::new("value", reason));
    }
    let name = HeaderName::from_bytes(wire.key.as_bytes());
    let name = name.map_err(|_| {
        let reason = format_args!("{:?} is no header name", wire.key);
        Invalid::new("key", reason)
    })?;
    let value = HeaderValue::from_str(&wire.value);
    let value = value.map_err(|_| Invalid::new("value", "is no header value"))?;
    Ok((name, value))
}

fn is_path(text: &str) -> bool {
    let parsed = http::uri::PathAndQuery::try_from(text);
    parsed.is_ok_and(|it| it.query().is_none() && it.as_str() == text)
}

fn named(name: &str, field: &str) -> Result<Arc<str>, Invalid> {
    match name {
        "" => Err(Invalid::new(field, "is empty")),
        name => Ok(name.into()),
    }
}

/// Without a time, or with none at all, Envoy's default holds: nobody is waited for without end.
fn limit(field: &str, wire: Option<&PbDuration>) -> Result<Duration, Invalid> {
    let Some(wire) = wire else {
        return Ok(DEFAULT_TIMEOUT);
    };
    match duration(wire) {
        Some(Duration::ZERO) => Ok(DEFAULT_TIMEOUT),
        Some(limit) => Ok(limit),
        None => Err(Invalid::new(field, "is no duration")),
    }
}
