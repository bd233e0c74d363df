//! `envoy.config.route.v3.HeaderMatcher`, `envoy.type.matcher.v3.StringMatcher` and `RegexMatcher`.

use envoy_types::pb::envoy::config::route::v3::{self as pb, header_matcher::HeaderMatchSpecifier};
use envoy_types::pb::envoy::r#type::matcher::v3::{
    RegexMatcher, StringMatcher as PbString, string_matcher::MatchPattern,
};
use mesh_core::matcher::{FullRegex, HeaderMatcher, HeaderTest, StringMatcher};
use mesh_core::request::HeaderKey;

use crate::decode::Invalid;

pub(super) fn header(header: &pb::HeaderMatcher) -> Result<HeaderMatcher, Invalid> {
    let name = HeaderKey::parse(&header.name)
        .ok_or_else(|| Invalid::new("name", format_args!("{:?} is no header name", header.name)))?;
    #[allow(deprecated, reason = "Istio still emits the older forms")]
    let test = match &header.header_match_specifier {
        // Envoy: no specifier means presence.
        None => HeaderTest::Present(true),
        Some(HeaderMatchSpecifier::PresentMatch(present)) => HeaderTest::Present(*present),
        Some(HeaderMatchSpecifier::RangeMatch(range)) => HeaderTest::Range(range.start, range.end),
        Some(HeaderMatchSpecifier::StringMatch(matcher)) => {
            HeaderTest::String(string(matcher).map_err(|e| e.within("string_match"))?)
        }
        // Envoy: an empty `exact_match` takes every value.
        Some(HeaderMatchSpecifier::ExactMatch(text)) if text.is_empty() => {
            HeaderTest::String(StringMatcher::Prefix(Box::default()))
        }
        Some(HeaderMatchSpecifier::ExactMatch(text)) => {
            HeaderTest::String(StringMatcher::Exact(text.as_bytes().into()))
        }
        Some(HeaderMatchSpecifier::PrefixMatch(text)) => {
            HeaderTest::String(StringMatcher::Prefix(non_empty(text, "prefix_match")?))
        }
        Some(HeaderMatchSpecifier::SuffixMatch(text)) => {
            HeaderTest::String(StringMatcher::Suffix(non_empty(text, "suffix_match")?))
        }
        Some(HeaderMatchSpecifier::ContainsMatch(text)) => {
            HeaderTest::String(StringMatcher::Contains(non_empty(text, "contains_match")?))
        }
        Some(HeaderMatchSpecifier::SafeRegexMatch(pattern)) => {
            HeaderTest::String(StringMatcher::Regex(regex(pattern, "safe_regex_match")?))
        }
    };
    Ok(HeaderMatcher {
        name,
        test,
        invert: header.invert_match,
        missing_is_empty: header.treat_missing_header_as_empty,
    })
}

pub(super) fn string(matcher: &PbString) -> Result<StringMatcher, Invalid> {
    let decoded = match &matcher.match_pattern {
        Some(MatchPattern::Exact(text)) => StringMatcher::Exact(Box::from(text.as_bytes())),
        Some(MatchPattern::Prefix(text)) => StringMatcher::Prefix(non_empty(text, "prefix")?),
        Some(MatchPattern::Suffix(text)) => StringMatcher::Suffix(non_empty(text, "suffix")?),
        Some(MatchPattern::Contains(text)) => StringMatcher::Contains(non_empty(text, "contains")?),
        Some(MatchPattern::SafeRegex(_)) if matcher.ignore_case => {
            return Err(Invalid::new("ignore_case", "has no effect on safe_regex"));
        }
        Some(MatchPattern::SafeRegex(pattern)) => {
            StringMatcher::Regex(regex(pattern, "safe_regex")?)
        }
        Some(MatchPattern::Custom(_)) => return Err(Invalid::new("custom", "is not supported")),
        None => return Err(Invalid::new("match_pattern", "is missing")),
    };
    Ok(if matcher.ignore_case {
        decoded.ignoring_case()
    } else {
        decoded
    })
}

fn non_empty(text: &str, what: &str) -> Result<Box<[u8]>, Invalid> {
    if text.is_empty() {
        Err(Invalid::new(what, "is empty"))
    } else {
        Ok(text.as_bytes().into())
    }
}

pub(super) fn regex(matcher: &RegexMatcher, what: &str) -> Result<FullRegex, Invalid> {
    if matcher.regex.is_empty() {
        return Err(Invalid::new(what, "is empty"));
    }
    FullRegex::new(&matcher.regex).map_err(|error| Invalid::new(what, error))
}
