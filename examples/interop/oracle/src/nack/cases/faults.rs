//! Faults and mirrors.

use envoy_types::pb::envoy::config::core::v3::RuntimeFractionalPercent;
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::RequestMirrorPolicy;
use envoy_types::pb::envoy::config::route::v3::{FilterConfig, RouteConfiguration};
use envoy_types::pb::envoy::extensions::filters::common::fault::v3::{
    FaultDelay, fault_delay::FaultDelaySecifier,
};
use envoy_types::pb::envoy::extensions::filters::http::fault::v3::{
    FaultAbort, HttpFault, fault_abort::ErrorType,
};
use envoy_types::pb::envoy::r#type::v3::FractionalPercent;
use envoy_types::pb::google::protobuf::{Any, Duration};
use prost::{Message, Name};

use super::route;
use crate::feature::Feature;
use crate::generate::fault::FILTER;
use crate::nack::Case;
use crate::world::{CLUSTERS, UNKNOWN};

const HEADER: &str = "the field is not supported: ours makes no copy";
const BODILESS: &str = "Envoy says of what type the body is that this status has not";
const HOST: &str = "ours leaves the host as it is where the rule's is none; Envoy sends it";

/// All of these.
pub(super) fn all() -> Vec<Case> {
    let mut all = faults();
    all.extend(wrapped());
    all.extend(mirrors());
    all
}

fn any<M: Message + Name>(message: &M) -> Any {
    Any {
        type_url: M::type_url(),
        value: message.encode_to_vec(),
    }
}

fn with(name: &str, filter: &'static str, any: Any) -> Case {
    Case::new(Feature::Fault, format!("fault {name}"), move |c| {
        let configs = &mut route(c).typed_per_filter_config;
        configs.insert(filter.to_owned(), any.clone());
    })
}

/// For all requests.
fn abort(by: Option<ErrorType>) -> HttpFault {
    HttpFault {
        abort: Some(FaultAbort {
            percentage: percent(100),
            error_type: by,
            ..FaultAbort::default()
        }),
        ..HttpFault::default()
    }
}

fn percent(numerator: u32) -> Option<FractionalPercent> {
    Some(FractionalPercent {
        numerator,
        ..FractionalPercent::default()
    })
}

fn faults() -> Vec<Case> {
    let statuses = [0, 99, 199, 200, 204, 304, 599, 600].map(|status| {
        let fault = abort(Some(ErrorType::HttpStatus(status)));
        let case = with(&format!("abort {status}"), FILTER, any(&fault));
        if matches!(status, 204 | 304) {
            case.unasked(BODILESS)
        } else {
            case
        }
    });
    let delays = [(-1, 0), (0, 0), (0, 1), (0, 1_000_000_000)].map(|(seconds, nanos)| {
        let fixed = FaultDelaySecifier::FixedDelay(Duration { seconds, nanos });
        (format!("delay {seconds} s {nanos} ns"), Some(fixed))
    });
    let delays = delays
        .into_iter()
        .chain([("delay without specifier".to_owned(), None)]);
    let delays = delays.map(|(name, by)| {
        let delay = FaultDelay {
            percentage: percent(100),
            fault_delay_secifier: by,
        };
        let fault = HttpFault {
            delay: Some(delay),
            ..HttpFault::default()
        };
        with(&name, FILTER, any(&fault))
    });
    let mut all = Vec::from(statuses);
    all.extend(delays);
    all.push(with("abort without type", FILTER, any(&abort(None))));
    all
}

fn wrapped() -> Vec<Case> {
    let fault = any(&abort(Some(ErrorType::HttpStatus(503))));
    let broken = Any {
        value: vec![0xff],
        ..fault.clone()
    };
    let wrapped = |config: Option<Any>, disabled| {
        any(&FilterConfig {
            config,
            disabled,
            ..FilterConfig::default()
        })
    };
    vec![
        with("that is no message", FILTER, broken.clone()),
        with(
            "of a filter that is not there",
            "envoy.filters.http.none",
            fault.clone(),
        ),
        with(
            "in the place of another message",
            FILTER,
            any(&RouteConfiguration::default()),
        ),
        with("of no type", FILTER, Any::default()),
        with(
            "in a FilterConfig",
            FILTER,
            wrapped(Some(fault.clone()), false),
        ),
        with(
            "in a FilterConfig that is off",
            FILTER,
            wrapped(Some(fault), true),
        ),
        with(
            "in a FilterConfig, no message",
            FILTER,
            wrapped(Some(broken), false),
        ),
        with(
            "in a FilterConfig with nothing",
            FILTER,
            wrapped(None, false),
        ),
        with(
            "in a FilterConfig that is off with nothing",
            FILTER,
            wrapped(None, true),
        ),
        with(
            "in a FilterConfig of no type",
            FILTER,
            wrapped(Some(Any::default()), false),
        ),
    ]
}

fn mirrors() -> Vec<Case> {
    let with = |name: &str, policy: RequestMirrorPolicy| {
        Case::new(Feature::Mirror, format!("mirror {name}"), move |c| {
            if let Some(Action::Route(action)) = &mut route(c).action {
                action.request_mirror_policies.push(policy.clone());
            }
        })
    };
    let to = |cluster: &str| RequestMirrorPolicy {
        cluster: cluster.to_owned(),
        ..RequestMirrorPolicy::default()
    };
    let by_header = |cluster: &str, header: &str| RequestMirrorPolicy {
        cluster_header: header.to_owned(),
        ..to(cluster)
    };
    let first = CLUSTERS[1].0;
    let host = |host: &str| RequestMirrorPolicy {
        host_rewrite_literal: host.to_owned(),
        ..to(first)
    };
    let of = |numerator| RequestMirrorPolicy {
        runtime_fraction: Some(RuntimeFractionalPercent {
            default_value: percent(numerator),
            ..RuntimeFractionalPercent::default()
        }),
        ..to(first)
    };
    vec![
        with("without cluster", to("")),
        with("to a cluster that is not there", to(UNKNOWN)),
        with("to a cluster and by header", by_header(first, "x-a")),
        with("by header", by_header("", "x-a")).unasked(HEADER),
        with("by a header with a blank", by_header("", "x a")).unasked(HEADER),
        with("for a host with a blank", host("a b")).unasked(HOST),
        with("for a host with a line break", host("a\nb")),
        with("of more than all", of(101)),
        with(
            "without a default fraction",
            RequestMirrorPolicy {
                runtime_fraction: Some(RuntimeFractionalPercent::default()),
                ..to(first)
            },
        ),
    ]
}
