//! A slow, plain reading of the rules: which route a request may take, and which single tests decided it.
//!
//! It says what the counts count, and which of two sides is wrong where they differ.

mod host;
mod value;

use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::{HeaderMatcher, RouteConfiguration, RouteMatch};
use envoy_types::pb::envoy::r#type::v3::fractional_percent::DenominatorType;

use crate::generate::fraction::whole;
use crate::request::Ask;
pub(crate) use host::KINDS as DOMAIN_KINDS;
pub(crate) use value::{HEADER_TESTS, QUERY_TESTS, Regexes};

/// The kinds of path tests.
pub(crate) const PATH_KINDS: &[&str] = &[
    "path exact",
    "path exact ignore-case",
    "path prefix",
    "path prefix ignore-case",
    "path segment-prefix",
    "path segment-prefix ignore-case",
    "path regex",
];

/// What the rules say of a request.
#[derive(Debug, Default)]
pub(crate) struct Judgement {
    /// The virtual host.
    pub(crate) host: Option<usize>,
    /// The routes that it may take, by their place in the host; more than one where a fraction is drawn.
    pub(crate) routes: Vec<usize>,
    /// Whether it may also find none.
    pub(crate) none: bool,
    /// Tests that decided: the test matched and its route was taken, or it alone kept the route from being taken.
    pub(crate) decisive: Vec<(String, bool)>,
}

/// One test of a route, and what came of it. `None`: a draw.
type Test = (Vec<String>, Option<bool>);

/// Reads a configuration for a request.
pub(crate) fn judge(regexes: &Regexes, configuration: &RouteConfiguration, ask: &Ask) -> Judgement {
    let mut judgement = Judgement::default();
    let found = host::find(configuration, &ask.authority);
    judgement.decisive.extend(found.decisive);
    judgement.host = found.host;
    judgement.none = true;
    let Some(host) = found.host else {
        return judgement;
    };
    for (at, route) in configuration.virtual_hosts[host].routes.iter().enumerate() {
        let Some(matches) = &route.r#match else {
            continue;
        };
        let tests = tests(regexes, matches, ask);
        let failed: Vec<&Test> = tests
            .iter()
            .filter(|(_, held)| *held == Some(false))
            .collect();
        let certain = judgement.routes.is_empty();
        match (failed.as_slice(), certain) {
            ([], true) => {
                let kinds = tests.iter().filter(|(_, held)| *held == Some(true));
                let kinds = kinds.flat_map(|(kinds, _)| kinds.iter().cloned());
                judgement.decisive.extend(kinds.map(|kind| (kind, true)));
            }
            ([(kinds, _)], true) => {
                judgement
                    .decisive
                    .extend(kinds.iter().map(|kind| (kind.clone(), false)));
            }
            _ => {}
        }
        if failed.is_empty() {
            judgement.routes.push(at);
            if tests.iter().all(|(_, held)| held.is_some()) {
                judgement.none = false;
                break;
            }
        }
    }
    judgement
}

/// Whether one header matcher passes.
pub(crate) fn header_passes(regexes: &Regexes, matcher: &HeaderMatcher, ask: &Ask) -> bool {
    value::header(regexes, matcher, ask).1 == Some(true)
}

/// The kinds of all tests of a route, for grouping what differs.
pub(crate) fn shape(regexes: &Regexes, matches: &RouteMatch, ask: &Ask) -> String {
    let kinds = tests(regexes, matches, ask)
        .into_iter()
        .flat_map(|(kinds, _)| kinds);
    kinds.collect::<Vec<_>>().join(" + ")
}

fn tests(regexes: &Regexes, matches: &RouteMatch, ask: &Ask) -> Vec<Test> {
    let mut tests = vec![path(regexes, matches, ask.bare_path())];
    tests.extend(
        matches
            .headers
            .iter()
            .map(|header| value::header(regexes, header, ask)),
    );
    tests.extend(
        matches
            .query_parameters
            .iter()
            .map(|query| value::query(regexes, query, ask)),
    );
    if let Some(percent) = matches
        .runtime_fraction
        .as_ref()
        .and_then(|f| f.default_value)
    {
        let whole = DenominatorType::try_from(percent.denominator).map_or(100, whole);
        let held = match percent.numerator {
            0 => Some(false),
            n if n >= whole => Some(true),
            _ => None,
        };
        tests.push((vec!["fraction".to_owned()], held));
    }
    tests
}

fn path(regexes: &Regexes, matches: &RouteMatch, path: &str) -> Test {
    let fold = matches
        .case_sensitive
        .is_some_and(|sensitive| !sensitive.value);
    let folded = |text: &str| {
        if fold {
            text.to_ascii_lowercase()
        } else {
            text.to_owned()
        }
    };
    let given = folded(path);
    let (kind, held) = match &matches.path_specifier {
        Some(PathSpecifier::Path(wanted)) => ("exact", given == folded(wanted)),
        Some(PathSpecifier::Prefix(wanted)) => ("prefix", given.starts_with(&folded(wanted))),
        Some(PathSpecifier::PathSeparatedPrefix(wanted)) => {
            let wanted = folded(wanted);
            let below = format!("{wanted}/");
            (
                "segment-prefix",
                given == wanted || given.starts_with(&below),
            )
        }
        Some(PathSpecifier::SafeRegex(regex)) => {
            return (
                vec!["path regex".to_owned()],
                Some(regexes.whole(&regex.regex, path)),
            );
        }
        _ => ("other", false),
    };
    let fold = if fold { " ignore-case" } else { "" };
    (vec![format!("path {kind}{fold}")], Some(held))
}
