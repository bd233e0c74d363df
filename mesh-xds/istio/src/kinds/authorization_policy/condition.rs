//! `when`: conditions by attribute.

use crate::decode::{Fields, Schema, Sink};
use crate::kinds::header::Header;
use crate::yaml::Value;

use super::values::{self, Account, Both, Cidr, Fault, MetadataValue, Pattern};
use super::{From, To};

const WHEN: Schema = Schema {
    served: &["key", "values", "notValues"],
    unserved: &[],
};
const KEYS: &str = "request.headers[NAME], source.ip, remote.ip, source.namespace, source.serviceAccount, \
                    source.trustDomain, source.principal, request.auth.principal, request.auth.audiences, \
                    request.auth.presenter, request.auth.claims[NAME], destination.ip, destination.port, \
                    connection.sni, experimental.envoy.filters.FILTER[NAME]";
const FILTERS: &str = "experimental.";

/// What a condition is about.
pub(super) enum Condition {
    From(From),
    To(To),
}

pub(super) fn decode(
    header: &Header,
    item: &Value,
    path: &str,
    sink: &mut Sink,
) -> Option<Condition> {
    let fields = Fields::open(item, path, WHEN, sink)?;
    let key = fields.string("key", sink).unwrap_or_default();
    if key.is_empty() {
        fields.lacks(
            "key",
            fields.at,
            format!("{} is missing", fields.path_of("key")),
            sink,
        );
        return None;
    }
    let before = sink.errors.len();
    let (outer, names) = match brackets(&key) {
        Ok(found) => found,
        Err(reason) => {
            let message = format!("{}: {reason}", fields.path_of("key"));
            sink.error(fields.place("key"), message);
            return None;
        }
    };
    let condition = of(header, &fields, (outer, names), sink);
    if condition.is_none() && sink.errors.len() == before {
        let message = format!("{path} must have values or notValues");
        fields.lacks("values", fields.at, message, sink);
    }
    condition
}

fn of(
    header: &Header,
    fields: &Fields<'_>,
    (outer, names): (&str, Vec<String>),
    sink: &mut Sink,
) -> Option<Condition> {
    let pattern = Pattern::parse;
    let text = |text: &str| Ok(text.to_owned());
    let account = |text: &str| Account::parse(text, &header.namespace);
    let claim = |name: &str, sink: &mut Sink| {
        let values = both(fields, pattern, sink)?;
        Some(From::Claim(vec![name.to_owned()], values))
    };
    let from = |term: From| Some(Condition::From(term));
    match (outer, names.as_slice()) {
        ("request.headers", [name]) => {
            let name = name.clone();
            from(From::Header(name, both(fields, pattern, sink)?))
        }
        ("request.auth.claims", [_, ..]) => from(From::Claim(names, both(fields, pattern, sink)?)),
        ("source.ip", []) => from(From::Direct(both(fields, Cidr::parse, sink)?)),
        ("remote.ip", []) => from(From::Remote(both(fields, Cidr::parse, sink)?)),
        ("source.namespace", []) => from(From::Namespace(both(fields, values::namespace, sink)?)),
        ("source.serviceAccount", []) => from(From::Account(both(fields, account, sink)?)),
        ("source.trustDomain", []) => {
            from(From::TrustDomain(both(fields, values::trust_domain, sink)?))
        }
        ("source.principal", []) => from(From::Principal(both(fields, values::principal, sink)?)),
        ("request.auth.principal", []) => from(From::RequestPrincipal(both(fields, text, sink)?)),
        ("request.auth.audiences", []) => from(claim("aud", sink)?),
        ("request.auth.presenter", []) => from(claim("azp", sink)?),
        ("destination.ip", []) => {
            Some(Condition::To(To::Address(both(fields, Cidr::parse, sink)?)))
        }
        ("destination.port", []) => {
            Some(Condition::To(To::Port(both(fields, values::port, sink)?)))
        }
        ("connection.sni", []) => Some(Condition::To(To::Sni(both(fields, pattern, sink)?))),
        (filter, [key]) if filter.starts_with("experimental.envoy.filters.") => {
            Some(Condition::To(To::Metadata {
                filter: filter[FILTERS.len()..].to_owned(),
                key: key.clone(),
                values: both(fields, MetadataValue::parse, sink)?,
            }))
        }
        _ => {
            let path = fields.path_of("key");
            sink.error(fields.place("key"), format!("{path} must be one of {KEYS}"));
            None
        }
    }
}

fn both<T>(
    fields: &Fields<'_>,
    parse: impl Fn(&str) -> Result<T, Fault>,
    sink: &mut Sink,
) -> Option<Both<T>> {
    Both::decode(fields, ("values", "notValues"), parse, sink)
}

/// `a[b][c]` as `a` and its names.
fn brackets(key: &str) -> Result<(&str, Vec<String>), Fault> {
    let Some((outer, rest)) = key.split_once('[') else {
        return Ok((key, Vec::new()));
    };
    let Some(inner) = rest.strip_suffix(']') else {
        return Err(format!("{key:?} must end in ']'"));
    };
    let names: Vec<_> = inner.split("][").map(str::to_owned).collect();
    if names
        .iter()
        .any(|name| name.is_empty() || name.contains(['[', ']']))
    {
        return Err(format!("{key:?} must have a name between '[' and ']'"));
    }
    Ok((outer, names))
}
