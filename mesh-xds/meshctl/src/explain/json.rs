//! An explanation as JSON. Durations are in milliseconds, probabilities from 0 to 1.

use std::time::Duration;

use mesh_tower::explain::{
    ActionSeen, Candidates, ChoiceSeen, ClusterSeen, Condition, EndpointSeen, Explanation,
    FaultSeen, ForwardSeen, HostSeen, NotChosen, Refusal, RouteSeen, Unmet, Verdict, Way,
};
use serde_json::{Map, Value, json};

pub(super) fn of(explanation: &Explanation) -> Value {
    let table = explanation.table.as_ref();
    let mut all = json!({
        "method": explanation.method.as_str(),
        "uri": explanation.uri,
        "generation": explanation.generation,
        "reaches": explanation.reaches(),
        "passedThrough": explanation.is_passed_through(),
        "routeConfiguration": table.map(|(name, version)| json!({ "name": &**name, "version": &**version })),
    });
    match &explanation.way {
        Way::Outside(why) => all["outside"] = (&**why).into(),
        Way::Refused(refusal) => all["refused"] = refused(refusal),
        Way::Routes(candidates, routes) => {
            all["virtualHost"] = host(candidates);
            all["routes"] = routes.iter().map(route).collect();
            if let Some((probability, refusal)) = explanation.unrouted() {
                all["noRoute"] =
                    json!({ "probability": probability, "refused": refused(&refusal) });
            }
        }
    }
    all
}

fn refused(refusal: &Refusal) -> Value {
    json!({
        "status": refusal.status.as_u16(),
        "flags": refusal.flags,
        "reason": &*refusal.reason,
    })
}

fn host(candidates: &Candidates) -> Value {
    let seen = |host: &HostSeen| json!({ "name": &*host.name, "domain": host.domain });
    let others = candidates.others.iter().map(|(other, why)| {
        let mut other = seen(other);
        other["because"] = match why {
            NotChosen::LessSpecific => "less specific",
            NotChosen::NoMatch => "does not match",
        }
        .into();
        other
    });
    let mut chosen = seen(&candidates.chosen);
    chosen["outboundTrafficPolicy"] = candidates.policy().into();
    chosen["others"] = others.collect();
    chosen["ofVirtualHosts"] = candidates.count.into();
    chosen
}

fn route(route: &RouteSeen) -> Value {
    let mut seen = json!({ "name": &*route.name, "source": route.source.as_deref() });
    match &route.verdict {
        Verdict::NotAsked => seen["verdict"] = "not asked".into(),
        Verdict::Fails(unmet) => {
            seen["verdict"] = "does not match".into();
            seen["unmet"] = condition(unmet);
        }
        Verdict::Takes {
            probability,
            action: taken,
            ..
        } => {
            seen["verdict"] = "taken".into();
            seen["probability"] = (*probability).into();
            if let (Some(seen), Value::Object(action)) = (seen.as_object_mut(), action(taken)) {
                seen.extend(action);
            }
        }
    }
    seen
}

fn condition(unmet: &Unmet) -> Value {
    let (part, index) = match unmet.condition {
        Condition::Path => ("path", None),
        Condition::Header(at) => ("header", Some(at)),
        Condition::Query(at) => ("query", Some(at)),
        Condition::Cookie(at) => ("cookie", Some(at)),
        Condition::Fraction => ("fraction", None),
    };
    json!({ "part": part, "index": index, "expected": unmet.expected, "found": unmet.found })
}

fn action(action: &ActionSeen) -> Value {
    match action {
        ActionSeen::Forward(action) => forward(action),
        ActionSeen::Refused(refusal) => json!({ "refused": refused(refusal) }),
        ActionSeen::Answer {
            status,
            location,
            length,
            fault: injected,
        } => json!({
            "answer": { "status": status.as_u16(), "location": location, "length": length },
            "fault": injected.as_ref().map(fault),
        }),
    }
}

fn forward(forward: &ForwardSeen) -> Value {
    let mirrors = forward.mirrors.iter().map(
        |mirror| json!({ "probability": mirror.probability, "cluster": cluster(&mirror.cluster) }),
    );
    let limits = forward.limits;
    json!({
        "splitBy": forward.by,
        "choices": forward.choices.iter().map(choice).collect::<Vec<_>>(),
        "timeouts": {
            "response": limits.route.map(milliseconds),
            "wholeCall": limits.whole.map(milliseconds),
            "silence": limits.idle.map(milliseconds),
        },
        "mirrors": mirrors.collect::<Vec<_>>(),
    })
}

fn choice(choice: &ChoiceSeen) -> Value {
    let headers = choice.headers.iter();
    let headers: Map<_, _> = headers
        .map(|(name, value)| (name.clone(), value.as_deref().into()))
        .collect();
    let mut seen = json!({
        "weight": choice.weight,
        "probability": choice.probability,
        "cluster": cluster(&choice.cluster),
        "headers": headers,
        "fault": choice.fault.as_ref().map(fault),
    });
    match &choice.rewritten {
        Some(Ok(uri)) => seen["sentAs"] = uri.as_str().into(),
        Some(Err(reason)) => seen["notSent"] = reason.as_str().into(),
        None => {}
    }
    seen
}

fn fault(fault: &FaultSeen) -> Value {
    let delay = fault.delay.as_ref();
    let abort = fault.abort.as_ref();
    json!({
        "delay": delay.map(|(delay, likely)| json!({ "milliseconds": milliseconds(*delay), "probability": likely })),
        "abort": abort.map(|(with, likely)| json!({ "with": with, "probability": likely })),
    })
}

fn cluster(cluster: &ClusterSeen) -> Value {
    json!({
        "name": &*cluster.name,
        "subset": cluster.subset.as_deref(),
        "lbPolicy": cluster.policy,
        "outside": cluster.is_outside,
        "endpoints": cluster.endpoints.iter().map(endpoint).collect::<Vec<_>>(),
        "refused": cluster.refusal.as_ref().map(refused),
    })
}

fn endpoint(endpoint: &EndpointSeen) -> Value {
    json!({
        "address": endpoint.address.to_string(),
        "health": endpoint.health.to_string(),
        "locality": endpoint.locality,
        "priority": endpoint.priority,
        "weight": endpoint.weight,
        "notUsed": endpoint.passed_over,
    })
}

/// Of the clock's finest a millisecond is enough here.
fn milliseconds(limit: Duration) -> u64 {
    u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)
}
