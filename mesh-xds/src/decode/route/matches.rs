//! `envoy.config.route.v3.RouteMatch` (gRPC A28, A63).

use envoy_types::pb::envoy::config::route::v3::{
    self as pb, query_parameter_matcher::QueryParameterMatchSpecifier, route_match::PathSpecifier,
};
use mesh_core::matcher::{CookieMatcher, PathMatcher, QueryMatcher, QueryTest};
use mesh_core::route::{Fraction, RouteMatch};

use super::fraction;
use crate::decode::matcher::{self, regex, string};
use crate::decode::{Faults, Invalid};

/// What became of a match.
pub(super) enum Matched {
    By(RouteMatch),
    /// It asks for something that cannot be looked at here; the route must not match everything instead.
    Unknowable(&'static str),
}

pub(super) fn decode(wanted: &pb::RouteMatch) -> Result<Matched, Invalid> {
    let mut faults = Faults::default();
    let path = faults.take(path(wanted));
    let headers = each("headers", &wanted.headers, matcher::header, &mut faults);
    let query = each(
        "query_parameters",
        &wanted.query_parameters,
        query,
        &mut faults,
    );
    let cookies = each("cookies", &wanted.cookies, cookie, &mut faults);
    let fraction = faults.take(fraction::runtime(wanted.runtime_fraction.as_ref()));
    let fraction = fraction.flatten().map(Fraction::millionths);
    let path = faults.or(path)?;
    let unknowable = [
        (!wanted.dynamic_metadata.is_empty(), "dynamic_metadata"),
        (!wanted.filter_state.is_empty(), "filter_state"),
        (wanted.tls_context.is_some(), "tls_context"),
        (wanted.grpc.is_some(), "grpc"),
    ];
    if let Some((_, what)) = unknowable.into_iter().find(|(present, _)| *present) {
        return Ok(Matched::Unknowable(what));
    }
    let Some(path) = path else {
        return Ok(Matched::Unknowable("path specifier"));
    };
    Ok(Matched::By(RouteMatch {
        path,
        headers,
        query,
        cookies,
        fraction,
    }))
}

/// Decodes all of a list, and tells what is wrong with each.
pub(super) fn each<P, T>(
    field: &str,
    list: &[P],
    decode: impl Fn(&P) -> Result<T, Invalid>,
    faults: &mut Faults,
) -> Box<[T]> {
    let decoded = list.iter().enumerate().filter_map(|(at, one)| {
        let decoded = decode(one);
        faults.take(decoded.map_err(|error| error.within(format_args!("{field}[{at}]"))))
    });
    decoded.collect()
}

/// `None` for a specifier that is not served.
fn path(wanted: &pb::RouteMatch) -> Result<Option<PathMatcher>, Invalid> {
    let case_sensitive = wanted.case_sensitive.is_none_or(|value| value.value);
    let lower = |text: &str| text.to_ascii_lowercase().into_boxed_str();
    Ok(Some(match &wanted.path_specifier {
        Some(PathSpecifier::Prefix(text)) if case_sensitive => {
            PathMatcher::Prefix(text.as_str().into())
        }
        Some(PathSpecifier::Prefix(text)) => PathMatcher::PrefixIgnoreCase(lower(text)),
        Some(PathSpecifier::Path(text)) if case_sensitive => {
            PathMatcher::Exact(text.as_str().into())
        }
        Some(PathSpecifier::Path(text)) => PathMatcher::ExactIgnoreCase(lower(text)),
        Some(PathSpecifier::SafeRegex(pattern)) => {
            PathMatcher::Regex(regex(pattern, "safe_regex")?)
        }
        Some(PathSpecifier::PathSeparatedPrefix(text)) => {
            // The proto's rule is the pattern `^[^?#]+[^?#/]$`.
            if text.chars().nth(1).is_none() || text.ends_with('/') || text.contains(['?', '#']) {
                return Err(Invalid::new(
                    "path_separated_prefix",
                    format_args!(
                        "{text:?} must have two characters, not end in a slash, and hold no query"
                    ),
                ));
            }
            if case_sensitive {
                PathMatcher::SegmentPrefix(text.as_str().into())
            } else {
                PathMatcher::SegmentPrefixIgnoreCase(lower(text))
            }
        }
        Some(_) => return Ok(None),
        None => return Err(Invalid::new("path_specifier", "is missing")),
    }))
}

fn query(wanted: &pb::QueryParameterMatcher) -> Result<QueryMatcher, Invalid> {
    let test = match &wanted.query_parameter_match_specifier {
        // Envoy: no specifier means presence.
        None => QueryTest::Present(true),
        Some(QueryParameterMatchSpecifier::PresentMatch(present)) => QueryTest::Present(*present),
        Some(QueryParameterMatchSpecifier::StringMatch(matcher)) => {
            QueryTest::String(string(matcher).map_err(|e| e.within("string_match"))?)
        }
    };
    Ok(QueryMatcher {
        name: named(&wanted.name)?,
        test,
    })
}

fn cookie(wanted: &pb::CookieMatcher) -> Result<CookieMatcher, Invalid> {
    let test = wanted.string_match.as_ref();
    let test = test.ok_or_else(|| Invalid::new("string_match", "is missing"))?;
    Ok(CookieMatcher {
        name: named(&wanted.name)?,
        test: string(test).map_err(|e| e.within("string_match"))?,
        invert: wanted.invert_match,
    })
}

fn named(name: &str) -> Result<Box<[u8]>, Invalid> {
    if name.is_empty() {
        return Err(Invalid::new("name", "is empty"));
    }
    Ok(name.as_bytes().into())
}
