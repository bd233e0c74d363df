//! What became of a request on one side, and how two outcomes differ.

use std::fmt;

use http::HeaderMap;

use crate::backend::{Seen, listed};
use crate::ignored;

/// Seen from both ends: the caller and, if it got that far, the backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The status that the caller got, or that stands for the error.
    pub(crate) status: u16,
    /// Response flags: why the mesh itself failed the request, or which faults it injected.
    pub(crate) flags: Option<String>,
    /// The name of the route that was taken.
    pub(crate) route: Option<String>,
    /// What the caller got beside the status.
    pub(crate) headers: Vec<(String, String)>,
    /// The body of an answer that no backend gave.
    pub(crate) body: Vec<u8>,
    /// What the backend saw.
    pub(crate) seen: Option<Seen>,
    /// What the backends saw of its copies, in an order that does not depend on when they arrived.
    pub(crate) copies: Vec<Seen>,
    /// By which the backends know it.
    pub(crate) number: u64,
    /// For the report only.
    pub(crate) detail: String,
}

impl Outcome {
    /// From a response; a body that is a backend's report is taken apart.
    pub(crate) fn new(status: u16, headers: &HeaderMap, body: &[u8]) -> Self {
        let mut seen: Option<Seen> = serde_json::from_slice(body).ok();
        if let Some(seen) = &mut seen {
            compared(seen, ignored::REQUEST);
        }
        let mut headers = listed(headers, &[]);
        headers.retain(|(name, _)| !ignored::has(ignored::RESPONSE, name));
        Self {
            status,
            flags: None,
            route: None,
            headers,
            body: if seen.is_some() {
                Vec::new()
            } else {
                body.to_vec()
            },
            seen,
            copies: Vec::new(),
            number: 0,
            detail: String::new(),
        }
    }

    /// Takes what the backends saw under its number: the request itself, and copies.
    pub(crate) fn copied(&mut self, mut arrived: Vec<Seen>) {
        arrived
            .iter_mut()
            .for_each(|seen| compared(seen, ignored::REQUEST));
        let itself = arrived
            .iter()
            .position(|seen| Some(seen) == self.seen.as_ref());
        itself.map(|at| arrived.swap_remove(at));
        arrived
            .iter_mut()
            .for_each(|seen| compared(seen, ignored::COPY));
        for copy in &mut arrived {
            // Envoy marks also the literal of an IPv6 address, which then is no host; ours leaves it as it is.
            copy.host = copy.host.replace("]-shadow", "]");
        }
        arrived.sort();
        self.copies = arrived;
    }

    /// Whether the mesh itself failed the request. What a fault answers is no failure.
    fn has_failed(&self) -> bool {
        let flags = self.flags.as_deref().unwrap_or_default().split(',');
        flags
            .into_iter()
            .any(|flag| !matches!(flag, "" | "DI" | "FI"))
    }

    /// Without the delay before a failure: our error tells why the call failed, and metrics tell the rest.
    fn told_flags(&self) -> Option<&str> {
        let flags = self.flags.as_deref()?;
        match self.has_failed() {
            true => Some(flags.strip_prefix("DI,").unwrap_or(flags)),
            false => Some(flags),
        }
    }

    /// The parts that differ, by name. A failure is compared by status and flags alone: ours is an
    /// error with a sentence, Envoy's an answer with a body of its own.
    pub(crate) fn differs(&self, other: &Self, direct_headers: bool) -> Vec<String> {
        let mut parts = Vec::new();
        let mut check = |what: &str, same: bool| {
            if !same {
                parts.push(what.to_owned());
            }
        };
        check("status", self.status == other.status);
        check("flags", self.told_flags() == other.told_flags());
        check("route", self.route == other.route);
        check("number of copies", self.copies.len() == other.copies.len());
        for (a, b) in self.copies.iter().zip(&other.copies) {
            check("copy cluster", a.cluster == b.cluster);
            check("copy method", a.method == b.method);
            check("copy path", a.path == b.path);
            check("copy host", a.host == b.host);
            check("copy headers", a.headers == b.headers);
            check("copy body", a.body == b.body);
        }
        if self.has_failed() && other.has_failed() {
            return parts;
        }
        let local = self.seen.is_none();
        let (a, b) = (
            plain(&self.headers, local && !direct_headers),
            plain(&other.headers, local && !direct_headers),
        );
        let mut names: Vec<&str> = Vec::new();
        for (name, _) in a.iter().chain(&b) {
            let of = |list: &[&(String, String)]| -> Vec<String> {
                let of = list.iter().filter(|(n, _)| n == name);
                of.map(|(_, value)| value.clone()).collect()
            };
            if !names.contains(&name.as_str()) && of(&a) != of(&b) {
                names.push(name);
            }
        }
        for name in names {
            check(&format!("response header {name}"), false);
        }
        check("body", self.body == other.body);
        match (&self.seen, &other.seen) {
            (None, None) => {}
            (Some(a), Some(b)) => {
                check("cluster", a.cluster == b.cluster);
                check("method", a.method == b.method);
                check("path", a.path == b.path);
                check("host", a.host == b.host);
                check("request headers", a.headers == b.headers);
                check("request body", a.body == b.body);
            }
            _ => check("whether a backend was asked", false),
        }
        parts
    }
}

/// Without headers that are not compared.
fn compared(seen: &mut Seen, ignored: &[(&str, &str)]) {
    seen.headers
        .retain(|(name, _)| !ignored::has(ignored, name));
}

/// Without `content-type`, as long as ours gives none to a direct response.
fn plain(headers: &[(String, String)], no_type: bool) -> Vec<&(String, String)> {
    headers
        .iter()
        .filter(|(name, _)| !(no_type && name == "content-type"))
        .collect()
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        if let Some(flags) = &self.flags {
            write!(f, " {flags}")?;
        }
        write!(f, " route {}", self.route.as_deref().unwrap_or("none"))?;
        if !self.headers.is_empty() {
            write!(f, " headers {:?}", self.headers)?;
        }
        match &self.seen {
            Some(seen) => write!(
                f,
                "; {} saw {} {}{} {:?}",
                seen.cluster, seen.method, seen.host, seen.path, seen.headers
            )?,
            None => write!(f, " body {:?}", String::from_utf8_lossy(&self.body))?,
        }
        for copy in &self.copies {
            write!(
                f,
                "; copy: {} saw {} {}{} {:?} body {:?}",
                copy.cluster, copy.method, copy.host, copy.path, copy.headers, copy.body
            )?;
        }
        if !self.detail.is_empty() {
            write!(f, " ({})", self.detail)?;
        }
        Ok(())
    }
}
