//! `RouteMatch.query_parameters`, and queries that hit and nearly hit.

use envoy_types::pb::envoy::config::route::v3::QueryParameterMatcher;
use envoy_types::pb::envoy::config::route::v3::query_parameter_matcher::QueryParameterMatchSpecifier as By;

use super::strings;
use crate::dice::Dice;
use crate::feature::Features;
use crate::request::Ask;

const NAMES: &[&str] = &["q", "q", "r", "Q", "q%20"];

/// One matcher.
pub(super) fn matcher(d: &mut Dice, features: &Features) -> QueryParameterMatcher {
    QueryParameterMatcher {
        name: d.text(NAMES),
        query_parameter_match_specifier: match d.below(5) {
            0 => None,
            1 => Some(By::PresentMatch(d.once_in(2))),
            _ => Some(By::StringMatch(strings::matcher(d, features))),
        },
    }
}

/// Gives the request what the matcher asks for.
pub(super) fn aim(d: &mut Dice, matcher: &QueryParameterMatcher, ask: &mut Ask) {
    let value = match &matcher.query_parameter_match_specifier {
        Some(By::PresentMatch(false)) => return,
        None | Some(By::PresentMatch(true)) => d.text(strings::VALUES),
        Some(By::StringMatch(string)) => strings::aim(d, string),
    };
    add(d, ask, &matcher.name, &value);
}

/// Adds a parameter, or drops the query.
pub(super) fn disturb(d: &mut Dice, ask: &mut Ask) {
    if d.once_in(4) {
        ask.path = ask.bare_path().to_owned();
        return;
    }
    let (name, value) = (d.text(NAMES), d.text(strings::VALUES));
    add(d, ask, &name, &value);
}

fn add(d: &mut Dice, ask: &mut Ask, name: &str, value: &str) {
    let mark = if ask.path.contains('?') { "&" } else { "?" };
    let all = d.once_in(4);
    let value = encoded(value, all);
    let equals = if value.is_empty() && d.once_in(2) {
        ""
    } else {
        "="
    };
    ask.path = format!("{}{mark}{name}{equals}{value}", ask.path);
}

/// Percent-encodes what cannot stand in a query, or everything.
fn encoded(text: &str, all: bool) -> String {
    text.bytes()
        .map(|byte| match byte {
            b if !all && (b.is_ascii_alphanumeric() || b"-._~,".contains(&b)) => {
                char::from(b).to_string()
            }
            b => format!("%{b:02X}"),
        })
        .collect()
}
