//! The routes of a virtual host, in order, and what those do that a request can take.

use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, StatusCode};

use super::words::unmet;
use super::{
    ActionSeen, ChoiceSeen, ClusterSeen, FaultSeen, ForwardSeen, MirrorSeen, Reaches, Refusal,
    RouteSeen, Verdict, cluster,
};
use crate::request::RequestView;
use crate::route::{
    AbortStatus, Action, Choice, ClusterIndex, Fault, Forward, Fraction, Requested, Route, SplitBy,
};

const MILLION: f64 = 1_000_000.0;

/// What each route of a target does with a request: the first conditions that fail, the ways that it can take, and
/// which routes it never gets to. The path of `head` is taken as it is.
pub fn routes(target: &impl Reaches, head: &Parts) -> Vec<RouteSeen> {
    let request = &view(head);
    // The share of requests that no earlier route takes.
    let (mut left, mut all_taken) = (1.0, false);
    let see = |route: &Arc<Route>| {
        let verdict = if all_taken {
            Verdict::NotAsked
        } else if let Some(unmet) = unmet(&route.matches, request) {
            Verdict::Fails(unmet)
        } else {
            let share = match route.matches.fraction {
                Some(millionths) if millionths < 1_000_000 => f64::from(millionths) / MILLION,
                _ => 1.0,
            };
            let probability = left * share;
            left -= probability;
            all_taken = share >= 1.0;
            Verdict::Takes {
                probability,
                takes_rest: all_taken,
                action: Box::new(action(target, route, head)),
            }
        };
        RouteSeen {
            name: Arc::clone(&route.name),
            source: route.source.clone(),
            verdict,
        }
    };
    let host = target.host();
    let first = host.to_https(request).into_iter();
    first.chain(host.routes()).map(see).collect()
}

fn view(head: &Parts) -> RequestView<'_> {
    RequestView::of(&head.method, &head.uri, &head.headers)
}

fn action(target: &impl Reaches, route: &Route, head: &Parts) -> ActionSeen {
    let request = &view(head);
    let fault = || fault(route.fault.as_deref(), request, None);
    match &route.action {
        Action::Forward(forward) => ActionSeen::Forward(forwarded(target, route, forward, head)),
        Action::Redirect(redirect) => ActionSeen::Answer {
            status: redirect.status,
            location: redirect.location(request).map(|value| lossy(&value)),
            length: 0,
            fault: fault(),
        },
        Action::DirectResponse(answer) => ActionSeen::Answer {
            status: answer.status,
            location: answer.location(request).map(|value| lossy(&value)),
            length: answer.body.len(),
            fault: fault(),
        },
        Action::Unsupported(what) => {
            let reason = format!("the route's action {what} is not supported yet");
            ActionSeen::Refused(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "NR", reason))
        }
    }
}

fn forwarded(target: &impl Reaches, route: &Route, forward: &Forward, head: &Parts) -> ForwardSeen {
    let request = &view(head);
    // A hash or a header's number chooses without a draw.
    let fixed = forward
        .number(request)
        .map(|number| forward.split.at(number));
    let by = match (&forward.by, fixed.is_some()) {
        (SplitBy::Random, _) => "a draw".to_owned(),
        (SplitBy::Hash, true) => "the request's hash".to_owned(),
        (SplitBy::Hash, false) => "a draw, as the request has no hash".to_owned(),
        (SplitBy::Header(name), true) => format!("header {name}"),
        (SplitBy::Header(name), false) => {
            format!("a draw, as header {name} is not there once with a number")
        }
    };
    let total: f64 = forward
        .split
        .weights()
        .map(|(_, weight)| f64::from(weight))
        .sum();
    let choices = forward.split.weights().map(|(choice, weight)| {
        let probability = match fixed {
            Some(fixed) if std::ptr::eq(fixed, choice) => 1.0,
            Some(_) => 0.0,
            None => f64::from(weight) / total,
        };
        let cluster = cluster_of(target, choice.cluster, forward.cluster_not_found);
        let (rewritten, headers) = changes(forward, choice, head, &route.name, &cluster.name);
        let rule = choice.fault.as_deref().or(route.fault.as_deref());
        ChoiceSeen {
            weight,
            probability,
            fault: fault(rule, request, Some(&cluster.name)),
            cluster,
            rewritten,
            headers,
        }
    });
    let mirrors = forward.mirrors.iter().map(|mirror| MirrorSeen {
        probability: probability(mirror.fraction),
        cluster: cluster_of(target, mirror.cluster, forward.cluster_not_found),
    });
    ForwardSeen {
        by,
        choices: choices.collect(),
        limits: forward.timeouts.of(&Requested::of(&head.headers)),
        mirrors: mirrors.collect(),
    }
}

fn cluster_of(target: &impl Reaches, index: ClusterIndex, not_found: StatusCode) -> ClusterSeen {
    let name = target.host().cluster(index);
    let name = name.map_or_else(|| "-".into(), Arc::clone);
    let model = target.model(index).map(|model| &**model);
    cluster(&name, model, not_found)
}

/// A URI, or why there is none.
type Rewritten = Option<Result<String, String>>;

/// What the rules make of the request, by making it.
fn changes(
    forward: &Forward,
    choice: &Choice,
    head: &Parts,
    route: &str,
    cluster: &str,
) -> (Rewritten, Vec<(String, Option<String>)>) {
    let mut sent = head.clone();
    if let Err(error) = forward.rewrite(choice, &mut sent, route, cluster) {
        return (Some(Err(error.to_string())), Vec::new());
    }
    let rewritten = (sent.uri != head.uri).then(|| Ok(sent.uri.to_string()));
    let mut headers = Vec::new();
    for name in sent.headers.keys() {
        let value = joined(&sent.headers, name.as_str());
        if value != joined(&head.headers, name.as_str()) {
            headers.push((name.to_string(), value));
        }
    }
    let gone = head.headers.keys();
    let gone = gone.filter(|name| !sent.headers.contains_key(*name));
    headers.extend(gone.map(|name| (name.to_string(), None)));
    headers.sort();
    (rewritten, headers)
}

fn joined(headers: &HeaderMap, name: &str) -> Option<String> {
    let values: Vec<_> = headers.get_all(name).iter().map(lossy).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

fn lossy(value: &http::HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// The faults of a rule that this request can get.
fn fault(
    rule: Option<&Fault>,
    request: &RequestView<'_>,
    cluster: Option<&str>,
) -> Option<FaultSeen> {
    let rule = rule.filter(|rule| rule.is_for(request, cluster))?;
    let delay = rule.delay.as_ref().and_then(|delay| {
        let (fraction, delay) = delay.odds(request.headers);
        Some((delay?, probability(fraction)))
    });
    let abort = rule.abort.as_ref().and_then(|abort| {
        let (fraction, status) = abort.odds(request.headers);
        let status = match status? {
            AbortStatus::Http(status) => format!("HTTP {}", status.as_u16()),
            AbortStatus::Grpc(code) => format!("gRPC status {code}"),
        };
        Some((status, probability(fraction)))
    });
    let seen = FaultSeen {
        delay: delay.filter(|(delay, likely)| !delay.is_zero() && *likely > 0.0),
        abort: abort.filter(|(_, likely)| *likely > 0.0),
    };
    (seen != FaultSeen::default()).then_some(seen)
}

fn probability(fraction: Fraction) -> f64 {
    f64::from(fraction.millionths()) / MILLION
}
