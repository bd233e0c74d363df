//! What a route says to HTTP filters: faults and CORS.

use std::collections::HashMap;

use envoy_types::pb::envoy::config::core::v3::RuntimeFractionalPercent;
use envoy_types::pb::envoy::extensions::filters::common::fault::v3::{
    FaultDelay, fault_delay::FaultDelaySecifier,
};
use envoy_types::pb::envoy::extensions::filters::http::cors::v3::CorsPolicy;
use envoy_types::pb::envoy::extensions::filters::http::fault::v3::{
    FaultAbort, HttpFault, fault_abort::ErrorType,
};
use envoy_types::pb::google::protobuf::Any;

use crate::compile::{matcher, proto};
use crate::kinds::http_route::{Cors, Fault, Policy, Share, Status};

const FAULT: &str = "envoy.filters.http.fault";
/// gRPC knows no such filter and would refuse the whole route configuration.
pub(in crate::compile) const CORS: &str = "envoy.filters.http.cors";

/// `typed_per_filter_config` of a route.
pub(super) fn per_route(policy: &Policy) -> HashMap<String, Any> {
    let fault = policy
        .fault
        .as_ref()
        .map(|f| (FAULT, proto::any(&fault(f))));
    let cors = policy.cors.as_ref().map(|c| (CORS, proto::any(&cors(c))));
    let both = fault.into_iter().chain(cors);
    both.map(|(name, config)| (name.to_owned(), config))
        .collect()
}

fn fault(from: &Fault) -> HttpFault {
    let delay = from.delay.as_ref().map(|delay| FaultDelay {
        percentage: Some(proto::percent(delay.share)),
        fault_delay_secifier: Some(FaultDelaySecifier::FixedDelay(proto::duration(delay.fixed))),
    });
    let abort = from.abort.as_ref().map(|abort| FaultAbort {
        percentage: abort.share.map(proto::percent),
        error_type: Some(match abort.with {
            Status::Http(status) => ErrorType::HttpStatus(status),
            Status::Grpc(code) => ErrorType::GrpcStatus(code),
        }),
        ..FaultAbort::default()
    });
    HttpFault {
        delay,
        abort,
        ..HttpFault::default()
    }
}

fn cors(from: &Cors) -> CorsPolicy {
    let age = from.max_age.map(|seconds| seconds.to_string());
    CorsPolicy {
        allow_origin_string_match: from.origins.iter().filter_map(matcher::string).collect(),
        allow_methods: from.methods.join(","),
        allow_headers: from.headers.join(","),
        expose_headers: from.expose.join(","),
        max_age: age.unwrap_or_default(),
        allow_credentials: from.credentials.map(proto::bool_value),
        filter_enabled: Some(runtime(Share::ALL)),
        forward_not_matching_preflights: Some(proto::bool_value(from.forward)),
        ..CorsPolicy::default()
    }
}

/// A share that no runtime key overrides.
pub(super) fn runtime(share: Share) -> RuntimeFractionalPercent {
    RuntimeFractionalPercent {
        default_value: Some(proto::percent(share)),
        ..RuntimeFractionalPercent::default()
    }
}
