//! What h2 is given to send.

use std::io::IoSlice;

use bytes::{Buf, Bytes};

use super::place::Stream;

/// Bytes of an upload. h2 drops them when they are written or given up, which it tells in no other way.
#[derive(Debug)]
pub(crate) struct Piece {
    bytes: Bytes,
    /// Of a whole upload: its side of the stream.
    _place: Option<Stream>,
}

impl Piece {
    /// All of an upload.
    pub(super) const fn whole(bytes: Bytes, place: Stream) -> Self {
        Self {
            bytes,
            _place: Some(place),
        }
    }
}

impl From<Bytes> for Piece {
    fn from(bytes: Bytes) -> Self {
        Self {
            bytes,
            _place: None,
        }
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn chunks_vectored<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        self.bytes.chunks_vectored(into)
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }

    fn copy_to_bytes(&mut self, length: usize) -> Bytes {
        self.bytes.copy_to_bytes(length)
    }
}
