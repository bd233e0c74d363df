//! Heads of requests.

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request};

/// The head of a GET request.
pub(crate) fn parts(uri: &str, lines: &[(&str, &str)]) -> Parts {
    let (mut parts, ()) = Request::get(uri).body(()).expect("a request").into_parts();
    parts.headers = headers(lines);
    parts
}

pub(crate) fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        let name = HeaderName::try_from(*name).expect("a header name");
        map.append(name, HeaderValue::from_str(value).expect("a header value"));
    }
    map
}

/// All values of a header.
pub(crate) fn values(headers: &HeaderMap, name: &str) -> Vec<String> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.get_all(name).iter().map(text).collect()
}
