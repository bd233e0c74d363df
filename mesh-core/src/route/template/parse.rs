//! Reading a value: `%NAME(ARGUMENT):LENGTH%`, argument and length optional, `%%` is a percent sign.

use super::not_served::NOT_SERVED;
use super::{Command, Named, Names, Part, TemplateError};
use crate::request::HeaderKey;

/// Cuts a value into text and commands.
pub(super) fn parse(text: &[u8]) -> Result<Vec<Part>, TemplateError> {
    let (mut parts, mut plain) = (Vec::new(), Vec::new());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        if *first != b'%' {
            plain.push(*first);
            rest = after;
        } else if let Some(after) = after.strip_prefix(b"%") {
            plain.push(b'%');
            rest = after;
        } else {
            let Some((name, argument, limit, after)) = command(after) else {
                let reason = "a % begins no command; a percent sign is written %%";
                return Err(invalid(text, reason));
            };
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain).into()));
            }
            let parsed = Command::parse(name, argument, limit.is_some());
            let command = parsed.map_err(|error| match error {
                Unparsed::Invalid(reason) => invalid(text, reason),
                Unparsed::NotServed => TemplateError::NotServed {
                    text: shown(text),
                    command: format!("%{name}%"),
                },
            })?;
            parts.push(Part::Command(command, limit));
            rest = after;
        }
    }
    if !plain.is_empty() {
        parts.push(Part::Text(plain.into()));
    }
    Ok(parts)
}

type Cut<'a> = (&'a str, Option<&'a str>, Option<usize>, &'a [u8]);

/// The command at the beginning, behind its percent sign, and what follows it.
fn command(text: &[u8]) -> Option<Cut<'_>> {
    let is_name = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_';
    let (name, mut rest) = text.split_at(text.iter().take_while(|byte| is_name(byte)).count());
    let name = std::str::from_utf8(name)
        .ok()
        .filter(|name| !name.is_empty())?;
    let mut argument = None;
    if let Some(inner) = rest.strip_prefix(b"(") {
        let end = inner.iter().position(|byte| *byte == b')')?;
        argument = Some(std::str::from_utf8(&inner[..end]).ok()?);
        rest = &inner[end + 1..];
    }
    let mut limit = None;
    if let Some(inner) = rest.strip_prefix(b":") {
        let digits = inner
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        limit = Some(std::str::from_utf8(&inner[..digits]).ok()?.parse().ok()?);
        rest = &inner[digits..];
    }
    Some((name, argument, limit, rest.strip_prefix(b"%")?))
}

pub(super) fn invalid(text: &[u8], reason: &'static str) -> TemplateError {
    TemplateError::Invalid {
        text: shown(text),
        reason,
    }
}

pub(super) fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

impl Command {
    fn parse(name: &str, argument: Option<&str>, limited: bool) -> Result<Self, Unparsed> {
        let argument = argument.filter(|argument| !argument.is_empty());
        let needed =
            || argument.ok_or(Unparsed::Invalid("the command needs a name in parentheses"));
        let plain = |command| match (argument, limited) {
            (None, false) => Ok(command),
            _ => Err(Unparsed::Invalid(
                "the command takes neither an argument nor a length",
            )),
        };
        match name {
            "REQ" | "REQUEST_HEADER" => Ok(Self::Request(Names::parse(needed()?)?)),
            "RESP" | "RESPONSE_HEADER" => Ok(Self::Response(Names::parse(needed()?)?)),
            "QUERY_PARAM" => Ok(Self::Query(needed()?.as_bytes().into())),
            "PROTOCOL" => plain(Self::Protocol),
            "UPSTREAM_CLUSTER" | "UPSTREAM_CLUSTER_RAW" => plain(Self::Cluster),
            "ROUTE_NAME" => plain(Self::Route),
            "UPSTREAM_HOST" | "UPSTREAM_REMOTE_ADDRESS" => plain(Self::Endpoint),
            "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" => plain(Self::EndpointAddress),
            "UPSTREAM_REMOTE_PORT" => plain(Self::EndpointPort),
            "RESPONSE_CODE" => plain(Self::Status),
            _ if NOT_SERVED.contains(&name) => Err(Unparsed::NotServed),
            _ => Err(Unparsed::Invalid("the command is unknown")),
        }
    }
}

enum Unparsed {
    Invalid(&'static str),
    NotServed,
}

impl Names {
    fn parse(argument: &str) -> Result<Self, Unparsed> {
        if argument.contains(['\0', '\r', '\n', ' ', '\t']) {
            return Err(Unparsed::Invalid("a header's name holds a blank"));
        }
        let mut names = argument.split('?');
        let named = |name: &str| match &*name.to_ascii_lowercase() {
            ":status" => Named::Status,
            name => HeaderKey::parse(name).map_or(Named::Nobody, Named::Key),
        };
        let main = named(names.next().unwrap_or_default());
        let alternative = names.next().map(named);
        if names.next().is_some() {
            return Err(Unparsed::Invalid("names more than one alternative"));
        }
        Ok(Self { main, alternative })
    }
}
