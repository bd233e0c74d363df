use envoy_types::pb::envoy::extensions::filters::common::fault::v3::fault_delay::FaultDelaySecifier;
use envoy_types::pb::envoy::extensions::filters::http::fault::v3::{
    HttpFault, fault_abort::ErrorType,
};
use envoy_types::pb::envoy::r#type::v3::{FractionalPercent, fractional_percent::DenominatorType};

use super::*;

fn fault(fields: &str) -> HttpFault {
    filter(
        &one(&format!("fault: {{ {fields} }}")),
        "envoy.filters.http.fault",
    )
}

fn share(numerator: u32, denominator: DenominatorType) -> Option<FractionalPercent> {
    Some(FractionalPercent {
        numerator,
        denominator: denominator.into(),
    })
}

#[test]
fn delays() {
    let found = fault("delay: { fixedDelay: 1.5s, percentage: { value: 0.1 } }");
    assert!(found.abort.is_none());
    let delay = found.delay.unwrap();
    assert_eq!(delay.percentage, share(1000, DenominatorType::Million));
    let Some(FaultDelaySecifier::FixedDelay(fixed)) = delay.fault_delay_secifier else {
        panic!()
    };
    assert_eq!((fixed.seconds, fixed.nanos), (1, 500_000_000));
    for (given, expected) in [
        ("percent: 5", share(5, DenominatorType::Hundred)),
        (
            "percent: 5, percentage: {}",
            share(0, DenominatorType::Million),
        ),
        (
            "percentage: { value: 100 }",
            share(1_000_000, DenominatorType::Million),
        ),
        (
            "percentage: { value: 33.3333 }",
            share(333_333, DenominatorType::Million),
        ),
    ] {
        let found = fault(&format!("delay: {{ fixedDelay: 1s, {given} }}"));
        assert_eq!(found.delay.unwrap().percentage, expected, "{given}");
    }
    // Nothing said is no call.
    let found = fault("delay: { fixedDelay: 1s }").delay.unwrap();
    assert_eq!(found.percentage, share(0, DenominatorType::Hundred));
}

#[test]
fn aborts() {
    let http = fault("abort: { httpStatus: 503, percentage: { value: 50 } }")
        .abort
        .unwrap();
    assert_eq!(http.error_type, Some(ErrorType::HttpStatus(503)));
    assert_eq!(http.percentage, share(500_000, DenominatorType::Million));
    for (name, code) in [("OK", 0), ("UNAVAILABLE", 14), ("UNAUTHENTICATED", 16)] {
        let grpc = fault(&format!("abort: {{ grpcStatus: {name} }}"))
            .abort
            .unwrap();
        assert_eq!(grpc.error_type, Some(ErrorType::GrpcStatus(code)));
        assert_eq!(grpc.percentage, None);
    }
}

#[test]
fn what_envoy_has_not_is_left_out() {
    let found = fault("delay: { exponentialDelay: 1s }, abort: { http2Error: X }");
    assert_eq!(found, HttpFault::default());
    assert!(one("name: r").typed_per_filter_config.is_empty());
}
