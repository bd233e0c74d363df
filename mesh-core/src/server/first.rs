//! Plaintext or TLS: told by the first byte of a connection alone.

/// The type of a TLS record that carries a handshake (RFC 8446, 5.1); no method of HTTP begins with it, nor does the
/// preface of HTTP/2.
const HANDSHAKE: u8 = 0x16;

/// What a connection begins as. One byte decides: a client that sends its first bytes one by one, or stops after some of
/// them, is the same to us as one that sends them at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum First {
    /// Not TLS, and never taken for it.
    Plaintext,
    /// A record of a handshake of TLS. What it says is for a TLS library to read; it is never taken for plaintext, even if
    /// it is no hello.
    Tls,
}

impl First {
    /// By as many first bytes as there are; none without any.
    pub const fn of(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [] => None,
            [HANDSHAKE, ..] => Some(Self::Tls),
            _ => Some(Self::Plaintext),
        }
    }
}
