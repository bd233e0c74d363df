//! The head of a request as HTTP/2 has it: no field that speaks of a connection (RFC 9113, 8.2.2), and no second name
//! for the host, which would only invite disagreement.

use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, Method, Request, Version};
use http_body::Body as _;

use crate::body::Body;

/// The one value of `te` that HTTP/2 knows.
const TRAILERS: &str = "trailers";

/// Makes a request one of HTTP/2.
pub(super) fn adapt(request: &mut Request<Body>) {
    *request.version_mut() = Version::HTTP_2;
    // One look at the names costs less than to ask for each of them, and most requests have none.
    if request.headers().iter().any(is_foreign) {
        strip(request.headers_mut());
    }
    if let Some(length) = told_length(request)
        // Where there is no room for a length it is not told: the last frame says as much.
        && let Ok(field) = request.headers_mut().try_entry(CONTENT_LENGTH)
    {
        field.or_insert_with(|| HeaderValue::from(length));
    }
}

/// The length of the body, if it is known and is worth a header (RFC 9110, 8.6).
fn told_length(request: &Request<Body>) -> Option<u64> {
    let length = request.body().size_hint().exact()?;
    let without_body = [Method::GET, Method::HEAD, Method::DELETE];
    (length != 0 || !without_body.contains(request.method())).then_some(length)
}

fn is_foreign((name, value): (&HeaderName, &HeaderValue)) -> bool {
    match name {
        &TE => value != TRAILERS,
        name => *name == HOST || is_of_a_connection(name),
    }
}

fn is_of_a_connection(name: &HeaderName) -> bool {
    let known = [CONNECTION, TRANSFER_ENCODING, UPGRADE];
    known.contains(name) || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

#[cold]
fn strip(headers: &mut HeaderMap) {
    headers.remove(HOST);
    if headers.get_all(TE).iter().any(|value| value != TRAILERS) {
        headers.remove(TE);
    }
    let named: Vec<HeaderValue> = headers.get_all(CONNECTION).iter().cloned().collect();
    headers.remove(CONNECTION);
    // The fields that it names are the connection's as well.
    for named in named {
        for name in named.to_str().unwrap_or_default().split(',') {
            headers.remove(name.trim());
        }
    }
    for name in [
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
    ] {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapted(method: Method, fields: &[(&str, &str)], body: Body) -> Vec<(String, String)> {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        for (name, value) in fields {
            let name = HeaderName::try_from(*name).unwrap();
            let value = HeaderValue::try_from(*value).unwrap();
            request.headers_mut().append(name, value);
        }
        adapt(&mut request);
        assert_eq!(request.version(), Version::HTTP_2);
        let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
        let fields = request.headers().iter();
        fields
            .map(|(name, value)| (name.to_string(), text(value)))
            .collect()
    }

    fn owned(fields: &[(&str, &str)]) -> Vec<(String, String)> {
        let fields = fields.iter();
        fields
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn what_is_of_a_connection_stays_behind() {
        let stays = [("te", "trailers"), ("x-kept", "1")];
        for foreign in [
            &[("host", "elsewhere")][..],
            &[("connection", "close")],
            &[
                ("connection", "x-named, x-other"),
                ("x-named", "1"),
                ("x-other", "2"),
            ],
            &[("keep-alive", "timeout=5")],
            &[("proxy-connection", "keep-alive")],
            &[("transfer-encoding", "chunked")],
            &[("upgrade", "h2c")],
        ] {
            let fields = [&stays, foreign].concat();
            let left = adapted(Method::GET, &fields, Body::empty());
            assert_eq!(left, owned(&stays), "{foreign:?}");
        }
        let left = adapted(
            Method::GET,
            &[("te", "gzip"), ("x-kept", "1")],
            Body::empty(),
        );
        assert_eq!(left, owned(&[("x-kept", "1")]));
    }

    #[test]
    fn a_length_is_told_where_there_is_one() {
        let told = |method, body| adapted(method, &[], body);
        let length = |length: &str| owned(&[("content-length", length)]);
        assert_eq!(told(Method::POST, Body::from("four")), length("4"));
        assert_eq!(told(Method::POST, Body::empty()), length("0"));
        assert_eq!(told(Method::GET, Body::from("four")), length("4"));
        assert_eq!(told(Method::GET, Body::empty()), []);
        let own = [("content-length", "9")];
        assert_eq!(adapted(Method::POST, &own, Body::from("four")), length("9"));
    }
}
