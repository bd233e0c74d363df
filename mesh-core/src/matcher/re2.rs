//! RE2's patterns, as Envoy compiles them, in the words of the `regex` crate.
//!
//! Envoy's RE2 reads pattern and value byte by byte: `.` and `[^a]` are one byte of a character of
//! several, `[é]` is either of the two bytes of é, and `\d`, `\w`, `\s` and `\b` are ASCII. The crate does
//! the same when Unicode is off, once characters over ASCII are written as bytes, and `\p{..}` as those of the
//! first 256 characters that it holds, which is what RE2 takes a byte for. Besides, a class
//! of the crate knows classes inside of it and `&&`, `--`, `~~`, which to RE2 are plain characters, and the
//! crate does not know `\Q..\E`.

use std::fmt::Write;
use std::iter::Peekable;
use std::str::Chars;

use regex::Regex;

/// The same pattern for the crate. `None` when RE2 knows no such flag as the pattern sets (`x`, `u`, `R`).
pub(super) fn translated(pattern: &str) -> Option<String> {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern.chars().peekable();
    while let Some(one) = rest.next() {
        match one {
            '\\' if rest.peek() == Some(&'Q') => {
                rest.next();
                quoted(&mut rest, &mut out);
            }
            '\\' => escape(&mut rest, &mut out),
            '[' => class(&mut rest, &mut out),
            '(' if rest.peek() == Some(&'?') => {
                out.push('(');
                flags(&mut rest, &mut out)?;
            }
            _ => plain(one, &mut out),
        }
    }
    Some(out)
}

/// One character, or the bytes of one over ASCII.
fn plain(one: char, out: &mut String) {
    if one.is_ascii() {
        out.push(one);
        return;
    }
    for byte in one.encode_utf8(&mut [0; 4]).bytes() {
        // Writing to a string cannot fail.
        let _ = write!(out, r"\x{byte:02X}");
    }
}

fn escape(rest: &mut Peekable<Chars<'_>>, out: &mut String) {
    out.push('\\');
    match rest.next() {
        // RE2 has no vertical tab among its blanks.
        Some('s') => {
            out.pop();
            out.push_str(r"[\t\n\f\r ]");
        }
        Some('S') => {
            out.pop();
            out.push_str(r"[^\t\n\f\r ]");
        }
        // One byte, whatever it is.
        Some('C') => {
            out.pop();
            out.push_str("(?s:.)");
        }
        // Words of the crate's own.
        Some(one @ ('<' | '>')) => {
            out.pop();
            out.push(one);
        }
        Some(one @ ('p' | 'P')) => {
            out.pop();
            property(one == 'P', rest, out);
        }
        Some(one) => plain(one, out),
        None => {}
    }
}

/// `\p{Greek}`, `\pL`, `\P{^L}`: a class of bytes.
fn property(negated: bool, rest: &mut Peekable<Chars<'_>>, out: &mut String) {
    let mut name = String::new();
    match rest.next() {
        Some('{') => name.extend(rest.by_ref().take_while(|one| *one != '}')),
        one => name.extend(one),
    }
    let (negated, name) = match name.strip_prefix('^') {
        Some(name) => (!negated, name),
        None => (negated, name.as_str()),
    };
    let escape = if negated { 'P' } else { 'p' };
    let Ok(property) = Regex::new(&format!(r"^\{escape}{{{name}}}$")) else {
        // The crate says why, of the whole pattern.
        let _ = write!(out, r"\{escape}{{{name}}}");
        return;
    };
    let holds = |byte: &u8| property.is_match(char::from(*byte).encode_utf8(&mut [0; 4]));
    let bytes: Vec<u8> = (0..=u8::MAX).filter(holds).collect();
    if bytes.is_empty() {
        out.push_str(r"[^\x00-\xFF]");
        return;
    }
    out.push('[');
    for byte in bytes {
        let _ = write!(out, r"\x{byte:02X}");
    }
    out.push(']');
}

/// `\Q`: what follows is text, up to `\E` or the end.
fn quoted(rest: &mut Peekable<Chars<'_>>, out: &mut String) {
    while let Some(one) = rest.next() {
        if one == '\\' && rest.peek() == Some(&'E') {
            rest.next();
            return;
        }
        if one.is_ascii_punctuation() {
            out.push('\\');
        }
        plain(one, out);
    }
}

fn class(rest: &mut Peekable<Chars<'_>>, out: &mut String) {
    out.push('[');
    if rest.next_if_eq(&'^').is_some() {
        out.push('^');
    }
    // A bracket that comes first is a character.
    if rest.next_if_eq(&']').is_some() {
        out.push_str(r"\]");
    }
    while let Some(one) = rest.next() {
        match one {
            ']' => {
                out.push(']');
                return;
            }
            // `[:alpha:]`
            '[' if rest.peek() == Some(&':') => {
                out.push('[');
                for one in rest.by_ref() {
                    out.push(one);
                    if one == ']' {
                        break;
                    }
                }
            }
            '[' | '&' | '~' => out.extend(['\\', one]),
            '-' if rest.peek() == Some(&'-') || out.ends_with('-') => out.push_str(r"\-"),
            '\\' => match rest.next() {
                Some('s') => out.push_str(r"\t\n\f\r "),
                Some('S') => out.push_str(r"[^\t\n\f\r ]"),
                Some(one @ ('p' | 'P')) => property(one == 'P', rest, out),
                Some(one) => {
                    out.push('\\');
                    plain(one, out);
                }
                None => out.push('\\'),
            },
            _ => plain(one, out),
        }
    }
}

/// What follows `(?`, if it is flags.
fn flags(rest: &mut Peekable<Chars<'_>>, out: &mut String) -> Option<()> {
    if let Some(mark) = rest.next() {
        out.push(mark);
    }
    while let Some(one) = rest.next_if(|one| one.is_ascii_alphabetic() || *one == '-') {
        out.push(one);
        match one {
            'i' | 'm' | 's' | 'U' | '-' => {}
            // A named group: `(?P<name>`.
            'P' => return Some(()),
            _ => return None,
        }
    }
    Some(())
}
