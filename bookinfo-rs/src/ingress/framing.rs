//! Refuses ambiguous framing before the HTTP parser sees it (RFC 9112, 6.3).
//!
//! hyper takes a request with both `Content-Length` and `Transfer-Encoding` as chunked and forgets the length.
//! That is safe for itself, yet such a request is an attack or a bug, and a proxy should say so. So the bytes of
//! each HTTP/1 head pass through a [`Guard`], which follows the framing of the connection and replaces an ambiguous
//! head by one that the parser answers with 400. The guard only ever refuses: what it lets through, the parser judges.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A head is not longer; the parser refuses earlier.
const LONGEST_HEAD: usize = 512 * 1024;

/// What no parser takes for a request: hyper answers it with 400 and closes.
const REFUSAL: &[u8] = b"\0\r\n\r\n";

/// A connection whose incoming heads are checked.
#[derive(Debug)]
pub struct Guard<T> {
    inner: T,
    state: State,
    /// The last byte of a chunked body.
    last: u8,
    /// The part of a head that has been read and not yet been let through.
    held: Vec<u8>,
    /// Bytes that may be read, from `released_at` on.
    released: Vec<u8>,
    released_at: usize,
    ended: bool,
    switch: Switch,
}

/// Tells a [`Guard`] that its connection has changed to another protocol (101): what comes is no HTTP any more.
#[derive(Debug, Clone, Default)]
pub struct Switch(Arc<AtomicBool>);

impl Switch {
    /// The answer 101 goes out.
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Where in the stream of requests the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    Body(u64),
    Chunks(Chunks),
    /// No more heads of HTTP/1: HTTP/2, or something that the parser will refuse.
    Through,
}

/// Where in a chunked body the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chunks {
    Size {
        size: u64,
        extension: bool,
    },
    Data(u64),
    DataEnd,
    /// In the trailers; whether the line has a byte yet.
    Trailers {
        empty: bool,
    },
}

const CHUNK_SIZE: State = State::Chunks(Chunks::Size {
    size: 0,
    extension: false,
});

impl<T> Guard<T> {
    /// Guards a connection from its first byte until it changes to another protocol.
    pub const fn new(inner: T, switch: Switch) -> Self {
        Self {
            inner,
            state: State::Head,
            last: 0,
            held: Vec::new(),
            released: Vec::new(),
            released_at: 0,
            ended: false,
            switch,
        }
    }

    /// Takes what came in, and releases what may pass.
    fn take(&mut self, mut bytes: &[u8]) {
        while let Some((&byte, rest)) = bytes.split_first() {
            match self.state {
                State::Head => {
                    self.held.push(byte);
                    bytes = rest;
                    self.head_byte(byte);
                }
                State::Body(left) => {
                    let n = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    self.released.extend_from_slice(&bytes[..n]);
                    bytes = &bytes[n..];
                    let left = left - n as u64;
                    self.state = if left == 0 {
                        State::Head
                    } else {
                        State::Body(left)
                    };
                }
                State::Chunks(chunks) => {
                    let bare = byte == b'\n' && self.last != b'\r';
                    self.last = byte;
                    if bare && !matches!(chunks, Chunks::Data(_)) {
                        // The parser reads on where the line seems to end here: two readings, so neither.
                        tracing::warn!("refused a chunked body with a newline that has no CR");
                        self.ended = true;
                        return;
                    }
                    self.released.push(byte);
                    bytes = rest;
                    self.state = chunks.after(byte);
                }
                State::Through => {
                    self.released.extend_from_slice(bytes);
                    return;
                }
            }
        }
    }

    fn head_byte(&mut self, byte: u8) {
        // Empty lines before a request line are allowed, and are no head.
        if self.held.iter().all(|b| matches!(b, b'\r' | b'\n')) {
            self.released.append(&mut self.held);
            return;
        }
        // An empty line of either kind, after a line of either kind: so the parser has it.
        let whole =
            byte == b'\n' && (self.held.ends_with(b"\n\r\n") || self.held.ends_with(b"\n\n"));
        if !whole && self.held.len() < LONGEST_HEAD {
            return;
        }
        let verdict = if whole {
            judge(&self.held)
        } else {
            Ok(State::Through)
        };
        match verdict {
            Ok(next) => {
                self.released.append(&mut self.held);
                self.state = next;
            }
            Err(reason) => {
                tracing::warn!(reason, "refused a request with ambiguous framing");
                self.held.clear();
                self.released.extend_from_slice(REFUSAL);
                self.ended = true;
                self.state = State::Through;
            }
        }
    }
}

impl Chunks {
    fn after(self, byte: u8) -> State {
        let next = match self {
            Self::Size { size: 0, .. } if byte == b'\n' => Self::Trailers { empty: true },
            Self::Size { size, .. } if byte == b'\n' => Self::Data(size),
            Self::Size {
                size,
                extension: false,
            } => match char::from(byte).to_digit(16) {
                // An overflow is for the parser to refuse.
                Some(digit) => match size
                    .checked_mul(16)
                    .and_then(|size| size.checked_add(digit.into()))
                {
                    Some(size) => Self::Size {
                        size,
                        extension: false,
                    },
                    None => return State::Through,
                },
                None => Self::Size {
                    size,
                    extension: true,
                },
            },
            Self::Size { .. } => self,
            Self::Data(1) => Self::DataEnd,
            Self::Data(left) => Self::Data(left - 1),
            Self::DataEnd if byte == b'\n' => return CHUNK_SIZE,
            Self::DataEnd => Self::DataEnd,
            Self::Trailers { empty: true } if byte == b'\n' => return State::Head,
            Self::Trailers { .. } if byte == b'\n' => Self::Trailers { empty: true },
            Self::Trailers { empty } => Self::Trailers {
                empty: empty && byte == b'\r',
            },
        };
        State::Chunks(next)
    }
}

/// What follows this head, or why it must not pass.
fn judge(head: &[u8]) -> Result<State, &'static str> {
    let mut lines = head
        .split(|b| *b == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let request_line = lines.next().unwrap_or_default();
    if request_line == b"PRI * HTTP/2.0" {
        return Ok(State::Through);
    }
    let (mut length, mut codings) = (None, Vec::new());
    for line in lines {
        let Some(colon) = line.iter().position(|b| *b == b':') else {
            continue;
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.trim_ascii().eq_ignore_ascii_case(b"content-length") {
            if length.is_some_and(|earlier| earlier != value) {
                return Err("several Content-Lengths that differ");
            }
            length = Some(value);
        } else if name.trim_ascii().eq_ignore_ascii_case(b"transfer-encoding") {
            // Empty ones count: a lone comma must not pass as no coding at all.
            codings.extend(value.split(|b| *b == b',').map(<[u8]>::trim_ascii));
        }
    }
    match (length, &codings[..]) {
        (Some(_), [_, ..]) => Err("both Content-Length and Transfer-Encoding"),
        (None, [coding]) if coding.eq_ignore_ascii_case(b"chunked") => Ok(CHUNK_SIZE),
        // What comes before `chunked` the next server may take off, or not.
        (None, [_, ..]) => Err("a Transfer-Encoding that is not chunked alone"),
        (None, []) => Ok(State::Head),
        (Some(length), []) => {
            let text = std::str::from_utf8(length).unwrap_or_default();
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            match text.parse().ok().filter(|_| digits) {
                Some(0) => Ok(State::Head),
                Some(length) => Ok(State::Body(length)),
                None => Err("a Content-Length that is not one number"),
            }
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Guard<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.state == State::Head && this.switch.is_set() {
            this.state = State::Through;
            this.released.append(&mut this.held);
        }
        loop {
            if this.released_at < this.released.len() {
                let ready = &this.released[this.released_at..];
                let n = ready.len().min(buf.remaining());
                buf.put_slice(&ready[..n]);
                this.released_at += n;
                return Poll::Ready(Ok(()));
            }
            this.released.clear();
            this.released_at = 0;
            if this.ended {
                return Poll::Ready(Ok(()));
            }
            let mut space = [0; 8 * 1024];
            let mut read = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                // A head that ends here is the parser's to complain about.
                this.ended = true;
                this.released.append(&mut this.held);
            } else {
                this.take(read.filled());
            }
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Guard<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What passes when the bytes come in pieces of `step`.
    fn pass(bytes: &[u8], step: usize) -> Vec<u8> {
        let mut guard = Guard::new((), Switch::default());
        for piece in bytes.chunks(step) {
            if !guard.ended {
                guard.take(piece);
            }
        }
        guard.released
    }

    #[test]
    fn good_requests_pass_byte_for_byte_however_they_are_cut() {
        let stream = b"\r\nPOST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nGET /\
            PUT /b HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n4;x=1\r\n\r\n\r\n\r\n0\r\nT: 1\r\n\r\n\
            GET /c HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\nGET /d HTTP/1.1\n\n\
            PUT /e HTTP/1.1\r\nTransfer-Encoding: chunked\n\r\n2\r\n\n\n\r\n0\r\n\r\nGET /f HTTP/1.1\r\n\n";
        for step in 1..stream.len() {
            assert_eq!(pass(stream, step), stream, "in pieces of {step}");
        }
    }

    #[test]
    fn ambiguous_ones_do_not_even_after_good_ones() {
        let good = b"PUT /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n";
        for bad in [
            "Content-Length: 1\r\nTransfer-Encoding: chunked",
            "transfer-encoding: chunked\r\ncontent-length: 1",
            "Content-Length: 1\r\nContent-Length: 2",
            "Content-Length: 1, 2",
            "Content-Length: +1",
            "Content-Length:",
            "Transfer-Encoding: chunked, gzip",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: chunked, chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked;q=1",
            "Transfer-Encoding: ,\r\nContent-Length: 1",
            "Transfer-Encoding: chunked,",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            "Transfer-Encoding : chunked\r\nContent-Length: 1",
            "Transfer-Encoding:\r\nContent-Length: 1",
        ] {
            let mut stream = good.to_vec();
            stream.extend_from_slice(
                format!("POST / HTTP/1.1\r\nHost: h\r\n{bad}\r\n\r\n").as_bytes(),
            );
            for step in [1, 7, 1000] {
                assert_eq!(
                    pass(&stream, step),
                    [good, REFUSAL].concat(),
                    "{bad:?} in pieces of {step}"
                );
            }
        }
    }

    #[tokio::test]
    async fn another_protocol_passes_once_it_is_agreed_on_and_not_before() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};

        let bad = b"PUT / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
        for is_agreed in [true, false] {
            let (mut client, server) = tokio::io::duplex(1024);
            let switch = Switch::default();
            let mut guard = Guard::new(server, switch.clone());
            let head = b"GET / HTTP/1.1\r\nUpgrade: x\r\n\r\n";
            client.write_all(head).await.unwrap();
            guard.read_exact(&mut vec![0; head.len()]).await.unwrap();
            // It may come before the answer has been read.
            client.write_all(bad).await.unwrap();
            if is_agreed {
                switch.set();
            }
            drop(client);
            let mut passed = Vec::new();
            guard.read_to_end(&mut passed).await.unwrap();
            assert_eq!(passed, if is_agreed { &bad[..] } else { REFUSAL });
        }
    }

    #[test]
    fn a_head_ends_at_an_empty_line_of_either_kind() {
        let bad = "PUT / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
        for end in ["\n\r\n", "\r\n\n", "\n\n", "\r\n\r\n"] {
            let good = format!("GET / HTTP/1.1\r\nHost: h{end}");
            let passed = pass(format!("{good}{bad}").as_bytes(), 5);
            assert_eq!(passed, [good.as_bytes(), REFUSAL].concat(), "{end:?}");
        }
    }

    #[test]
    fn chunks_end_at_a_newline_without_its_cr() {
        let head = "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        for body in ["1", "1;x", "1\r\na", "0\r\n", "0\r\nT: 1", "0\r\nT: 1\r\n"] {
            let passed = pass(
                format!("{head}{body}\n\nGET / HTTP/1.1\r\n\r\n").as_bytes(),
                5,
            );
            assert_eq!(passed, format!("{head}{body}").as_bytes(), "{body:?}");
        }
    }
}
