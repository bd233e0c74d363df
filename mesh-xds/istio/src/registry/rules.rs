//! Which `DestinationRule`s hold for a client's calls to a service.

use std::collections::BTreeSet;

use crate::decode::{Labels, selects};
use crate::kinds::destination_rule::DestinationRule;

use super::{Named, Registry, Service};

impl Registry {
    /// The rules for a service that hold for a client, merged: in their order, the first policy and the first subset
    /// of a name count.
    ///
    /// Looked for in the client's namespace, then among what the service's exports, then the root namespace; of the
    /// first that has any, those of the most specific host.
    pub(crate) fn rules(
        &self,
        service: &Service,
        namespace: &str,
        labels: &Labels,
    ) -> Vec<&Named<DestinationRule>> {
        let root = self.mesh.root_namespace.as_str();
        let host = service.host.as_str();
        // In the root namespace lie the rules for everyone: its own workloads take first what is for them alone.
        let of_own = |rule: &Named<DestinationRule>| {
            rule.namespace == namespace
                && match namespace == root {
                    true => self.is_private(rule),
                    false => {
                        rule.spec.selector.is_some()
                            || rule.spec.export_to.visible(namespace, namespace)
                    }
                }
        };
        if let Some(found) = self.most_specific(host, of_own) {
            return consolidated(&found, labels);
        }
        for owner in [service.namespace.as_str(), root] {
            let exported =
                |rule: &Named<DestinationRule>| rule.namespace == owner && !self.is_private(rule);
            let mut found = self.most_specific(host, exported).unwrap_or_default();
            found.retain(|rule| rule.spec.export_to.visible(owner, namespace));
            if !found.is_empty() {
                return consolidated(&found, labels);
            }
        }
        Vec::new()
    }

    /// Whether a rule is for its own namespace only. One that names its clients always is.
    fn is_private(&self, rule: &Named<DestinationRule>) -> bool {
        rule.spec.selector.is_some() || rule.spec.export_to.is_private(&rule.namespace)
    }

    fn most_specific(
        &self,
        host: &str,
        wanted: impl Fn(&Named<DestinationRule>) -> bool,
    ) -> Option<Vec<&Named<DestinationRule>>> {
        patterns(host).into_iter().find_map(|pattern| {
            let rules = self.rules.get(&pattern)?.iter();
            let found: Vec<_> = rules.filter(|rule| wanted(rule)).collect();
            (!found.is_empty()).then_some(found)
        })
    }
}

/// Of the rules for one host those that are one rule for a client: one that names it, else those for everyone.
///
/// Rules are one where they are exported alike and name the same clients. A rule that is exported further than another
/// adds to it as well, and so does one for everyone to one that names its clients (istiod's merge).
fn consolidated<'a>(
    rules: &[&'a Named<DestinationRule>],
    labels: &Labels,
) -> Vec<&'a Named<DestinationRule>> {
    let mut sorted = rules.to_vec();
    sorted.sort_by_key(|rule| rule.spec.selector.is_none());
    let mut merged: Vec<Vec<&Named<DestinationRule>>> = Vec::new();
    for rule in sorted {
        let mut alone = true;
        for known in &mut merged {
            let (first, selector) = (known[0], &rule.spec.selector);
            let equal = rule.exports() == first.exports();
            let wider = !first.exports().is_empty() && first.exports().is_subset(&rule.exports());
            let other = first.spec.selector.is_some() && selector.is_some();
            if !(equal || wider) || (other && first.spec.selector != *selector) {
                continue;
            }
            alone &= !(equal && first.spec.selector == *selector);
            known.push(rule);
        }
        if alone {
            merged.push(vec![rule]);
        }
    }
    let names_it = |list: &&Vec<&Named<DestinationRule>>| {
        let selector = list[0].spec.selector.as_ref();
        selector.is_some_and(|selector| selects(selector, labels))
    };
    let for_all = |list: &&Vec<&Named<DestinationRule>>| list[0].spec.selector.is_none();
    let chosen = merged.iter().find(names_it);
    // Of several that are exported differently istiod takes the last.
    let chosen = chosen.or_else(|| merged.iter().rfind(for_all));
    chosen.cloned().unwrap_or_default()
}

impl Named<DestinationRule> {
    /// One that names its clients is not exported, whatever it says.
    fn exports(&self) -> BTreeSet<&str> {
        match &self.spec.selector {
            Some(_) => BTreeSet::from(["."]),
            None => self.spec.export_to.names().collect(),
        }
    }
}

/// The host itself, then the wildcards that cover it, the narrowest first.
fn patterns(host: &str) -> Vec<String> {
    let mut patterns = vec![host.to_owned()];
    let mut rest = host.strip_prefix("*.").map_or(host, |suffix| suffix);
    while let Some((_, suffix)) = rest.split_once('.') {
        patterns.push(format!("*.{suffix}"));
        rest = suffix;
    }
    patterns.push("*".to_owned());
    patterns
}
