//! `from.source` and `to.operation`.

use crate::decode::{Fields, Schema, Sink};
use crate::kinds::header::Header;
use crate::yaml::Value;

use super::values::{self, Account, Both, Cidr, Path, Pattern};
use super::{From, To};

const FROM: Schema = Schema {
    served: &["source"],
    unserved: &[],
};
const SOURCE: Schema = Schema {
    served: &[
        "principals",
        "notPrincipals",
        "requestPrincipals",
        "notRequestPrincipals",
        "namespaces",
        "notNamespaces",
        "serviceAccounts",
        "notServiceAccounts",
        "trustDomains",
        "notTrustDomains",
        "ipBlocks",
        "notIpBlocks",
        "remoteIpBlocks",
        "notRemoteIpBlocks",
    ],
    unserved: &[],
};
const TO: Schema = Schema {
    served: &["operation"],
    unserved: &[],
};
const OPERATION: Schema = Schema {
    served: &[
        "hosts",
        "notHosts",
        "ports",
        "notPorts",
        "methods",
        "notMethods",
        "paths",
        "notPaths",
    ],
    unserved: &[],
};

/// The most accounts that Istio takes in one list.
const MOST_ACCOUNTS: usize = 16;

/// What a source demands of the caller, in istiod's order.
pub(super) fn source(header: &Header, item: &Value, path: &str, sink: &mut Sink) -> Vec<From> {
    let Some(fields) = only(item, path, FROM, ("source", SOURCE), sink) else {
        return Vec::new();
    };
    accounts(&fields, sink);
    let own = header.namespace.as_str();
    let account = |text: &str| Account::parse(text, own);
    let text = |text: &str| Ok(text.to_owned());
    let names = ("principals", "notPrincipals");
    let principals = Both::decode(&fields, names, values::principal, sink);
    let names = ("requestPrincipals", "notRequestPrincipals");
    let requests = Both::decode(&fields, names, text, sink);
    let names = ("serviceAccounts", "notServiceAccounts");
    let accounts = Both::decode(&fields, names, account, sink);
    let names = ("trustDomains", "notTrustDomains");
    let domains = Both::decode(&fields, names, values::trust_domain, sink);
    let names = ("namespaces", "notNamespaces");
    let namespaces = Both::decode(&fields, names, values::namespace, sink);
    let names = ("remoteIpBlocks", "notRemoteIpBlocks");
    let remote = Both::decode(&fields, names, Cidr::parse, sink);
    let names = ("ipBlocks", "notIpBlocks");
    let direct = Both::decode(&fields, names, Cidr::parse, sink);
    let terms = [
        principals.map(From::Principal),
        requests.map(From::RequestPrincipal),
        accounts.map(From::Account),
        domains.map(From::TrustDomain),
        namespaces.map(From::Namespace),
        remote.map(From::Remote),
        direct.map(From::Direct),
    ];
    said(terms, &fields, sink)
}

/// Accounts name a namespace themselves.
fn accounts(fields: &Fields<'_>, sink: &mut Sink) {
    let has = |key: &&&str| fields.get(key).is_some();
    let accounts = ["serviceAccounts", "notServiceAccounts"];
    let others = ["principals", "notPrincipals", "namespaces", "notNamespaces"];
    if let (Some(account), Some(other)) = (accounts.iter().find(has), others.iter().find(has)) {
        let message = format!("{} may have {account} or {other}, not both", fields.path);
        sink.error(fields.place(account), message);
    }
    for key in accounts {
        if fields.list(key, sink).len() > MOST_ACCOUNTS {
            let path = fields.path_of(key);
            let message = format!("{path} may hold {MOST_ACCOUNTS} entries at most");
            sink.error(fields.place(key), message);
        }
    }
}

/// What an operation demands of the call, in istiod's order.
pub(super) fn operation(item: &Value, path: &str, sink: &mut Sink) -> Vec<To> {
    let Some(fields) = only(item, path, TO, ("operation", OPERATION), sink) else {
        return Vec::new();
    };
    let hosts = Both::decode(&fields, ("hosts", "notHosts"), Pattern::parse, sink);
    let methods = Both::decode(&fields, ("methods", "notMethods"), Pattern::parse, sink);
    let paths = Both::decode(&fields, ("paths", "notPaths"), Path::parse, sink);
    let ports = Both::decode(&fields, ("ports", "notPorts"), values::port, sink);
    let terms = [
        hosts.map(To::Host),
        methods.map(To::Method),
        paths.map(To::Path),
        ports.map(To::Port),
    ];
    said(terms, &fields, sink)
}

/// The one field of an entry.
fn only<'a>(
    item: &'a Value,
    path: &str,
    outer: Schema,
    (key, inner): (&str, Schema),
    sink: &mut Sink,
) -> Option<Fields<'a>> {
    let fields = Fields::open(item, path, outer, sink)?;
    if fields.get(key).is_none() {
        fields.lacks(
            key,
            fields.at,
            format!("{} is missing", fields.path_of(key)),
            sink,
        );
    }
    fields.sub(key, inner, sink)
}

/// An entry that says nothing would match everything: Istio refuses it.
fn said<T, const N: usize>(terms: [Option<T>; N], fields: &Fields<'_>, sink: &mut Sink) -> Vec<T> {
    let terms: Vec<T> = terms.into_iter().flatten().collect();
    if terms.is_empty() {
        fields.lacks(
            "",
            fields.at,
            format!("{} must say something", fields.path),
            sink,
        );
    }
    terms
}
