//! What a proxy takes off and puts on (RFC 9110, 7.6.1; `X-Forwarded-*` as Envoy writes them).

use std::net::IpAddr;

use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Headers that mean one connection, whether or not `Connection` names them.
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Removes hop-by-hop headers, those that `Connection` names included. `TE: trailers` stays: gRPC needs it, and it
/// promises nothing that we do not keep. Where there was a `Transfer-Encoding` it told the length, so a `Content-Length`
/// beside it goes too (RFC 9112, 6.3): alone it would count.
pub fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = tokens(headers, &CONNECTION)
        .filter_map(|token| token.parse().ok())
        // Nobody may have us drop the host or the framing.
        .filter(|name| *name != HOST && *name != CONTENT_LENGTH)
        .collect();
    let trailers = tokens(headers, &TE).any(|token| token.eq_ignore_ascii_case("trailers"));
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .map(|token| token.trim().split(';').next().unwrap_or_default().trim())
}

/// The protocol that an answer of HTTP/1.1 changes to (RFC 9110, 7.8).
pub fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let is_named = tokens(headers, &CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade"));
    headers.get(UPGRADE).filter(|_| is_named).cloned()
}

/// Asks for this protocol, or says that it is spoken from here on: a matter of this connection, after [`strip`].
pub fn change_to(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
}

/// Makes a request from outside one that the mesh may see: `X-Forwarded-For` with the peer appended,
/// `X-Forwarded-Proto` with the `scheme` that it came by, and an `x-request-id` if there is none.
pub fn inbound(
    headers: &mut HeaderMap,
    peer: Option<IpAddr>,
    scheme: &'static str,
    request_id: impl FnOnce() -> Option<String>,
) {
    strip(headers);
    // The server answers it itself, before the body is read.
    headers.remove(http::header::EXPECT);
    if let Some(peer) = peer {
        append(headers, peer);
    }
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static(scheme));
    if !headers.contains_key(&REQUEST_ID)
        && let Some(Ok(id)) = request_id().map(HeaderValue::try_from)
    {
        headers.insert(REQUEST_ID, id);
    }
}

fn append(headers: &mut HeaderMap, peer: IpAddr) {
    let mut list = Vec::new();
    for value in headers.get_all(&FORWARDED_FOR) {
        list.extend_from_slice(value.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(peer.to_string().as_bytes());
    if let Ok(value) = HeaderValue::from_bytes(&list) {
        headers.insert(FORWARDED_FOR, value);
    }
}

/// A random UUID (version 4).
pub fn uuid() -> Option<String> {
    let mut bytes: [u8; 16] = crate::service::dice::random().ok()?;
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex = format!("{:032x}", u128::from_be_bytes(bytes));
    Some(
        [
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..],
        ]
        .join("-"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(k, v)| (HeaderName::from_static(k), HeaderValue::from_static(v)))
            .collect()
    }

    #[test]
    fn hop_by_hop_headers_go_and_named_ones_with_them() {
        let mut all = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Mine"),
            ("connection", "host"),
            ("x-mine", "1"),
            ("keep-alive", "5"),
            ("te", "gzip, trailers;q=0.5"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("host", "h"),
            ("accept", "*/*"),
        ] {
            all.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        strip(&mut all);
        assert_eq!(
            all,
            headers(&[("te", "trailers"), ("host", "h"), ("accept", "*/*")])
        );
    }

    #[test]
    fn a_length_stays_unless_the_body_was_in_chunks() {
        let mut plain = headers(&[("content-length", "3"), ("connection", "content-length")]);
        strip(&mut plain);
        assert_eq!(plain, headers(&[("content-length", "3")]));
        let mut chunked = headers(&[("content-length", "3"), ("transfer-encoding", "chunked")]);
        strip(&mut chunked);
        assert_eq!(chunked, HeaderMap::new());
    }

    #[test]
    fn the_peer_is_appended_and_an_id_made_once() {
        let mut all = headers(&[
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-proto", "https"),
        ]);
        inbound(&mut all, Some([127, 0, 0, 1].into()), "http", uuid);
        assert_eq!(all["x-forwarded-for"], "10.0.0.1, 127.0.0.1");
        assert_eq!(all["x-forwarded-proto"], "http");
        let id = all["x-request-id"].clone();
        assert_eq!(id.len(), 36);
        inbound(&mut all, None, "https", || Some("other".to_owned()));
        assert_eq!(all["x-request-id"], id);
    }
}
