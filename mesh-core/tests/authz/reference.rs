//! A slow, plain reading of the rules. It shares no code with the engine: `None` is what nobody knows, all of everything is
//! looked at, and each arm's answers are counted.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;

use mesh_core::authz::Value;

use crate::model::{
    Action, Claim, EXPRESSIONS, End, Header, Hole, Policy, Rule, Rules, Template, Test, Text,
    Token, Wanted, What, Who, World,
};

/// A rule read wrongly, to see that it would be noticed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Mistake {
    None,
    NotOfUnknownIsTrue,
    DenyNeedsCertainty,
    AllowTakesTheUnknown,
    NoFilterIsNoToken,
    ForeignIsToken,
    UnsureEndsTheSearch,
    DotIsAnything,
    HoleIsNarrow,
    HoleTakesEverything,
    CaseCounts,
    MissingIsNotEmpty,
    InvertedValueByValue,
    LastPolicy,
    LastOfRangeIncluded,
    UriNeedNotBeId,
    EmptySetHolds,
    OrderOfConfiguration,
    AnyPrincipalWithoutPermission,
    PathHasItsQuery,
    HeaderPathHasNoQuery,
    LastPortIncluded,
    RemoteIsDirect,
    MappedAddressesStay,
    FamiliesMix,
    InvertedAbsenceHolds,
    FirstValueAlone,
    CaseIsIgnored,
    ClaimInvertIgnored,
    PresentFalseIsAbsent,
    ListMeetsItself,
    HostNameIsPrincipal,
    SubjectBesideNames,
    AnonymousIsSomebody,
    SeveralUrisAreOne,
    UnreadableIsIgnored,
    HoleTakesSlashes,
    HoleTakesNothing,
    ServerNameMustBe,
    LogDenies,
    ShadowDecides,
}

pub(crate) const MISTAKES: &[Mistake] = &[
    Mistake::NotOfUnknownIsTrue,
    Mistake::DenyNeedsCertainty,
    Mistake::AllowTakesTheUnknown,
    Mistake::NoFilterIsNoToken,
    Mistake::ForeignIsToken,
    Mistake::UnsureEndsTheSearch,
    Mistake::DotIsAnything,
    Mistake::HoleIsNarrow,
    Mistake::HoleTakesEverything,
    Mistake::CaseCounts,
    Mistake::MissingIsNotEmpty,
    Mistake::InvertedValueByValue,
    Mistake::LastPolicy,
    Mistake::LastOfRangeIncluded,
    Mistake::UriNeedNotBeId,
    Mistake::EmptySetHolds,
    Mistake::OrderOfConfiguration,
    Mistake::AnyPrincipalWithoutPermission,
    Mistake::PathHasItsQuery,
    Mistake::HeaderPathHasNoQuery,
    Mistake::LastPortIncluded,
    Mistake::RemoteIsDirect,
    Mistake::MappedAddressesStay,
    Mistake::FamiliesMix,
    Mistake::InvertedAbsenceHolds,
    Mistake::FirstValueAlone,
    Mistake::CaseIsIgnored,
    Mistake::ClaimInvertIgnored,
    Mistake::PresentFalseIsAbsent,
    Mistake::ListMeetsItself,
    Mistake::HostNameIsPrincipal,
    Mistake::SubjectBesideNames,
    Mistake::AnonymousIsSomebody,
    Mistake::SeveralUrisAreOne,
    Mistake::UnreadableIsIgnored,
    Mistake::HoleTakesSlashes,
    Mistake::HoleTakesNothing,
    Mistake::ServerNameMustBe,
    Mistake::LogDenies,
    Mistake::ShadowDecides,
];

/// How often each arm said yes, no, and nothing.
pub(crate) type Counts = BTreeMap<&'static str, [u64; 3]>;

/// Whether a request passes, what was met, and what may have been.
pub(crate) type Said = (bool, Option<&'static str>, Option<&'static str>);

pub(crate) struct Reader<'a> {
    pub(crate) world: &'a World,
    pub(crate) mistake: Mistake,
    pub(crate) counts: &'a RefCell<Counts>,
}

impl Reader<'_> {
    fn is(&self, mistake: Mistake) -> bool {
        self.mistake == mistake
    }

    fn counted(&self, arm: &'static str, answer: Option<bool>) -> Option<bool> {
        let at = match answer {
            Some(true) => 0,
            Some(false) => 1,
            None => 2,
        };
        self.counts.borrow_mut().entry(arm).or_default()[at] += 1;
        answer
    }

    /// Whether the request passes, and the names of the policies that were met, and that may have been.
    pub(crate) fn verdict(&self, rules: &Rules) -> Said {
        let mut policies: Vec<&Policy> = rules.policies.iter().collect();
        if !self.is(Mistake::OrderOfConfiguration) {
            policies.sort_by_key(|policy| policy.name.as_bytes());
        }
        if self.is(Mistake::LastPolicy) {
            policies.reverse();
        }
        let answers: Vec<_> = policies
            .iter()
            .map(|policy| self.counted("policy", self.policy(policy)))
            .collect();
        let first = |wanted| {
            let at = answers.iter().position(|answer| *answer == wanted);
            at.map(|at| (at, policies[at].name))
        };
        let (mut met, mut unsure) = (first(Some(true)), first(None));
        match (met, unsure) {
            (Some(yes), Some(maybe)) if maybe < yes && self.is(Mistake::UnsureEndsTheSearch) => {
                met = None;
            }
            (Some(_), _) => unsure = None,
            _ => {}
        }
        let passes = match rules.action {
            Action::Allow => {
                met.is_some() || (unsure.is_some() && self.is(Mistake::AllowTakesTheUnknown))
            }
            Action::Deny => {
                met.is_none() && (unsure.is_none() || self.is(Mistake::DenyNeedsCertainty))
            }
            Action::Log => !self.is(Mistake::LogDenies) || met.is_none(),
        };
        let arm = match rules.action {
            Action::Allow => "ALLOW",
            Action::Deny => "DENY",
            Action::Log => "LOG",
        };
        self.counted(arm, Some(met.is_some()));
        let name = |found: Option<(usize, &'static str)>| found.map(|(_, name)| name);
        (passes, name(met), name(unsure))
    }

    fn policy(&self, policy: &Policy) -> Option<bool> {
        let done: Vec<_> = policy
            .permissions
            .iter()
            .map(|one| self.permission(one))
            .collect();
        let by: Vec<_> = policy
            .principals
            .iter()
            .map(|one| self.principal(one))
            .collect();
        if self.is(Mistake::AnyPrincipalWithoutPermission) {
            return some(&by);
        }
        every(&[some(&done), some(&by)])
    }

    fn permission(&self, rule: &Rule<What>) -> Option<bool> {
        match rule {
            Rule::Any => self.counted("any", Some(true)),
            Rule::And(all) => self.set(
                "and_rules",
                every,
                all.iter().map(|one| self.permission(one)),
            ),
            Rule::Or(all) => self.set("or_rules", some, all.iter().map(|one| self.permission(one))),
            Rule::Not(one) => self.negated("not_rule", self.permission(one)),
            Rule::Is(what) => self.what(what),
        }
    }

    fn principal(&self, rule: &Rule<Who>) -> Option<bool> {
        match rule {
            Rule::Any => self.counted("any", Some(true)),
            Rule::And(all) => self.set("and_ids", every, all.iter().map(|one| self.principal(one))),
            Rule::Or(all) => self.set("or_ids", some, all.iter().map(|one| self.principal(one))),
            Rule::Not(one) => self.negated("not_id", self.principal(one)),
            Rule::Is(who) => self.who(who),
        }
    }

    fn set(
        &self,
        arm: &'static str,
        how: fn(&[Option<bool>]) -> Option<bool>,
        all: impl Iterator<Item = Option<bool>>,
    ) -> Option<bool> {
        let all: Vec<Option<bool>> = all.collect();
        let answer = match all.is_empty() {
            true if self.is(Mistake::EmptySetHolds) => Some(true),
            true => None,
            false => how(&all),
        };
        self.counted(arm, answer)
    }

    fn negated(&self, arm: &'static str, inner: Option<bool>) -> Option<bool> {
        let answer = match inner {
            None if self.is(Mistake::NotOfUnknownIsTrue) => Some(true),
            None => None,
            Some(inner) => Some(!inner),
        };
        self.counted(arm, answer)
    }

    fn what(&self, what: &What) -> Option<bool> {
        let (ip, port) = self.world.local;
        let (arm, answer) = match what {
            What::Header(header) => ("header", self.header(header)),
            What::UrlPath(text) => ("url_path", self.path(text)),
            What::Template(template) => {
                return self.counted("uri_template", self.template(template));
            }
            What::DestinationIp(prefix, length) => {
                ("destination_ip", self.range(ip, prefix, *length))
            }
            What::DestinationPort(wanted) => ("destination_port", port == *wanted),
            What::Ports(start, end) => {
                let port = i32::from(port);
                let last = port == *end && self.is(Mistake::LastPortIncluded);
                (
                    "destination_port_range",
                    port >= *start && (port < *end || last),
                )
            }
            What::ServerName(text) => {
                let absent = self.world.sni.is_none() && self.is(Mistake::ServerNameMustBe);
                let name = self.world.sni.unwrap_or("");
                ("requested_server_name", !absent && self.text(text, name))
            }
            What::Metadata(claim) => return self.counted("permission metadata", self.claim(claim)),
        };
        self.counted(arm, Some(answer))
    }

    fn who(&self, who: &Who) -> Option<bool> {
        let World { direct, remote, .. } = self.world;
        let remote = if self.is(Mistake::RemoteIsDirect) {
            direct
        } else {
            remote
        };
        let (arm, answer) = match who {
            Who::Authenticated(None) => {
                return self.counted("authenticated", self.authenticated(None));
            }
            Who::Authenticated(Some(name)) => {
                return self.counted("principal_name", self.authenticated(Some(name)));
            }
            Who::Direct(prefix, length) => {
                ("direct_remote_ip", self.range(direct, prefix, *length))
            }
            Who::Remote(prefix, length) => ("remote_ip", self.range(remote, prefix, *length)),
            Who::Header(header) => ("principal header", self.header(header)),
            Who::UrlPath(text) => ("principal url_path", self.path(text)),
            Who::Metadata(claim) => return self.counted("principal metadata", self.claim(claim)),
        };
        self.counted(arm, Some(answer))
    }

    fn text(&self, wanted: &Text, value: &str) -> bool {
        let folded = |ignoring: bool, text: &str| match (ignoring && !self.is(Mistake::CaseCounts))
            || self.is(Mistake::CaseIsIgnored)
        {
            true => text.to_ascii_lowercase(),
            false => text.to_owned(),
        };
        match wanted {
            Text::Exact(text, i) => folded(*i, value) == folded(*i, text),
            Text::Prefix(text, i) => folded(*i, value).find(&folded(*i, text)) == Some(0),
            Text::Suffix(text, i) => folded(*i, value).ends_with(&folded(*i, text)),
            Text::Contains(text, i) => folded(*i, value).split(&folded(*i, text)).count() > 1,
            Text::Regex(at) => EXPRESSIONS[*at].1(value),
        }
    }

    fn whole_path(&self) -> String {
        match self.world.query {
            Some(query) => format!("{}?{query}", self.world.path),
            None => self.world.path.to_owned(),
        }
    }

    fn path(&self, wanted: &Text) -> bool {
        match self.is(Mistake::PathHasItsQuery) {
            true => self.text(wanted, &self.whole_path()),
            false => self.text(wanted, self.world.path),
        }
    }

    fn values(&self, name: &str) -> Vec<String> {
        match name {
            ":method" => vec![self.world.method.to_owned()],
            ":authority" | "host" => vec![self.world.authority.to_owned()],
            ":path" if self.is(Mistake::HeaderPathHasNoQuery) => vec![self.world.path.to_owned()],
            ":path" => vec![self.whole_path()],
            _ => {
                let all = self.world.headers.iter();
                let named = all.filter(|(one, _)| one.eq_ignore_ascii_case(name));
                named.map(|(_, value)| (*value).to_owned()).collect()
            }
        }
    }

    fn header(&self, header: &Header) -> bool {
        let mut values = self.values(header.name);
        if self.is(Mistake::FirstValueAlone) {
            values.truncate(1);
        }
        if values.is_empty() && header.missing_is_empty && !self.is(Mistake::MissingIsNotEmpty) {
            values.push(String::new());
        }
        let one = |value: &String| match &header.test {
            Test::Present(_) => true,
            Test::Text(text) => self.text(text, value),
            Test::Range(start, end) => {
                let number: Option<i64> = value.trim_matches(' ').parse().ok();
                let last = self.is(Mistake::LastOfRangeIncluded);
                number.is_some_and(|number| {
                    number >= *start && (number < *end || (last && number == *end))
                })
            }
        };
        match &header.test {
            Test::Present(wanted) => header.invert ^ (values.is_empty() ^ wanted),
            _ if values.is_empty() => header.invert && self.is(Mistake::InvertedAbsenceHolds),
            _ if header.invert && self.is(Mistake::InvertedValueByValue) => !values.iter().all(one),
            _ => header.invert ^ values.iter().any(one),
        }
    }

    /// As text of bits, most significant first; the family is in the length.
    fn bits(&self, address: &str) -> String {
        let bytes = match address.parse().expect("an address") {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        bytes.iter().map(|byte| format!("{byte:08b}")).collect()
    }

    fn range(&self, address: &str, prefix: &str, length: u32) -> bool {
        let mapped = format!("{}{}", "0".repeat(80), "1".repeat(16));
        let mut address = self.bits(address);
        if let Some(v4) = address.strip_prefix(&mapped)
            && !self.is(Mistake::MappedAddressesStay)
        {
            address = v4.to_owned();
        }
        let prefix = self.bits(prefix);
        let wanted = &prefix[..prefix.len().min(length as usize)];
        let is_of_family = address.len() == prefix.len() || self.is(Mistake::FamiliesMix);
        is_of_family && address.starts_with(wanted)
    }

    fn template(&self, template: &Template) -> Option<bool> {
        let mut text = String::new();
        for segment in &template.segments {
            let segment = match segment {
                Hole::Text(text) | Hole::NamedOf(_, text) => text,
                Hole::One | Hole::Named(_) => "*",
                Hole::Rest => "**",
            };
            text = format!("{text}/{segment}");
        }
        if text.is_empty() {
            text.push('/');
        }
        text.push_str(template.suffix);
        let path = self.world.path;
        if self.fits(&text, path, self.is(Mistake::HoleTakesEverything)) {
            Some(true)
        } else if self.fits(&text, path, true) {
            None
        } else {
            Some(false)
        }
    }

    /// Tries all lengths of all holes. A wide hole takes any character.
    fn fits(&self, pattern: &str, path: &str, wide: bool) -> bool {
        let taken = |slashes: bool| {
            let one = |c: char| {
                let of_now = "=*".contains(c) && !self.is(Mistake::HoleIsNarrow);
                let other = of_now || wide || "-._~%!$&'()+,;:@".contains(c);
                if c == '/' {
                    slashes
                } else {
                    c.is_ascii_alphanumeric() || other
                }
            };
            path.chars().take_while(|c| one(*c)).count()
        };
        if let Some(rest) = pattern.strip_prefix("**") {
            return (0..=taken(true)).any(|many| self.fits(rest, &path[many..], wide));
        }
        if let Some(rest) = pattern.strip_prefix('*') {
            let least = usize::from(!self.is(Mistake::HoleTakesNothing));
            let most = taken(self.is(Mistake::HoleTakesSlashes));
            return (least..=most).any(|many| self.fits(rest, &path[many..], wide));
        }
        let is = |a, b| a == b || (a == '.' && self.is(Mistake::DotIsAnything));
        match (pattern.chars().next(), path.chars().next()) {
            (None, None) => true,
            (Some(a), Some(b)) => is(a, b) && self.fits(&pattern[1..], &path[1..], wide),
            _ => false,
        }
    }

    fn claim(&self, claim: &Claim) -> Option<bool> {
        if claim.is_foreign.is_some() && !self.is(Mistake::ForeignIsToken) {
            return None;
        }
        let mut value = match &self.world.token {
            Token::NoFilter if !self.is(Mistake::NoFilterIsNoToken) => return None,
            Token::NoFilter | Token::None => None,
            Token::Says(value) => Some(value),
        };
        for key in &claim.path {
            value = match value {
                Some(Value::Object(fields)) => {
                    fields.iter().find(|(k, _)| &***k == *key).map(|(_, v)| v)
                }
                _ => None,
            };
        }
        let invert = claim.invert && !self.is(Mistake::ClaimInvertIgnored);
        Some(self.says(&claim.value, value) ^ invert)
    }

    fn says(&self, wanted: &Wanted, value: Option<&Value>) -> bool {
        if let Wanted::Or(all) = wanted {
            return all.iter().filter(|one| self.says(one, value)).count() > 0;
        }
        let Some(value) = value else {
            return matches!(wanted, Wanted::Present(false))
                && self.is(Mistake::PresentFalseIsAbsent);
        };
        match wanted {
            Wanted::Null => *value == Value::Null,
            Wanted::Number(number) => *value == Value::Number(*number),
            Wanted::Range(start, end) => {
                matches!(value, Value::Number(number) if number >= start && number < end)
            }
            Wanted::Bool(wanted) => *value == Value::Bool(*wanted),
            Wanted::Text(text) => matches!(value, Value::Text(value) if self.text(text, value)),
            Wanted::Present(wanted) => *wanted,
            Wanted::OneOf(inner) => match value {
                Value::List(all) => {
                    all.iter().filter(|one| self.says(inner, Some(one))).count() > 0
                }
                other => self.is(Mistake::ListMeetsItself) && self.says(inner, Some(other)),
            },
            Wanted::Or(_) => unreachable!("read above"),
        }
    }

    fn authenticated(&self, name: Option<&Text>) -> Option<bool> {
        let (uri, dns, subject, unreadable) = match &self.world.end {
            End::Plaintext => return Some(false),
            End::Anonymous => {
                let might = name.is_none_or(|name| self.text(name, ""));
                let somebody = self.is(Mistake::AnonymousIsSomebody);
                return if !might {
                    Some(false)
                } else {
                    somebody.then_some(true)
                };
            }
            End::Certificate {
                uri,
                dns,
                subject,
                unreadable,
            } => (uri, dns, subject, *unreadable),
        };
        if unreadable > 0 && !self.is(Mistake::UnreadableIsIgnored) {
            return None;
        }
        // As the ids of the dice that are ids.
        let is_id = |one: &&str| one.starts_with("spiffe://td") || self.is(Mistake::UriNeedNotBeId);
        let many = self.is(Mistake::SeveralUrisAreOne);
        let sure = uri.iter().all(is_id) && (uri.len() < 2 || many);
        let Some(name) = name else {
            return sure.then_some(true);
        };
        let kinds = [uri.clone(), dns.clone(), vec![*subject]];
        let first = kinds
            .iter()
            .position(|kind| !kind.is_empty())
            .expect("a subject");
        let found = |kind: &[&str]| kind.iter().any(|one| self.text(name, one));
        let by_first = found(&kinds[first]);
        if by_first && sure {
            return Some(true);
        }
        let later = kinds[first + 1..].iter().any(|kind| found(kind));
        if self.is(Mistake::HostNameIsPrincipal) && first == 0 && found(dns) {
            return Some(true);
        }
        if self.is(Mistake::SubjectBesideNames) && found(&kinds[2]) {
            return Some(true);
        }
        if by_first || later { None } else { Some(false) }
    }
}

fn some(all: &[Option<bool>]) -> Option<bool> {
    if all.contains(&Some(true)) {
        return Some(true);
    }
    if all.contains(&None) {
        None
    } else {
        Some(false)
    }
}

fn every(all: &[Option<bool>]) -> Option<bool> {
    if all.contains(&Some(false)) {
        return Some(false);
    }
    if all.contains(&None) {
        None
    } else {
        Some(true)
    }
}
