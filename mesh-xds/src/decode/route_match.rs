//! `envoy.config.route.v3.RouteMatch` and `HeaderMatcher` (gRPC A28, A63).

use envoy_types::pb::envoy::config::route::v3::{
    self as pb, header_matcher::HeaderMatchSpecifier, route_match::PathSpecifier,
};
use envoy_types::pb::envoy::r#type::matcher::v3::{
    StringMatcher as PbString, string_matcher::MatchPattern,
};
use envoy_types::pb::envoy::r#type::v3::{FractionalPercent, fractional_percent::DenominatorType};
use mesh_core::matcher::{FullRegex, HeaderMatcher, HeaderTest, PathMatcher, StringMatcher};
use mesh_core::request::HeaderKey;
use mesh_core::route::RouteMatch;

use super::Invalid;

/// What became of a match.
pub(super) enum Matched {
    By(RouteMatch),
    /// It asks for something that cannot be looked at here; the route must not match everything instead.
    Unknowable(&'static str),
}

pub(super) fn decode(wanted: &pb::RouteMatch) -> Result<Matched, Invalid> {
    let unknowable = [
        (!wanted.query_parameters.is_empty(), "query_parameters"),
        (!wanted.cookies.is_empty(), "cookies"),
        (!wanted.dynamic_metadata.is_empty(), "dynamic_metadata"),
        (!wanted.filter_state.is_empty(), "filter_state"),
        (wanted.tls_context.is_some(), "tls_context"),
        (wanted.grpc.is_some(), "grpc"),
    ];
    if let Some((_, what)) = unknowable.into_iter().find(|(present, _)| *present) {
        return Ok(Matched::Unknowable(what));
    }
    let Some(path) = path(wanted)? else {
        return Ok(Matched::Unknowable("the path specifier"));
    };
    let header =
        |(at, header)| header_matcher(header).map_err(|e| e.within(format_args!("headers[{at}]")));
    let headers = wanted
        .headers
        .iter()
        .enumerate()
        .map(header)
        .collect::<Result<_, _>>()?;
    let fraction = match wanted
        .runtime_fraction
        .as_ref()
        .and_then(|f| f.default_value.as_ref())
    {
        None => None,
        Some(fraction) => Some(millionths(fraction)?),
    };
    Ok(Matched::By(RouteMatch {
        path,
        headers,
        fraction,
    }))
}

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
        Some(PathSpecifier::SafeRegex(regex)) => PathMatcher::Regex(
            FullRegex::new(&regex.regex).map_err(|e| Invalid::new("safe_regex", e))?,
        ),
        Some(PathSpecifier::PathSeparatedPrefix(text)) => {
            if !text.starts_with('/') || text.ends_with('/') || text.contains(['?', '#']) {
                return Err(Invalid::new(
                    "path_separated_prefix",
                    format_args!(
                        "{text:?} must start with a slash, not end in one, and hold no query"
                    ),
                ));
            }
            PathMatcher::SegmentPrefix(text.as_str().into())
        }
        Some(_) => return Ok(None),
        None => return Err(Invalid::new("path_specifier", "is missing")),
    }))
}

/// Saturating: more than the whole is the whole (gRPC A28).
fn millionths(fraction: &FractionalPercent) -> Result<u32, Invalid> {
    let scale = match DenominatorType::try_from(fraction.denominator) {
        Ok(DenominatorType::Hundred) => 10_000,
        Ok(DenominatorType::TenThousand) => 100,
        Ok(DenominatorType::Million) => 1,
        Err(_) => {
            return Err(Invalid::new(
                "runtime_fraction",
                "has an unknown denominator",
            ));
        }
    };
    Ok(fraction.numerator.saturating_mul(scale).min(1_000_000))
}

fn header_matcher(header: &pb::HeaderMatcher) -> Result<HeaderMatcher, Invalid> {
    let name = HeaderKey::parse(&header.name)
        .ok_or_else(|| Invalid::new("name", format_args!("{:?} is no header name", header.name)))?;
    let exact = |text: &str| StringMatcher::Exact(text.as_bytes().into());
    let non_empty = |text: &str, what| {
        if text.is_empty() {
            Err(Invalid::new(what, "is empty"))
        } else {
            Ok(Box::from(text.as_bytes()))
        }
    };
    #[allow(deprecated, reason = "Istio still emits the older forms")]
    let test = match &header.header_match_specifier {
        // Envoy: no specifier means presence.
        None => HeaderTest::Present(true),
        Some(HeaderMatchSpecifier::PresentMatch(present)) => HeaderTest::Present(*present),
        Some(HeaderMatchSpecifier::RangeMatch(range)) => HeaderTest::Range(range.start, range.end),
        Some(HeaderMatchSpecifier::StringMatch(matcher)) => {
            HeaderTest::String(string(matcher).map_err(|e| e.within("string_match"))?)
        }
        Some(HeaderMatchSpecifier::ExactMatch(text)) => HeaderTest::String(exact(text)),
        Some(HeaderMatchSpecifier::PrefixMatch(text)) => {
            HeaderTest::String(StringMatcher::Prefix(non_empty(text, "prefix_match")?))
        }
        Some(HeaderMatchSpecifier::SuffixMatch(text)) => {
            HeaderTest::String(StringMatcher::Suffix(non_empty(text, "suffix_match")?))
        }
        Some(HeaderMatchSpecifier::ContainsMatch(text)) => {
            HeaderTest::String(StringMatcher::Contains(non_empty(text, "contains_match")?))
        }
        Some(HeaderMatchSpecifier::SafeRegexMatch(regex)) => {
            HeaderTest::String(StringMatcher::Regex(
                FullRegex::new(&regex.regex).map_err(|e| Invalid::new("safe_regex_match", e))?,
            ))
        }
    };
    Ok(HeaderMatcher {
        name,
        test,
        invert: header.invert_match,
        missing_is_empty: header.treat_missing_header_as_empty,
    })
}

fn string(matcher: &PbString) -> Result<StringMatcher, Invalid> {
    let bytes = |text: &str| Box::from(text.as_bytes());
    let decoded = match &matcher.match_pattern {
        Some(MatchPattern::Exact(text)) => StringMatcher::Exact(bytes(text)),
        Some(MatchPattern::Prefix(text)) => StringMatcher::Prefix(bytes(text)),
        Some(MatchPattern::Suffix(text)) => StringMatcher::Suffix(bytes(text)),
        Some(MatchPattern::Contains(text)) => StringMatcher::Contains(bytes(text)),
        Some(MatchPattern::SafeRegex(regex)) => StringMatcher::Regex(
            FullRegex::new(&regex.regex).map_err(|e| Invalid::new("safe_regex", e))?,
        ),
        Some(MatchPattern::Custom(_)) => return Err(Invalid::new("custom", "is not supported")),
        None => return Err(Invalid::new("match_pattern", "is missing")),
    };
    Ok(if matcher.ignore_case {
        decoded.ignoring_case()
    } else {
        decoded
    })
}
