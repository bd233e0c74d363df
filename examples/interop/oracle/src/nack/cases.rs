//! The list of doubtful things.

mod actions;
mod faults;
mod headers;
mod mutations;

use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::{
    Route, RouteConfiguration, RouteMatch, VirtualHost,
};
use envoy_types::pb::envoy::r#type::matcher::v3::RegexMatcher;

use super::Case;
use crate::feature::Feature;

const DOMAINS: &[&str] = &[
    "",
    "*",
    "**",
    "*a*",
    "a*b",
    "*.*",
    "a.*",
    "*a",
    "*:9080",
    "a:*",
    "[::1]:9080",
    "a b",
    "a/b",
    "é",
    "a:b:c",
    "A",
    "a..b",
    ".",
    ":",
    ":80",
];

/// In two hosts, or in one.
const TWICE: &[(&str, &str)] = &[
    ("a.test", "a.test"),
    ("a.test", "A.test"),
    ("*.test", "*.TEST"),
    ("a.*", "a.*"),
    ("*", "*"),
    ("a.test", "a.test:9080"),
    ("*.test", "test.*"),
];

/// What RE2 takes, and what it does not.
const REGEXES: &[&str] = &[
    "",
    "(",
    ")",
    "a)|(?:b",
    "[",
    "a**",
    "a++",
    "*",
    "(?=a)",
    "(?!a)",
    r"(a)\1",
    r"\C",
    r"\pN",
    r"\p{Greek}",
    r"\p{Foo}",
    "(?P<n>a)",
    "(?<n>a)",
    "(?P<n>a)(?P<n>b)",
    r"\Qa.b\E",
    r"\z",
    r"\Z",
    r"\A",
    r"\G",
    r"\K",
    r"\R",
    r"\X",
    r"\h",
    r"\v",
    r"\e",
    r"\a",
    r"\f",
    r"\x41",
    r"\x{41}",
    r"\u0041",
    r"\101",
    r"\1",
    r"\8",
    r"\_",
    r"\-",
    r"\/",
    r"\é",
    r"\<",
    r"\>",
    "a{2,1}",
    "a{1000}",
    "a{1001}",
    "a{,2}",
    "a{",
    "{",
    "a{2",
    "}",
    "]",
    "[]a]",
    "[^]a]",
    "[a",
    "[z-a]",
    "[[:alpha:]]",
    "[[:word:]]",
    "[[:foo:]]",
    "[a&&b]",
    "[a--b]",
    "[a~~b]",
    "[[a]]",
    "(?i)a",
    "(?U)a+",
    "(?x)a b",
    "(?s).",
    "(?m)^a$",
    "(?u)é",
    "(?-u)a",
    "(?R)a",
    "(?i-s:a)",
    "(?#c)a",
    "(?>a)",
    r"[\d]",
    r"[\w-z]",
    r"[a-\d]",
    r"\d{3}",
    r"\b{start}",
    "()",
    "(|a)",
    "|",
    "a|",
    "^*",
    "$^",
    "(a{10}){10}",
    "((((((((((a{10}){10}){10}){10}))))))))",
    "(?:a{1000}){2}",
    "a{500}{2}",
    "a{0}",
    "a{2}{3}",
    r"\pL\PL",
    r"[\pL]",
    r"[\Q-\E]",
    r"\B",
    r"[\b]",
    r"(?i)É",
    r"\ ",
    r"\	",
    "a\nb",
    "(?",
    "(?P",
    "(?P<",
    "(?P=n)",
    "[[.a.]]",
    "[[=a=]]",
    r"\cA",
];

/// Everything.
pub(super) fn all() -> Vec<Case> {
    let mut all = hosts();
    all.extend(paths());
    all.extend(regexes());
    all.extend(headers::all());
    all.extend(actions::all());
    all.extend(mutations::all());
    all.extend(faults::all());
    all
}

fn host(configuration: &mut RouteConfiguration) -> &mut VirtualHost {
    &mut configuration.virtual_hosts[1]
}

fn route(configuration: &mut RouteConfiguration) -> &mut Route {
    &mut host(configuration).routes[1]
}

fn matches(configuration: &mut RouteConfiguration) -> &mut RouteMatch {
    route(configuration).r#match.get_or_insert_default()
}

fn regex(pattern: &str) -> RegexMatcher {
    RegexMatcher {
        regex: pattern.to_owned(),
        ..RegexMatcher::default()
    }
}

fn hosts() -> Vec<Case> {
    use Feature::Core;
    let mut all: Vec<Case> = DOMAINS
        .iter()
        .map(|domain| {
            Case::new(Core, format!("domain {domain:?}"), move |c| {
                host(c).domains.push((*domain).to_owned());
            })
        })
        .collect();
    all.extend(TWICE.iter().flat_map(|(a, b)| {
        [0, 1].map(|other| {
            Case::new(
                Core,
                format!("domains {a:?} and {b:?} in hosts {other} and 1"),
                move |c| {
                    c.virtual_hosts[other].domains.push((*a).to_owned());
                    host(c).domains.push((*b).to_owned());
                },
            )
        })
    }));
    all.push(Case::new(Core, "no domains", |c| host(c).domains.clear()));
    all.push(Case::new(Core, "host without name", |c| {
        host(c).name.clear()
    }));
    all.push(Case::new(Core, "host name twice", |c| {
        let name = c.virtual_hosts[0].name.clone();
        host(c).name = name;
    }));
    all.push(Case::new(Core, "host without routes", |c| {
        host(c).routes.truncate(1);
    }));
    all
}

fn paths() -> Vec<Case> {
    use Feature::Core;
    let by = |name: String, specifier: Option<PathSpecifier>| {
        Case::new(Core, name, move |c| {
            matches(c).path_specifier = specifier.clone()
        })
    };
    let mut all = vec![
        by("no path specifier".to_owned(), None),
        Case::new(Core, "no match", |c| route(c).r#match = None),
    ];
    for text in [
        "", "/", "a", "ab", "/a", "/a/", "/a?b", "/a#b", "//", "/é", "/a//", "/a b", "?", "/%",
    ] {
        let segment = PathSpecifier::PathSeparatedPrefix(text.to_owned());
        all.push(by(format!("path_separated_prefix {text:?}"), Some(segment)));
        all.push(by(
            format!("prefix {text:?}"),
            Some(PathSpecifier::Prefix(text.to_owned())),
        ));
        all.push(by(
            format!("path {text:?}"),
            Some(PathSpecifier::Path(text.to_owned())),
        ));
    }
    all
}

fn regexes() -> Vec<Case> {
    REGEXES
        .iter()
        .map(|pattern| {
            Case::new(Feature::Core, format!("regex {pattern:?}"), move |c| {
                matches(c).path_specifier = Some(PathSpecifier::SafeRegex(regex(pattern)));
            })
        })
        .collect()
}
