//! How a call ended, as far as it is a label.

use std::fmt;

use http::{HeaderMap, StatusCode};
use tonic::Status;

use crate::error::Error;

/// What the labels of Istio's metrics tell of one call's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    /// 0 when there was no response.
    pub(super) code: u16,
    pub(super) flags: Flags,
    pub(super) protocol: Protocol,
}

/// `request_protocol`, and what only gRPC has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http,
    /// With `grpc-status`, if there was one.
    Grpc(Option<u8>),
}

impl Protocol {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Grpc(_) => "grpc",
        }
    }

    /// Takes `grpc-status` from the headers or the trailers of a response to gRPC.
    pub(super) fn read(&mut self, headers: &HeaderMap) {
        if let Self::Grpc(status) = self
            && let Some(value) = headers.get(Status::GRPC_STATUS)
        {
            // What is no status is Unknown to gRPC, and what is none of its codes is no label of its own.
            let code = tonic::Code::from_bytes(value.as_bytes());
            *status = u8::try_from(code as i32).ok();
        }
    }
}

/// Marks a key that is taken: zero is none.
const TAKEN: u64 = 1 << 63;
const NO_STATUS: u64 = 0xff;

impl Ended {
    /// A call that nobody waits for any more: Envoy's downstream disconnect, without a response.
    pub(super) const fn abandoned(grpc: bool) -> Self {
        Self {
            code: 0,
            flags: Flags::DISCONNECTED,
            protocol: if grpc {
                Protocol::Grpc(None)
            } else {
                Protocol::Http
            },
        }
    }

    pub(super) fn answered(&mut self, status: StatusCode, headers: &HeaderMap) {
        self.code = status.as_u16();
        self.protocol.read(headers);
    }

    /// The call failed inside of the mesh: as what a sidecar would have answered. To gRPC that is 200 with the status in
    /// a header.
    pub(super) fn failed(&mut self, error: &Error) {
        self.flags = Flags::named(error.flags());
        self.code = match &mut self.protocol {
            Protocol::Http => error.status().as_u16(),
            Protocol::Grpc(status) => {
                *status = u8::try_from(error.code() as i32).ok();
                StatusCode::OK.as_u16()
            }
        };
    }

    /// Flags in the low half, then the code, then the gRPC status.
    pub(super) fn key(self) -> u64 {
        let (grpc, status) = match self.protocol {
            Protocol::Http => (0, NO_STATUS),
            Protocol::Grpc(status) => (1, status.map_or(NO_STATUS, u64::from)),
        };
        TAKEN | grpc << 62 | status << 48 | u64::from(self.code) << 32 | u64::from(self.flags.0)
    }

    /// The reverse; only keys that [`Self::key`] made are asked for.
    pub(super) const fn of_key(key: u64) -> Self {
        let status = (key >> 48) & 0xff;
        Self {
            code: (key >> 32) as u16,
            flags: Flags(key as u32),
            protocol: match (key >> 62) & 1 {
                0 => Protocol::Http,
                _ if status == NO_STATUS => Protocol::Grpc(None),
                _ => Protocol::Grpc(Some(status as u8)),
            },
        }
    }
}

/// Envoy's response flags (`CoreResponseFlag`). Envoy joins them in the order in which they were set, and a delay is
/// over before anything else can be wrong.
const NAMES: [&str; 29] = [
    "DI", "LH", "UH", "UT", "LR", "UR", "UF", "UC", "UO", "NR", "FI", "RL", "UAEX", "RLSE", "DC",
    "URX", "SI", "IH", "DPE", "UMSDR", "RFCF", "NFCF", "DT", "UPE", "NC", "OM", "DF", "DO", "DR",
];

/// A set of response flags.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Flags(u32);

impl Flags {
    /// `DC`
    const DISCONNECTED: Self = Self(1 << 14);

    pub(super) const NONE: Self = Self(0);

    /// The flags of these names, with commas between them; none for a name that Envoy does not have.
    pub(super) fn named(names: &str) -> Self {
        let at = |name| NAMES.iter().position(|flag| *flag == name);
        let all = names.split(',').filter_map(at);
        Self(all.fold(0, |flags, at| flags | 1 << at))
    }

    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// `-`, or the names joined by commas.
impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("-");
        }
        let mut separator = "";
        for (at, name) in NAMES.iter().enumerate() {
            if self.0 & (1 << at) != 0 {
                write!(f, "{separator}{name}")?;
                separator = ",";
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_one_end_and_no_other() {
        let mut keys = std::collections::HashSet::new();
        let statuses = [None, Some(0), Some(14), Some(16)];
        let protocols = statuses.map(Protocol::Grpc).into_iter();
        for protocol in protocols.chain([Protocol::Http]) {
            for code in [0, 100, 200, 404, 503, 599, 999] {
                let named = NAMES.map(Flags::named).into_iter();
                for flags in named.chain([Flags::default(), Flags(0x1fff_ffff)]) {
                    let ended = Ended {
                        code,
                        flags,
                        protocol,
                    };
                    assert_ne!(ended.key(), 0);
                    assert_eq!(Ended::of_key(ended.key()), ended);
                    assert!(keys.insert(ended.key()), "{ended:?} has another's key");
                }
            }
        }
    }

    #[test]
    fn flags_are_joined_as_envoy_joins_them() {
        assert_eq!(Flags::default().to_string(), "-");
        assert_eq!(Flags::DISCONNECTED.to_string(), "DC");
        let (timeout, delay) = (Flags::named("UT"), Flags::named("DI"));
        assert_eq!(Flags(timeout.0 | delay.0).to_string(), "DI,UT");
        assert_eq!(Flags::named("-"), Flags::default());
    }
}
