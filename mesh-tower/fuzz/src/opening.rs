//! The body of the fuzz target of first bytes: anything that a connection may begin with.

use std::net::IpAddr;

use mesh_core::server::First;

use crate::hello::Offered;
use crate::reads::{Judge, Verdict, cut, judged};
use crate::wire::{Said, server};

/// After so many bytes a hello is there or the connection is closed: a message of 64 KiB, and what is read at once.
const MOST: usize = 0x1_0000 + 4096;
/// How many of the protocols are kept.
const KEPT: usize = 16;

/// Whatever comes first: what it is taken for does not depend on the reads, what begins as TLS is never plaintext and the
/// other way round, a hello says what a plain reader finds in it, and nobody is waited for without end. The input is a byte
/// that chooses the reads, and then what comes.
pub fn opening(input: &[u8]) -> Result<(), String> {
    opening_by(input, First::of)
}

/// The control: it is TLS if the first read begins as a record does, and plaintext otherwise.
pub fn opening_broken(input: &[u8]) -> Result<(), String> {
    opening_by(input, |seen| match seen {
        [] => None,
        [22, 3, ..] => Some(First::Tls),
        _ => Some(First::Plaintext),
    })
}

fn opening_by(input: &[u8], judge: Judge) -> Result<(), String> {
    let Some((how, bytes)) = input.split_first() else {
        return Ok(());
    };
    let verdict = judged(judge, [bytes.to_vec()], false);
    let in_pieces = judged(judge, cut(bytes, *how), false);
    if verdict != in_pieces {
        return Err(format!("{verdict:?} at once, {in_pieces:?} in pieces"));
    }
    let is_right = match (&verdict, bytes.first()) {
        (Verdict::Silent, None) => true,
        (Verdict::Plaintext, Some(first)) => *first != 22,
        (Verdict::More | Verdict::NoHello(_), Some(22)) => true,
        (Verdict::Tls(offered), Some(22)) => {
            Said::read(bytes).is_some_and(|said| is_what_was_said(offered, &said))
        }
        _ => false,
    };
    if !is_right {
        return Err(format!(
            "{verdict:?} of {:?}",
            bytes.escape_ascii().to_string()
        ));
    }
    match verdict {
        Verdict::More => ends(judge, bytes, *how),
        _ => Ok(()),
    }
}

fn is_what_was_said(offered: &Offered, said: &Said) -> bool {
    let text = said.sni.as_deref().map(String::from_utf8_lossy);
    let name = text.filter(|name| name.parse::<IpAddr>().is_err());
    let kept = said.alpn.iter().take(KEPT);
    offered.sni.as_deref() == name.as_deref().map(server).as_deref()
        && offered
            .alpn
            .iter()
            .map(|it| &**it)
            .eq(kept.map(Vec::as_slice))
}

/// One that goes in the middle is closed, and so is one that repeats itself for ever.
fn ends(judge: Judge, bytes: &[u8], how: u8) -> Result<(), String> {
    let gone = judged(judge, [bytes.to_vec()], true);
    if !matches!(gone, Verdict::NoHello(_)) {
        return Err(format!("{gone:?} of a client that has gone"));
    }
    let again = bytes.len() * usize::from(how) / 256;
    let endless = bytes.iter().chain(bytes[again..].iter().cycle()).copied();
    let endless: Vec<u8> = endless.take(MOST).collect();
    match judged(judge, cut(&endless, 0xff), false) {
        Verdict::More => Err(format!("{MOST} bytes, and no end")),
        _ => Ok(()),
    }
}
