//! Protos as plain trees of what is set in them, by reflection: nothing that is on the wire is left out.

use std::collections::BTreeMap;
use std::fmt;

use envoy_types::pb::google::protobuf::Any;
use prost_reflect::{
    DescriptorPool, DynamicMessage, MapKey, MessageDescriptor, ReflectMessage, Value,
};

use crate::failure::{Doing, Result};

/// What is set in a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tree {
    /// A scalar in its text form; texts in quotes.
    Value(String),
    /// The fields that are set, or the entries of a map.
    Fields(BTreeMap<String, Self>),
    /// The elements of a repeated field.
    List(Vec<Self>),
}

/// The descriptors that envoy-types ships.
#[derive(Debug)]
pub(crate) struct Protos(DescriptorPool);

impl Protos {
    /// Reads them.
    pub(crate) fn load() -> Result<Self> {
        let pool = DescriptorPool::decode(include_bytes!(env!("ENVOY_DESCRIPTORS")).as_slice());
        Ok(Self(pool.doing("the descriptors of envoy-types")?))
    }

    /// A packed message. One whose type is not known (Istio's own filters) is its bytes.
    pub(crate) fn tree(&self, packed: &Any) -> Tree {
        self.unpacked(&packed.type_url, &packed.value)
    }

    fn unpacked(&self, type_url: &str, bytes: &[u8]) -> Tree {
        let name = type_url.rsplit('/').next().unwrap_or(type_url);
        let known = self.0.get_message_by_name(name);
        let decoded = known.and_then(|known| DynamicMessage::decode(known, bytes).ok());
        let mut fields = match decoded.map(|message| self.message(&message)) {
            Some(Tree::Fields(fields)) => fields,
            Some(other) => BTreeMap::from([("value".to_owned(), other)]),
            None => BTreeMap::from([("[bytes]".to_owned(), self.bytes(bytes))]),
        };
        fields.insert("[type]".to_owned(), Tree::Value(name.to_owned()));
        Tree::Fields(fields)
    }

    fn message(&self, message: &DynamicMessage) -> Tree {
        let descriptor: MessageDescriptor = message.descriptor();
        let field = |name: &str| message.get_field_by_name(name);
        match descriptor.full_name() {
            "google.protobuf.Any" => {
                let type_url = field("type_url").and_then(|v| v.as_str().map(str::to_owned));
                let bytes = field("value").and_then(|v| v.as_bytes().cloned());
                return self.unpacked(&type_url.unwrap_or_default(), &bytes.unwrap_or_default());
            }
            "google.protobuf.Duration" => {
                let seconds = field("seconds")
                    .and_then(|v| v.as_i64())
                    .unwrap_or_default();
                let nanos = field("nanos").and_then(|v| v.as_i32()).unwrap_or_default();
                return Tree::Value(match nanos {
                    0 => format!("{seconds}s"),
                    _ => format!("{seconds}s+{nanos}ns"),
                });
            }
            "google.protobuf.Struct" | "google.protobuf.ListValue" | "google.protobuf.Value" => {
                // One field each, whose value is what they stand for.
                if let Some((_, value)) = message.fields().next() {
                    return self.value(value);
                }
            }
            // A wrapper stands for its value, also where that is the default.
            name if name.starts_with("google.protobuf.") && name.ends_with("Value") => {
                if let Some(value) = field("value") {
                    return self.value(&value);
                }
            }
            _ => {}
        }
        let mut fields = BTreeMap::new();
        for (field, value) in message.fields() {
            let tree = match (field.kind().as_enum(), value) {
                (Some(names), Value::EnumNumber(number)) => {
                    let name = names.get_value(*number).map(|v| v.name().to_owned());
                    Tree::Value(name.unwrap_or_else(|| number.to_string()))
                }
                _ => self.value(value),
            };
            fields.insert(field.name().to_owned(), tree);
        }
        for unknown in message.unknown_fields() {
            let mut bytes = Vec::new();
            unknown.encode(&mut bytes);
            fields.insert(
                format!("[unknown {}]", unknown.number()),
                self.bytes(&bytes),
            );
        }
        Tree::Fields(fields)
    }

    fn value(&self, value: &Value) -> Tree {
        Tree::Value(match value {
            Value::Message(message) => return self.message(message),
            Value::List(values) => {
                return Tree::List(values.iter().map(|v| self.value(v)).collect());
            }
            Value::Map(entries) => {
                let entries = entries.iter().map(|(k, v)| (key(k), self.value(v)));
                return Tree::Fields(entries.collect());
            }
            Value::Bytes(bytes) => return self.bytes(bytes),
            Value::String(value) => format!("{value:?}"),
            Value::Bool(value) => value.to_string(),
            Value::I32(value) | Value::EnumNumber(value) => value.to_string(),
            Value::I64(value) => value.to_string(),
            Value::U32(value) => value.to_string(),
            Value::U64(value) => value.to_string(),
            Value::F32(value) => value.to_string(),
            Value::F64(value) => value.to_string(),
        })
    }

    #[expect(clippy::unused_self, reason = "one of the family")]
    fn bytes(&self, bytes: &[u8]) -> Tree {
        let printable: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        Tree::Value(format!("0x{printable}"))
    }
}

fn key(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

impl Tree {
    /// The field of a message, by the names on the way to it.
    pub(crate) fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |tree, name| match tree {
            Self::Fields(fields) => fields.get(*name),
            Self::Value(_) | Self::List(_) => None,
        })
    }

    /// How many scalars there are in it.
    pub(crate) fn leaves(&self) -> usize {
        match self {
            Self::Value(_) => 1,
            Self::Fields(fields) => fields.values().map(Self::leaves).sum(),
            Self::List(values) => values.iter().map(Self::leaves).sum(),
        }
    }
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(text) => f.write_str(text),
            Self::Fields(fields) => {
                let separated = fields.iter().enumerate();
                f.write_str("{")?;
                for (at, (name, value)) in separated {
                    write!(f, "{}{name}: {value}", if at == 0 { "" } else { ", " })?;
                }
                f.write_str("}")
            }
            Self::List(values) => {
                f.write_str("[")?;
                for (at, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if at == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
        }
    }
}
