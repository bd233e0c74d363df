//! Envoy's protos by reflection: which fields there are, which are set, and how a message reads.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use prost::Message;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage, Value,
};

use crate::failure::{Doing, Failure, Result};
use crate::fields::{self, Status};

/// What a published configuration is.
const ROOT: &str = "envoy.config.route.v3.RouteConfiguration";
/// What is in an `Any` of it. The walk begins at all of these.
const PACKED: &[&str] = &[
    "envoy.config.route.v3.FilterConfig",
    "envoy.extensions.filters.http.fault.v3.HTTPFault",
];

/// The descriptors that envoy-types ships.
#[derive(Debug)]
pub(crate) struct Descriptors {
    root: MessageDescriptor,
}

impl Descriptors {
    /// Reads them.
    pub(crate) fn load() -> Result<Self> {
        let pool = DescriptorPool::decode(include_bytes!(env!("ENVOY_DESCRIPTORS")).as_slice())
            .doing("the descriptors of envoy-types")?;
        let root = pool
            .get_message_by_name(ROOT)
            .ok_or_else(|| Failure::new(format!("the descriptors hold no {ROOT}")))?;
        Ok(Self { root })
    }

    /// Where the list of fields and the descriptors do not agree: a field that is not listed, and an entry
    /// that is no field or cannot be reached. Below a field that is not supported nothing is asked for.
    pub(crate) fn disagreements(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut reached = BTreeSet::new();
        let pool = self.root.parent_pool();
        let mut to_do = vec![self.root.clone()];
        for name in PACKED {
            match pool.get_message_by_name(name) {
                Some(message) => to_do.push(message),
                None => wrong.push(format!("the descriptors hold no {name}")),
            }
        }
        while let Some(message) = to_do.pop() {
            if !reached.insert(message.full_name().to_owned()) {
                continue;
            }
            for field in message.fields() {
                match fields::status(message.full_name(), field.name()) {
                    None => wrong.push(format!("{} is not listed", field.full_name())),
                    Some(Status::Generated(_)) => to_do.extend(message_of(&field)),
                    Some(Status::NotSupported(_)) => {}
                }
            }
        }
        for (message, field, _) in fields::all() {
            let known = reached.contains(message)
                && pool
                    .get_message_by_name(message)
                    .is_some_and(|m| m.get_field_by_name(field).is_some());
            if !known {
                wrong.push(format!(
                    "{message}.{field} is listed and is no field that is reached"
                ));
            }
        }
        wrong
    }

    /// The message by reflection.
    pub(crate) fn read(&self, message: &RouteConfiguration) -> Result<DynamicMessage> {
        DynamicMessage::decode(self.root.clone(), message.encode_to_vec().as_slice())
            .doing("a generated configuration")
    }

    /// A configuration in one line, without what is not set.
    pub(crate) fn short(&self, message: &RouteConfiguration) -> String {
        let mut text = String::new();
        match self.read(message) {
            Ok(message) => write_message(&mut text, &message),
            Err(error) => text = error.to_string(),
        }
        text
    }
}

/// The message of a field that is walked into. Well-known types are values.
fn message_of(field: &FieldDescriptor) -> Option<MessageDescriptor> {
    match field.kind() {
        Kind::Message(message)
            if !message.full_name().starts_with("google.protobuf.") && !message.is_map_entry() =>
        {
            Some(message)
        }
        _ => None,
    }
}

/// How often each field was set.
#[derive(Debug, Default)]
pub(crate) struct SetFields(BTreeMap<String, u64>);

impl SetFields {
    /// Counts the fields of a message and of those in it.
    pub(crate) fn add(&mut self, message: &DynamicMessage) {
        for (field, value) in message.fields() {
            *self.0.entry(field.full_name().to_owned()).or_default() += 1;
            self.inner(value);
        }
    }

    fn inner(&mut self, value: &Value) {
        match value {
            Value::Message(message) if message.descriptor().full_name().starts_with("envoy.") => {
                self.add(message);
            }
            Value::Message(message) => {
                if let Some(message) = unpacked(message) {
                    self.add(&message);
                }
            }
            Value::List(values) => values.iter().for_each(|value| self.inner(value)),
            Value::Map(map) => map.values().for_each(|value| self.inner(value)),
            _ => {}
        }
    }

    /// How often a field was set.
    pub(crate) fn count(&self, message: &str, field: &str) -> u64 {
        let name = format!("{message}.{field}");
        self.0.get(&name).copied().unwrap_or_default()
    }

    /// Fields that were set and are not listed as generated.
    pub(crate) fn unlisted(&self) -> Vec<&str> {
        let unlisted = self.0.keys().filter(|name| {
            let Some((message, field)) = name.rsplit_once('.') else {
                return true;
            };
            !matches!(fields::status(message, field), Some(Status::Generated(_)))
        });
        unlisted.map(String::as_str).collect()
    }
}

/// What is in an `Any`.
fn unpacked(message: &DynamicMessage) -> Option<DynamicMessage> {
    let descriptor = message.descriptor();
    if descriptor.full_name() != "google.protobuf.Any" {
        return None;
    }
    let url = message.get_field_by_name("type_url")?;
    let name = url.as_str()?.rsplit('/').next()?;
    let packed = descriptor.parent_pool().get_message_by_name(name)?;
    let value = message.get_field_by_name("value")?;
    DynamicMessage::decode(packed, value.as_bytes()?.clone()).ok()
}

fn write_message(text: &mut String, message: &DynamicMessage) {
    text.push('{');
    for (at, (field, value)) in message.fields().enumerate() {
        text.push_str(if at == 0 { " " } else { ", " });
        let _ = write!(text, "{}: ", field.name());
        write_value(text, value);
    }
    text.push_str(" }");
}

fn write_value(text: &mut String, value: &Value) {
    match value {
        Value::Message(message) if is_wrapper(message) => {
            write_value(
                text,
                &message
                    .get_field_by_name("value")
                    .map_or(Value::Bool(false), std::borrow::Cow::into_owned),
            );
        }
        Value::Message(message) => match unpacked(message) {
            Some(packed) => {
                text.push_str(packed.descriptor().name());
                write_message(text, &packed);
            }
            None => write_message(text, message),
        },
        Value::List(values) => {
            text.push('[');
            for (at, value) in values.iter().enumerate() {
                text.push_str(if at == 0 { "" } else { ", " });
                write_value(text, value);
            }
            text.push(']');
        }
        Value::String(value) => drop(write!(text, "{value:?}")),
        Value::Bytes(value) => drop(write!(text, "b{:?}", String::from_utf8_lossy(value))),
        Value::Bool(value) => drop(write!(text, "{value}")),
        Value::I32(value) | Value::EnumNumber(value) => drop(write!(text, "{value}")),
        Value::I64(value) => drop(write!(text, "{value}")),
        Value::U32(value) => drop(write!(text, "{value}")),
        Value::U64(value) => drop(write!(text, "{value}")),
        Value::F32(value) => drop(write!(text, "{value}")),
        Value::F64(value) => drop(write!(text, "{value}")),
        Value::Map(map) => {
            text.push('[');
            for (at, value) in map.values().enumerate() {
                text.push_str(if at == 0 { "" } else { ", " });
                write_value(text, value);
            }
            text.push(']');
        }
    }
}

/// `BoolValue` and its kin read as what is in them, also when that is the default.
fn is_wrapper(message: &DynamicMessage) -> bool {
    let descriptor = message.descriptor();
    let name = descriptor.full_name();
    name.starts_with("google.protobuf.") && name.len() > 21 && name.ends_with("Value")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_generated_or_not_supported_by_name() {
        let disagreements = Descriptors::load().unwrap().disagreements();
        assert!(disagreements.is_empty(), "{}", disagreements.join("\n"));
    }
}
