//! Matches of an `HTTPRoute`.

use super::*;
use envoy_types::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;

#[test]
fn paths() {
    for (given, expected) in [
        ("{ type: Exact, value: /a/ }", "path /a/"),
        ("{ type: PathPrefix, value: /a }", "segments /a"),
        ("{ type: PathPrefix, value: /a/ }", "segments /a"),
        ("{ type: PathPrefix, value: / }", "prefix /"),
        ("{ value: /b }", "segments /b"),
        ("{}", "prefix /"),
        ("{ type: RegularExpression, value: '/a.*' }", "regex /a.*"),
    ] {
        assert_eq!(
            path(&one(&format!("matches: [ {{ path: {given} }} ]"))),
            expected,
            "{given}"
        );
    }
    assert_eq!(path(&one("name: all")), "prefix /");
}

fn header(route: &Route, at: usize) -> (String, String) {
    let header = &route.r#match.as_ref().unwrap().headers[at];
    let Some(HeaderMatchSpecifier::StringMatch(text)) = &header.header_match_specifier else {
        panic!("{header:?}")
    };
    let value = match text.match_pattern.as_ref().unwrap() {
        MatchPattern::Exact(text) => format!("={text}"),
        MatchPattern::SafeRegex(regex) => format!("~{}", regex.regex),
        other => panic!("{other:?}"),
    };
    (header.name.clone(), value)
}

#[test]
fn headers_methods_and_query() {
    let route = one(
        "matches: [ { method: PUT, headers: [ { name: X-B, value: b }, { type: RegularExpression, name: x-a, value: 'a+' }, { name: x-b, value: other } ], queryParams: [ { name: q, value: '1' }, { name: q, value: '2' } ] } ]",
    );
    assert_eq!(header(&route, 0), ("x-a".to_owned(), "~a+".to_owned()));
    assert_eq!(
        header(&route, 1),
        ("x-b".to_owned(), "=b".to_owned()),
        "the first counts"
    );
    assert_eq!(header(&route, 2), (":method".to_owned(), "=PUT".to_owned()));
    let of = route.r#match.unwrap();
    assert_eq!((of.headers.len(), of.query_parameters.len()), (3, 1));
    assert_eq!(of.query_parameters[0].name, "q");
}
