//! Headers by which proxies talk among themselves: what a caller may not say of itself is taken off.

use std::net::IpAddr;

use http::header::{HeaderMap, HeaderName, HeaderValue};
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

/// Leaves what this peer may say, and tells of its certificate.
pub(super) fn clean(headers: &mut HeaderMap, connection: &Connection, xfcc: Xfcc) {
    reserved(headers, connection.peer());
    client_cert(headers, connection, xfcc);
}

pub(super) fn reserved(headers: &mut HeaderMap, peer: &Peer) {
    let is_proven = matches!(peer, Peer::Proven(_));
    let is_refused = |name: &HeaderName| {
        name.as_str().starts_with(RESERVED) && !(is_proven && BELIEVED.contains(&name.as_str()))
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
    let theirs = headers.get_all(CLIENT_CERT).iter();
    let lines: Vec<&[u8]> = theirs.chain([ours]).map(HeaderValue::as_bytes).collect();
    let whole = match &*lines {
        [_] => None,
        lines => HeaderValue::from_bytes(&lines.join(&b","[..])).ok(),
    };
    headers.insert(CLIENT_CERT, whole.unwrap_or_else(|| ours.clone()));
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
