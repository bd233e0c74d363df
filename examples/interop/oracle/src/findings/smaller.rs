//! Everything that is one step smaller than a configuration and a request.

use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use prost::Message;
use prost_reflect::{DynamicMessage, FieldDescriptor, Value};

use crate::request::Ask;

/// With more hosts than this, halves are tried first.
const MANY: usize = 8;

/// Fields that stay: without them nothing is a route.
const NEEDED: &[&str] = &["name", "virtual_hosts", "domains", "routes", "match"];

/// Smaller configurations. Every host keeps its own two domains and the route that tells the round.
pub(super) fn configurations(message: &DynamicMessage) -> Vec<RouteConfiguration> {
    let hosts = list(message, "virtual_hosts");
    let candidates = if hosts.len() > MANY {
        let (front, back) = hosts.split_at(hosts.len() / 2);
        let half = |hosts: &[Value]| {
            let mut half = message.clone();
            half.set_field_by_name("virtual_hosts", Value::List(hosts.to_vec()));
            half
        };
        vec![half(front), half(back)]
    } else {
        messages(message)
    };
    let decoded = candidates
        .iter()
        .map(|smaller| RouteConfiguration::decode(smaller.encode_to_vec().as_slice()));
    decoded.filter_map(Result::ok).collect()
}

/// Smaller requests.
pub(super) fn asks(ask: &Ask) -> Vec<Ask> {
    let mut all: Vec<Ask> = (0..ask.headers.len())
        .map(|at| {
            let mut smaller = ask.clone();
            smaller.headers.remove(at);
            smaller
        })
        .collect();
    if !ask.body.is_empty() {
        let body = String::new();
        all.push(Ask {
            body,
            ..ask.clone()
        });
    }
    if ask.path.contains('?') {
        let path = ask.bare_path().to_owned();
        all.push(Ask {
            path,
            ..ask.clone()
        });
    }
    all
}

/// A message without one of its fields, without one element of a list, or with a smaller message in it.
fn messages(message: &DynamicMessage) -> Vec<DynamicMessage> {
    let mut all = Vec::new();
    let fields: Vec<(FieldDescriptor, Value)> = message
        .fields()
        .map(|(field, value)| (field, value.clone()))
        .collect();
    for (field, value) in fields {
        let mut with = |value: Option<Value>| {
            let mut smaller = message.clone();
            match value {
                Some(value) => smaller.set_field(&field, value),
                None => smaller.clear_field(&field),
            }
            all.push(smaller);
        };
        if !NEEDED.contains(&field.name()) {
            with(None);
        }
        match value {
            Value::Message(inner) => messages(&inner)
                .into_iter()
                .for_each(|smaller| with(Some(Value::Message(smaller)))),
            Value::List(values) => lists(field.name(), &values)
                .into_iter()
                .for_each(|smaller| with(Some(Value::List(smaller)))),
            _ => {}
        }
    }
    all
}

/// A list without one element, or with a smaller one.
fn lists(name: &str, values: &[Value]) -> Vec<Vec<Value>> {
    let kept = match name {
        "domains" => 2,
        "routes" => 1,
        _ => 0,
    };
    let mut all = Vec::new();
    for at in (kept..values.len()).rev() {
        if name == "virtual_hosts" && values.len() == 1 {
            break;
        }
        let mut without = values.to_vec();
        without.remove(at);
        all.push(without);
    }
    for at in kept.min(1)..values.len() {
        if let Value::Message(inner) = &values[at] {
            for smaller in messages(inner) {
                let mut with = values.to_vec();
                with[at] = Value::Message(smaller);
                all.push(with);
            }
        }
    }
    all
}

fn list(message: &DynamicMessage, field: &str) -> Vec<Value> {
    match message.get_field_by_name(field).as_deref() {
        Some(Value::List(values)) => values.clone(),
        _ => Vec::new(),
    }
}
