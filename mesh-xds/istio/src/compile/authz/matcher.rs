//! Matchers of texts, headers, addresses and metadata.

use envoy_types::pb::envoy::config::core::v3::CidrRange;
use envoy_types::pb::envoy::config::route::v3::{
    HeaderMatcher, header_matcher::HeaderMatchSpecifier,
};
use envoy_types::pb::envoy::r#type::matcher::v3 as pb;

use crate::compile::proto;
use crate::kinds::authorization_policy::{Cidr, Pattern};

use pb::metadata_matcher::{PathSegment, path_segment::Segment};
use pb::string_matcher::MatchPattern;
use pb::value_matcher::MatchPattern as ValuePattern;

/// Any text that is not empty.
pub(super) const ANY: &str = ".+";

pub(super) fn text(pattern: MatchPattern) -> pb::StringMatcher {
    pb::StringMatcher {
        match_pattern: Some(pattern),
        ..pb::StringMatcher::default()
    }
}

pub(super) fn regex(regex: String) -> pb::StringMatcher {
    text(MatchPattern::SafeRegex(pb::RegexMatcher {
        regex,
        ..pb::RegexMatcher::default()
    }))
}

pub(super) fn pattern(of: &Pattern) -> pb::StringMatcher {
    match of {
        Pattern::Any => regex(ANY.to_owned()),
        Pattern::Prefix(start) => text(MatchPattern::Prefix(start.clone())),
        Pattern::Suffix(end) => text(MatchPattern::Suffix(end.clone())),
        Pattern::Exact(all) => text(MatchPattern::Exact(all.clone())),
    }
}

/// A header; names of hosts have no case.
pub(super) fn header(name: &str, of: &Pattern, ignore_case: bool) -> HeaderMatcher {
    let specifier = match of {
        Pattern::Any => HeaderMatchSpecifier::PresentMatch(true),
        of => HeaderMatchSpecifier::StringMatch(pb::StringMatcher {
            ignore_case,
            ..pattern(of)
        }),
    };
    HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(specifier),
        ..HeaderMatcher::default()
    }
}

pub(super) fn cidr(of: &Cidr) -> CidrRange {
    CidrRange {
        address_prefix: of.address.to_string(),
        prefix_len: Some(proto::uint32(of.length)),
    }
}

fn value(pattern: ValuePattern) -> pb::ValueMatcher {
    pb::ValueMatcher {
        match_pattern: Some(pattern),
    }
}

pub(super) fn text_value(of: pb::StringMatcher) -> pb::ValueMatcher {
    value(ValuePattern::StringMatch(of))
}

/// One of a list.
pub(super) fn listed(of: pb::ValueMatcher) -> pb::ValueMatcher {
    let one = pb::list_matcher::MatchPattern::OneOf(Box::new(of));
    value(ValuePattern::ListMatch(Box::new(pb::ListMatcher {
        match_pattern: Some(one),
    })))
}

/// Any of these; of one itself.
pub(super) fn or(mut all: Vec<pb::ValueMatcher>) -> pb::ValueMatcher {
    match all.len() {
        1 => all.remove(0),
        _ => value(ValuePattern::OrMatch(pb::OrMatcher {
            value_matchers: all,
        })),
    }
}

pub(super) fn metadata<'a>(
    filter: &str,
    path: impl IntoIterator<Item = &'a str>,
    value: pb::ValueMatcher,
) -> pb::MetadataMatcher {
    let segment = |key: &str| PathSegment {
        segment: Some(Segment::Key(key.to_owned())),
    };
    pb::MetadataMatcher {
        filter: filter.to_owned(),
        path: path.into_iter().map(segment).collect(),
        value: Some(value),
        ..pb::MetadataMatcher::default()
    }
}
