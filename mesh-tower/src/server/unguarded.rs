//! What a server of others writes before the layer has seen a request: all but an answer.

use std::io;
use std::net::SocketAddr;

/// Frames of HTTP/2 that carry an answer, or part of one (RFC 9113, 6): `DATA`, `HEADERS`, `PUSH_PROMISE`,
/// `CONTINUATION`.
const ANSWERS: [u8; 4] = [0x0, 0x1, 0x5, 0x9];
/// The length of a frame's head, and where its type is.
const HEAD: usize = 9;
const TYPE: usize = 3;

/// Follows the bytes that are written. A server of HTTP/2 begins with its settings; one of HTTP/1 writes nothing but
/// answers.
#[derive(Debug, Clone, Default)]
pub(super) struct Unguarded {
    head: [u8; HEAD],
    filled: usize,
    /// What is left of a frame whose head is complete.
    left: usize,
    has_begun: bool,
    /// Whether there are no frames, or some went by unseen: then anything may be an answer.
    is_lost: bool,
}

/// The error of who reads or writes.
pub(super) fn refusal(peer: SocketAddr) -> io::Error {
    tracing::error!(
        %peer,
        "requests of this connection are ruled by policies, and nobody asks them: give the server the layer `mesh.inbound()`, and axum's `into_make_service_with_connect_info::<PeerIdentity>()` beside it; the connection is closed"
    );
    io::Error::new(
        io::ErrorKind::PermissionDenied,
        "closed by the mesh: its requests have to pass policies, and the server lacks the layer `mesh.inbound()`",
    )
}

impl Unguarded {
    /// Whether an answer would be among what is written.
    pub(super) fn answers(&self, bytes: &[u8]) -> bool {
        self.clone().walk(bytes)
    }

    /// Something was written that was not looked at.
    pub(super) const fn lose(&mut self) {
        self.is_lost = true;
    }

    /// Notes what was written.
    pub(super) fn wrote(&mut self, bytes: &[u8]) {
        self.walk(bytes);
    }

    fn walk(&mut self, mut bytes: &[u8]) -> bool {
        let mut answers = self.is_lost;
        while let (false, Some((&first, rest))) = (self.is_lost, bytes.split_first()) {
            if self.left > 0 {
                let passed = self.left.min(bytes.len());
                self.left -= passed;
                bytes = &bytes[passed..];
                continue;
            }
            // No frame of settings is as long as a line that begins with `HTTP/1.1`.
            self.is_lost = !self.has_begun && first != 0;
            answers |= self.is_lost;
            self.has_begun = true;
            self.head[self.filled] = first;
            self.filled += 1;
            bytes = rest;
            if self.filled == HEAD {
                answers |= ANSWERS.contains(&self.head[TYPE]);
                let [high, middle, low, ..] = self.head;
                self.left = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
                self.filled = 0;
            }
        }
        answers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
        let head = [length[1], length[2], length[3], kind, 0, 0, 0, 0, 1];
        [&head[..], payload].concat()
    }

    #[test]
    fn answers_are_told_from_settings_however_they_are_cut() {
        // SETTINGS, WINDOW_UPDATE, PING with a payload that looks like a frame, RST_STREAM, GOAWAY.
        let before: Vec<u8> = [
            frame(4, &[0; 18]),
            frame(8, &[0; 4]),
            frame(6, &[0, 0, 1, 1, 0, 0, 0, 0]),
            frame(3, &[0; 4]),
            frame(7, &[0; 8]),
        ]
        .concat();
        for size in 1..=before.len() {
            let mut watch = Unguarded::default();
            for part in before.chunks(size) {
                assert!(!watch.answers(part), "in parts of {size}");
                watch.wrote(part);
            }
            for kind in ANSWERS {
                assert!(watch.answers(&frame(kind, b"x")), "{kind}");
            }
        }
        // What answered while nobody had to ask is followed on.
        let mut watch = Unguarded::default();
        watch.wrote(&[frame(4, &[]), frame(1, b"head"), frame(0, b"body")].concat());
        assert!(!watch.answers(&frame(6, &[0; 8])));
        assert!(watch.answers(&frame(1, b"x")));
        watch.lose();
        assert!(watch.answers(&frame(6, &[0; 8])));
        assert!(Unguarded::default().answers(b"HTTP/1.1 200 OK\r\n"));
        assert!(Unguarded::default().answers(&[before, frame(1, b"x")].concat()));
    }
}
