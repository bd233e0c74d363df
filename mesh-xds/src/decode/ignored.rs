//! What a resource asks for and does not get here: not a reason to refuse it, and not to be passed over in silence.

use std::collections::BTreeMap;

use prost::Message;

/// What is ignored, with how often and where first.
#[derive(Debug, Default)]
pub(crate) struct Ignored {
    what: BTreeMap<String, (usize, String)>,
    /// Where decoding is at the moment.
    place: String,
}

impl Ignored {
    /// What is added from here on is there.
    pub(super) fn at(&mut self, place: impl Into<String>) {
        self.place = place.into();
    }

    pub(super) fn add(&mut self, what: impl Into<String>) {
        let place = &self.place;
        let entry = self.what.entry(what.into());
        entry.or_insert_with(|| (0, place.clone())).0 += 1;
    }

    /// Adds each field that is set.
    pub(super) fn each(&mut self, fields: &[(&str, bool)]) {
        for (what, _) in fields.iter().filter(|(_, set)| *set) {
            self.add(format!("{what} has no effect yet"));
        }
    }

    /// Adds fields that a message had on the wire and no longer has: those of a newer protocol. A map's entry
    /// with an empty key or value counts too, since protobuf may write it in either of two ways.
    pub(super) fn unknown_fields(&mut self, message: &impl Message, bytes: &[u8]) {
        if message.encoded_len() < bytes.len() {
            self.add("fields that this version does not know have no effect");
        }
    }

    /// All of it, in words, with the places.
    pub(super) fn told(self) -> Vec<String> {
        let told = |(what, (count, place))| match count {
            1 => format!("{what}: {place}"),
            _ => format!("{what}: {count} times, first at {place}"),
        };
        self.what.into_iter().map(told).collect()
    }

    /// All of it, in words, each kind once.
    pub(super) fn kinds(self) -> Vec<Box<str>> {
        self.what.into_keys().map(String::into_boxed_str).collect()
    }
}
