//! Headers by which proxies talk among themselves: what a caller may not say of itself is taken off.

use std::net::IpAddr;

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::header::{Entry, HeaderMap, HeaderName, HeaderValue};
use mesh_core::identity::Peer;
use mesh_core::server::Xfcc;

use super::connection::Connection;

const CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Headers of Envoy's own begin with this.
const RESERVED: &str = "x-envoy-";
/// What a workload of the mesh may say: of what its side did with the request, and nothing of who asks. The rest of
/// [`RESERVED`] steers a proxy, and the proxy of this hop is the one that sent it.
const BELIEVED: [&str; 5] = [
    "x-envoy-attempt-count",
    "x-envoy-decorator-operation",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-original-host",
    "x-envoy-original-path",
];

/// What a token of `Connection` says of a connection, and not of a header.
const OPTIONS: [&str; 4] = ["close", "keep-alive", "te", "upgrade"];
/// Headers by which messages are framed and addressed: no client has one of these taken off.
const FRAMING: [HeaderName; 3] = [CONTENT_LENGTH, HOST, TRANSFER_ENCODING];

/// Leaves what this peer may say, and tells of its certificate.
pub(super) fn clean(
    headers: &mut HeaderMap,
    connection: &Connection,
    xfcc: Xfcc,
    is_gateway: bool,
) {
    if is_gateway {
        of_connection(headers);
    }
    // Who comes to a gateway is no proxy of the mesh, whoever has given it a certificate.
    let is_ours = !is_gateway && matches!(connection.peer(), Peer::Proven(_));
    reserved(headers, is_ours);
    client_cert(headers, connection, xfcc);
}

/// What a client names in `Connection` is for us alone (RFC 9110, 7.6.1). The proxy behind us would take it off, and with it
/// what is written here under the same name, or by an authorizer, or of a token.
fn of_connection(headers: &mut HeaderMap) {
    let lines = headers.get_all(CONNECTION).iter();
    let tokens = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let tokens = tokens.map(<[u8]>::trim_ascii);
    let is_option = |token: &&[u8]| {
        let mut all = OPTIONS.iter();
        all.any(|option| option.as_bytes().eq_ignore_ascii_case(token))
    };
    let (left, named): (Vec<&[u8]>, Vec<&[u8]>) = tokens.partition(is_option);
    if named.is_empty() {
        return;
    }
    let left = HeaderValue::from_bytes(&left.join(&b", "[..])).ok();
    let named = named.into_iter().map(HeaderName::from_bytes);
    let named: Vec<HeaderName> = named.filter_map(Result::ok).collect();
    for name in named.iter().filter(|name| !FRAMING.contains(name)) {
        headers.remove(name);
    }
    match left.filter(|left| !left.is_empty()) {
        Some(left) => drop(headers.insert(CONNECTION, left)),
        None => drop(headers.remove(CONNECTION)),
    }
}

pub(super) fn reserved(headers: &mut HeaderMap, is_ours: bool) {
    let is_refused = |name: &HeaderName| {
        name.as_str().starts_with(RESERVED) && !(is_ours && BELIEVED.contains(&name.as_str()))
    };
    if headers.keys().any(is_refused) {
        let refused: Vec<HeaderName> = headers
            .keys()
            .filter(|it| is_refused(it))
            .cloned()
            .collect();
        for name in refused {
            headers.remove(name);
        }
    }
}

pub(super) fn client_cert(headers: &mut HeaderMap, connection: &Connection, xfcc: Xfcc) {
    match (xfcc, connection.xfcc()) {
        (Xfcc::AppendForward, Some(ours)) => append(headers, ours),
        (Xfcc::SanitizeSet, Some(ours)) => drop(headers.insert(CLIENT_CERT, ours.clone())),
        (Xfcc::Sanitize, _) | (_, None) => drop(headers.remove(CLIENT_CERT)),
    }
}

/// One line, the nearest hop last.
fn append(headers: &mut HeaderMap, ours: &HeaderValue) {
    match headers.entry(CLIENT_CERT) {
        Entry::Vacant(none) => drop(none.insert(ours.clone())),
        Entry::Occupied(mut theirs) => {
            let lines = theirs.iter().chain([ours]).map(HeaderValue::as_bytes);
            let whole = lines.collect::<Vec<_>>().join(&b","[..]);
            let whole = HeaderValue::from_bytes(&whole).unwrap_or_else(|_| ours.clone());
            theirs.insert(whole);
        }
    }
}

/// Where a request began: Envoy without `use_remote_address` believes the last entry of `x-forwarded-for`, and Istio's
/// `remoteIpBlocks` are about that one.
pub(super) fn remote(headers: &HeaderMap, direct: IpAddr) -> IpAddr {
    let last = headers.get_all(FORWARDED_FOR).iter().next_back();
    let last = last.and_then(|line| line.to_str().ok()?.rsplit(',').next());
    last.and_then(|text| text.trim().parse().ok())
        .unwrap_or(direct)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_names_for_this_connection_goes_no_further() {
        let of = |lines: &[&'static str]| {
            let names = [
                "x-user",
                "host",
                "content-length",
                "transfer-encoding",
                "upgrade",
            ];
            let mut headers: HeaderMap = names
                .map(|name| (HeaderName::from_static(name), HeaderValue::from_static("1")))
                .into_iter()
                .collect();
            for line in lines {
                headers.append(CONNECTION, HeaderValue::from_str(line).expect("a line"));
            }
            of_connection(&mut headers);
            let told = headers.get_all(CONNECTION).iter();
            let told: Vec<&str> = told.filter_map(|line| line.to_str().ok()).collect();
            (
                told.join("|"),
                headers.contains_key("x-user"),
                headers.len(),
            )
        };
        // The name, whether the header is there, and how many are.
        for (lines, told, is_there, left) in [
            (&[][..], "", true, 5),
            (&["close"], "close", true, 6),
            (&["Upgrade, Keep-Alive"], "Upgrade, Keep-Alive", true, 6),
            (&["x-user"], "", false, 4),
            (&["close,X-USER"], "close", false, 5),
            (&["close", " te ,\tx-user"], "close, te", false, 5),
            (&["host, content-length, transfer-encoding"], "", true, 5),
            (&["x-user, (), \u{e9}"], "", false, 4),
            (&[", ,"], "", true, 5),
        ] {
            assert_eq!(of(lines), (told.to_owned(), is_there, left), "{lines:?}");
        }
    }

    #[test]
    fn the_last_hop_says_where_a_request_began() {
        let direct = IpAddr::from([127, 0, 0, 1]);
        let of = |lines: &[&'static str]| {
            let lines = lines
                .iter()
                .map(|line| (FORWARDED_FOR, HeaderValue::from_static(line)));
            remote(&lines.collect(), direct).to_string()
        };
        assert_eq!(of(&["10.0.0.1, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(of(&["10.0.0.1", " 10.0.0.3 "]), "10.0.0.3");
        assert_eq!(of(&["fd00::1"]), "fd00::1");
        for no_address in [
            &[][..],
            &["10.0.0.1, "],
            &["10.0.0.1, unknown"],
            &["10.0.0.1:80"],
        ] {
            assert_eq!(of(no_address), "127.0.0.1", "{no_address:?}");
        }
    }
}
