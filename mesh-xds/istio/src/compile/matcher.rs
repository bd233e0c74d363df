//! `RouteMatch` from `HTTPMatchRequest`.

use envoy_types::pb::envoy::config::route::v3 as pb;
use envoy_types::pb::envoy::r#type::matcher::v3 as matcher;

use crate::kinds::http_match::{HttpMatch, StringMatch};

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
    for (name, value) in [
        (":scheme", &from.scheme),
        (":method", &from.method),
        (":authority", &from.authority),
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
        path_specifier: Some(path),
        ..pb::RouteMatch::default()
    }
}

/// Whether nothing can get past a route with this match.
pub(super) fn is_catch_all(from: &pb::RouteMatch) -> bool {
    from.headers.is_empty()
        && from.query_parameters.is_empty()
        && matches!(&from.path_specifier, Some(pb::route_match::PathSpecifier::Prefix(path)) if path == "/")
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
fn string(value: &StringMatch) -> Option<matcher::StringMatcher> {
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

fn regex_matcher(regex: &str) -> matcher::RegexMatcher {
    matcher::RegexMatcher {
        regex: regex.to_owned(),
        ..matcher::RegexMatcher::default()
    }
}
