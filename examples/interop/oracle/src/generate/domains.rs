//! `VirtualHost.domains`: few labels, so that entries of all kinds compete for the same hosts.

use std::collections::HashSet;

use crate::dice::Dice;

const LABELS: &[&str] = &["a", "b", "ab", "a-b", "B", "x1"];
const ENDS: &[&str] = &["test", "a", "b.test", "A.Test"];
const PORTS: &[&str] = &["", "", "", ":9080", ":9080", ":80"];
const LITERALS: &[&str] = &[
    "127.0.0.1",
    "127.0.0.1:9080",
    "[::1]",
    "[::1]:9080",
    "a",
    "A",
    "a:9080",
];

/// The domains that a configuration has so far: each may stand only once.
#[derive(Debug, Default)]
pub(super) struct Taken(HashSet<String>);

impl Taken {
    fn free(&mut self, domain: String) -> Option<String> {
        self.0.insert(domain.to_ascii_lowercase()).then_some(domain)
    }
}

/// The domains of one virtual host; the first two are its own.
pub(super) fn domains(d: &mut Dice, own: &str, taken: &mut Taken) -> Vec<String> {
    let mut all = vec![own.to_owned(), format!("{own}:9080")];
    for _ in 0..d.below(5) {
        all.extend(taken.free(entry(d)));
    }
    all
}

fn entry(d: &mut Dice) -> String {
    let (label, end, port) = (d.text(LABELS), d.text(ENDS), d.text(PORTS));
    match d.below(16) {
        0 => "*".to_owned(),
        1 => d.text(LITERALS),
        2..=4 => format!("{label}.{end}{port}"),
        5..=6 => format!("{}.{label}.{end}{port}", d.text(LABELS)),
        7..=8 => format!("*.{end}{port}"),
        9 => format!("*.{label}.{end}{port}"),
        10 => format!("*-{end}{port}"),
        11 => format!("*{label}.{end}{port}"),
        12..=13 => format!("{label}.*"),
        14 => format!("{label}*"),
        _ => format!("{label}.{}.*", d.text(LABELS)),
    }
}

/// An authority that a domain stands for, or nearly.
pub(super) fn aim(d: &mut Dice, domain: &str) -> String {
    let filler = |d: &mut Dice| match d.below(6) {
        // A star stands for at least one character.
        0 => String::new(),
        1 => d.text(&["a", "b", "A", "-"]),
        _ => format!("{}.{}", d.text(LABELS), d.text(LABELS)),
    };
    let mut host = if domain == "*" {
        format!("{}.{}", d.text(LABELS), d.text(ENDS))
    } else if let Some(rest) = domain.strip_prefix('*') {
        format!("{}{rest}", filler(d))
    } else if let Some(rest) = domain.strip_suffix('*') {
        format!("{rest}{}", filler(d))
    } else {
        domain.to_owned()
    };
    match d.below(8) {
        0 => host.make_ascii_uppercase(),
        1 if !host.contains(':') => host.push_str(".test"),
        2 if !host.contains(':') || host.ends_with(']') => host.push_str(":80"),
        3 | 4 if !host.contains(':') || host.ends_with(']') => host.push_str(":9080"),
        _ => {}
    }
    legal(host)
}

/// Any authority.
pub(super) fn any(d: &mut Dice) -> String {
    let domain = entry(d);
    aim(d, &domain)
}

/// What is no authority of a URI is none of a request.
fn legal(host: String) -> String {
    match host.parse::<http::uri::Authority>() {
        Ok(_) if !host.starts_with(':') && !host.is_empty() => host,
        _ => "a.test:9080".to_owned(),
    }
}
