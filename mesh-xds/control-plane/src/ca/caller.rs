//! Who asks for a certificate, proven.

use std::fmt;

use mesh_core::identity::SpiffeId;

/// Somebody who has proven who it is: by its certificate in a TLS handshake, or by a token. There is no other way to
/// make one, so nobody gets a certificate for a name that is only said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    id: SpiffeId,
    by: Proof,
}

/// By what a caller has proven who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// The certificate of its connection, verified in the handshake.
    Certificate,
    /// A token that is known and has not expired.
    Token,
}

/// Why somebody is not a [`Caller`]. The text goes to it, and so names nothing that it does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotProven {
    /// Nothing was shown.
    #[error(
        "who calls is not known: call over mutual TLS, or send the metadata `authorization: Bearer <token>`"
    )]
    Nothing,
    /// A token that is not known.
    #[error("the token is not known: get another one from who runs the certificate authority")]
    Unknown,
    /// A token of yesterday.
    #[error("the token has expired: get another one from who runs the certificate authority")]
    Expired,
    /// A token where others can read it.
    #[error(
        "the token came over a connection in plaintext that is not of this machine: it is burnt, and not taken; call over TLS"
    )]
    Overheard,
}

impl Caller {
    pub(super) const fn new(id: SpiffeId, by: Proof) -> Self {
        Self { id, by }
    }

    /// Who it is.
    pub const fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// How that is known.
    pub const fn by(&self) -> Proof {
        self.by
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = match self.by {
            Proof::Certificate => "its certificate",
            Proof::Token => "a token",
        };
        write!(f, "{} by {by}", self.id)
    }
}
