//! `RouteMatch` from `HTTPMatchRequest`.

use envoy_types::pb::envoy::config::route::v3 as pb;
use envoy_types::pb::envoy::r#type::matcher::v3 as matcher;

use crate::kinds::http_match::{Claim, HttpMatch, StringMatch};

use super::proto;

/// The match of a route without conditions.
pub(super) fn everything() -> pb::RouteMatch {
    pb::RouteMatch {
        path_specifier: Some(prefix("/")),
        ..pb::RouteMatch::default()
    }
}

fn prefix(path: &str) -> pb::route_match::PathSpecifier {
    pb::route_match::PathSpecifier::Prefix(path.to_owned())
}

/// One `match` entry.
pub(super) fn route_match(from: &HttpMatch) -> pb::RouteMatch {
    let path = match &from.uri {
        None | Some(StringMatch::Present) => prefix("/"),
        Some(StringMatch::Prefix(path)) if from.whole_segments && path != "/" => {
            pb::route_match::PathSpecifier::PathSeparatedPrefix(path.clone())
        }
        Some(StringMatch::Prefix(path)) => prefix(path),
        Some(StringMatch::Exact(path)) => pb::route_match::PathSpecifier::Path(path.clone()),
        Some(StringMatch::Regex(regex)) => {
            pb::route_match::PathSpecifier::SafeRegex(regex_matcher(regex))
        }
    };
    let mut headers: Vec<_> = from
        .headers
        .iter()
        .map(|(name, value)| header(name, value))
        .collect();
    headers.extend(
        from.without_headers
            .iter()
            .map(|(name, value)| pb::HeaderMatcher {
                invert_match: true,
                // A missing header is not the forbidden value.
                treat_missing_header_as_empty: *value != StringMatch::Present,
                ..header(name, value)
            }),
    );
    // istiod's order, in which the request line comes last.
    headers.sort_by(|a, b| a.name.cmp(&b.name));
    for (name, value) in [
        (":method", &from.method),
        (":authority", &from.authority),
        (":scheme", &from.scheme),
    ] {
        headers.extend(value.as_ref().map(|value| header(name, value)));
    }
    let query = from.query.iter().map(|(name, value)| {
        use pb::query_parameter_matcher::QueryParameterMatchSpecifier as Specifier;
        let specifier = string(value).map_or(Specifier::PresentMatch(true), Specifier::StringMatch);
        pb::QueryParameterMatcher {
            name: name.clone(),
            query_parameter_match_specifier: Some(specifier),
        }
    });
    pb::RouteMatch {
        case_sensitive: Some(proto::bool_value(!from.ignore_uri_case)),
        headers,
        query_parameters: query.collect(),
        dynamic_metadata: from.claims.iter().filter_map(claim).collect(),
        path_specifier: Some(path),
        ..pb::RouteMatch::default()
    }
}

/// Whether nothing can get past a route with this match.
pub(super) fn is_catch_all(from: &pb::RouteMatch) -> bool {
    use pb::route_match::PathSpecifier;
    let any_path = match &from.path_specifier {
        Some(PathSpecifier::Prefix(path)) => path == "/",
        Some(PathSpecifier::SafeRegex(path)) => path.regex == ".*",
        _ => false,
    };
    any_path
        && from.headers.is_empty()
        && from.query_parameters.is_empty()
        && from.dynamic_metadata.is_empty()
}

/// A condition on what the filter that verifies tokens has found: a text, or one of a list.
fn claim(from: &Claim) -> Option<matcher::MetadataMatcher> {
    use matcher::{list_matcher, metadata_matcher as parts, value_matcher::MatchPattern};
    let key = |key: &str| parts::PathSegment {
        segment: Some(parts::path_segment::Segment::Key(key.to_owned())),
    };
    let value = |pattern| matcher::ValueMatcher {
        match_pattern: Some(pattern),
    };
    let text = value(MatchPattern::StringMatch(string(&from.value)?));
    let list = matcher::ListMatcher {
        match_pattern: Some(list_matcher::MatchPattern::OneOf(Box::new(text.clone()))),
    };
    let list = value(MatchPattern::ListMatch(Box::new(list)));
    let path = from.path.iter().map(|claim| key(claim));
    Some(matcher::MetadataMatcher {
        filter: "envoy.filters.http.jwt_authn".to_owned(),
        path: std::iter::once(key("payload")).chain(path).collect(),
        value: Some(value(MatchPattern::OrMatch(matcher::OrMatcher {
            value_matchers: vec![list, text],
        }))),
        invert: from.invert,
    })
}

fn header(name: &str, value: &StringMatch) -> pb::HeaderMatcher {
    use pb::header_matcher::HeaderMatchSpecifier as Specifier;
    let specifier = string(value).map_or(Specifier::PresentMatch(true), Specifier::StringMatch);
    pb::HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(specifier),
        ..pb::HeaderMatcher::default()
    }
}

/// Nothing for a presence match.
pub(super) fn string(value: &StringMatch) -> Option<matcher::StringMatcher> {
    use matcher::string_matcher::MatchPattern;
    let pattern = match value {
        StringMatch::Present => return None,
        StringMatch::Exact(text) => MatchPattern::Exact(text.clone()),
        StringMatch::Prefix(text) => MatchPattern::Prefix(text.clone()),
        StringMatch::Regex(regex) => MatchPattern::SafeRegex(regex_matcher(regex)),
    };
    Some(matcher::StringMatcher {
        match_pattern: Some(pattern),
        ..matcher::StringMatcher::default()
    })
}

pub(super) fn regex_matcher(regex: &str) -> matcher::RegexMatcher {
    matcher::RegexMatcher {
        regex: regex.to_owned(),
        ..matcher::RegexMatcher::default()
    }
}
